//! Everything that reads bytes of a stranger, or of a disk that may lie, each as a function of these bytes. It may refuse
//! them, and must not panic; and what it takes must be what it would write.
//!
//! The tests of hostile inputs and the fuzzers share these.

use std::cell::LazyCell;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::{Bytes, BytesMut};
use tanner::crypto::{
    Device, DeviceKey, Identities, IdentityFile, Passphrase, ReadKey, Recipients, TrustedDevices,
};
use tanner::{BackupId, Manifest, SealedManifest, Seen, chain, cli::inputs};
use tanner_transports::net::{DeleteToken, IdentityError, Pin, TokenHash};
use tanner_transports::wire::{Answer, Header, Request};
use tanner_transports::{ObjectName, Registry, Target, Timetable};

/// What is wrong with bytes, in words.
pub type Read = Result<(), String>;

/// A reader, by its name.
pub type Reader = (&'static str, fn(&[u8]) -> Read);

/// All readers.
pub const READERS: &[Reader] = &[
    ("manifest", manifest),
    ("wrapped key", wrapped_key),
    ("frame to a server", frames_to_a_server),
    ("frame to a client", frames_to_a_client),
    ("object name", object_name),
    ("listed prefix", listed_prefix),
    ("backup id", backup_id),
    ("store url", store_url),
    ("identity file", identity_file),
    ("recipients file", recipients_file),
    ("devices file", devices_file),
    ("device key file", device_key_file),
    ("read key file", read_key_file),
    ("passphrase file", passphrase_file),
    ("delete token file", delete_token_file),
    ("token hash", token_hash),
    ("pin", pin),
    ("timetable", timetable),
    ("journal", journal),
    ("seen file", seen_file),
    ("settings file", settings_file),
    ("clients file", clients_file),
];

/// A manifest under the id that it claims itself, if it can be found in it, opened with the keys of the golden backups.
pub fn manifest(bytes: &[u8]) -> Read {
    let manifest = SealedManifest::from_bytes(bytes).map_err(words)?;
    manifest_of(manifest.id, bytes)
}

/// A manifest that was found under this id.
pub fn manifest_of(id: BackupId, bytes: &[u8]) -> Read {
    let manifest = SealedManifest::from_bytes_of(id, bytes).map_err(words)?;
    assert_eq!((manifest.id, manifest.as_bytes()), (id, bytes));
    assert_eq!(manifest.hashes.len(), manifest.geometry.profile().blocks());
    let opened = match manifest.plain() {
        Some(plain) => plain.clone(),
        None => {
            let key = HOLDER.with(|holder| holder.file_key(id, manifest.wrapped())).map_err(words)?;
            manifest.open(&key).map_err(words)?
        }
    };
    if manifest.signer().is_none() {
        assert_eq!(opened.to_bytes(), bytes, "it has another form");
        assert_eq!(Manifest::from_bytes(bytes).map_err(words)?, opened);
    }
    Ok(())
}

/// The same with its lengths, seal or signature put right: what the author of a manifest can do, and who has stolen a
/// device's key.
pub fn resealed_manifest(bytes: &[u8]) -> Read {
    let Some((header, rest)) = bytes.split_first_chunk::<16>() else { return manifest(bytes) };
    let mut header = *header;
    header[8] %= 2;
    header[..8].copy_from_slice(b"tanner\x01\0");
    let trailer = if header[8] == 0 { 32 } else { 96 };
    let body = &rest[..rest.len().saturating_sub(trailer)];
    header[12..].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let content = [header.as_slice(), body].concat();
    manifest(&if header[8] == 0 { sealed(content) } else { signed(content, &DEVICE) })
}

/// Header and body with the seal of a plain manifest.
pub fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let seal = blake3::hash(&content);
    content.extend(seal.as_bytes());
    content
}

