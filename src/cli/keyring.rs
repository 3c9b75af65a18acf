//! Keys at work: what a new backup is encrypted with, and how one that was found is opened.

use super::Context;
use super::encryption::{EncryptArgs, IdentityArgs, Readers, device_key, identity_file, make_identity};
use super::memory::Memory;
use crate::crypto::{Encryption, FileKey, Identities, TrustedDevices};
use crate::error::{Error, SealedError};
use crate::fetch::{Found, chain};
use crate::manifest::SealedManifest;
use crate::unfinished::Resumable;

/// What to encrypt a backup with; none if everybody is to read it. Whoever never said who is to read their backups gets an
/// identity.
pub(super) fn encryption(
    context: &Context,
    args: &EncryptArgs,
    resumable: Option<&Resumable>,
) -> Result<Option<Encryption>, Error> {
    let recipients = match args.readers()? {
        Readers::Everybody => return Ok(None),
        Readers::These(recipients, _) => recipients,
        Readers::Unsaid => {
            let path = identity_file();
            let (identity, _) = make_identity(&path, None)?;
            context.output.say(&format!(
                "made an identity in {}: without it nobody can read this backup, nor those that follow: keep a copy of it \
                 elsewhere",
                path.display()
            ));
            identity.recipients()
        }
    };
    let (device, _) = device_key()?;
    match resumable {
        Some(resumable) => resumable.encryption(device, &recipients).map(Some),
        None => Ok(Some(Encryption::begin(device, &recipients)?)),
    }
}

/// What backups are opened with, and whose signatures are taken.
pub(super) struct Keyring {
    identities: Identities,
    trusted: TrustedDevices,
}

impl Keyring {
    pub(super) fn read(args: &IdentityArgs) -> Result<Self, Error> {
        let (identities, trusted) = args.read()?;
        Ok(Self { identities, trusted })
    }

    /// The key of a signed backup.
    pub(super) fn key_of(&self, manifest: &SealedManifest) -> Result<FileKey, SealedError> {
        let signer = manifest.signer().ok_or(SealedError::Plain)?;
        self.trusted.check(signer)?;
        let key = self.identities.file_key(manifest.id, manifest.wrapped())?;
        // One that opens nothing is none.
        manifest.open(&key)?;
        Ok(key)
    }
}

/// Opens a backup, if there is anything to open.
pub(super) fn unlock(found: &mut Found, args: &IdentityArgs) -> Result<(), Error> {
    if found.opened().is_some() {
        return Ok(());
    }
    let keyring = Keyring::read(args)?;
    let id = found.manifest.id;
    let unlocked = keyring.key_of(&found.manifest).and_then(|key| Ok(found.unlock(&key)?));
    unlocked.map_err(|source| Error::Sealed { id, source })
}

/// Opens a backup if that can be done, for commands that only know better then where its blocks were placed.
pub(super) fn unlock_if_possible(context: &Context, found: &mut Found, args: &IdentityArgs) {
    if let Err(error) = unlock(found, args) {
        let id = found.manifest.id;
        context.output.say(&format!("where the blocks of {id} were placed is not known: {}", chain(&error)));
    }
}

/// Holds a signed backup against what was seen of it before, and remembers it.
pub(super) fn remember(found: &Found) -> Result<(), Error> {
    if found.manifest.signer().is_none() {
        return Ok(());
    }
    let mut memory = Memory::read()?;
    memory.check(&found.manifest)?;
    memory.observe(&found.manifest);
    Ok(())
}

/// Why a backup stays closed to whoever has no key for it, for commands that say less then.
pub(super) fn unless_closed(opened: Result<(), Error>) -> Result<Option<String>, Error> {
    match opened {
        Ok(()) => Ok(None),
        Err(Error::Sealed { source, .. }) if source.is_closed() => Ok(Some(chain(&source))),
        Err(Error::Crypto(error)) if error.is_wrong_key() => Ok(Some(chain(&error))),
        Err(error) => Err(error),
    }
}
