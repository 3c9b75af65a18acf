//! The bytes of a range as they come in: exactly as many as were asked for.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::error::convert;
use super::nonsense;
use crate::{ByteStream, PIECE_BYTES_MAX, Target, TransportError};

/// Counts the bytes of `body`, and cuts them into pieces. What is not `wanted` bytes long ends with an error.
pub(super) fn exactly(
    at: Target,
    wanted: u64,
    body: BoxStream<'static, object_store::Result<Bytes>>,
) -> ByteStream {
    let pieces = stream::try_unfold((body, Bytes::new(), 0), move |(mut body, mut bytes, got)| {
        let at = at.clone();
        async move {
            // An answer of the right length needs no look behind its end.
            while bytes.is_empty() && got < wanted {
                match body.try_next().await.map_err(|error| convert(at.clone(), &error))? {
                    Some(more) => bytes = more,
                    None => return Err(TransportError::Truncated { at, wanted, got }),
                }
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
            let got = got + piece.len() as u64;
            if got > wanted { Err(nonsense(at)) } else { Ok(Some((piece, (body, bytes, got)))) }
        }
    });
    pieces.boxed()
}
