//! What was seen of signed backups, from one run to the next.

use std::path::PathBuf;

use super::node::make_directory;
use super::state::state_directory;
use crate::error::Error;
use crate::manifest::{SealedManifest, newest};
use crate::seen::Seen;

/// What was seen, and where that is kept; nowhere if the user has no directory for it.
pub(super) struct Memory {
    pub(super) seen: Seen,
    path: Option<PathBuf>,
}

impl Memory {
    /// As it was left.
    pub(super) fn read() -> Result<Self, Error> {
        let path = state_directory().map(|directory| directory.join("seen.json"));
        let seen = path.as_deref().map_or_else(|| Ok(Seen::default()), Seen::read);
        let seen = seen.map_err(|source| Error::Seen { path: path.clone().unwrap_or_default(), source })?;
        Ok(Self { seen, path })
    }

    /// Refuses a manifest if it is older than what was seen, or another.
    pub(super) fn check(&self, manifest: &SealedManifest) -> Result<(), Error> {
        let id = manifest.id;
        let checked = newest([manifest], self.seen.of(id)).map(|_| ());
        checked.map_err(|source| Error::Sealed { id, source: source.into() })
    }

    /// Takes in a manifest that was taken for the newest. A machine that can write nothing remembers nothing.
    pub(super) fn observe(&mut self, manifest: &SealedManifest) {
        self.seen.observe(manifest);
        if let Some(path) = &self.path {
            let _ = make_directory(path).and_then(|()| self.seen.clone().write(path));
        }
    }
}
