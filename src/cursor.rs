//! Which copies of blocks were read and found right, and when: what a scrub leaves to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::id::BackupId;

/// Copies that were found right, by backup, store and time, in seconds since 1970. About 10 bytes for each copy, here and
/// in the file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    backup: BTreeMap<String, BTreeMap<String, BTreeMap<u64, BTreeSet<u32>>>>,
}

impl Cursor {
    /// What is in a file. What cannot be read says nothing: then everything is read again, and that is never wrong.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        read_state(path)
    }

    /// When a copy was last found right; none if it never was, or after `now`, which no clock that is right says.
    #[must_use]
    pub fn last(&self, id: BackupId, store: &str, block: usize, now: u64) -> Option<u64> {
        let times = self.backup.get(&id.to_string())?.get(store)?;
        let block = u32::try_from(block).ok()?;
        times.range(..=now).rev().find(|(_, blocks)| blocks.contains(&block)).map(|(&time, _)| time)
    }

    /// A copy was found right.
    pub fn note(&mut self, id: BackupId, store: &str, block: usize, now: u64) {
        let Ok(number) = u32::try_from(block) else { return };
        self.clear(id, store, block);
        let stores = self.backup.entry(id.to_string()).or_default();
        stores.entry(store.to_owned()).or_default().entry(now).or_default().insert(number);
    }

    /// A copy was not: nothing of the past speaks for it.
    pub fn clear(&mut self, id: BackupId, store: &str, block: usize) {
        let times = self.backup.get_mut(&id.to_string()).and_then(|stores| stores.get_mut(store));
        let (Some(times), Ok(block)) = (times, u32::try_from(block)) else { return };
        times.retain(|_, blocks| {
            blocks.remove(&block);
            !blocks.is_empty()
        });
    }

    /// Forgets all backups but these.
    pub fn retain(&mut self, ids: &BTreeSet<BackupId>) {
        self.backup.retain(|id, _| id.parse().is_ok_and(|id| ids.contains(&id)));
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_state(self, path)
    }
}

/// What a file of state says; nothing, if it cannot be read.
pub(crate) fn read_state<T: DeserializeOwned + Default>(path: &Path) -> T {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(CURSOR_BYTES_MAX).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Replaces a file of state, which is for its owner alone.
pub(crate) fn write_state(state: &impl Serialize, path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(serde_json::to_string(state)?.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// More is not read: some twenty million copies.
const CURSOR_BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Cursor;
    use crate::id::BackupId;

    #[test]
    fn the_last_time_of_each_copy_is_remembered_and_no_time_to_come() {
        let place = tempfile::tempdir().unwrap();
        let (path, id) = (place.path().join("scrub.json"), BackupId::from_bytes([7; 16]));
        let mut cursor = Cursor::read(&path);
        cursor.note(id, "file:///a", 3, 100);
        cursor.note(id, "file:///a", 4, 100);
        cursor.note(id, "file:///a", 3, 200);
        cursor.write(&path).unwrap();
        let mut cursor = Cursor::read(&path);
        let last = |cursor: &Cursor, block| cursor.last(id, "file:///a", block, 1000);
        assert_eq!((last(&cursor, 3), last(&cursor, 4), last(&cursor, 5)), (Some(200), Some(100), None));
        assert_eq!(cursor.last(id, "file:///b", 3, 1000), None);
        assert_eq!(cursor.last(id, "file:///a", 3, 199), None, "a clock that was set back proves nothing");
        cursor.clear(id, "file:///a", 3);
        assert_eq!(last(&cursor, 3), None);
        cursor.retain(&BTreeSet::new());
        assert_eq!(cursor, Cursor::default());
    }

    /// Damage would be believed to be checked.
    #[test]
    fn a_cursor_that_cannot_be_read_is_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("scrub.json");
        for wrong in ["", "nonsense", "{\"backup\":{\"a\":7}}", "{\"backup\":{},\"more\":1}"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(Cursor::read(&path), Cursor::default(), "{wrong}");
        }
    }
}
