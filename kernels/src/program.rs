//! Programs: periodic lists of XOR rows over (stream, symbol) slots. Encoding and decoding are both programs,
//! run by one executor.

use crate::code::Code;

/// A symbol that a row reads or writes: `symbol` counts from the first step of the row's group and is
/// negative for the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    /// Index of the stream in the arena.
    pub stream: u32,
    /// Symbols from the group's first step.
    pub symbol: i32,
}

impl Slot {
    pub(crate) fn new(stream: usize, symbol: i32) -> Self {
        Self { stream: u32::try_from(stream).expect("at most as many streams as blocks"), symbol }
    }
}

/// One XOR row: `to` = the XOR of `from`, and of the row before if `chained`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XorRow {
    /// Where the sum goes.
    pub to: Slot,
    /// Whether the sum of the row before, across groups too, is part of it.
    pub chained: bool,
    /// What is summed.
    pub from: Vec<Slot>,
}

/// Rows in groups: group g is `groups[g % period]`, moved on by g·`advance` symbols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// How many streams the slots may name.
    pub(crate) streams: usize,
    /// Symbols from one group to the next.
    pub(crate) advance: usize,
    /// One period of groups.
    pub(crate) groups: Vec<Vec<XorRow>>,
    /// What the chained sum holds before a group, counted from that group's first step.
    pub(crate) init: Vec<Slot>,
    /// The symbols of a group whose lines are asked for before they are reached. Of those that are stored past the
    /// caches there is nothing to ask for.
    pub(crate) prefetched: Vec<Slot>,
    reach_back: usize,
    reach_ahead: usize,
    feed_forward: bool,
    writes_from: isize,
}

impl Program {
    /// A program that prefetches nothing.
    pub(crate) fn new(streams: usize, advance: usize, groups: Vec<Vec<XorRow>>, init: Vec<Slot>) -> Self {
        let rows = || groups.iter().flatten();
        let symbols =
            || rows().flat_map(|row| row.from.iter().chain([&row.to])).chain(&init).map(|slot| slot.symbol);
        let first_write = |(group, rows): (usize, &Vec<XorRow>)| {
            let least = rows.iter().map(|row| row.to.symbol).min()?;
            Some((group * advance).cast_signed() + least as isize)
        };
        Self {
            streams,
            advance,
            reach_back: symbols().min().unwrap_or(0).min(0).unsigned_abs() as usize,
            reach_ahead: symbols().max().map_or(0, |last| last + 1).max(0).unsigned_abs() as usize,
            feed_forward: is_feed_forward(&groups, &init, streams, advance),
            writes_from: groups.iter().enumerate().filter_map(first_write).min().unwrap_or(0),
            groups,
            init,
            prefetched: Vec::new(),
        }
    }

    /// The program that computes all parity: streams 0 to k−1 are the data blocks, k to n−1 the parity
    /// blocks; a group is one step.
    #[must_use]
    pub fn encode(code: &Code) -> Self {
        let (data, depth) = (code.profile().data(), code.profile().depth());
        let back = |symbols: usize| -i32::try_from(symbols).expect("capped by DEPTH_MAX");
        let groups = code.phases().iter().map(|rows| {
            let row = |row: &crate::code::Row| XorRow {
                to: Slot::new(data + row.parity, back(row.back)),
                chained: row.chained,
                from: row.taps.iter().map(|tap| Slot::new(tap.block, back(tap.delay))).collect(),
            };
            rows.iter().map(row).collect()
        });
        // A symbol is in the accumulator if an odd number of its taps lies behind; which, is the same in
        // every phase because its delays are.
        let mut init = Vec::new();
        if code.is_chained() {
            let taps = || code.phases()[0].iter().flat_map(|row| &row.taps);
            let mut passed = vec![vec![0_u32; depth + 1]; data];
            taps().for_each(|tap| passed[tap.block][tap.delay] += 1);
            for (stream, passed) in passed.iter().enumerate() {
                let mut sum = 0;
                for age in 1..=depth {
                    sum += passed[age - 1];
                    if sum % 2 == 1 {
                        init.push(Slot::new(stream, back(age)));
                    }
                }
            }
        }
        let program = Self::new(code.profile().blocks(), 1, groups.collect(), init);
        Self { prefetched: (0..data).map(|stream| Slot::new(stream, 0)).collect(), ..program }
    }

    /// How many streams an arena for this program has.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Symbols from one group to the next.
    #[must_use]
    pub fn advance(&self) -> usize {
        self.advance
    }

    /// Symbols before a group's first step that the group may read.
    #[must_use]
    pub fn reach_back(&self) -> usize {
        self.reach_back
    }

    /// Symbols from a group's first step on that the group may read or write.
    #[must_use]
    pub fn reach_ahead(&self) -> usize {
        self.reach_ahead
    }

    /// XORs in one period, for cost estimates and tests.
    #[must_use]
    pub fn xors(&self) -> usize {
        self.groups.iter().flatten().map(|row| row.from.len()).sum()
    }

    /// What the program and one binding of it take of memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // Lists grow by doubling, so up to twice of each may be held.
        let rows: usize = self.groups.iter().map(Vec::len).sum();
        self.xors() * (2 * size_of::<Slot>() + size_of::<i32>()) + rows * 2 * size_of::<XorRow>()
    }

    /// Whether no row reads what another writes and no two groups write the same symbol, so that groups may run in
    /// any order and at the same time.
    pub(crate) fn is_feed_forward(&self) -> bool {
        self.feed_forward
    }

    /// The first symbol that a period of groups writes, counted from the first step of the first group.
    pub(crate) fn writes_from(&self) -> isize {
        self.writes_from
    }
}

fn is_feed_forward(groups: &[Vec<XorRow>], init: &[Slot], streams: usize, advance: usize) -> bool {
    let mut reads = vec![false; streams];
    let rows = || groups.iter().flatten();
    rows().flat_map(|row| &row.from).chain(init).for_each(|slot| reads[slot.stream as usize] = true);
    if rows().any(|row| reads[row.to.stream as usize]) {
        return false;
    }
    // Two groups that ever write the same symbol write the same place of a period.
    let period = (groups.len() * advance) as i64;
    let writes = groups.iter().enumerate().flat_map(|(group, rows)| {
        let start = (group * advance) as i64;
        rows.iter().map(move |row| (row.to.stream, (start + i64::from(row.to.symbol)).rem_euclid(period)))
    });
    let mut writes: Vec<(u32, i64)> = writes.collect();
    writes.sort_unstable();
    !writes.windows(2).any(|two| two[0] == two[1])
}
