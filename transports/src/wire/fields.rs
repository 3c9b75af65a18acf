//! The fields that payloads are made of: fixed-width little-endian numbers, and names behind their length.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use super::{Kind, WireError};
use crate::token::DeleteToken;
use crate::{Kept, ObjectName};

/// A payload being read. Every reader asks for what it takes, so nothing can be read past the end.
pub(super) struct Fields {
    pub(super) kind: Kind,
    pub(super) rest: Bytes,
}

impl Fields {
    pub(super) fn malformed(&self, what: &'static str) -> WireError {
        WireError::Malformed { kind: self.kind, what }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<Bytes, WireError> {
        if bytes > self.rest.len() {
            return Err(self.malformed("less in it than it says"));
        }
        Ok(self.rest.split_to(bytes))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        self.take(N)?.copy_to_slice(&mut array);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a flag that is neither 0 nor 1")),
        }
    }

    pub(super) fn range(&mut self) -> Result<Range<u64>, WireError> {
        Ok(self.u64()?..self.u64()?)
    }

    pub(super) fn string(&mut self) -> Result<String, WireError> {
        let length = self.u8()?;
        let bytes = self.take(length.into())?;
        String::from_utf8(bytes.into()).map_err(|_| self.malformed("a name that is no text"))
    }

    pub(super) fn name(&mut self) -> Result<ObjectName, WireError> {
        ObjectName::new(self.string()?).map_err(|_| self.malformed("what is not the name of an object"))
    }

    /// What was kept: its token goes up to the end of the frame.
    pub(super) fn kept(&mut self) -> Result<Kept, WireError> {
        Ok(Kept { bytes: self.u64()?, token: self.rest.split_off(0) })
    }

    /// The frame itself is wiped by who holds it.
    pub(super) fn token(&mut self) -> Result<DeleteToken, WireError> {
        Ok(DeleteToken::from_bytes(&Zeroizing::new(self.array()?)))
    }

    /// Everything was read.
    pub(super) fn end<T>(self, value: T) -> Result<T, WireError> {
        if self.rest.is_empty() { Ok(value) } else { Err(self.malformed("more in it than it says")) }
    }
}

pub(super) fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("a name fits one byte of length"));
    out.put_slice(text.as_bytes());
}

pub(super) fn put_range(out: &mut BytesMut, range: &Range<u64>) {
    out.put_u64_le(range.start);
    out.put_u64_le(range.end);
}

pub(super) fn put_kept(out: &mut BytesMut, kept: &Kept) {
    out.put_u64_le(kept.bytes);
    out.put_slice(&kept.token);
}

/// An optional number: a flag, then the number or 0.
pub(super) fn put_option(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(number.is_some().into());
    out.put_u64_le(number.unwrap_or(0));
}

impl Fields {
    pub(super) fn option(&mut self) -> Result<Option<u64>, WireError> {
        let (some, number) = (self.bool()?, self.u64()?);
        match (some, number) {
            (true, number) => Ok(Some(number)),
            (false, 0) => Ok(None),
            (false, _) => Err(self.malformed("a number where it says there is none")),
        }
    }
}
