//! The executor: programs bound to the places of their streams, and ranges of groups to run on any thread.
use std::marker::PhantomData;
use std::ops::Range;

use crate::arena::{Arena, ArenaError, Layout, Slices, Streams};
use crate::program::{Program, Slot, XorRow};
use crate::simd::{Head, Job, Level, Pair};

/// How results are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stores {
    /// Through the caches: the results are read again soon.
    Cached,
    /// Past the caches where the machine can: the results are more than the caches hold.
    Streaming,
}

/// A program bound to the places of its streams: slots have become offsets.
#[derive(Clone, Debug)]
pub struct Bound {
    rows: Vec<Pair>,
    groups: Vec<usize>,
    row_pairs: Option<usize>,
    init: Vec<i32>,
    prefetch: Vec<i32>,
    prefetch_per_row: usize,
    layout: Layout,
    unit: usize,
    advance: usize,
    reach_back: usize,
    reach_ahead: usize,
    feed_forward: bool,
    /// The first symbol that a period of groups writes, counted from the first of them.
    writes_from: isize,
}

impl Bound {
    /// Binds `program` to arenas with streams of `stream_bytes` bytes and symbols of `unit` bytes.
    ///
    /// # Errors
    /// If such an arena would hold more than 2^31 symbols.
    ///
    /// # Panics
    /// If `unit` is not a power of two up to 64, or a stream is no whole number of symbols.
    pub fn new(program: &Program, stream_bytes: usize, unit: usize) -> Result<Self, ArenaError> {
        assert!(stream_bytes.is_multiple_of(unit), "streams of {stream_bytes} bytes, symbols of {unit}");
        Self::to(program, Layout::even(program.streams, stream_bytes)?, unit)
    }

    /// Binds `program` to slices, with symbols of 64 bytes.
    pub(crate) fn over(program: &Program, slices: &Slices<'_>) -> Result<Self, ArenaError> {
        Self::to(program, slices.layout().clone(), 64)
    }

    fn to(program: &Program, layout: Layout, unit: usize) -> Result<Self, ArenaError> {
        assert!(unit.is_power_of_two() && unit <= 64, "symbols of {unit} bytes");
        assert_eq!(layout.places.len(), program.streams, "other streams than the program's");
        let too_large = || ArenaError { streams: program.streams, stream_bytes: layout.stream_bytes };
        let offset = |slot: &Slot| {
            let symbols = layout.places[slot.stream as usize] / unit as i64 + i64::from(slot.symbol);
            i32::try_from(symbols).map_err(|_| too_large())
        };
        let offsets = |slots: &[Slot]| slots.iter().map(offset).collect::<Result<Vec<i32>, _>>();

        let (mut rows, mut groups) = (Vec::new(), vec![0]);
        for group in &program.groups {
            for XorRow { to, chained, from } in group {
                assert!(to.stream as usize >= layout.read_only, "stream {} is only read", to.stream);
                rows.push(Pair::new(offset(to)?, Head::new(from.len(), *chained).word()));
                for pair in from.chunks(2) {
                    rows.push(Pair::new(offset(&pair[0])?, pair.get(1).map_or(Ok(0), offset)?));
                }
            }
            groups.push(rows.len());
        }
        let lengths = || program.groups.iter().flatten().map(|row| 1 + row.from.len().div_ceil(2));
        let longest = lengths().max();
        let bytes = if program.advance == 1 { PREFETCH_BYTES } else { PREFETCH_BYTES_GROUPS };
        let lines_per_step = program.prefetched.len().div_ceil(program.advance).max(1);
        let ahead = (bytes / 64 / lines_per_step).clamp(1, PREFETCH_STEPS_MAX);
        // The same symbol of the first group that is that far away, nearest first.
        let later = |slot: &Slot| {
            let groups = ahead.saturating_sub(slot.symbol.unsigned_abs() as usize).div_ceil(program.advance);
            let symbols = i32::try_from(groups * program.advance).expect("periods are short");
            Slot { symbol: slot.symbol + symbols, ..*slot }
        };
        let mut lines: Vec<Slot> = program.prefetched.iter().map(later).collect();
        lines.sort_by_key(|slot| slot.symbol);
        let prefetch = offsets(&lines)?;
        let rows_per_group = program.groups.iter().map(Vec::len).min().unwrap_or(0).max(1);
        Ok(Self {
            prefetch_per_row: prefetch.len().div_ceil(rows_per_group),
            row_pairs: longest.filter(|&longest| lengths().all(|length| length == longest)),
            init: offsets(&program.init)?,
            rows,
            groups,
            prefetch,
            layout,
            unit,
            advance: program.advance,
            reach_back: program.reach_back(),
            reach_ahead: program.reach_ahead(),
            feed_forward: program.is_feed_forward(),
            writes_from: program.writes_from(),
        })
    }

    /// Whether no row reads what another writes: then there is no use for results in the caches.
    pub(crate) fn is_feed_forward(&self) -> bool {
        self.feed_forward
    }