/// Header and body with a device and its signature.
pub fn signed(mut content: Vec<u8>, device: &Ed25519KeyPair) -> Vec<u8> {
    content.extend(device.public_key().as_ref());
    let signature = device.sign(&[b"tanner signed manifest 1", content.as_slice()].concat());
    content.extend(signature.as_ref());
    content
}

pub fn wrapped_key(bytes: &[u8]) -> Read {
    let id = BackupId::from_bytes([0x80; 16]);
    HOLDER.with(|holder| holder.file_key(id, &[bytes.to_vec()])).map(drop).map_err(words)
}

pub fn frames_to_a_server(bytes: &[u8]) -> Read {
    frames(bytes, |kind, payload| {
        let request = Request::decode(kind, payload).map_err(words)?;
        Ok(move |out: &mut BytesMut| request.encode(out))
    })
}

pub fn frames_to_a_client(bytes: &[u8]) -> Read {
    frames(bytes, |kind, payload| {
        let answer = Answer::decode(kind, payload).map_err(words)?;
        if let Answer::Error(refusal) = &answer {
            let error = refusal.clone().into_error(&Target::store("tcp://host:1"));
            // Its own words; `Debug` may have anything.
            assert!(!chain(&error).contains(|c: char| c.is_control()), "{error:?}");
        }
        Ok(move |out: &mut BytesMut| answer.encode(out))
    })
}

/// Frame by frame, as a lane reads them; a last one that is cut off is what a lane waits for.
fn frames<E: FnOnce(&mut BytesMut)>(
    bytes: &[u8],
    decode: impl Fn(tanner_transports::wire::Kind, Bytes) -> Result<E, String>,
) -> Read {
    let mut rest = Bytes::copy_from_slice(bytes);
    while let Some(header) = rest.first_chunk::<{ Header::BYTES }>() {
        let header = Header::decode(*header).map_err(words)?;
        if rest.len() < Header::BYTES + header.length {
            return Err("the end of the lane within a frame".into());
        }
        let frame = rest.split_to(Header::BYTES + header.length);
        let encode = decode(header.kind, frame.slice(Header::BYTES..))?;
        let mut out = BytesMut::new();
        encode(&mut out);
        // What was said is cleaned, and two bytes of a welcome are for later versions.
        let is_lossy = [0x81, 0x88].contains(&frame[0]);
        assert!(is_lossy || out == frame, "{frame:?} is written {out:?}");
    }
    if rest.is_empty() { Ok(()) } else { Err("the end of the lane within a header".into()) }
}

pub fn object_name(bytes: &[u8]) -> Read {
    let name = ObjectName::new(text(bytes)?).map_err(words)?;
    let parts = [name.prefix().unwrap_or("x"), name.part()];
    let is_safe = |part: &str| {
        Path::new(part).components().count() == 1 && !part.starts_with('.') && !part.contains(['/', '\0'])
    };
    assert!(parts.into_iter().all(is_safe), "{name}");
    Ok(())
}

pub fn listed_prefix(bytes: &[u8]) -> Read {
    ObjectName::check_prefix(text(bytes)?).map_err(words)
}

pub fn backup_id(bytes: &[u8]) -> Read {
    let id: BackupId = text(bytes)?.parse().map_err(words)?;
    assert_eq!(id.to_string().as_bytes(), bytes);
    Ok(())
}

/// A store's URL, with what the program opens; programs are not started, and nobody is called.
pub fn store_url(bytes: &[u8]) -> Read {
    let mut registry = Registry::lasting();
    let nobody = || Err(IdentityError::NoKey { path: "node.pem".into() });
    tanner_transports::net::register(&mut registry, nobody, |_| None);
    registry.register_limit(Arc::new(|| 0));
    registry.open(text(bytes)?).map(drop).map_err(words)
}

pub fn identity_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| IdentityFile::read(path, Some(&PASSPHRASE)).map(drop).map_err(words))
}

