//! What a client asks.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Fields, put_kept, put_option, put_range, put_string};
use super::{Kind, MAGIC, RANGES_MAX, WireError, frame};
use crate::token::DeleteToken;
use crate::{Kept, Nonce, ObjectName};

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the calls of `Transport`")]
pub enum Request {
    /// The first of a connection.
    Hello { version: u16 },
    /// Begins a put.
    Put { name: ObjectName, length: Option<u64> },
    /// More bytes of the put; never empty.
    Data(Bytes),
    /// Ends the put well.
    Commit,
    /// Ends the put.
    Abandon,
    /// One range.
    Get { name: ObjectName, range: Range<u64> },
    /// Up to [`RANGES_MAX`] ranges.
    Gets { name: ObjectName, ranges: Vec<Range<u64>> },
    /// A proof of one range.
    Prove { name: ObjectName, range: Range<u64>, nonce: Nonce },
    /// What is known of an object.
    Stat { name: ObjectName },
    /// The names below a prefix, which the server checks.
    List { prefix: String },
    /// An object is to go.
    Delete { name: ObjectName, token: Option<DeleteToken> },
    /// Makes what was written of the put outlive the client.
    Keep,
    /// Begins a put behind what was kept.
    Resume { name: ObjectName, length: Option<u64>, kept: Kept },
}

impl Request {
    /// What kind of frame it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello { .. } => Kind::Hello,
            Self::Put { .. } => Kind::Put,
            Self::Data(_) => Kind::Data,
            Self::Commit => Kind::Commit,
            Self::Abandon => Kind::Abandon,
            Self::Get { .. } => Kind::Get,
            Self::Gets { .. } => Kind::Gets,
            Self::Prove { .. } => Kind::Prove,
            Self::Stat { .. } => Kind::Stat,
            Self::List { .. } => Kind::List,
            Self::Delete { .. } => Kind::Delete,
            Self::Keep => Kind::Keep,
            Self::Resume { .. } => Kind::Resume,
        }
    }

    /// Puts the frame behind what `out` holds.
    ///
    /// # Panics
    /// When it is beyond a limit of this module.
    pub fn encode(&self, out: &mut BytesMut) {
        frame(self.kind(), out, |out| match self {
            Self::Hello { version } => {
                out.put_slice(&MAGIC);
                out.put_u16_le(*version);
            }
            Self::Put { name, length } => {
                put_string(out, name.as_str());
                put_option(out, *length);
            }
            Self::Data(bytes) => out.put_slice(bytes),
            Self::Commit | Self::Abandon | Self::Keep => {}
            Self::Resume { name, length, kept } => {
                put_string(out, name.as_str());
                put_option(out, *length);
                put_kept(out, kept);
            }
            Self::Get { name, range } => {
                put_string(out, name.as_str());
                put_range(out, range);
            }
            Self::Gets { name, ranges } => {
                put_string(out, name.as_str());
                out.put_u16_le(u16::try_from(ranges.len()).expect("RANGES_MAX fits"));
                ranges.iter().for_each(|range| put_range(out, range));
            }
            Self::Prove { name, range, nonce } => {
                put_string(out, name.as_str());
                put_range(out, range);
                out.put_slice(nonce);
            }
            Self::Stat { name } => put_string(out, name.as_str()),
            Self::Delete { name, token } => {
                put_string(out, name.as_str());
                token.iter().for_each(|token| out.put_slice(token.as_bytes()));
            }
            Self::List { prefix } => put_string(out, prefix),
        });
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not what its kind says, or nothing that a client sends.
    pub fn decode(kind: Kind, payload: Bytes) -> Result<Self, WireError> {
        let mut fields = Fields { kind, rest: payload };
        let request = match kind {
            Kind::Hello => {
                if fields.array()? != MAGIC {
                    return Err(fields.malformed("another magic"));
                }
                Self::Hello { version: fields.u16()? }
            }
            Kind::Put => Self::Put { name: fields.name()?, length: fields.option()? },
            Kind::Data => Self::Data(fields.rest.split_off(0)),
            Kind::Commit => Self::Commit,
            Kind::Abandon => Self::Abandon,
            Kind::Get => Self::Get { name: fields.name()?, range: fields.range()? },
            Kind::Gets => {
                let (name, count) = (fields.name()?, usize::from(fields.u16()?));
                if count > RANGES_MAX {
                    return Err(fields.malformed("too many ranges"));
                }
                let ranges = (0..count).map(|_| fields.range()).collect::<Result<_, _>>()?;
                Self::Gets { name, ranges }
            }
            Kind::Prove => {
                Self::Prove { name: fields.name()?, range: fields.range()?, nonce: fields.array()? }
            }
            Kind::Stat => Self::Stat { name: fields.name()? },
            Kind::List => Self::List { prefix: fields.string()? },
            Kind::Delete => {
                let name = fields.name()?;
                let token = if fields.rest.is_empty() { None } else { Some(fields.token()?) };
                Self::Delete { name, token }
            }
            Kind::Keep => Self::Keep,
            Kind::Resume => {
                Self::Resume { name: fields.name()?, length: fields.option()?, kept: fields.kept()? }
            }
            kind => return Err(WireError::OutOfPlace { kind, wanted: "a request" }),
        };
        fields.end(request)
    }
}
