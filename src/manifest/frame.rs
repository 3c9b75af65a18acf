//! What is around the body of a manifest: a header, and behind it what shows that nobody changed anything.

use super::cbor::malformed;
use super::{MANIFEST_BYTES_MAX, ManifestError};
use crate::crypto::{Device, DeviceKey, SIGNATURE_BYTES};

/// A manifest whose every byte is as it was written: by whom, if it is signed.
pub(super) struct Frame<'a> {
    pub(super) header: &'a [u8; HEADER_BYTES],
    pub(super) body: &'a [u8],
    pub(super) signer: Option<Device>,
}

impl<'a> Frame<'a> {
    /// Checks everything outside the body.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ManifestError> {
        let got = bytes.len() as u64;
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong { bytes: got });
        }
        if !bytes.starts_with(MAGIC) {
            return Err(ManifestError::Magic);
        }
        let cut = |wanted: usize| ManifestError::Length { wanted: wanted as u64, got };
        let least = HEADER_BYTES + SEAL_BYTES;
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Err(cut(least)) };
        let [_, _, _, _, _, _, v0, v1, mode, zeros @ .., l0, l1, l2, l3] = *header;
        match u16::from_le_bytes([v0, v1]) {
            VERSION => {}
            version => return Err(ManifestError::Version { version }),
        }
        let trailer_bytes = match mode {
            MODE_PLAIN => SEAL_BYTES,
            MODE_SIGNED => DEVICE_BYTES + SIGNATURE_BYTES,
            mode => return Err(ManifestError::Mode { mode }),
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let wanted = (HEADER_BYTES + trailer_bytes) as u64 + u64::from(length);
        if got != wanted {
            return Err(ManifestError::Length { wanted, got });
        }
        let (body, trailer) = rest.split_at(rest.len() - trailer_bytes);
        let signer = match mode {
            MODE_PLAIN => check_seal(bytes).map(|()| None)?,
            _ => Some(check_signature(bytes, trailer)?),
        };
        if zeros != [0; 3] {
            return Err(malformed("reserved bytes of the header are not zero"));
        }
        Ok(Self { header, body, signer })
    }
}

/// The header of a manifest with a body of so many bytes.
pub(super) fn header(mode: u8, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..6].copy_from_slice(MAGIC);
    header[6..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8] = mode;
    let length = u32::try_from(body_bytes).expect("at most MANIFEST_BYTES_MAX");
    header[12..].copy_from_slice(&length.to_le_bytes());
    header
}

/// Adds what shows damage.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = blake3::hash(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

/// Adds what shows damage and forgery.
pub(super) fn sign(mut bytes: Vec<u8>, device: &DeviceKey) -> Vec<u8> {
    bytes.extend(device.device().as_bytes());
    let signature = device.sign(&signed(&bytes));
    bytes.extend(signature);
    bytes
}

fn check_seal(bytes: &[u8]) -> Result<(), ManifestError> {
    let (content, seal) = bytes.split_last_chunk::<SEAL_BYTES>().expect("the length was checked");
    if blake3::hash(content) == *seal { Ok(()) } else { Err(ManifestError::Seal) }
}

fn check_signature(bytes: &[u8], trailer: &[u8]) -> Result<Device, ManifestError> {
    let device = trailer.first_chunk().map(|bytes| Device::from_bytes(*bytes));
    let device = device.expect("the length was checked");
    let (content, signature) = bytes.split_last_chunk().expect("the length was checked");
    if device.has_signed(&signed(content), signature) { Ok(device) } else { Err(ManifestError::Signature) }
}

/// What a device signs: no signature for another purpose means a manifest.
fn signed(content: &[u8]) -> Vec<u8> {
    [DOMAIN, content].concat()
}

pub(super) const VERSION: u16 = 1;
pub(super) const MODE_PLAIN: u8 = 0;
pub(super) const MODE_SIGNED: u8 = 1;
const MAGIC: &[u8; 6] = b"tanner";
const HEADER_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;
const DEVICE_BYTES: usize = 32;
const DOMAIN: &[u8] = b"tanner signed manifest 1";
