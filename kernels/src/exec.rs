//! The executor: arenas of streams, programs bound to them, and ranges of groups to run on any thread.
#![expect(unsafe_code, reason = "hands raw pointers into one arena to several threads")]

use std::marker::PhantomData;
use std::ops::Range;

use thiserror::Error;

use crate::program::{Program, Slot};
use crate::simd::{Job, Level};

/// One cache line.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Streams of equal length in one buffer, each aligned to 64 bytes. Their distance is an odd number of cache
/// lines, so that walking all of them in step does not fall into a few sets of the first-level cache.
pub struct Arena {
    lines: Vec<Line>,
    streams: usize,
    stride: usize,
    stream_bytes: usize,
}

/// An arena would be larger than the executor can address.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{streams} streams of {stream_bytes} bytes are more than 2 GiB in one arena")]
pub struct ArenaError {
    /// Streams asked for.
    pub streams: usize,
    /// Bytes asked for in each.
    pub stream_bytes: usize,
}

impl Arena {
    /// An arena of zeros: `streams` streams of `stream_bytes` bytes.
    ///
    /// # Errors
    /// If it would pass 2 GiB.
    pub fn new(streams: usize, stream_bytes: usize) -> Result<Self, ArenaError> {
        let bytes = Self::bytes_for(streams, stream_bytes);
        if bytes.is_none_or(|bytes| i32::try_from(bytes).is_err()) {
            return Err(ArenaError { streams, stream_bytes });
        }
        let stride = Self::stride_lines(stream_bytes) * 64;
        let lines = vec![bytemuck::Zeroable::zeroed(); streams * stride / 64];
        Ok(Self { lines, streams, stride, stream_bytes })
    }

    /// What such an arena takes of memory, in bytes, unless that overflows.
    #[must_use]
    pub fn bytes_for(streams: usize, stream_bytes: usize) -> Option<usize> {
        streams.checked_mul(Self::stride_lines(stream_bytes))?.checked_mul(64)
    }

    fn stride_lines(stream_bytes: usize) -> usize {
        stream_bytes.div_ceil(64) | 1
    }

    /// How many streams there are.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Bytes in each stream.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// The bytes of one stream.
    ///
    /// # Panics
    /// If there is no such stream.
    #[must_use]
    pub fn stream(&self, stream: usize) -> &[u8] {
        assert!(stream < self.streams, "stream {stream} of {}", self.streams);
        &bytemuck::cast_slice(&self.lines)[stream * self.stride..][..self.stream_bytes]
    }

    /// The bytes of one stream, to fill.
    ///
    /// # Panics
    /// If there is no such stream.
    #[must_use]
    pub fn stream_mut(&mut self, stream: usize) -> &mut [u8] {
        assert!(stream < self.streams, "stream {stream} of {}", self.streams);
        &mut bytemuck::cast_slice_mut(&mut self.lines)[stream * self.stride..][..self.stream_bytes]
    }

    /// All streams at once, to fill side by side.
    pub fn streams_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (stride, bytes) = (self.stride, self.stream_bytes);
        bytemuck::cast_slice_mut(&mut self.lines)
            .chunks_exact_mut(stride)
            .map(move |stream| &mut stream[..bytes])
    }
}

/// How results are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stores {
    /// Through the caches: the results are read again soon.
    Cached,
    /// Past the caches where the machine can: the results are more than the caches hold.
    Streaming,
}

/// A program bound to the stream length and symbol size of its arenas: slots have become byte offsets.
#[derive(Clone, Debug)]
pub struct Bound {
    rows: Vec<i32>,
    groups: Vec<usize>,
    init: Vec<i32>,
    prefetch: Vec<i32>,
    prefetch_per_row: usize,
    streams: usize,
    stream_bytes: usize,
    unit: usize,
    advance: usize,
    reach_back: usize,
    reach_ahead: usize,
    feed_forward: bool,
}

