//! The manifest: the small record of one backup. `format.md` §2 is the law; this is its only reader and writer.

use blake3::Hash;
use minicbor::{Decode, Encode};
use tanner_kernels::{BLOCKS_MAX, Construction, Profile, ProfileError};
use thiserror::Error;

use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::places::Places;
use crate::scheduler::Labels;

/// The most bytes that any manifest may have.
pub const MANIFEST_BYTES_MAX: usize = 64 * BLOCKS_MAX + 4096;
/// The most bytes in the name of a source.
pub const NAME_BYTES_MAX: usize = 1024;

/// Everything that is recorded of one backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The backup's id.
    pub id: BackupId,
    /// Profile and sizes.
    pub geometry: Geometry,
    /// BLAKE3 of each block.
    pub hashes: Vec<Hash>,
    /// File name of the source, without directories.
    pub name: String,
    /// When the backup began, in seconds since 1970 (UTC).
    pub created: u64,
    /// When the source was last modified, likewise.
    pub modified: Option<u64>,
    /// BLAKE3 of the whole source.
    pub source_hash: Hash,
    /// Where the blocks were put; absent if to one store, or if nobody knows.
    pub places: Option<Places>,
}

/// Why bytes are not a manifest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("{bytes} bytes: a manifest has at most {MANIFEST_BYTES_MAX}")]
    TooLong {
        /// Bytes found.
        bytes: u64,
    },
    /// Does not begin like a manifest.
    #[error("it does not begin like a tanner manifest")]
    Magic,
    /// Another version of the format.
    #[error("format version {version}: this program reads version {VERSION}; a newer tanner may read it")]
    Version {
        /// The version found.
        version: u16,
    },
    /// Encrypted, or a mode that does not exist.
    #[error("mode {mode}: this program reads plain manifests (mode {MODE_PLAIN}) only")]
    Mode {
        /// The mode found.
        mode: u8,
    },
    /// Shorter or longer than it says.
    #[error("it is cut off or has bytes behind its end: {got} bytes where {wanted} belong")]
    Length {
        /// Bytes that belong there.
        wanted: u64,
        /// Bytes found.
        got: u64,
    },
    /// The seal does not match: some byte changed.
    #[error("it is damaged: its seal does not match its content")]
    Seal,
    /// Not the CBOR that the format asks for.
    #[error("its content is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The profile in it is not one.
    #[error("its profile is refused: {0}")]
    Profile(#[from] ProfileError),
    /// It belongs to another backup than its place says.
    #[error("it belongs to backup {found}")]
    OtherBackup {
        /// The id in it.
        found: BackupId,
    },
}

