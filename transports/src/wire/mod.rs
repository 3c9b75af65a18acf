//! The frames that a client and a block server send each other: bytes in, messages out, nothing else.
//!
//! Nothing here waits, reads a clock or opens anything. Whatever bytes come, decoding ends in a message or in a
//! [`WireError`], and takes no more memory than the frame that was already accepted by its [`Header`].
//!
#![doc = include_str!("protocol.md")]

mod answer;
mod fields;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};

pub use answer::{Answer, Welcome};
pub use refusal::Refusal;
pub use request::Request;

/// The first bytes of a frame: what it is, and how many bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Bytes of the payload, within the limit of its kind.
    pub length: usize,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 5;

    /// Checks a header before any memory is taken for what it announces.
    ///
    /// # Errors
    /// When there is no such kind, or it is never that long.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Result<Self, WireError> {
        let [kind, length @ ..] = bytes;
        let kind = Kind::of(kind).ok_or(WireError::UnknownKind { kind })?;
        let length = u32::from_le_bytes(length) as usize;
        if length > kind.bytes_max() {
            return Err(WireError::TooLong { kind, length, most: kind.bytes_max() });
        }
        Ok(Self { kind, length })
    }

    /// The bytes of the header.
    ///
    /// # Panics
    /// When the payload is longer than its kind allows: whoever makes frames knows the limits.
    pub fn encode(self) -> [u8; Self::BYTES] {
        assert!(self.length <= self.kind.bytes_max(), "{:?} of {} bytes", self.kind, self.length);
        let mut bytes = [self.kind as u8, 0, 0, 0, 0];
        let length = u32::try_from(self.length).expect("every limit is below 4 GiB");
        bytes[1..].copy_from_slice(&length.to_le_bytes());
        bytes
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $most:expr;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The kind of this number.
            pub fn of(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Bytes of the longest payload.
            pub const fn bytes_max(self) -> usize {
                match self {
                    $(Self::$kind => $most,)*
                }
            }
        }
    };
}

kinds! {
    /// The client says what it speaks.
    Hello = 0x01, 8;
    /// An object is to be stored.
    Put = 0x02, NAME + 9;
    /// Bytes of an object, in either direction.
    Data = 0x03, DATA_BYTES_MAX;
    /// The object is whole: publish it.
    Commit = 0x04, 0;
    /// The object is not wanted any more.
    Abandon = 0x05, 0;
    /// A range of an object is wanted.
    Get = 0x06, NAME + 16;
    /// Many ranges of an object are wanted.
    Gets = 0x07, NAME + 2 + 16 * RANGES_MAX;
    /// A proof is wanted.
    Prove = 0x08, NAME + 16 + 32;
    /// The length of an object is wanted.
    Stat = 0x09, NAME;
    /// Names are wanted.
    List = 0x0a, NAME;
    /// An object is to be deleted.
    Delete = 0x0b, NAME + crate::token::DeleteToken::BYTES;
    /// What was written of the object is to outlive the client.
    Keep = 0x0c, 0;
    /// What was kept is to be gone on with.
    Resume = 0x0d, NAME + 9 + KEPT;
    /// What the server can do.
    Welcome = 0x81, 20;
    /// Done, or go on.
    Ok = 0x82, 0;
    /// All bytes or names were sent.
    End = 0x83, 0;
    /// A proof.
    Proof = 0x84, 32;
    /// The length of an object.
    Meta = 0x85, 8;
    /// Some names.
    Names = 0x86, NAMES_BYTES_MAX;
    /// The answer takes longer, and the server is at work.
    Wait = 0x87, 0;
    /// Why not.
    Error = 0x88, 28 + TEXT_BYTES_MAX;
    /// What is kept, if anything.
    Kept = 0x89, 1 + KEPT;
}

/// Bytes that are no frame of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A kind that is not spoken.
    #[error("a frame of the unknown kind {kind:#04x}")]
    UnknownKind {
        /// Its number.
        kind: u8,
    },
    /// A payload beyond the limit of its kind.
    #[error("a {kind:?} frame of {length} bytes, and {most} are the most")]
    TooLong {
        /// The kind.
        kind: Kind,
        /// Bytes announced.
        length: usize,
        /// Bytes of the longest.
        most: usize,
    },
    /// A payload that is not what its kind says.
    #[error("a {kind:?} frame with {what}")]
    Malformed {
        /// The kind.
        kind: Kind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A frame that nobody waited for.
    #[error("a {kind:?} frame where {wanted} was due")]
    OutOfPlace {
        /// The kind.
        kind: Kind,
        /// What was due.
        wanted: &'static str,
    },
}

/// Puts a frame behind what `out` holds.
fn frame(kind: Kind, out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, Header::BYTES);
    payload(out);
    let header = Header { kind, length: out.len() - start - Header::BYTES };
    out[start..start + Header::BYTES].copy_from_slice(&header.encode());
}

/// What opens a [`Kind::Hello`].
pub const MAGIC: [u8; 6] = *b"tanner";
/// The version of the protocol that is spoken here.
pub const VERSION: u16 = 1;
/// Bytes of the longest [`Kind::Data`], and so the memory that a lane takes for one.
pub const DATA_BYTES_MAX: usize = crate::PIECE_BYTES_MAX;
/// Ranges of one [`Kind::Gets`]: 16 KiB of frame.
pub const RANGES_MAX: usize = 1024;
/// Bytes of the longest [`Kind::Names`]: a list is sent in batches of this size.
pub const NAMES_BYTES_MAX: usize = 64 * 1024;
/// Bytes of text that a server may say in an error.
pub const TEXT_BYTES_MAX: usize = 512;

/// Bytes of the longest name with its length.
const NAME: usize = 1 + crate::NAME_BYTES_MAX;
const _: () = assert!(crate::NAME_BYTES_MAX <= u8::MAX as usize);
/// Bytes of the longest token, behind how much it is that was kept.
const KEPT: usize = 8 + crate::KEPT_TOKEN_BYTES_MAX;
