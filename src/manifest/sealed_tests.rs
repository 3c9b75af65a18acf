//! Encrypted and signed manifests, against stores that lie.

use std::iter;

use super::frame::{MODE_PLAIN, header, seal, sign};
use super::tests::{manifest, placed};
use super::{
    Body, Encryption, MANIFEST_BYTES_MAX, Manifest, ManifestError, Private, Public, Remembered,
    SealedManifest, cbor, newest,
};
use crate::crypto::{Device, DeviceKey, EPOCHS_MAX, Epoch, FileKey, Recipients, WRAPPED_BYTES_MAX};

/// Keys as a backup has them, wrapped for nobody.
fn encryption() -> Encryption {
    Encryption {
        device: DeviceKey::generate().0,
        salt: [7; 16],
        file_key: FileKey::random(),
        wrapped: vec![b"wrapped".to_vec()],
        readers: Vec::new(),
    }
}

fn signed_by(encryption: &Encryption, generation: u64) -> (Manifest, Vec<u8>) {
    let manifest = Manifest { id: encryption.id(), name: "name".into(), ..manifest(3, 2) };
    let bytes = manifest.to_sealed_bytes(encryption, generation);
    (manifest, bytes)
}

fn read(bytes: &[u8]) -> Result<SealedManifest, ManifestError> {
    SealedManifest::from_bytes(bytes)
}

/// As `change` makes it, and signed again: what whoever has the key could write.
fn forged(encryption: &Encryption, bytes: &[u8], change: impl FnOnce(&mut Body)) -> Vec<u8> {
    let mut body: Body = cbor::decode(&bytes[16..bytes.len() - 96]).unwrap();
    change(&mut body);
    let body = cbor::encode(&body);
    sign([header(1, body.len()).as_slice(), &body].concat(), &encryption.device)
}

fn with_public(encryption: &Encryption, bytes: &[u8], change: impl FnOnce(&mut Public)) -> Vec<u8> {
    forged(encryption, bytes, |body| {
        let mut public: Public = cbor::decode(&body.public).unwrap();
        change(&mut public);
        body.public = cbor::encode(&public);
    })
}

#[test]
fn a_signed_manifest_says_to_anybody_what_verifying_takes_and_the_rest_to_its_readers() {
    let key = age::x25519::Identity::generate();
    let mut recipients = Recipients::default();
    recipients.add(&key.to_public().to_string()).unwrap();
    let encryption = Encryption::begin(DeviceKey::generate().0, &recipients).unwrap();
    let (manifest, bytes) = signed_by(&encryption, 3);
    let sealed = SealedManifest::from_bytes_of(manifest.id, &bytes).unwrap();
    assert_eq!((&sealed.geometry, &sealed.hashes), (&manifest.geometry, &manifest.hashes));
    assert_eq!((sealed.signer(), sealed.generation()), (Some(encryption.device.device()), Some(3)));
    assert_eq!(sealed.wrapped(), encryption.wrapped);
    assert_eq!(sealed.plain(), None);
    assert_eq!(sealed.open(&encryption.file_key).unwrap(), manifest);
    assert!(matches!(sealed.open(&FileKey::random()), Err(ManifestError::WrongKey)));
    assert!(matches!(Manifest::from_bytes(&bytes), Err(ManifestError::Encrypted)));
    for secret in [manifest.name.as_bytes(), manifest.source_hash.as_bytes()] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

/// A key for a part of the source is found, or the manifest is refused: nothing is decrypted by the wrong one.
#[test]
fn epochs_are_read_as_they_were_written_and_none_are_in_a_plain_manifest() {
    let ours = encryption();
    let mut with_epochs = Manifest { id: ours.id(), ..manifest(3, 2) };
    assert!(with_epochs.epochs.begin(Epoch::random(0)) && with_epochs.epochs.begin(Epoch::random(7)));
    let bytes = with_epochs.to_sealed_bytes(&ours, 1);
    assert_eq!(read(&bytes).unwrap().open(&ours.file_key).unwrap(), with_epochs);
    assert!(with_epochs.epochs.begin(Epoch::random(with_epochs.geometry.steps())));
    let bytes = with_epochs.to_sealed_bytes(&ours, 1);
    assert!(matches!(read(&bytes).unwrap().open(&ours.file_key), Err(ManifestError::Malformed { .. })));
    let (public, private) = (Public::from(&manifest(3, 2)), Private::from(&with_epochs));
    let (public, private) = (cbor::encode(&public), cbor::encode(&private));
    let body = cbor::encode(&Body { public, private, keys: vec![] });
    let plain = seal([header(MODE_PLAIN, body.len()).as_slice(), &body].concat());
    assert!(matches!(read(&plain), Err(ManifestError::Malformed { .. })));
}

/// With the longest of everything: no backup may come to its end and then have no manifest.
#[test]
fn the_longest_of_everything_stays_within_the_cap() {
    let half = vec![0xff; WRAPPED_BYTES_MAX / 2];
    let encryption = Encryption { wrapped: vec![half.clone(), half], ..encryption() };
    for (k, m) in [(1, 1), (2, 1), (4, 4), (10, 5), (24, 26), (100, 200), (4000, 96)] {
        let mut longest = placed(Manifest { id: encryption.id(), ..manifest(k, m) });
        let last = longest.geometry.steps() - 1;
        let mut first_steps = (0..=last).rev().take(EPOCHS_MAX - 1).collect::<Vec<_>>().into_iter().rev();
        assert!(first_steps.all(|step| longest.epochs.begin(Epoch::random(step))));
        assert!(!longest.epochs.clone().begin(Epoch::random(last + 1)));
        let bytes = longest.to_sealed_bytes(&encryption, u64::MAX);
        assert!(
            bytes.len() <= MANIFEST_BYTES_MAX.min(64 * (k + m) as usize + 8192),
            "{} bytes for {k}+{m}",
            bytes.len()
        );
        assert_eq!(read(&bytes).unwrap().open(&encryption.file_key).unwrap(), longest);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_for_what_it_is() {
    use ManifestError as E;
    let (_, bytes) = signed_by(&encryption(), 1);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = read(&damaged).unwrap_err();
        let right = match bit / 8 {
            0..6 => matches!(error, E::Magic),
            6..8 => matches!(error, E::Version { .. }),
            8 => matches!(error, E::Mode { .. } | E::Length { .. }),
            12..16 => matches!(error, E::Length { .. }),
            _ => matches!(error, E::Signature),
        };
        assert!(right, "bit {bit}: {error}");
    }
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, E::Magic if length < 6) || matches!(error, E::Length { .. }),
            "{length}: {error}"
        );
    }
    assert!(matches!(read(&[bytes, vec![0]].concat()), Err(E::Length { .. })));
}

