//! What a server says.

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{Fields, put_kept, put_option, put_string};
use super::{Kind, NAMES_BYTES_MAX, Refusal, WireError, frame};
use crate::{Hash, Kept, ObjectName};

/// A frame from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To the hello.
    Welcome(Welcome),
    /// Done, or go on.
    Ok,
    /// Bytes that were asked for; never empty.
    Data(Bytes),
    /// All was sent.
    End,
    /// The proof.
    Proof(Hash),
    /// The length of the object, in bytes.
    Meta(u64),
    /// Some names; never none.
    Names(Vec<ObjectName>),
    /// The answer takes longer.
    Wait,
    /// Why not.
    Error(Refusal),
    /// What is kept; nothing where the store cannot.
    Kept(Option<Kept>),
}

/// What a server can do, as [`Capabilities`](crate::Capabilities).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that it speaks.
    pub version: u16,
    /// `durable`.
    pub durable: bool,
    /// `exclusive_create`, `ranges`, `list` and `prove`, which this protocol needs.
    pub complete: bool,
    /// It lets this client delete, without a token, only what belongs to no finished backup.
    pub append_only: bool,
    /// Requests that may be under way at a time on one connection: 1 on TCP, streams on QUIC.
    pub lanes: u16,
    /// `object_bytes_max`.
    pub object_bytes_max: Option<u64>,
    /// It knows [`Kind::Keep`] and [`Kind::Resume`].
    pub keep: bool,
    /// It wants a token of this client to delete, and knows a [`Kind::Delete`] that has one.
    pub delete_token: bool,
}

impl Answer {
    /// What kind of frame it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Welcome(_) => Kind::Welcome,
            Self::Ok => Kind::Ok,
            Self::Data(_) => Kind::Data,
            Self::End => Kind::End,
            Self::Proof(_) => Kind::Proof,
            Self::Meta(_) => Kind::Meta,
            Self::Names(_) => Kind::Names,
            Self::Wait => Kind::Wait,
            Self::Error(_) => Kind::Error,
            Self::Kept(_) => Kind::Kept,
        }
    }

    /// Puts the frame behind what `out` holds.
    ///
    /// # Panics
    /// When it is beyond a limit of this module.
    pub fn encode(&self, out: &mut BytesMut) {
        frame(self.kind(), out, |out| match self {
            Self::Welcome(welcome) => welcome.encode(out),
            Self::Ok | Self::End | Self::Wait => {}
            Self::Data(bytes) => out.put_slice(bytes),
            Self::Proof(hash) => out.put_slice(hash.as_bytes()),
            Self::Meta(length) => out.put_u64_le(*length),
            Self::Names(names) => names.iter().for_each(|name| put_string(out, name.as_str())),
            Self::Error(refusal) => refusal.encode(out),
            Self::Kept(kept) => {
                out.put_u8(kept.is_some().into());
                kept.iter().for_each(|kept| put_kept(out, kept));
            }
        });
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not what its kind says, or nothing that a server sends.
    pub fn decode(kind: Kind, payload: Bytes) -> Result<Self, WireError> {
        let mut fields = Fields { kind, rest: payload };
        let answer = match kind {
            Kind::Welcome => Self::Welcome(Welcome::decode(&mut fields)?),
            Kind::Ok => Self::Ok,
            Kind::Data | Kind::Names if fields.rest.is_empty() => {
                return Err(fields.malformed("nothing in it"));
            }
            Kind::Data => Self::Data(fields.rest.split_off(0)),
            Kind::End => Self::End,
            Kind::Proof => Self::Proof(Hash::from_bytes(fields.array()?)),
            Kind::Meta => Self::Meta(fields.u64()?),
            Kind::Names => {
                let mut names = Vec::new();
                while !fields.rest.is_empty() {
                    names.push(fields.name()?);
                }
                Self::Names(names)
            }
            Kind::Wait => Self::Wait,
            Kind::Error => Self::Error(Refusal::decode(&mut fields)?),
            Kind::Kept => {
                let some = fields.bool()?;
                Self::Kept(if some { Some(fields.kept()?) } else { None })
            }
            kind => return Err(WireError::OutOfPlace { kind, wanted: "an answer" }),
        };
        fields.end(answer)
    }

    /// As many of these names as fit one frame: they are taken from the end of `names`.
    pub fn names(names: &mut Vec<ObjectName>) -> Self {
        let mut room = NAMES_BYTES_MAX;
        let fits = names.iter().rev().take_while(|name| {
            let bytes = 1 + name.as_str().len();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        let count = fits.count();
        Self::Names(names.split_off(names.len() - count))
    }
}

impl Welcome {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.version);
        for flag in [self.durable, self.complete, self.append_only] {
            out.put_u8(flag.into());
        }
        out.put_u16_le(self.lanes);
        put_option(out, self.object_bytes_max);
        out.put_u8(self.keep.into());
        out.put_u8(self.delete_token.into());
        out.put_bytes(0, 2);
    }

    fn decode(fields: &mut Fields) -> Result<Self, WireError> {
        let welcome = Self {
            version: fields.u16()?,
            durable: fields.bool()?,
            complete: fields.bool()?,
            append_only: fields.bool()?,
            lanes: fields.u16()?,
            object_bytes_max: fields.option()?,
            keep: fields.bool()?,
            delete_token: fields.bool()?,
        };
        // For later versions.
        fields.array::<2>()?;
        Ok(welcome)
    }
}
