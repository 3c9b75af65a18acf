//! What was seen of signed backups before, so that no store can pass off an old record for the newest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use blake3::Hash;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::id::BackupId;
use crate::manifest::{Remembered, SealedManifest};

/// The highest generation that was seen of each backup. Writing it is best effort; but what cannot be read back right is
/// an error, as forgetting is what a lying store would want.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen(BTreeMap<BackupId, Remembered>);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    backup: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    generation: u64,
    blake3: String,
}

impl Seen {
    /// What is in a file; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is not what [`Self::write`] writes.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file?,
        };
        let mut text = String::new();
        file.take(SEEN_BYTES_MAX).read_to_string(&mut text)?;
        let text: Text = serde_json::from_str(&text)?;
        let entry = |(id, entry): (String, Entry)| {
            let shown = || id.chars().take(ID_CHARS_SHOWN).collect::<String>();
            let what = || format!("nothing is like this seen of {:?}", shown());
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, what());
            let known: BackupId = id.parse().map_err(|_| wrong())?;
            let digest = Hash::from_hex(&entry.blake3).map_err(|_| wrong())?;
            let sound = entry.generation > 0 && digest.to_string() == entry.blake3;
            let remembered = Remembered { generation: entry.generation, digest };
            if sound { Ok((known, remembered)) } else { Err(wrong()) }
        };
        Ok(Self(text.backup.into_iter().map(entry).collect::<io::Result<_>>()?))
    }

    /// What was seen of a backup.
    #[must_use]
    pub fn of(&self, id: BackupId) -> Option<Remembered> {
        self.0.get(&id).copied()
    }

    /// Takes in a manifest that was taken for the newest.
    pub fn observe(&mut self, manifest: &SealedManifest) {
        if let Some(generation) = manifest.generation() {
            self.take_in(manifest.id, Remembered { generation, digest: manifest.digest() });
        }
    }

    /// Replaces the file, with what others wrote to it meanwhile.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn write(mut self, path: &Path) -> io::Result<()> {
        Self::read(path)?.0.into_iter().for_each(|(id, seen)| self.take_in(id, seen));
        while self.0.len() > SEEN_MAX {
            // Below the first generation is nothing that a store could roll back to.
            let lowest = self.0.iter().min_by_key(|(_, seen)| seen.generation).map(|(id, _)| *id);
            lowest.map(|id| self.0.remove(&id));
        }
        let entry = |(id, seen): (BackupId, Remembered)| {
            (id.to_string(), Entry { generation: seen.generation, blake3: seen.digest.to_string() })
        };
        let text = Text { backup: self.0.into_iter().map(entry).collect() };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        file.write_all(serde_json::to_string_pretty(&text)?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn take_in(&mut self, id: BackupId, seen: Remembered) {
        let known = self.0.entry(id).or_insert(seen);
        if seen.generation > known.generation {
            *known = seen;
        }
    }
}

/// Backups that are remembered: at most 12 MiB in the file, and less in memory.
const SEEN_MAX: usize = 65_536;
/// Enough to find an entry by.
const ID_CHARS_SHOWN: usize = 80;
/// More is not read, and then nothing is.
const SEEN_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn remembered(generation: u64) -> Remembered {
        Remembered { generation, digest: blake3::hash(&generation.to_le_bytes()) }
    }

    fn id(number: usize) -> BackupId {
        BackupId::from_bytes((number as u128).to_be_bytes())
    }

    #[test]
    fn the_highest_generation_is_remembered_whoever_saw_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("seen.json");
        assert_eq!(Seen::read(&path).unwrap(), Seen::default());
        let (mut one, mut two) = (Seen::default(), Seen::default());
        one.take_in(id(1), remembered(3));
        one.take_in(id(1), remembered(2));
        one.take_in(id(2), remembered(1));
        two.take_in(id(1), remembered(1));
        two.take_in(id(2), remembered(5));
        one.write(&path).unwrap();
        two.write(&path).unwrap();
        let seen = Seen::read(&path).unwrap();
        assert_eq!(seen.of(id(1)), Some(remembered(3)));
        assert_eq!(seen.of(id(2)), Some(remembered(5)));
        assert_eq!(seen.of(id(3)), None);
    }

    #[test]
    fn what_cannot_be_read_back_right_is_not_taken_for_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("seen.json");
        let hash = remembered(1).digest.to_string();
        let with = |id: &str, generation: &str, hash: &str| {
            format!("{{\"backup\":{{\"{id}\":{{\"generation\":{generation},\"blake3\":\"{hash}\"}}}}}}")
        };
        let id = id(1).to_string();
        fs::write(&path, with(&id, "1", &hash)).unwrap();
        assert!(Seen::read(&path).is_ok());
        for wrong in [
            String::new(),
            "{}".into(),
            "{\"backup\":{},\"more\":1}".into(),
            with("x", "1", &hash),
            with(&id, "0", &hash),
            with(&id, "-1", &hash),
            with(&id, "1.5", &hash),
            with(&id, "1", &hash[..63]),
            with(&id, "1", &hash.to_uppercase()),
            with(&id, "1", &hash)[..60].into(),
        ] {
            fs::write(&path, &wrong).unwrap();
            assert!(Seen::read(&path).is_err(), "{wrong}");
            assert!(Seen::default().write(&path).is_err(), "{wrong}");
            assert_eq!(fs::read_to_string(&path).unwrap(), wrong, "and it stays for whoever mends it");
        }
    }

    #[test]
    fn a_full_memory_keeps_what_a_store_could_roll_back() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("seen.json");
        let mut seen = Seen::default();
        (0..SEEN_MAX).for_each(|number| seen.take_in(id(number), remembered(1)));
        seen.take_in(id(SEEN_MAX), remembered(2));
        seen.take_in(id(SEEN_MAX + 1), remembered(u64::MAX));
        seen.write(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < SEEN_BYTES_MAX);
        let seen = Seen::read(&path).unwrap();
        assert_eq!(seen.0.len(), SEEN_MAX);
        assert_eq!(seen.of(id(SEEN_MAX)), Some(remembered(2)));
        assert_eq!(seen.of(id(SEEN_MAX + 1)), Some(remembered(u64::MAX)));
    }
}
