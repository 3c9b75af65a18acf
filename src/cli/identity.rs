//! `tanner key new`, `recipients`, `inspect` and `export`: who can read backups.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tanner_transports::TransportError;

use super::encryption::{
    EncryptArgs, IdentityArgs, PassphraseArgs, Readers, device_key_file, identity_file, make_identity,
    read_text,
};
use super::keyring::Keyring;
use super::memory::Memory;
use super::{Context, Outcome};
use crate::crypto::{CryptoError, Device, DeviceKey, IdentityFile, ReadKey, Recipients, TrustedDevices};
use crate::error::{Error, SealedError};
use crate::fetch::{chain, no_such_backup, read_manifest};
use crate::id::BackupId;
use crate::manifest::{SealedManifest, newest};
use crate::store::Store;

#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// The file to write; the default is $TANNER_IDENTITY_FILE or tanner/identity.txt in the directory for settings
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Args, Debug)]
pub(super) struct RecipientsArgs {
    /// A file with age identities; without it, those that a backup with the same arguments would be encrypted for
    file: Option<PathBuf>,

    #[command(flatten)]
    encrypt: EncryptArgs,
}

#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// A file of keys
    file: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The backup's id
    id: String,

    /// A store; repeat for more
    #[arg(long = "from", value_name = "URL")]
    from: Vec<String>,

    /// The file to write: whoever has it can read this backup, and no other
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    identity: IdentityArgs,
}

pub(super) fn new(context: &Context, args: &NewArgs) -> Result<Outcome, Error> {
    let path = args.file.clone().unwrap_or_else(identity_file);
    let (identity, recipients_file) = make_identity(&path, args.passphrase.read()?.as_ref())?;
    let recipients: Vec<String> = identity.recipients().iter().collect();
    recipients.iter().for_each(|recipient| context.output.result(recipient));
    context.output.say(&format!(
        "made an identity in {}: whoever has it can read what is backed up for it, and without it nobody can: keep a copy \
         of it elsewhere",
        path.display()
    ));
    if let Some(file) = &recipients_file {
        context.output.say(&format!("backups will be encrypted for it: it is in {}", file.display()));
    }
    Ok(Outcome {
        code: 0,
        summary: json!({
            "file": path.to_string_lossy(),
            "recipients": recipients,
            "devices": texts(identity.devices()),
            "recipients_file": recipients_file.map(|file| file.to_string_lossy().into_owned()),
        }),
    })
}

pub(super) fn recipients(context: &Context, args: &RecipientsArgs) -> Result<Outcome, Error> {
    let (recipients, from) = match &args.file {
        Some(path) => {
            let passphrase = args.encrypt.passphrase.read()?;
            (IdentityFile::read(path, passphrase.as_ref())?.recipients(), Some(path.clone()))
        }
        None => match args.encrypt.readers()? {
            Readers::These(recipients, from) => (recipients, from),
            Readers::Everybody => {
                context.output.say("a backup would not be encrypted: everybody could read it");
                (Recipients::default(), None)
            }
            Readers::Unsaid => {
                context
                    .output
                    .say("nobody yet: the first backup makes an identity, or do so with `tanner key new`");
                (Recipients::default(), None)
            }
        },
    };
    let keys: Vec<String> = recipients.iter().collect();
    keys.iter().for_each(|key| context.output.result(key));
    if recipients.has_passphrase() {
        context.output.say("and whoever knows the passphrase");
    }
    Ok(Outcome {
        code: 0,
        summary: json!({
            "recipients": keys,
            "passphrase": recipients.has_passphrase(),
            "from": from.map(|path| path.to_string_lossy().into_owned()),
        }),
    })
}

pub(super) fn inspect(context: &Context, args: &InspectArgs) -> Result<Outcome, Error> {
    let path = &args.file;
    let mut found = describe(path, args)?;
    let mode = path.metadata().map(|meta| meta.mode() & 0o777);
    let mode = mode.map_err(|source| CryptoError::Read { path: path.clone(), source })?;
    found["mode"] = json!(format!("{mode:03o}"));
    let fields = found.as_object().into_iter().flatten();
    for (name, value) in fields {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values.iter().filter_map(Value::as_str) {
            context.output.result(&format!("{name:<10} {value}"));
        }
    }
    Ok(Outcome { code: 0, summary: found })
}

