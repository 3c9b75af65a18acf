//! The XOR loop, once for all levels.
//!
//! What bounds it, where the streams are in the caches, is loads: one of 64 bytes for each operand and, in
//! between, the program's own. So two offsets share one load, rows of equal weight are unrolled, and what is
//! left to say of a row sits beside its destination.
#![expect(unsafe_code, reason = "walks raw pointers that `exec` checked against the streams")]

use std::ptr;

/// One symbol of 64 bytes in registers.
pub(super) trait Symbol: Copy {
    /// All bits zero.
    fn zero() -> Self;

    fn xor(self, other: Self) -> Self;

    /// # Safety
    /// `from` is aligned to 64 bytes and readable for 64.
    unsafe fn load(from: *const u8) -> Self;

    /// # Safety
    /// `to` is aligned to 64 bytes and writable for 64.
    unsafe fn store(self, to: *mut u8);

    /// Stores past the caches where the machine can; [`Symbol::fence`] orders what follows.
    ///
    /// # Safety
    /// As [`Symbol::store`].
    unsafe fn stream(self, to: *mut u8);

    fn fence();

    /// Asks for a line that will be read soon. Any address is fine.
    fn prefetch(at: *const u8);
}

/// A program bound to the places of its streams, and the groups of it to run. All offsets count symbols.
///
/// `exec::Bound` makes these: for every group of `first..first + count`, `base` plus group·`advance` plus any
/// offset in `init` and `rows` is a symbol of the streams, and no two jobs that run at a time write what the
/// other reads or writes.
pub(crate) struct Job<'a> {
    /// Rows, one after the other: the head, then the operands in pairs.
    pub(crate) rows: &'a [Pair],
    /// Where in `rows` each group of a period begins; one more entry ends the last.
    pub(crate) groups: &'a [usize],
    /// Length in `rows` of every row, if all are equally long.
    pub(crate) row_pairs: Option<usize>,
    /// What the accumulator holds before any group.
    pub(crate) init: &'a [i32],
    /// What each group touches some groups later, one offset a line, to be asked for.
    pub(crate) prefetch: &'a [i32],
    /// Lines to prefetch at each row.
    pub(crate) prefetch_per_row: usize,
    /// The address of symbol 0 of group 0; that of every stream has an exposed provenance.
    pub(crate) base: usize,
    pub(crate) advance: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) unit: usize,
    pub(crate) streaming: bool,
}

/// Two offsets in one word. The head of a row holds its destination and its [`Head`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair(i64);

/// What else is to know of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head(i32);

impl Pair {
    #[inline(always)]
    pub(crate) fn new(first: i32, second: i32) -> Self {
        Self(i64::from(second) << 32 | i64::from(first.cast_unsigned()))
    }

    #[inline(always)]
    pub(super) fn first(self) -> isize {
        self.0 as i32 as isize
    }

    #[inline(always)]
    pub(super) fn second(self) -> isize {
        (self.0 >> 32) as isize
    }

    #[inline(always)]
    pub(super) fn head(self) -> Head {
        Head((self.0 >> 32) as i32)
    }
}

impl Head {
    pub(crate) fn new(operands: usize, chained: bool) -> Self {
        let operands = i32::try_from(operands).expect("rows are far shorter than 2^30");
        Self(operands << 1 | i32::from(chained))
    }

    pub(crate) fn word(self) -> i32 {
        self.0
    }

    /// Whether the row continues the sum of the row before.
    #[inline(always)]
    pub(super) fn is_chained(self) -> bool {
        self.0 & 1 == 1
    }