impl Manifest {
    /// The bytes to store.
    ///
    /// # Panics
    /// If the name is longer than [`NAME_BYTES_MAX`] or there is not one hash for each block; whoever makes a
    /// manifest makes sure of both.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        assert!(self.name.len() <= NAME_BYTES_MAX, "a name of {} bytes", self.name.len());
        assert_eq!(self.hashes.len(), self.geometry.profile().blocks(), "one hash for each block");
        let body = encode(&Body {
            public: encode(&Public::from(self)),
            private: encode(&Private::from(self)),
            keys: Vec::new(),
        });
        let length = u32::try_from(body.len()).expect("at most MANIFEST_BYTES_MAX");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([MODE_PLAIN, 0, 0, 0]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(body);
        let seal = blake3::hash(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    /// Reads a manifest. Its seal is checked before its content is looked at, and every number before use.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let body: Body = decode(open_seal(bytes)?)?;
        if !body.keys.is_empty() {
            return Err(malformed("wrapped keys in a plain manifest"));
        }
        let public: Public = decode(&body.public)?;
        let private: Private = decode(&body.private)?;
        let profile = public.profile()?;
        if public.layout != LAYOUT_CONTIGUOUS {
            return Err(malformed(format!("layout {} is not known", public.layout)));
        }
        if public.size > Geometry::source_bytes_max(&profile) {
            return Err(malformed(format!("a source of {} bytes is too large", public.size)));
        }
        let most = 64 * profile.blocks() + 4096;
        if bytes.len() > most {
            return Err(malformed(format!(
                "{} bytes for {} blocks, at most {most}",
                bytes.len(),
                profile.blocks()
            )));
        }
        let (hashes, rest) = public.hashes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != profile.blocks() {
            return Err(malformed(format!(
                "{} bytes of hashes for {} blocks",
                public.hashes.len(),
                profile.blocks()
            )));
        }
        let places = match (private.places, private.labels) {
            (None, None) => None,
            (Some(places), Some(labels)) => Some(Places::read(&places, labels, profile.blocks())?),
            _ => return Err(malformed("places without labels, or labels without places")),
        };
        let is_path = private.name.contains(['/', '\0']) || [".", ".."].contains(&private.name.as_str());
        if private.name.len() > NAME_BYTES_MAX || is_path {
            return Err(malformed("the source's name is not a file name"));
        }
        Ok(Self {
            id: BackupId::from_bytes(public.id.into()),
            geometry: Geometry::new(profile, public.size),
            hashes: hashes.iter().map(|&hash| Hash::from_bytes(hash)).collect(),
            name: private.name,
            created: private.created,
            modified: private.modified,
            source_hash: Hash::from_bytes(private.source_hash.into()),
            places,
        })
    }

    /// Reads the manifest of backup `id`.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and if it belongs to another backup.
    pub fn from_bytes_of(id: BackupId, bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::from_bytes(bytes)?;
        if manifest.id == id { Ok(manifest) } else { Err(ManifestError::OtherBackup { found: manifest.id }) }
    }
}

/// Checks everything outside the body, which it returns.
fn open_seal(bytes: &[u8]) -> Result<&[u8], ManifestError> {
    let got = bytes.len() as u64;
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLong { bytes: got });
    }
    let Some((magic, rest)) = bytes.split_first_chunk::<6>() else { return Err(ManifestError::Magic) };
    if magic != MAGIC {
        return Err(ManifestError::Magic);
    }
    let least = (HEADER_BYTES + SEAL_BYTES) as u64;
    let Some((head, rest)) = rest.split_first_chunk::<10>() else {
        return Err(ManifestError::Length { wanted: least, got });
    };
    let [v0, v1, mode, zeros @ .., l0, l1, l2, l3] = *head;
    match u16::from_le_bytes([v0, v1]) {
        VERSION => {}
        version => return Err(ManifestError::Version { version }),
    }
    if mode != MODE_PLAIN {
        return Err(ManifestError::Mode { mode });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let wanted = least + u64::from(length);
    if got != wanted {
        return Err(ManifestError::Length { wanted, got });
    }
    let Some((body, seal)) = rest.split_last_chunk::<SEAL_BYTES>() else {
        return Err(ManifestError::Length { wanted, got });
    };
    if blake3::hash(&bytes[..bytes.len() - SEAL_BYTES]) != *seal {
        return Err(ManifestError::Seal);
    }
    if zeros != [0; 3] {
        return Err(malformed("reserved bytes of the header are not zero"));
    }
    Ok(body)
}