impl Bound {
    /// Binds `program` to arenas with streams of `stream_bytes` bytes and symbols of `unit` bytes.
    ///
    /// # Errors
    /// If such an arena would pass 2 GiB.
    ///
    /// # Panics
    /// If `unit` is not a power of two up to 64, or a stream is no whole number of symbols.
    pub fn new(program: &Program, stream_bytes: usize, unit: usize) -> Result<Self, ArenaError> {
        assert!(unit.is_power_of_two() && unit <= 64, "symbols of {unit} bytes");
        assert!(stream_bytes.is_multiple_of(unit), "streams of {stream_bytes} bytes, symbols of {unit}");
        let streams = program.streams;
        let stride = Arena::stride_lines(stream_bytes) * 64;
        let bytes = Arena::bytes_for(streams, stream_bytes).filter(|&bytes| i32::try_from(bytes).is_ok());
        let too_large = || ArenaError { streams, stream_bytes };
        bytes.ok_or_else(too_large)?;
        let offset = |slot: &Slot| {
            let offset = (slot.stream as usize * stride) as i64 + i64::from(slot.symbol) * unit as i64;
            i32::try_from(offset).map_err(|_| too_large())
        };
        let offsets = |slots: &[Slot]| slots.iter().map(offset).collect::<Result<Vec<i32>, _>>();

        let mut rows = Vec::new();
        let mut groups = vec![0];
        for group in &program.groups {
            for row in group {
                let sources = i32::try_from(row.from.len()).expect("rows are far shorter than 2^30");
                rows.push(offset(&row.to)?);
                rows.push(sources << 1 | i32::from(row.chained));
                rows.extend(offsets(&row.from)?);
            }
            groups.push(rows.len());
        }
        let lines = (0..program.advance).flat_map(|symbol| {
            let symbol = i32::try_from(symbol).expect("periods are short");
            program.inputs.iter().map(move |&stream| Slot::new(stream, symbol))
        });
        let prefetch = offsets(&lines.collect::<Vec<_>>())?;
        let rows_per_group = program.groups.iter().map(Vec::len).min().unwrap_or(0).max(1);
        Ok(Self {
            prefetch_per_row: prefetch.len().div_ceil(rows_per_group),
            init: offsets(&program.init)?,
            rows,
            groups,
            prefetch,
            streams,
            stream_bytes,
            unit,
            advance: program.advance,
            reach_back: program.reach_back(),
            reach_ahead: program.reach_ahead(),
            feed_forward: program.is_feed_forward(),
        })
    }

    /// An arena that fits.
    #[must_use]
    pub fn arena(&self) -> Arena {
        Arena::new(self.streams, self.stream_bytes).expect("checked in `Bound::new`")
    }

    /// Runs the groups `groups` on this thread. Group 0 begins at symbol `origin` of every stream.
    ///
    /// # Panics
    /// If the arena is not of the bound size, or a group reaches outside its streams.
    pub fn run(&self, arena: &mut Arena, origin: usize, groups: Range<usize>, level: Level, stores: Stores) {
        self.check(arena, origin, &groups);
        if !groups.is_empty() {
            level.run(&self.job(arena, origin, groups, stores));
        }
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
        self.check(arena, origin, &groups);
        let parts = if self.feed_forward { parts.max(1) } else { 1 };
        let each = groups.len().div_ceil(parts).max(1);
        groups
            .clone()
            .step_by(each)
            .map(|start| {
                let range = start..(start + each).min(groups.end);
                Part { job: self.job(arena, origin, range, stores), arena: PhantomData }
            })
            .collect()
    }

    fn check(&self, arena: &Arena, origin: usize, groups: &Range<usize>) {
        assert_eq!((arena.streams, arena.stream_bytes), (self.streams, self.stream_bytes), "another arena");
        assert!(groups.start <= groups.end, "groups {groups:?}");
        if groups.is_empty() {
            return;
        }
        // Checked: whoever uses this crate may build it without overflow checks.
        let first = groups.start.checked_mul(self.advance).and_then(|symbols| symbols.checked_add(origin));
        let last = (groups.end - 1).checked_mul(self.advance).and_then(|symbols| symbols.checked_add(origin));
        let end = last
            .and_then(|last| last.checked_add(self.reach_ahead))
            .and_then(|end| end.checked_mul(self.unit));
        assert!(
            first.is_some_and(|first| first >= self.reach_back)
                && end.is_some_and(|end| end <= self.stream_bytes),
            "groups {groups:?} from symbol {origin} reach outside streams of {} bytes",
            self.stream_bytes
        );
    }

    fn job<'a>(&'a self, arena: &mut Arena, origin: usize, groups: Range<usize>, stores: Stores) -> Job<'a> {
        Job {
            rows: &self.rows,
            groups: &self.groups,
            init: &self.init,
            prefetch: &self.prefetch,
            prefetch_per_row: self.prefetch_per_row,
            base: arena.lines.as_mut_ptr().cast::<u8>().wrapping_add(origin * self.unit),
            advance: self.advance * self.unit,
            first: groups.start,
            count: groups.len(),
            unit: self.unit,
            streaming: stores == Stores::Streaming,
        }
    }
}

/// A range of groups that may run beside the other parts of its [`Bound::split`].
pub struct Part<'a> {
    job: Job<'a>,
    arena: PhantomData<&'a mut Arena>,
}

// SAFETY: the job's pointer leads into an arena that is borrowed mutably for 'a, so only the parts of one
// split touch it. Those write different groups of streams that none of them reads (`is_feed_forward`).
unsafe impl Send for Part<'_> {}

impl Part<'_> {
    /// Runs this range.
    pub fn run(self, level: Level) {
        level.run(&self.job);
    }
}