/// What kind of file it is, and what of it is no secret.
fn describe(path: &Path, args: &InspectArgs) -> Result<Value, Error> {
    // Bytes that are no text are an encrypted identity, or nothing that is known here.
    let text = zeroize::Zeroizing::new(match read_text(path) {
        Err(CryptoError::Read { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            String::new()
        }
        text => text?,
    });
    let said = |prefix: &str| text.lines().any(|line| line.starts_with(prefix));
    if said("age1") {
        let mut recipients = Recipients::default();
        recipients.add_file(path, &text)?;
        Ok(json!({ "kind": "recipients", "recipients": recipients.iter().collect::<Vec<_>>() }))
    } else if said("tanner-device1") {
        let devices: Vec<Device> = TrustedDevices::parse(path, &text)?.iter().copied().collect();
        Ok(json!({ "kind": "devices", "devices": texts(&devices) }))
    } else if said("tanner-read1") {
        let key = ReadKey::read(path)?;
        Ok(json!({ "kind": "read key", "id": key.id().to_string(), "devices": texts(&[key.device()]) }))
    } else if said("-----BEGIN PRIVATE KEY-----") {
        Ok(json!({ "kind": "device key", "devices": texts(&[DeviceKey::load(path)?.device()]) }))
    } else {
        let identity = IdentityFile::read(path, args.passphrase.read()?.as_ref())?;
        let recipients: Vec<String> = identity.recipients().iter().collect();
        Ok(json!({ "kind": "identity", "recipients": recipients, "devices": texts(identity.devices()) }))
    }
}

pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<Outcome, Error> {
    let id: BackupId = args.id.parse()?;
    let stores = Store::open_all(&context.registry, &args.from, "--from")?;
    let keyring = Keyring::read(&args.identity)?;
    let manifest = find(context, id, &stores).await?;
    let sealed = |source| Error::Sealed { id, source };
    let signer = manifest.signer().ok_or_else(|| sealed(SealedError::Plain))?;
    // A key that opens nothing is not worth giving away.
    let key = keyring.key_of(&manifest).map_err(sealed)?;
    ReadKey::new(id, key, signer).create(&args.output)?;
    let output = &args.output;
    context.output.say(&format!(
        "{} reads backup {id}, and no other: `tanner restore {id} --read-key FILE`",
        output.display()
    ));
    Ok(Outcome {
        code: 0,
        summary: json!({ "id": id.to_string(), "file": output.to_string_lossy(), "device": signer.to_string() }),
    })
}

/// The newest manifest that the stores have of a backup.
async fn find(context: &Context, id: BackupId, stores: &[Store]) -> Result<SealedManifest, Error> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for store in stores {
        let trouble = match read_manifest(store, id).await {
            Ok(bytes) => match SealedManifest::from_bytes_of(id, &bytes) {
                Ok(manifest) => {
                    found.push(manifest);
                    continue;
                }
                Err(error) => format!("the manifest in {} cannot be read: {error}", store.url()),
            },
            Err(TransportError::Missing { at }) if at.name.is_some() => continue,
            Err(error) => chain(&error),
        };
        context.output.say(&trouble);
        wrong.push(trouble);
    }
    let mut memory = Memory::read()?;
    let signed =
        newest(&found, memory.seen.of(id)).map_err(|error| Error::Sealed { id, source: error.into() })?;
    let signed = signed.cloned().inspect(|manifest| memory.observe(manifest));
    match signed.or_else(|| found.pop()) {
        Some(manifest) => Ok(manifest),
        None if wrong.is_empty() => Err(no_such_backup(id, stores)),
        None => Err(Error::NoManifest { id, what: wrong.join("; ") }),
    }
}

pub(super) fn device(context: &Context) -> Result<Outcome, Error> {
    let (key, made) = super::encryption::device_key()?;
    let (device, path) = (key.device().to_string(), device_key_file());
    context.output.result(&device);
    if made {
        context.output.say(&format!("made a key for this device in {}: keep it to yourself", path.display()));
    }
    Ok(Outcome {
        code: 0,
        summary: json!({ "device": device, "file": path.to_string_lossy(), "made": made }),
    })
}

fn texts(devices: &[Device]) -> Vec<String> {
    devices.iter().map(ToString::to_string).collect()
}
