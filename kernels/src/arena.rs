//! Streams in memory: arenas of the executor's own, and slices that the caller brings.
#![expect(unsafe_code, reason = "hands out the addresses of streams, for the executor alone")]

use std::marker::PhantomData;

use thiserror::Error;

/// Where streams lie: bytes from a common base to the beginning of each, and how long all of them are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) places: Vec<i64>,
    pub(crate) stream_bytes: usize,
    /// The first so many streams are only read.
    pub(crate) read_only: usize,
    /// The other streams begin so many bytes later than these say: what lies before is not theirs.
    pub(crate) lead_bytes: usize,
}

/// Streams that a program can run over.
///
/// # Safety
/// Each stream of the layout, but for the lead of those that are written, is memory that is borrowed for as long as
/// `self` is, mutably unless it is read-only; it begins at a multiple of 64 bytes; and its provenance is exposed.
pub(crate) unsafe trait Streams {
    fn layout(&self) -> &Layout;

    /// The address from which the layout counts. Streams are different allocations, so no pointer leads to all.
    fn base(&mut self) -> usize;
}

/// One cache line.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Streams of equal length in one buffer, each aligned to 64 bytes. Their distance is an odd number of cache
/// lines, so that walking all of them in step does not fall into a few sets of the first-level cache.
pub struct Arena {
    lines: Vec<Line>,
    stride: usize,
    layout: Layout,
}

/// Streams are longer, or lie further apart, than the executor can address.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{streams} streams of {stream_bytes} bytes are more than one arena can hold")]
pub struct ArenaError {
    /// Streams asked for.
    pub streams: usize,
    /// Bytes asked for in each.
    pub stream_bytes: usize,
}

impl Layout {
    /// The layout of an arena.
    pub(crate) fn even(streams: usize, stream_bytes: usize) -> Result<Self, ArenaError> {
        let bytes = Arena::bytes_for(streams, stream_bytes).and_then(|bytes| i64::try_from(bytes).ok());
        bytes.ok_or(ArenaError { streams, stream_bytes })?;
        let stride = (Arena::stride_lines(stream_bytes) * 64) as i64;
        Ok(Self {
            places: (0..streams as i64).map(|stream| stream * stride).collect(),
            stream_bytes,
            read_only: 0,
            lead_bytes: 0,
        })
    }
}

impl Arena {
    /// An arena of zeros: `streams` streams of `stream_bytes` bytes.
    ///
    /// # Errors
    /// If it would pass what can be addressed.
    pub fn new(streams: usize, stream_bytes: usize) -> Result<Self, ArenaError> {
        let layout = Layout::even(streams, stream_bytes)?;
        let stride = Self::stride_lines(stream_bytes) * 64;
        Ok(Self { lines: bytemuck::zeroed_vec(streams * stride / 64), stride, layout })
    }

    /// What such an arena takes of memory, in bytes, unless that overflows.
    #[must_use]
    pub fn bytes_for(streams: usize, stream_bytes: usize) -> Option<usize> {
        streams.checked_mul(Self::stride_lines(stream_bytes))?.checked_mul(64)
    }

    /// Odd; and of long streams such that 64 of them, which is as many as a first-level cache has sets, spread evenly.
    fn stride_lines(stream_bytes: usize) -> usize {
        let lines = stream_bytes.div_ceil(64);
        if lines < 2048 { lines | 1 } else { (lines - 25).next_multiple_of(64) + 25 }
    }

    /// How many streams there are.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.layout.places.len()
    }

    /// Bytes in each stream.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.layout.stream_bytes
    }

    /// The bytes of one stream.
    ///
    /// # Panics
    /// If there is no such stream.
    #[must_use]
    pub fn stream(&self, stream: usize) -> &[u8] {
        assert!(stream < self.streams(), "stream {stream} of {}", self.streams());
        &bytemuck::cast_slice(&self.lines)[stream * self.stride..][..self.layout.stream_bytes]
    }

    /// The bytes of one stream, to fill.
    ///
    /// # Panics
    /// If there is no such stream.
    #[must_use]
    pub fn stream_mut(&mut self, stream: usize) -> &mut [u8] {
        assert!(stream < self.streams(), "stream {stream} of {}", self.streams());
        &mut bytemuck::cast_slice_mut(&mut self.lines)[stream * self.stride..][..self.layout.stream_bytes]
    }

    /// All streams at once, to fill side by side.
    pub fn streams_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (stride, bytes) = (self.stride, self.layout.stream_bytes);
        bytemuck::cast_slice_mut(&mut self.lines)
            .chunks_exact_mut(stride)
            .map(move |stream| &mut stream[..bytes])
    }
}

// SAFETY: the streams lie in `lines`, which are aligned and ours.
unsafe impl Streams for Arena {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn base(&mut self) -> usize {
        self.lines.as_mut_ptr().expose_provenance()
    }
}

/// Slices that the caller brings, used where they are.
pub(crate) struct Slices<'a> {
    base: usize,
    layout: Layout,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Slices<'a> {
    /// Streams that are only read, followed by streams that are written, which begin `lead` bytes later than
    /// those. The shortest sets the length of all. `None` unless all are aligned to 64 bytes.
    pub(crate) fn new(read: &[&'a [u8]], written: Vec<&'a mut [u8]>, lead: usize) -> Option<Self> {
        let lengths = written.iter().map(|slice| lead + slice.len());
        let stream_bytes = read.iter().map(|slice| slice.len()).chain(lengths).min()?;
        let starts = read.iter().map(|slice| slice.as_ptr().expose_provenance());
        let written = written.into_iter().map(|slice| slice.as_mut_ptr().expose_provenance());
        let starts: Vec<usize> = starts.chain(written.map(|start| start.wrapping_sub(lead))).collect();
        // In the middle of them, distances are shortest.
        let (least, most) = (*starts.iter().min()?, *starts.iter().max()?);
        let base = least + (most - least) / 128 * 64;
        let place = |&start: &usize| start.cast_signed() as i64 - base.cast_signed() as i64;
        let aligned = starts.iter().all(|start| start.is_multiple_of(64));
        let places = starts.iter().map(place).collect();
        let layout = Layout { places, stream_bytes, read_only: read.len(), lead_bytes: lead };
        aligned.then_some(Self { base, layout, memory: PhantomData })
    }
}

// SAFETY: the slices are borrowed for 'a, those behind `read_only` mutably, and `new` saw their alignment.
unsafe impl Streams for Slices<'_> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn base(&mut self) -> usize {
        self.base
    }
}
