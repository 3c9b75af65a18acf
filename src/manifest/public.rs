//! The public part of a manifest: what anybody may know, and needs to verify and repair blocks.

use blake3::Hash;
use minicbor::{Decode, Encode};
use tanner_kernels::{Construction, Profile};

use super::cbor::malformed;
use super::{MORE_BYTES_MAX, Manifest, ManifestError};
use crate::crypto::{Device, SALT_BYTES};
use crate::geometry::Geometry;
use crate::id::BackupId;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Public {
    #[n(0)]
    pub(super) id: minicbor::bytes::ByteArray<16>,
    #[n(1)]
    pub(super) code: u64,
    #[n(2)]
    pub(super) data: u64,
    #[n(3)]
    pub(super) parity: u64,
    #[n(4)]
    pub(super) modulus: Option<u32>,
    #[n(5)]
    pub(super) n1: Option<u32>,
    #[n(6)]
    pub(super) period: Option<u32>,
    #[n(7)]
    pub(super) depth: Option<u32>,
    #[n(8)]
    pub(super) seed: Option<u64>,
    #[n(9)]
    pub(super) unit: u8,
    #[n(10)]
    pub(super) frame_steps: u32,
    #[n(11)]
    pub(super) layout: u64,
    #[n(12)]
    pub(super) size: u64,
    #[cbor(n(13), with = "minicbor::bytes")]
    pub(super) hashes: Vec<u8>,
    #[n(14)]
    pub(super) salt: Option<minicbor::bytes::ByteArray<SALT_BYTES>>,
    #[n(15)]
    pub(super) generation: Option<u64>,
    #[n(16)]
    pub(super) row_steps: Option<u32>,
}

impl From<&Manifest> for Public {
    fn from(manifest: &Manifest) -> Self {
        let profile = manifest.geometry.profile();
        let mut public = Self {
            id: (*manifest.id.as_bytes()).into(),
            code: CODE_SHIFT,
            data: profile.data() as u64,
            parity: profile.parity() as u64,
            modulus: None,
            n1: None,
            period: None,
            depth: None,
            seed: None,
            unit: u8::try_from(profile.unit()).expect("at most 64"),
            frame_steps: u32::try_from(profile.frame_steps()).expect("profiles hold 32 bits"),
            layout: manifest.geometry.row_steps().map_or(LAYOUT_CONTIGUOUS, |_| LAYOUT_STRIPED),
            size: manifest.geometry.source_bytes(),
            hashes: manifest.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect(),
            salt: None,
            generation: None,
            row_steps: manifest.geometry.row_steps(),
        };
        match profile.construction() {
            Construction::Shift { modulus } => public.modulus = Some(modulus),
            Construction::Coupled { n1, period, depth, seed } => {
                public.code = CODE_COUPLED;
                (public.n1, public.period) = (Some(n1), Some(period));
                (public.depth, public.seed) = (Some(depth), Some(seed));
            }
            Construction::Rfc5170 { n1, group, seed } => {
                public.code = CODE_RFC5170;
                (public.n1, public.period, public.seed) = (Some(n1), Some(group), Some(seed));
            }
        }
        public
    }
}

impl Public {
    /// The public part of a signed manifest.
    pub(super) fn signed(self, salt: [u8; SALT_BYTES], generation: u64) -> Self {
        Self { salt: Some(salt.into()), generation: Some(generation), ..self }
    }

    /// Checks every number before use. `bytes` is how long the manifest is.
    pub(super) fn read(self, bytes: usize) -> Result<(BackupId, Geometry, Vec<Hash>), ManifestError> {
        let profile = self.profile()?;
        if self.size > Geometry::source_bytes_max(&profile) {
            return Err(malformed(format!("a source of {} bytes is too large", self.size)));
        }
        let geometry = match (self.layout, self.row_steps) {
            (LAYOUT_CONTIGUOUS, None) => Geometry::new(profile, self.size),
            (LAYOUT_STRIPED, Some(steps)) if Geometry::are_rows(&profile, steps) => {
                Geometry::striped(profile, steps, self.size)
            }
            (LAYOUT_CONTIGUOUS | LAYOUT_STRIPED, _) => return Err(malformed("rows of another layout")),
            (layout, _) => return Err(malformed(format!("layout {layout} is not known"))),
        };
        let (blocks, most) = (profile.blocks(), 64 * profile.blocks() + MORE_BYTES_MAX);
        if bytes > most {
            return Err(malformed(format!("{bytes} bytes for {blocks} blocks, at most {most}")));
        }
        let (hashes, rest) = self.hashes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != blocks {
            return Err(malformed(format!("{} bytes of hashes for {blocks} blocks", self.hashes.len())));
        }
        let hashes = hashes.iter().map(|&hash| Hash::from_bytes(hash)).collect();
        Ok((BackupId::from_bytes(self.id.into()), geometry, hashes))
    }

    /// The generation, if `signer` is who the id certifies.
    pub(super) fn generation_by(&self, signer: Device) -> Result<u64, ManifestError> {
        let (Some(salt), Some(generation)) = (self.salt, self.generation.filter(|&number| number > 0)) else {
            return Err(malformed("a signed manifest without salt or generation"));
        };
        let certified = BackupId::certified(signer, &salt) == BackupId::from_bytes(self.id.into());
        if certified { Ok(generation) } else { Err(ManifestError::Uncertified { device: signer }) }
    }

    /// Whether it has what only signed manifests have.
    pub(super) fn is_signed(&self) -> bool {
        self.salt.is_some() || self.generation.is_some()
    }

    pub(super) fn profile(&self) -> Result<Profile, ManifestError> {
        let construction = match (self.code, self.modulus, self.n1, self.period, self.depth, self.seed) {
            (CODE_SHIFT, Some(modulus), None, None, None, None) => Construction::Shift { modulus },
            (CODE_COUPLED, None, Some(n1), Some(period), Some(depth), Some(seed)) => {
                Construction::Coupled { n1, period, depth, seed }
            }
            (CODE_RFC5170, None, Some(n1), Some(group), None, Some(seed)) => {
                Construction::Rfc5170 { n1, group, seed }
            }
            (CODE_SHIFT | CODE_COUPLED | CODE_RFC5170, ..) => {
                return Err(malformed("parameters of another code"));
            }
            (code, ..) => return Err(malformed(format!("code {code} is not known"))),
        };
        Ok(Profile::new(self.data, self.parity, construction, self.unit, self.frame_steps)?)
    }
}

const CODE_SHIFT: u64 = 1;
const CODE_COUPLED: u64 = 2;
const CODE_RFC5170: u64 = 3;
const LAYOUT_CONTIGUOUS: u64 = 0;
const LAYOUT_STRIPED: u64 = 1;
