//! Reading a frame of a block, front to back: as a stream, or only those of its symbols that a repair needs.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use tanner_kernels::Reads;
use tanner_transports::{ByteStream, ObjectName, PIECE_BYTES_MAX, Transport, TransportError};

use crate::assembly::Home;
use crate::decode::Failure;
use crate::error::Error;
use crate::id::BackupId;

/// Where the symbols of one block of one frame come from.
pub(crate) enum Input {
    /// From nowhere: they are zeros.
    Nothing,
    /// From a file of a restore, where the frame begins at this offset of the block.
    Staged(Home, u64, BackupId),
    /// From a store, all of them.
    Whole(RangeReader),
    /// From a store, only some of them.
    Symbols(SymbolReader),
}

impl Input {
    /// Fills `into` with what follows byte `from` of the frame, and with zeros where it is not there or not needed.
    pub(crate) async fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Failure> {
        match self {
            Self::Nothing => {
                into.fill(0);
                Ok(())
            }
            Self::Staged(home, start, id) => home
                .read_stored(*start + from, into)
                .map_err(|source| Failure::Fatal(Error::Staged { id: *id, source })),
            Self::Whole(reader) => reader.read(into).await.map_err(Failure::Store),
            Self::Symbols(reader) => {
                into.fill(0);
                reader.read(from, into).await.map_err(Failure::Store)
            }
        }
    }
}

/// A range of an object, read in whatever portions are wanted.
pub(crate) struct RangeReader {
    pieces: ByteStream,
    piece: Bytes,
}

impl RangeReader {
    /// Bytes that a reader of a block of `bytes` bytes holds.
    pub(crate) fn holds(bytes: u64) -> u64 {
        bytes.min(PIECE_BYTES_MAX as u64)
    }

    pub(crate) fn new(pieces: ByteStream) -> Self {
        Self { pieces, piece: Bytes::new() }
    }

    async fn read(&mut self, mut into: &mut [u8]) -> Result<(), TransportError> {
        while !into.is_empty() {
            if self.piece.is_empty() {
                let Some(piece) = self.pieces.try_next().await? else { break };
                self.piece = piece;
            }
            let count = self.piece.len().min(into.len());
            let (now, later) = into.split_at_mut(count);
            self.piece.copy_to_slice(now);
            into = later;
        }
        into.fill(0);
        Ok(())
    }
}

/// What to read of each period of a block, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spans {
    period: u64,
    /// Ascending, with more between two of them than is worth another range.
    spans: Vec<Range<u64>>,
}

impl Spans {
    /// Symbols of `unit` bytes, `advance` of them in a period. Spans no further than `gap_bytes` from each other are
    /// read as one; none are left if that is all there is.
    pub(crate) fn new(reads: &Reads, advance: usize, unit: usize, gap_bytes: u64) -> Option<Self> {
        let (period, unit) = ((advance * unit) as u64, unit as u64);
        let mut spans: Vec<Range<u64>> = Vec::new();
        for start in reads.symbols.iter().map(|&symbol| symbol as u64 * unit) {
            match spans.last_mut().filter(|last| start - last.end <= gap_bytes) {
                Some(last) => last.end = start + unit,
                None => spans.push(start..start + unit),
            }
        }
        let (first, last) = (spans.first()?.start, spans.last()?.end);
        // The last of one period and the first of the next are neighbours, too.
        let is_all = spans.len() == 1 && period - last + first <= gap_bytes;
        (!is_all).then_some(Self { period, spans })
    }

    /// About how much of a block of `bytes` bytes is read.
    pub(crate) fn bytes_of(&self, bytes: u64) -> u64 {
        let each: u64 = self.spans.iter().map(|span| span.end - span.start).sum();
        bytes.div_ceil(self.period) * each
    }
}

/// The spans of one range of an object, many in a request.
pub(crate) struct SymbolReader {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) name: ObjectName,
    /// The frame's place in the object.
    pub(crate) range: Range<u64>,
    pub(crate) spans: Arc<Spans>,
    /// The first span not asked for yet, counted through all periods.
    pub(crate) next: usize,
    /// What was read and not yet handed on, with its place in the frame.
    pub(crate) pieces: VecDeque<(u64, Bytes)>,
    /// Counts the bytes that come from the store.
    pub(crate) bytes_read: Arc<AtomicU64>,
}

impl SymbolReader {
    /// Bytes that a reader of a block of `bytes` bytes holds.
    pub(crate) fn holds(bytes: u64) -> u64 {
        bytes.min(REQUEST_BYTES)
    }