/// The device's key may be stolen, and a reader must outlive what is signed with it.
#[test]
fn forged_bytes_with_a_right_signature_never_panic() {
    let encryption = Encryption { wrapped: vec![vec![1; 40]], ..encryption() };
    let (manifest, bytes) = signed_by(&encryption, 1);
    for at in 9..bytes.len() - 96 {
        for value in [0x00, 0x01, 0x17, 0x18, 0x1b, 0x40, 0x5f, 0x7f, 0x9f, 0xa0, 0xbf, 0xff] {
            let mut forged = bytes[..bytes.len() - 96].to_vec();
            forged[at] = value;
            let forged = sign(forged, &encryption.device);
            if let Ok(read) = read(&forged) {
                assert_eq!(
                    (read.id, read.as_bytes()),
                    (manifest.id, forged.as_slice()),
                    "byte {at} = {value}"
                );
                let _ = read.open(&encryption.file_key);
            }
        }
    }
}

#[test]
fn a_manifest_signed_by_anybody_else_is_refused_whoever_they_are() {
    let (ours, theirs) = (encryption(), encryption());
    let (manifest, bytes) = signed_by(&ours, 1);
    let content = bytes[..bytes.len() - 96].to_vec();
    let error = read(&sign(content.clone(), &theirs.device)).unwrap_err();
    assert!(
        matches!(error, ManifestError::Uncertified { device } if device == theirs.device.device()),
        "{error}"
    );
    // Our name under their signature.
    let mut renamed = bytes.clone();
    renamed[content.len()..][..32].copy_from_slice(theirs.device.device().as_bytes());
    assert!(matches!(read(&renamed), Err(ManifestError::Signature)));
    let other_salt = with_public(&ours, &bytes, |public| public.salt = Some([8; 16].into()));
    assert!(matches!(read(&other_salt), Err(ManifestError::Uncertified { .. })));
    let other_id = with_public(&ours, &bytes, |public| public.id = [0x80; 16].into());
    assert!(matches!(read(&other_id), Err(ManifestError::Uncertified { .. })));
    let (_, their_bytes) = signed_by(&theirs, 1);
    let swapped = SealedManifest::from_bytes_of(manifest.id, &their_bytes);
    assert!(matches!(swapped, Err(ManifestError::OtherBackup { found }) if found == theirs.id()));
}

#[test]
fn no_part_of_a_backups_manifest_does_in_anothers() {
    let ours = encryption();
    let other = Encryption {
        device: DeviceKey::generate().0,
        salt: [9; 16],
        file_key: FileKey::random(),
        wrapped: vec![b"another".to_vec()],
        readers: Vec::new(),
    };
    let (_, bytes) = signed_by(&ours, 1);
    let (_, others) = signed_by(&other, 1);
    let others: Body = cbor::decode(&others[16..others.len() - 96]).unwrap();
    let open = |bytes: &[u8], key: &FileKey| read(bytes).unwrap().open(key);
    let swapped = forged(&ours, &bytes, |body| body.private = others.private.clone());
    for key in [&ours.file_key, &other.file_key] {
        assert!(matches!(open(&swapped, key), Err(ManifestError::WrongKey)));
    }
    let swapped = forged(&ours, &bytes, |body| body.public = others.public);
    assert!(matches!(read(&swapped), Err(ManifestError::Uncertified { .. })));
    // Wrapped keys of another backup lead to another key, and that opens nothing here.
    let swapped = forged(&ours, &bytes, |body| body.keys = others.keys);
    assert_eq!(read(&swapped).unwrap().wrapped(), other.wrapped);
    assert!(matches!(open(&swapped, &other.file_key), Err(ManifestError::WrongKey)));
    // The private part is bound to its public part: same sizes, other hashes, same key.
    let mixed = with_public(&ours, &bytes, |public| public.hashes[0] ^= 1);
    assert!(matches!(open(&mixed, &ours.file_key), Err(ManifestError::WrongKey)));
    let older = with_public(&ours, &bytes, |public| public.generation = Some(2));
    assert!(matches!(open(&older, &ours.file_key), Err(ManifestError::WrongKey)));
}

