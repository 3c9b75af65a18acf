//! Bytes on their way from a block server.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::call::Call;
use super::remote::Inner;
use crate::wire::{Answer, RANGES_MAX, Request};
use crate::{ByteStream, ObjectName, Result, Target, TransportError};

/// Streams one range. A reader may pause for as long as it likes: a server does not wait for it, but is asked again for
/// what is left.
pub(super) async fn range(
    inner: Arc<Inner>,
    at: Target,
    name: ObjectName,
    range: Range<u64>,
) -> Result<ByteStream> {
    let wanted = range.end.saturating_sub(range.start);
    let mut reading = Reading {
        pieces: stream::empty().boxed(),
        inner,
        at,
        name,
        range,
        wanted,
        came: false,
        away: Duration::ZERO,
        left: None,
    };
    reading.open().await?;
    let pieces = stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next().await?.map(|piece| (piece, reading)))
    });
    Ok(pieces.boxed())
}

/// A range that is being read.
struct Reading {
    inner: Arc<Inner>,
    at: Target,
    name: ObjectName,
    /// What has not come yet,
    range: Range<u64>,
    /// of this many bytes.
    wanted: u64,
    pieces: ByteStream,
    /// Whether anything came since the server was asked.
    came: bool,
    /// How long in all nobody has wanted the next piece since then.
    away: Duration,
    /// When the last one was handed out.
    left: Option<Instant>,
}

impl Reading {
    async fn open(&mut self) -> Result<()> {
        let request = Request::Get { name: self.name.clone(), range: self.range.clone() };
        let call = Call::begin_ok(&self.inner, self.at.clone(), &request).await?;
        let missing = length(&call, &self.range)?;
        self.pieces = pieces(call, missing, self.wanted);
        (self.came, self.away) = (false, Duration::ZERO);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.away += self.left.take().map_or(Duration::ZERO, |left| left.elapsed());
        loop {
            match self.pieces.try_next().await {
                Err(error) if self.has_kept_waiting(&error) => self.open().await?,
                Ok(Some(piece)) => {
                    self.range.start += piece.len() as u64;
                    (self.came, self.left) = (true, Some(Instant::now()));
                    return Ok(Some(piece));
                }
                end => return end,
            }
        }
    }

    /// Whether a lane may have ended because its reader was slow. One that ends while somebody waits for it has failed,
    /// and so has one on which nothing came.
    fn has_kept_waiting(&self, error: &TransportError) -> bool {
        let ended = matches!(error, TransportError::Unreachable { .. } | TransportError::Slow { .. });
        ended && self.came && self.away >= self.inner.patience.stall / AWAY_PART
    }
}

/// Reads many ranges.
pub(super) async fn ranges(
    inner: &Arc<Inner>,
    at: Target,
    name: &ObjectName,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>> {
    let mut found = Vec::new();
    let mut rest = ranges;
    loop {
        let (some, more) = rest.split_at(rest.len().min(RANGES_MAX));
        let request = Request::Gets { name: name.clone(), ranges: some.to_vec() };
        let call = Call::begin_ok(inner, at.clone(), &request).await?;
        let lengths = some.iter().map(|range| length(&call, range)).collect::<Result<Vec<_>>>()?;
        let total = lengths.iter().try_fold(0_u64, |total, length| total.checked_add(*length));
        let total = total.ok_or_else(|| call.broken("OK to more bytes than there can be"))?;
        cut(pieces(call, total, total), &lengths, &mut found).await?;
        rest = more;
        if rest.is_empty() {
            return Ok(found);
        }
    }
}

/// Bytes of a range that the server agreed to send.
fn length(call: &Call, range: &Range<u64>) -> Result<u64> {
    range.end.checked_sub(range.start).ok_or_else(|| call.broken("OK to an inverted range"))
}

/// The bytes that follow an OK: exactly `missing`, which are the last of those that were `wanted`.
fn pieces(call: Call, missing: u64, wanted: u64) -> ByteStream {
    let pieces = stream::try_unfold((call, missing), move |(mut call, missing)| async move {
        match call.answer().await? {
            Answer::Data(bytes) => match missing.checked_sub(bytes.len() as u64) {
                Some(missing) => Ok(Some((bytes, (call, missing)))),
                None => Err(call.broken("more bytes than were asked for")),
            },
            Answer::End if missing == 0 => {
                call.end();
                Ok(None)
            }
            Answer::End => {
                Err(TransportError::Truncated { at: call.at.clone(), wanted, got: wanted - missing })
            }
            answer => Err(call.out_of_place(&answer, "DATA or END")),
        }
    });
    pieces.boxed()
}

/// Cuts bytes that follow each other into ranges of these lengths. Memory is taken as they come, whatever was
/// announced.
async fn cut(mut pieces: ByteStream, lengths: &[u64], found: &mut Vec<Bytes>) -> Result<()> {
    let mut piece = Bytes::new();
    for &length in lengths {
        let mut range = BytesMut::new();
        let mut missing = length;
        loop {
            let here = missing.min(piece.len() as u64);
            let part = piece.split_to(usize::try_from(here).expect("no more than a piece"));
            missing -= here;
            if missing == 0 && range.is_empty() {
                found.push(part);
                break;
            }
            range.extend_from_slice(&part);
            if missing == 0 {
                found.push(range.freeze());
                break;
            }
            piece = pieces.try_next().await?.unwrap_or_default();
        }
    }
    // The end, so that the lane can be used again.
    pieces.try_next().await.map(drop)
}

/// Of the time that a server may be silent, the part for which a reader has to be away before it is thought to have kept
/// the server waiting: less than servers allow.
const AWAY_PART: u32 = 6;
