//! Plain manifests; those that are signed have tests of their own.

use tanner_kernels::{CodeChoice, Profile};

use super::{BackupId, Epochs, Geometry, Manifest, ManifestError, NAME_BYTES_MAX, Places};
use crate::scheduler::Labels;

pub(super) fn manifest(k: u64, m: u64) -> Manifest {
    manifest_by(CodeChoice::Auto, k, m)
}

fn manifest_by(code: CodeChoice, k: u64, m: u64) -> Manifest {
    let geometry = Geometry::new(Profile::for_code(code, k, m, 1 << 30).unwrap(), 1 << 30);
    Manifest {
        id: BackupId::from_bytes(*b"0123456789abcdef"),
        hashes: (0..geometry.profile().blocks()).map(|block| blake3::hash(&block.to_le_bytes())).collect(),
        geometry,
        name: "n".repeat(NAME_BYTES_MAX),
        created: 1_700_000_000,
        modified: Some(1),
        source_hash: blake3::hash(b"source"),
        epochs: Epochs::default(),
        places: None,
        is_archive: false,
    }
}

/// As many labels as fit, on stores that have a block each.
pub(super) fn placed(mut manifest: Manifest) -> Manifest {
    let blocks = manifest.hashes.len();
    let label = |store| Labels::from([("host".to_owned(), format!("a host of a long name, number {store}"))]);
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
    for (code, k, m) in [(Auto, 10, 5), (Auto, 24, 26), (Auto, 4000, 96), (Auto, 1, 1), (Rfc5170, 24, 26)] {
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
    assert!(matches!(with(8, 2), E::Mode { mode: 2 }));
    assert!(matches!(with(8, 1), E::Length { .. }), "a signature is longer than a seal");
    assert!(matches!(with(9, 1), E::Malformed { .. }));
    assert!(matches!(with(12, 0), E::Length { .. }));
    assert!(matches!(Manifest::from_bytes(&vec![0; 300_000]), Err(E::TooLong { .. })));
    let other = BackupId::from_bytes([0; 16]);
    assert!(matches!(Manifest::from_bytes_of(other, &bytes), Err(E::OtherBackup { .. })));
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    assert!(matches!(Manifest::from_bytes(&damaged), Err(E::Seal)));
}
