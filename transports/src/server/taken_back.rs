//! What a client's key alone may delete: what a failed or killed backup left.

use std::collections::HashSet;
use std::io;

use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{ObjectName, Result, Target, Transport, TransportError};

/// The prefixes of which something was taken back. Written to only where no manifest is being committed.
#[derive(Debug, Default)]
pub(super) struct TakenBack(RwLock<HashSet<Box<str>>>);

impl TakenBack {
    /// Allows an object to be deleted because its backup has no manifest, and notes that it is never to have one.
    ///
    /// Whoever stole the key that allows this must not get at a finished backup. So
    /// * a manifest is never deleted, and nothing beside one: a backup is finished once its manifest is there;
    /// * an object without a prefix belongs to no backup, and stays;
    /// * a backup of which something was taken back can never be finished: its manifest is refused from then on, or the
    ///   thief would delete blocks of a backup under way, whose manifest then promised what is gone. That backup fails,
    ///   and says so; as it would where the thief fills the quota;
    /// * between the look for a manifest and the note that there is to be none, no manifest is committed, whoever began to
    ///   put it and when: who commits one holds the other side of the lock, and looks at the note under it.
    ///
    /// The notes do not outlive the server. Where it is restarted between a thief's call and the manifest, nothing but
    /// the trash has the block.
    pub(super) async fn note(&self, store: &dyn Transport, name: &ObjectName) -> Result<()> {
        let refused = |why| Err(denied(Target::object(store.url(), name), why));
        let Some(prefix) = name.prefix() else { return refused(NEEDS_TOKEN) };
        let mut taken_back = self.0.write().await;
        let manifest = match ObjectName::new(format!("{prefix}/{MANIFEST}")) {
            Ok(manifest) => store.stat(&manifest).await,
            // The prefix is so long that no manifest has it.
            Err(error) => Err(error.into()),
        };
        match manifest {
            Err(TransportError::Missing { .. } | TransportError::BadName(_)) => {}
            Ok(_) => return refused(NEEDS_TOKEN),
            // Not knowing is no permission.
            Err(error) => return Err(error),
        }
        if taken_back.len() == TAKEN_BACK_MAX && !taken_back.contains(prefix) {
            return refused(TOO_MANY);
        }
        taken_back.insert(prefix.into());
        Ok(())
    }

    /// Keeps notes from being made while this object is committed, if it is a manifest, or says why it is to be none.
    pub(super) async fn committing(
        &self,
        store: &dyn Transport,
        name: &ObjectName,
    ) -> Result<Option<RwLockReadGuard<'_, HashSet<Box<str>>>>> {
        let Some(prefix) = name.prefix().filter(|_| name.part() == MANIFEST) else { return Ok(None) };
        let taken_back = self.0.read().await;
        if taken_back.contains(prefix) {
            return Err(denied(Target::object(store.url(), name), WAS_TAKEN_BACK));
        }
        Ok(Some(taken_back))
    }
}

/// A no that stays one.
pub(super) fn denied(at: Target, why: &'static str) -> TransportError {
    TransportError::Refused { at, source: io::Error::new(io::ErrorKind::PermissionDenied, why) }
}

/// The object that makes a backup of the others with its prefix.
const MANIFEST: &str = "manifest";
/// Backups of which something was taken back, at about 200 bytes of memory each.
const TAKEN_BACK_MAX: usize = 65_536;
const NEEDS_TOKEN: &str = "this client may only add, and take back what belongs to no finished backup: to delete more, make \
                           a token with `tanner key token`, have its hash added to the server's file of clients, and \
                           give the file in TANNER_DELETE_TOKEN_FILE or as delete_token_file of the store";
const WAS_TAKEN_BACK: &str = "objects of this backup were deleted before it was finished: take a new backup";
const TOO_MANY: &str = "too many unfinished backups were taken back since the server began: restart it";
