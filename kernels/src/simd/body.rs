//! The XOR loop, once for all levels.
#![expect(unsafe_code, reason = "walks raw pointers that `exec` checked against the arena")]

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

/// A program bound to the addresses of one arena, and the groups of it to run. All offsets are bytes.
///
/// `exec::Bound` makes these: for every group of `first..first + count`, `base + group·advance` plus any
/// offset in `init` and `rows` lies in the arena, with `unit` bytes after it, and no two jobs that run at a
/// time write what the other reads or writes.
pub(crate) struct Job<'a> {
    /// Rows, one after the other: destination, number of sources · 2 + chained, sources.
    pub(crate) rows: &'a [i32],
    /// Where in `rows` each group of a period begins; one more entry ends the last.
    pub(crate) groups: &'a [usize],
    /// What the accumulator holds before any group.
    pub(crate) init: &'a [i32],
    /// What each group reads, one offset a line, asked for [`PREFETCH_AHEAD_BYTES`] before it is needed.
    pub(crate) prefetch: &'a [i32],
    /// Lines to prefetch at each row.
    pub(crate) prefetch_per_row: usize,
    pub(crate) base: *mut u8,
    pub(crate) advance: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) unit: usize,
    pub(crate) streaming: bool,
}

/// How far ahead of their use lines are asked for.
const PREFETCH_AHEAD_BYTES: isize = 64 * 64;

/// # Safety
/// The level's instructions are enabled in the caller, and `job` is as its docs promise, with a unit of 64.
#[inline(always)]
pub(super) unsafe fn run<S: Symbol>(job: &Job<'_>) {
    if job.streaming {
        // SAFETY: the caller's promise.
        unsafe { run_groups::<S, true>(job) };
        S::fence();
    } else {
        // SAFETY: the caller's promise.
        unsafe { run_groups::<S, false>(job) };
    }
}

#[inline(always)]
unsafe fn run_groups<S: Symbol, const STREAMING: bool>(job: &Job<'_>) {
    let period = job.groups.len() - 1;
    let mut phase = job.first % period;
    let mut base = job.base.wrapping_add(job.first * job.advance);
    // SAFETY: `init` offsets of the first group lie in the arena.
    let mut sum = unsafe { xor_all(S::zero(), base, job.init) };
    for _ in 0..job.count {
        let mut rows = &job.rows[job.groups[phase]..job.groups[phase + 1]];
        let mut ahead = job.prefetch;
        while let [to, head, rest @ ..] = rows {
            let (now, later) = ahead.split_at(job.prefetch_per_row.min(ahead.len()));
            ahead = later;
            for &offset in now {
                S::prefetch(base.wrapping_offset(offset as isize + PREFETCH_AHEAD_BYTES));
            }
            let (from, rest) = rest.split_at((head >> 1) as usize);
            let start = if head & 1 == 1 { sum } else { S::zero() };
            // SAFETY: the offsets of this group lie in the arena, and nobody else writes there now.
            unsafe {
                sum = xor_all(start, base, from);
                let to = base.wrapping_offset(*to as isize);
                if STREAMING { sum.stream(to) } else { sum.store(to) }
            }
            rows = rest;
        }
        base = base.wrapping_add(job.advance);
        phase = if phase + 1 == period { 0 } else { phase + 1 };
    }
}

/// # Safety
/// `base` plus each offset is aligned to 64 bytes and readable for 64.
#[inline(always)]
unsafe fn xor_all<S: Symbol>(start: S, base: *const u8, from: &[i32]) -> S {
    // SAFETY: the caller's promise.
    let load = |offset: i32| unsafe { S::load(base.wrapping_offset(offset as isize)) };
    let (fours, rest) = from.as_chunks::<4>();
    let mut sum = start;
    for &[a, b, c, d] in fours {
        // Two short chains: XOR has a latency of one cycle, and there are two loads in each.
        sum = sum.xor(load(a).xor(load(b))).xor(load(c).xor(load(d)));
    }
    rest.iter().fold(sum, |sum, &offset| sum.xor(load(offset)))
}