    #[inline(always)]
    pub(super) fn operands(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// Whether the last pair of operands is only one.
    #[inline(always)]
    fn is_odd(self) -> bool {
        self.0 & 2 == 2
    }
}

/// # Safety
/// The level's instructions are enabled in the caller, and `job` is as its docs promise, with a unit of 64.
#[inline(always)]
pub(super) unsafe fn run<S: Symbol>(job: &Job<'_>) {
    // SAFETY: the caller's promise, for both.
    unsafe {
        if job.streaming {
            run_rows::<S, true>(job);
            S::fence();
        } else {
            run_rows::<S, false>(job);
        }
    }
}

/// Encoders have rows of one length, and it is one of these for most shapes (a head and up to 20 operands);
/// all others take the loop of any length.
#[inline(always)]
unsafe fn run_rows<S: Symbol, const STREAMING: bool>(job: &Job<'_>) {
    // SAFETY: the caller's promise, for all.
    unsafe {
        match job.row_pairs {
            Some(3) => run_groups::<S, STREAMING, 3>(job),
            Some(5) => run_groups::<S, STREAMING, 5>(job),
            Some(6) => run_groups::<S, STREAMING, 6>(job),
            Some(7) => run_groups::<S, STREAMING, 7>(job),
            Some(9) => run_groups::<S, STREAMING, 9>(job),
            Some(10) => run_groups::<S, STREAMING, 10>(job),
            Some(11) => run_groups::<S, STREAMING, 11>(job),
            _ => run_groups::<S, STREAMING, 0>(job),
        }
    }
}

/// All rows are `ROW` pairs long, or any length if that is 0.
#[inline(always)]
unsafe fn run_groups<S: Symbol, const STREAMING: bool, const ROW: usize>(job: &Job<'_>) {
    let period = job.groups.len() - 1;
    let mut phase = job.first % period;
    let mut base = job.base.wrapping_add(job.first * job.advance * 64);
    // SAFETY: `init` offsets of the first group are symbols.
    let mut sum =
        job.init.iter().fold(S::zero(), |sum, &at| sum.xor(unsafe { S::load(symbol(base, at as isize)) }));
    for _ in 0..job.count {
        let mut rows = &job.rows[job.groups[phase]..job.groups[phase + 1]];
        let mut ahead = job.prefetch;
        while let [head, ..] = rows {
            let (to, head) = (head.first(), head.head());
            let length = if ROW > 0 { ROW } else { 1 + head.operands().div_ceil(2) };
            let (row, rest) = rows.split_at(length);
            let (now, later) = ahead.split_at(job.prefetch_per_row.min(ahead.len()));
            (rows, ahead) = (rest, later);
            for &offset in now {
                S::prefetch(symbol(base, offset as isize));
            }
            let start = if head.is_chained() { sum } else { S::zero() };
            // SAFETY: the offsets of this group are symbols, and nobody else writes there now.
            unsafe {
                sum = xor_row(start, base, &row[1..], head.is_odd());
                let to = ptr::with_exposed_provenance_mut(base.wrapping_add_signed(to << 6));
                if STREAMING { sum.stream(to) } else { sum.store(to) }
            }
        }
        base = base.wrapping_add(job.advance * 64);
        phase = if phase + 1 == period { 0 } else { phase + 1 };
    }
}

#[inline(always)]
fn symbol(base: usize, offset: isize) -> *const u8 {
    ptr::with_exposed_provenance(base.wrapping_add_signed(offset << 6))
}

/// # Safety
/// `base` plus each offset is a symbol that is readable; of the last pair only the first, if `odd`.
#[inline(always)]
unsafe fn xor_row<S: Symbol>(start: S, base: usize, pairs: &[Pair], odd: bool) -> S {
    let [firsts @ .., last] = pairs else { return start };
    // Two chains: XOR has a latency of one cycle, and there are two loads in each.
    let (mut even, mut other) = (start, S::zero());
    for pair in firsts {
        // SAFETY: the caller's promise.
        unsafe {
            even = even.xor(S::load(symbol(base, pair.first())));
            other = other.xor(S::load(symbol(base, pair.second())));
        }
    }
    // Where rows of 7 and 8 operands take turns, a branch would be missed every other time.
    let second = if odd { ZERO.0.as_ptr() } else { symbol(base, last.second()) };
    // SAFETY: the caller's promise, and the line of zeros is one.
    unsafe {
        even = even.xor(S::load(symbol(base, last.first())));
        even.xor(other.xor(S::load(second)))
    }
}

#[repr(align(64))]
struct Zero([u8; 64]);

static ZERO: Zero = Zero([0; 64]);