    /// An arena that fits.
    ///
    /// # Panics
    /// If this is bound to something else than arenas.
    #[must_use]
    pub fn arena(&self) -> Arena {
        let arena = Arena::new(self.layout.places.len(), self.layout.stream_bytes);
        let arena = arena.expect("checked in `Bound::new`");
        assert!(arena.layout() == &self.layout, "bound to slices");
        arena
    }

    /// Runs the groups `groups` on this thread. Group 0 begins at symbol `origin` of every stream.
    ///
    /// # Panics
    /// If the arena is not of the bound size, or a group reaches outside its streams.
    pub fn run(&self, arena: &mut Arena, origin: usize, groups: Range<usize>, level: Level, stores: Stores) {
        self.split(arena, origin, groups, 1, stores).into_iter().for_each(|part| part.run(level));
    }

    /// Splits the groups into at most `parts` ranges that may run on different threads at the same time.
    /// One part only if rows read what other rows write.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn split<'a>(
        &'a self,
        arena: &'a mut Arena,
        origin: usize,
        groups: Range<usize>,
        parts: usize,
        stores: Stores,
    ) -> Vec<Part<'a>> {
        // No stream begins beyond `isize::MAX`.
        self.split_over(arena, isize::try_from(origin).unwrap_or(isize::MAX), groups, parts, stores)
    }

    /// [`Self::split`] for any streams; group 0 may lie before them, if it is not run.
    pub(crate) fn split_over<'a>(
        &'a self,
        streams: &'a mut impl Streams,
        origin: isize,
        groups: Range<usize>,
        parts: usize,
        stores: Stores,
    ) -> Vec<Part<'a>> {
        self.check(streams.layout(), origin, &groups);
        let parts = if self.feed_forward { parts.max(1) } else { 1 };
        let each = groups.len().div_ceil(parts).max(1);
        let base = streams.base().wrapping_add_signed(origin * self.unit as isize);
        let starts = groups.clone().step_by(each);
        let range = |start: usize| start..(start + each).min(groups.end);
        starts.map(|start| Part { job: self.job(base, range(start), stores), streams: PhantomData }).collect()
    }

    fn check(&self, layout: &Layout, origin: isize, groups: &Range<usize>) {
        assert!(layout == &self.layout, "other streams than those bound to");
        if groups.is_empty() {
            return;
        }
        // Checked: whoever uses this crate may build it without overflow checks.
        let at = |group: usize| isize::try_from(group.checked_mul(self.advance)?).ok()?.checked_add(origin);
        let first = at(groups.start).and_then(|first| first.checked_sub_unsigned(self.reach_back));
        let end = at(groups.end - 1).and_then(|last| last.checked_add_unsigned(self.reach_ahead));
        let end_bytes = end.and_then(|end| usize::try_from(end).ok()?.checked_mul(self.unit));
        assert!(
            first.is_some_and(|first| first >= 0)
                && end_bytes.is_some_and(|end| end <= self.layout.stream_bytes),
            "groups {groups:?} from symbol {origin} reach outside streams of {} bytes",
            self.layout.stream_bytes
        );
        // Groups from phase 0 on write nothing before `writes_from`.
        let written = at(groups.start).and_then(|first| first.checked_add(self.writes_from));
        let lead = (self.layout.lead_bytes / self.unit).cast_signed();
        let from_phase_0 = groups.start.is_multiple_of(self.groups.len() - 1);
        assert!(
            lead == 0 || from_phase_0 && written.is_some_and(|written| written >= lead),
            "writes in the lead"
        );
    }

    fn job(&self, base: usize, groups: Range<usize>, stores: Stores) -> Job<'_> {
        Job {
            rows: &self.rows,
            groups: &self.groups,
            row_pairs: self.row_pairs,
            init: &self.init,
            prefetch: &self.prefetch,
            prefetch_per_row: self.prefetch_per_row,
            base,
            advance: self.advance,
            first: groups.start,
            count: groups.len(),
            unit: self.unit,
            streaming: stores == Stores::Streaming,
        }
    }
}

/// A range of groups that may run beside the other parts of its [`Bound::split`]: its streams are borrowed for 'a,
/// mutably where it writes, so only the parts of one split touch them, and those write different groups of streams
/// that none of them reads.
pub struct Part<'a> {
    job: Job<'a>,
    streams: PhantomData<&'a mut [u8]>,
}

impl Part<'_> {
    /// Runs this range.
    pub fn run(self, level: Level) {
        level.run(&self.job);
    }
}

/// How many bytes of lines may be asked for and not used yet: what the second-level cache has to spare beside the
/// window of a wide code.
const PREFETCH_BYTES: usize = 192 << 10;
/// The same for programs whose groups have many steps, which use them in no exact order.
const PREFETCH_BYTES_GROUPS: usize = 1 << 20;
/// How many steps ahead of their use lines are asked for at most: memory is no further away.
const PREFETCH_STEPS_MAX: usize = 64;