#[derive(Encode, Decode)]
struct Body {
    #[cbor(n(0), with = "minicbor::bytes")]
    public: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    private: Vec<u8>,
    #[n(2)]
    keys: Vec<minicbor::bytes::ByteVec>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Public {
    #[n(0)]
    id: minicbor::bytes::ByteArray<16>,
    #[n(1)]
    code: u64,
    #[n(2)]
    data: u64,
    #[n(3)]
    parity: u64,
    #[n(4)]
    modulus: Option<u32>,
    #[n(5)]
    n1: Option<u32>,
    #[n(6)]
    period: Option<u32>,
    #[n(7)]
    depth: Option<u32>,
    #[n(8)]
    seed: Option<u64>,
    #[n(9)]
    unit: u8,
    #[n(10)]
    frame_steps: u32,
    #[n(11)]
    layout: u64,
    #[n(12)]
    size: u64,
    #[cbor(n(13), with = "minicbor::bytes")]
    hashes: Vec<u8>,
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
            layout: LAYOUT_CONTIGUOUS,
            size: manifest.geometry.source_bytes(),
            hashes: manifest.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect(),
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
    fn profile(&self) -> Result<Profile, ManifestError> {
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

#[derive(Encode, Decode)]
#[cbor(map)]
struct Private {
    #[n(0)]
    name: String,
    #[n(1)]
    created: u64,
    #[n(2)]
    modified: Option<u64>,
    #[n(3)]
    source_hash: minicbor::bytes::ByteArray<32>,
    #[n(4)]
    places: Option<minicbor::bytes::ByteVec>,
    #[n(5)]
    labels: Option<Vec<Labels>>,
}

impl From<&Manifest> for Private {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            created: manifest.created,
            modified: manifest.modified,
            source_hash: (*manifest.source_hash.as_bytes()).into(),
            places: manifest.places.as_ref().map(Places::to_bytes),
            labels: manifest.places.as_ref().map(|places| places.labels.clone()),
        }
    }
}

pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a Vec takes any number of bytes")
}

/// Decodes, and refuses whatever does not encode to the same bytes again: unknown fields, other orders,
/// longer numbers, bytes behind the end.
fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, ManifestError> {
    let value: T = minicbor::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    if encode(&value) == bytes { Ok(value) } else { Err(malformed("it is not in its one canonical form")) }
}

pub(crate) fn malformed(what: impl Into<String>) -> ManifestError {
    ManifestError::Malformed { what: what.into() }
}

const MAGIC: &[u8; 6] = b"tanner";
const VERSION: u16 = 1;
const MODE_PLAIN: u8 = 0;
const HEADER_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;
const CODE_SHIFT: u64 = 1;
const CODE_COUPLED: u64 = 2;
const CODE_RFC5170: u64 = 3;
const LAYOUT_CONTIGUOUS: u64 = 0;

#[cfg(test)]
mod tests {
    use tanner_kernels::CodeChoice;

    use super::{
        BackupId, Geometry, Labels, Manifest, ManifestError, NAME_BYTES_MAX, Places, Profile, Public,
    };

    fn manifest(k: u64, m: u64) -> Manifest {
        manifest_by(CodeChoice::Auto, k, m)
    }

    fn manifest_by(code: CodeChoice, k: u64, m: u64) -> Manifest {
        let geometry = Geometry::new(Profile::for_code(code, k, m, 1 << 30).unwrap(), 1 << 30);
        Manifest {
            id: BackupId::from_bytes(*b"0123456789abcdef"),
            hashes: (0..geometry.profile().blocks())
                .map(|block| blake3::hash(&block.to_le_bytes()))
                .collect(),
            geometry,
            name: "n".repeat(NAME_BYTES_MAX),
            created: 1_700_000_000,
            modified: Some(1),
            source_hash: blake3::hash(b"source"),
            places: None,
        }
    }

    /// As many labels as fit, on stores that have a block each.
    fn placed(mut manifest: Manifest) -> Manifest {
        let blocks = manifest.hashes.len();
        let label =
            |store| Labels::from([("host".to_owned(), format!("a host of a long name, number {store}"))]);
        manifest.places =
            Places::new(&(0..blocks).collect::<Vec<_>>(), &(0..blocks).map(label).collect::<Vec<_>>(), &[]);
        manifest
    }

    fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - 32);
        let seal = blake3::hash(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    #[test]
    fn manifests_of_all_codes_read_back_and_stay_within_their_cap() {
        use CodeChoice::{Auto, Rfc5170};
        for (code, k, m) in [(Auto, 10, 5), (Auto, 24, 26), (Auto, 4000, 96), (Auto, 1, 1), (Rfc5170, 24, 26)]
        {
            let manifest = manifest_by(code, k, m);
            for manifest in [manifest.clone(), placed(manifest)] {
                let bytes = manifest.to_bytes();
                assert!(bytes.len() <= 64 * (k + m) as usize + 4096, "{} bytes for {k}+{m}", bytes.len());
                assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
            }
        }
    }

    /// Damage to the one record of a backup must be seen, wherever it is.
    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = manifest(10, 5).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::from_bytes(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..length]).is_err(), "cut to {length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(Manifest::from_bytes(&longer), Err(ManifestError::Length { .. })));
    }

    /// Forged with a right seal: any byte may be anything, and nothing but an error or a manifest may follow.
    #[test]
    fn forged_bytes_never_panic_and_never_read_as_another_form() {
        for code in [CodeChoice::Auto, CodeChoice::Rfc5170] {
            let bytes = placed(manifest_by(code, 12, 12)).to_bytes();
            for at in 16..bytes.len() - 32 {
                for value in [0x00, 0x01, 0x17, 0x18, 0x1b, 0x40, 0x5f, 0x7f, 0x9f, 0xa0, 0xbf, 0xff] {
                    let mut forged = bytes.clone();
                    forged[at] = value;
                    let forged = resealed(forged);
                    if let Ok(read) = Manifest::from_bytes(&forged) {
                        assert_eq!(read.to_bytes(), forged, "{code:?}: byte {at} = {value}");
                    }
                }
            }
        }
    }

    /// The matrix of the RFC's code is drawn from these numbers, by loops that would not end for all of them.
    #[test]
    fn parameters_that_rfc5170_does_not_have_are_refused_before_anything_is_built() {
        let honest = || Public::from(&manifest_by(CodeChoice::Rfc5170, 12, 12));
        assert!(honest().profile().is_ok());
        let refused = |change: fn(&mut Public)| {
            let mut public = honest();
            change(&mut public);
            public.profile().unwrap_err()
        };
        for change in [
            |public: &mut Public| public.n1 = Some(11),
            |public: &mut Public| public.n1 = Some(2),
            |public: &mut Public| public.period = Some(0),
            |public: &mut Public| public.period = Some(u32::MAX),
            |public: &mut Public| public.seed = Some(0),
            |public: &mut Public| public.seed = Some(u64::MAX),
            |public: &mut Public| public.frame_steps = 1024,
        ] {
            assert!(matches!(refused(change), ManifestError::Profile(_)));
        }
        for change in [
            |public: &mut Public| public.depth = Some(23),
            |public: &mut Public| public.modulus = Some(13),
            |public: &mut Public| public.seed = None,
            |public: &mut Public| public.code = 4,
        ] {
            assert!(matches!(refused(change), ManifestError::Malformed { .. }));
        }
    }

    #[test]
    fn each_refusal_has_its_own_reason() {
        use ManifestError as E;
        let bytes = manifest(10, 5).to_bytes();
        let with = |at: usize, value: u8| {
            let mut forged = bytes.clone();
            forged[at] = value;
            Manifest::from_bytes(&resealed(forged)).unwrap_err()
        };
        assert!(matches!(with(0, b'T'), E::Magic));
        assert!(matches!(with(6, 2), E::Version { version: 2 }));
        assert!(matches!(with(8, 1), E::Mode { mode: 1 }));
        assert!(matches!(with(9, 1), E::Malformed { .. }));
        assert!(matches!(with(12, 0), E::Length { .. }));
        assert!(matches!(Manifest::from_bytes(&vec![0; 300_000]), Err(E::TooLong { .. })));
        let other = BackupId::from_bytes([0; 16]);
        assert!(matches!(Manifest::from_bytes_of(other, &bytes), Err(E::OtherBackup { .. })));
        let mut damaged = bytes.clone();
        damaged[40] ^= 1;
        assert!(matches!(Manifest::from_bytes(&damaged), Err(E::Seal)));
    }
}
