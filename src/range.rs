//! Reading a range of a block from one store, in pieces that can be hashed in any order.

use std::ops::Range;

use blake3::Hasher;
use futures_util::StreamExt;
use tanner_transports::{Target, TransportError};
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{DamageKind, Found, chain};
use crate::parallel::blocking;
use crate::scheduler::reading::CUT_BYTES;
use crate::store::block_name;

/// Who reads a block.
pub(crate) trait Reader {
    /// Why it reads no further.
    type Error;

    /// Waits for the store.
    fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Self::Error>;

    /// So many bytes came, of whatever kind.
    fn came(&mut self, _bytes: u64) {}

    /// Takes pieces that begin at multiples of [`CUT_BYTES`], in order.
    fn take(&mut self, offset: u64, piece: &[u8]) -> Result<(), Self::Error>;
}

/// Waits for as long as it takes, and hashes.
struct Patient<'a, F> {
    io: &'a Handle,
    sink: &'a mut F,
    hasher: Hasher,
}

impl<F: FnMut(u64, &[u8]) -> Result<(), Error>> Reader for Patient<'_, F> {
    type Error = Error;

    fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Error> {
        Ok(self.io.block_on(answer))
    }

    fn take(&mut self, offset: u64, piece: &[u8]) -> Result<(), Error> {
        self.hasher.update(piece);
        (self.sink)(offset, piece)
    }
}

impl Found {
    /// Reads a copy of a block, and says what is wrong with it.
    pub(crate) async fn reread(&self, block: usize, store: usize) -> Option<DamageKind> {
        let (found, io) = (self.clone(), Handle::current());
        let read = blocking(move || found.fetch_from(block, store, &io, &mut |_, _| Ok(()))).await;
        read.unwrap_or_else(|error: Error| Some(DamageKind::Unreadable(chain(&error))))
    }

    /// Reads the copy of a block that one store has, and says what is wrong with it. Its pieces are good only if
    /// nothing is.
    ///
    /// # Errors
    /// What `sink` fails with.
    pub(crate) fn fetch_from(
        &self,
        block: usize,
        store: usize,
        io: &Handle,
        sink: &mut impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<Option<DamageKind>, Error> {
        let mut patient = Patient { io, sink, hasher: Hasher::new() };
        let damage = self.read_range(block, store, 0..self.block_bytes(block), &mut patient)?;
        let is_right = patient.hasher.finalize() == self.manifest.hashes[block];
        Ok(damage.or((!is_right).then_some(DamageKind::Hash)))
    }

    /// Bytes of a block.
    pub(crate) fn block_bytes(&self, block: usize) -> u64 {
        self.manifest.geometry.block_bytes(block)
    }

    /// Reads a range of the copy of a block that one store has, and says what is wrong with it as far as that shows
    /// without a hash.
    ///
    /// # Errors
    /// What `reader` fails with.
    pub(crate) fn read_range<R: Reader>(
        &self,
        block: usize,
        store: usize,
        range: Range<u64>,
        reader: &mut R,
    ) -> Result<Option<DamageKind>, R::Error> {
        let (transport, wanted) = (&self.stores[store].transport, self.block_bytes(block));
        let name = block_name(self.manifest.id, block);
        let opened = reader.wait(async {
            match transport.stat(&name).await?.length {
                got if got == wanted => Ok(transport.get(&name, range.clone()).await?),
                got => Err(DamageKind::Length { wanted, got }),
            }
        })?;
        let mut pieces = match opened {
            Ok(pieces) => pieces,
            Err(kind) => return Ok(Some(kind)),
        };
        let (mut end, mut whole) = (range.start, WholeChunks { offset: range.start, held: Vec::new() });
        while let Some(piece) = reader.wait(pieces.next())? {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Ok(Some(DamageKind::from(error))),
            };
            end += piece.len() as u64;
            if end > range.end {
                return Ok(Some(DamageKind::Length { wanted, got: end }));
            }
            reader.came(piece.len() as u64);
            whole.add(&piece, &mut |offset, piece: &[u8]| reader.take(offset, piece))?;
        }
        if end < range.end {
            let at = Target::object(self.stores[store].url(), &name);
            return Ok(Some(TransportError::Truncated { at, wanted: range.end, got: end }.into()));
        }
        whole.end(&mut |offset, piece: &[u8]| reader.take(offset, piece))?;
        Ok(None)
    }
}

/// Joins pieces, which stores cut where they like, into such as end with a multiple of [`CUT_BYTES`], but for the last.
struct WholeChunks {
    /// Where the next one begins.
    offset: u64,
    /// Less than [`CUT_BYTES`].
    held: Vec<u8>,
}

impl WholeChunks {
    fn add<E>(
        &mut self,
        mut piece: &[u8],
        sink: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.held.is_empty() {
            let (more, rest) = piece.split_at(piece.len().min(CUT - self.held.len()));
            self.held.extend_from_slice(more);
            piece = rest;
            if self.held.len() < CUT {
                return Ok(());
            }
            self.end(sink)?;
        }
        let (whole, rest) = piece.split_at(piece.len() / CUT * CUT);
        if !whole.is_empty() {
            sink(self.offset, whole)?;
            self.offset += whole.len() as u64;
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Hands out what is held.
    fn end<E>(&mut self, sink: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.held.is_empty() {
            sink(self.offset, &self.held)?;
            self.offset += self.held.len() as u64;
            self.held.clear();
        }
        Ok(())
    }
}

const CUT: usize = CUT_BYTES as usize;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::{CUT, WholeChunks};

    /// A store that cuts its pieces in the middle of a chunk would end a restore.
    #[test]
    fn pieces_of_any_size_become_whole_chunks() {
        for piece_bytes in [7, CUT - 1, CUT, CUT + 1, 3000, 150_000] {
            let bytes: Vec<u8> = (0..200_005_usize).map(|i| (i % 251) as u8).collect();
            let (mut whole, mut joined) = (WholeChunks { offset: 0, held: Vec::new() }, Vec::new());
            let mut sink = |offset: u64, piece: &[u8]| {
                assert_eq!(offset, joined.len() as u64);
                joined.extend_from_slice(piece);
                let ends = joined.len() == bytes.len() || joined.len().is_multiple_of(CUT);
                assert!(ends && !piece.is_empty(), "a piece of {} to {}", piece.len(), joined.len());
                Ok::<(), Infallible>(())
            };
            for piece in bytes.chunks(piece_bytes) {
                whole.add(piece, &mut sink).unwrap();
            }
            whole.end(&mut sink).unwrap();
            assert!(joined == bytes, "{piece_bytes}");
        }
    }
}