    async fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), TransportError> {
        let to = from + into.len() as u64;
        loop {
            while let Some((at, piece)) = self.pieces.front_mut().filter(|(at, _)| *at < to) {
                let place = usize::try_from(*at - from).expect("a window is in memory");
                let count = piece.len().min(into.len() - place);
                piece.copy_to_slice(&mut into[place..][..count]);
                *at += count as u64;
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
            }
            if !self.pieces.is_empty() || self.span(self.next).start >= to {
                return Ok(());
            }
            self.fetch().await?;
        }
    }

    /// Asks for as many spans as make a good request.
    async fn fetch(&mut self) -> Result<(), TransportError> {
        let (mut ranges, mut bytes) = (Vec::new(), 0);
        while bytes < REQUEST_BYTES && ranges.len() < REQUEST_RANGES && !self.span(self.next).is_empty() {
            let span = self.span(self.next);
            bytes += span.end - span.start;
            ranges.push(self.range.start + span.start..self.range.start + span.end);
            self.next += 1;
        }
        let pieces = self.transport.get_ranges(&self.name, &ranges).await?;
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        let places = ranges.iter().map(|range| range.start - self.range.start);
        self.pieces.extend(places.zip(pieces));
        Ok(())
    }

    /// A span's place in the frame, cut off at its end; behind that they are empty.
    fn span(&self, index: usize) -> Range<u64> {
        let Spans { period, spans } = &*self.spans;
        let span = &spans[index % spans.len()];
        let start = (index / spans.len()) as u64 * period;
        let length = self.range.end - self.range.start;
        (start + span.start).min(length)..(start + span.end).min(length)
    }
}

/// Bytes that are worth a request. Each input of a pass holds as many.
const REQUEST_BYTES: u64 = 256 * 1024;
/// Ranges that fit in a request: stores have limits of their own.
const REQUEST_RANGES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use tanner_kernels::Reads;
    use tanner_transports::{Memory, ObjectName, Transport};

    use super::{Spans, SymbolReader};

    fn spans(symbols: &[usize], gap_bytes: u64) -> Option<Vec<std::ops::Range<u64>>> {
        let reads = Reads { block: 0, symbols: symbols.to_vec() };
        Spans::new(&reads, 32, 64, gap_bytes).map(|spans| spans.spans)
    }

    #[test]
    fn neighbours_are_read_as_one() {
        assert_eq!(spans(&[1, 2, 5, 31], 0), Some(vec![64..192, 320..384, 1984..2048]));
        assert_eq!(spans(&[1, 2, 5, 31], 127), Some(vec![64..192, 320..384, 1984..2048]));
        assert_eq!(spans(&[1, 2, 5, 31], 128), Some(vec![64..384, 1984..2048]));
        assert_eq!(spans(&[1, 2, 5, 31], 4096), None);
        assert_eq!(spans(&(0..32).collect::<Vec<_>>(), 0), None);
        assert_eq!(spans(&(0..31).collect::<Vec<_>>(), 64), None);
        assert_eq!(spans(&[0, 16, 17], 63), Some(vec![0..64, 1024..1152]));
    }

    /// Windows cut spans anywhere, and requests end anywhere.
    #[tokio::test]
    async fn symbols_come_in_their_places_whatever_the_windows() {
        let (memory, name) = (Memory::new(), ObjectName::new("id/3").unwrap());
        let object: Vec<u8> = (0..700_003_u32).map(|i| (i % 251) as u8 + 1).collect();
        let mut put = memory.put(&name, None).await.unwrap();
        put.write(object.clone().into()).await.unwrap();
        put.commit().await.unwrap();
        let reads = Reads { block: 0, symbols: (0..32).filter(|symbol| symbol % 3 != 1).collect() };
        let spans = Arc::new(Spans::new(&reads, 32, 64, 0).unwrap());
        for window in [1_000, 64 * 1024, 300_000, 699_990] {
            let mut reader = SymbolReader {
                transport: Arc::new(memory.clone()),
                name: name.clone(),
                range: 10..700_000,
                spans: spans.clone(),
                next: 0,
                pieces: VecDeque::new(),
                bytes_read: Arc::default(),
            };
            let mut seen = vec![0; 699_990];
            for (index, into) in seen.chunks_mut(window).enumerate() {
                reader.read((index * window) as u64, into).await.unwrap();
            }
            for (at, (seen, byte)) in seen.iter().zip(&object[10..]).enumerate() {
                let expected = if at / 64 % 32 % 3 == 1 { 0 } else { *byte };
                assert_eq!(*seen, expected, "byte {at} in windows of {window}");
            }
        }
    }
}