#[test]
fn what_only_one_kind_of_manifest_has_is_refused_in_the_other() {
    let ours = encryption();
    let (_, bytes) = signed_by(&ours, 1);
    let malformed = |bytes: Vec<u8>| assert!(matches!(read(&bytes), Err(ManifestError::Malformed { .. })));
    malformed(with_public(&ours, &bytes, |public| public.salt = None));
    malformed(with_public(&ours, &bytes, |public| public.generation = None));
    malformed(with_public(&ours, &bytes, |public| public.generation = Some(0)));
    malformed(forged(&ours, &bytes, |body| body.keys.clear()));
    malformed(forged(&ours, &bytes, |body| body.keys = vec![vec![1].into(); 3]));
    malformed(forged(&ours, &bytes, |body| body.keys = vec![vec![1; WRAPPED_BYTES_MAX + 1].into()]));
    let plain = |public: Public, keys| {
        let private = cbor::encode(&Private::from(&manifest(3, 2)));
        let body = cbor::encode(&Body { public: cbor::encode(&public), private, keys });
        seal([header(MODE_PLAIN, body.len()).as_slice(), &body].concat())
    };
    let public = || Public::from(&manifest(3, 2));
    assert!(read(&plain(public(), vec![])).is_ok());
    malformed(plain(public(), vec![vec![1].into()]));
    malformed(plain(public().signed([7; 16], 1), vec![]));
    malformed(plain(Public { generation: Some(1), ..public() }, vec![]));
}

/// Whoever cannot sign could otherwise put a plain manifest, over blocks of their own, in the place of the real one.
#[test]
fn a_plain_manifest_in_the_place_of_a_signed_one_is_refused_unless_somebody_insists() {
    let id = encryption().id();
    let bytes = Manifest { id, ..manifest(3, 2) }.to_bytes();
    let refused = SealedManifest::from_bytes_of(id, &bytes);
    assert!(matches!(refused, Err(ManifestError::Downgrade { id: found }) if found == id));
    assert!(Manifest::from_bytes_of(id, &bytes).is_ok());
    let plain = manifest(3, 2);
    let read = SealedManifest::from_bytes_of(plain.id, &plain.to_bytes()).unwrap();
    assert_eq!(read.plain(), Some(&plain));
    assert_eq!((read.signer(), read.generation()), (None, None));
}

#[test]
fn the_newest_generation_wins_wherever_the_stores_have_it() {
    let ours = encryption();
    let all: Vec<SealedManifest> = [2, 3, 1].iter().map(|&g| read(&signed_by(&ours, g).1).unwrap()).collect();
    let (second, third) = (&all[0], &all[1]);
    assert_eq!(newest(&all, None).unwrap(), Some(third));
    assert_eq!(newest([third, third, second], None).unwrap(), Some(third));
    assert_eq!(newest(iter::empty(), None).unwrap(), None);
    let seen = |generation, digest| Some(Remembered { generation, digest });
    assert_eq!(newest(&all, seen(3, third.digest())).unwrap(), Some(third));
    assert_eq!(newest(&all, seen(2, second.digest())).unwrap(), Some(third));
    let rollback = newest([second], seen(3, third.digest()));
    assert!(matches!(rollback, Err(ManifestError::Rollback { found: 2, seen: 3 })));
    // Same number, another record: one of both is what somebody wants us to take for the other.
    let other = read(&signed_by(&ours, 3).1).unwrap();
    assert_ne!(other.digest(), third.digest());
    for differ in [newest([third, &other], None), newest([&other], seen(3, third.digest()))] {
        assert!(matches!(differ, Err(ManifestError::Equivocation { generation: 3 })));
    }
    // A store that still has an older one is no reason to doubt.
    assert_eq!(newest([second, third], seen(1, second.digest())).unwrap(), Some(third));
}

#[test]
fn an_encryption_shows_nothing_of_its_keys() {
    let file_key = FileKey::from_bytes(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let encryption = Encryption { file_key, ..encryption() };
    let shown = format!("{encryption:?} {:?}", crate::journal::Keys::of(&encryption));
    assert!(!shown.contains("65, 65") && !shown.contains("AAAA") && shown.contains("DeviceKey("), "{shown}");
    let device: Device = encryption.device.device();
    assert!(shown.contains(&device.to_string()));
}
