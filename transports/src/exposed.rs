//! Who else can use a file of secrets.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode of an opened file of secrets, if others than its owner can use it. Where systemd passes credentials to a unit
/// (`$CREDENTIALS_DIRECTORY`) the group's bits stand for the unit's own user, who may read. A pipe or descriptor has no
/// others.
pub fn exposed_mode(path: &Path, meta: &Metadata) -> Option<u32> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    let others = if credentials.is_some_and(|directory| path.starts_with(directory)) { 0o037 } else { 0o077 };
    (meta.is_file() && meta.mode() & others != 0).then(|| meta.mode() & 0o777)
}