pub fn recipients_file(bytes: &[u8]) -> Read {
    let mut recipients = Recipients::default();
    recipients.add_file(Path::new("recipients.txt"), text(bytes)?).map_err(words)?;
    let written: String = recipients.iter().map(|recipient| recipient + "\n").collect();
    let mut again = Recipients::default();
    again.add_file(Path::new("again"), &written).map_err(words)?;
    assert!(again.iter().eq(recipients.iter()));
    Ok(())
}

pub fn devices_file(bytes: &[u8]) -> Read {
    let devices = TrustedDevices::parse(Path::new("devices.txt"), text(bytes)?).map_err(words)?;
    for device in devices.iter() {
        assert_eq!(device.to_string().parse::<Device>().map_err(words)?, *device);
    }
    Ok(())
}

pub fn device_key_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| DeviceKey::load(path).map(drop).map_err(words))
}

pub fn read_key_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| ReadKey::read(path).map(drop).map_err(words))
}

pub fn passphrase_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| Passphrase::read(path).map(drop).map_err(words))
}

pub fn delete_token_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| DeleteToken::load(path).map(drop).map_err(words))
}

pub fn token_hash(bytes: &[u8]) -> Read {
    text(bytes)?.parse::<TokenHash>().map(drop).map_err(words)
}

pub fn pin(bytes: &[u8]) -> Read {
    text(bytes)?.parse::<Pin>().map(drop).map_err(words)
}

pub fn timetable(bytes: &[u8]) -> Read {
    let timetable: Timetable = text(bytes)?.parse().map_err(words)?;
    assert_eq!(timetable.to_string().parse::<Timetable>().map_err(words)?, timetable);
    Ok(())
}

pub fn journal(bytes: &[u8]) -> Read {
    inputs::journal(bytes).map_err(words)
}

pub fn seen_file(bytes: &[u8]) -> Read {
    in_file(bytes, |path| {
        let seen = Seen::read(path).map_err(words)?;
        seen.clone().write(path).map_err(words)?;
        assert_eq!(Seen::read(path).map_err(words)?, seen);
        Ok(())
    })
}

pub fn settings_file(bytes: &[u8]) -> Read {
    inputs::settings_file(text(bytes)?).map_err(words)
}

pub fn clients_file(bytes: &[u8]) -> Read {
    inputs::clients_file(text(bytes)?).map_err(words)
}

fn words<E: Error>(error: E) -> String {
    chain(&error)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(words)
}

/// In a file for its owner alone, one of each thread's.
fn in_file(bytes: &[u8], read: impl FnOnce(&Path) -> Read) -> Read {
    thread_local! {
        static PLACE: tempfile::TempDir = tempfile::tempdir_in(fast()).expect("there is room for a directory");
    }
    PLACE.with(|place| read(&own_file(place.path(), "file", bytes)))
}

pub fn own_file(place: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.join(name);
    fs::write(&path, bytes).expect("there is room for a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// A directory in memory, where there is one.
pub fn fast() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// The device that signed the golden backup.
pub static DEVICE: LazyLock<Ed25519KeyPair> = LazyLock::new(|| {
    let pem = pem::parse(include_str!("../golden/keys/device.pem")).expect("it is a golden file");
    Ed25519KeyPair::from_pkcs8(pem.contents()).expect("it is a golden file")
});

static PASSPHRASE: LazyLock<Passphrase> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let bytes = include_bytes!("../golden/keys/passphrase.txt");
    Passphrase::read(&own_file(place.path(), "passphrase", bytes)).expect("it is a golden file")
});

thread_local! {
    /// Who can read the golden backup.
    static HOLDER: LazyCell<Identities> = const { LazyCell::new(|| {
        let place = tempfile::tempdir().expect("there is room for a directory");
        let bytes = include_bytes!("../golden/keys/identity.txt");
        let file = IdentityFile::read(&own_file(place.path(), "identity", bytes), None);
        let mut holder = Identities::default();
        holder.add_file(file.expect("it is a golden file"));
        holder.set_passphrase(PASSPHRASE.clone());
        holder
    }) };
}
