//! CBOR in its one form.

use minicbor::{Decode, Encode};

use super::ManifestError;

pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes any number of bytes")
}

/// Decodes, and refuses whatever does not encode to the same bytes again: unknown fields, other orders,
/// longer numbers, bytes behind the end.
pub(super) fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, ManifestError> {
    let value: T = minicbor::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    if encode(&value) == bytes { Ok(value) } else { Err(malformed("it is not in its one canonical form")) }
}

pub(crate) fn malformed(what: impl Into<String>) -> ManifestError {
    ManifestError::Malformed { what: what.into() }
}
