//! What was measured of stores, from one run to the next. Best effort: no run fails for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::node::make_directory;
use crate::scheduler::Measured;
use crate::timed::Behaviour;

/// What was measured of each store, by URL.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// How it was written to.
    #[serde(default)]
    store: BTreeMap<String, Measured>,
    /// How it was read from, which says nothing about how it takes bytes.
    #[serde(default)]
    read: BTreeMap<String, Measured>,
}

impl State {
    /// Where it is kept; none if it is not to be.
    pub(super) fn file(given: Option<&str>) -> Option<PathBuf> {
        state_file(given, "measured.json")
    }

    /// What is in the file, as far as it can be used.
    pub(super) fn read(path: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_string(&mut text));
        let mut state: Self = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
        for stores in state.both() {
            stores.retain(|_, measured| measured.is_sound());
        }
        state
    }

    /// What was measured of a store.
    pub(super) fn of(&self, url: &str) -> Measured {
        self.store.get(url).copied().unwrap_or_default()
    }

    /// What was measured of a store that was read from, unless that is long ago: who is asked last on account of it
    /// would never be measured again.
    pub(super) fn of_reads(&self, url: &str, now: f64) -> Measured {
        let read = self.read.get(url).copied();
        read.filter(|read| now - read.seen_at() < Measured::HALF_LIFE_SECONDS).unwrap_or_default()
    }

    /// Takes in how a store behaved that was written to.
    pub(super) fn observe(&mut self, url: &str, now: f64, behaviour: &Behaviour) {
        Self::add(&mut self.store, url, now, behaviour);
    }

    /// Takes in how a store behaved that was read from.
    pub(super) fn observe_reads(&mut self, url: &str, now: f64, behaviour: &Behaviour) {
        Self::add(&mut self.read, url, now, behaviour);
    }

    fn both(&mut self) -> [&mut BTreeMap<String, Measured>; 2] {
        [&mut self.store, &mut self.read]
    }

    fn add(stores: &mut BTreeMap<String, Measured>, url: &str, now: f64, behaviour: &Behaviour) {
        let measured = stores.entry(url.to_owned()).or_default();
        let is_long = behaviour.busy_seconds >= TELLING_SECONDS;
        if is_long || (behaviour.bytes >= TELLING_BYTES && behaviour.busy_seconds > 0.0) {
            measured.observe_bytes(now, behaviour.bytes, behaviour.busy_seconds);
        }
        if let Some(seconds) = behaviour.answer_seconds {
            measured.observe_request(now, Some(seconds));
        }
        if behaviour.failed {
            measured.observe_request(now, None);
        }
    }

    /// Replaces the file, without the stores that were not seen for longest if there are too many.
    pub(super) fn write(mut self, path: &Path) -> io::Result<()> {
        for stores in self.both() {
            while stores.len() > STORES_MAX {
                let oldest = stores.iter().min_by(|a, b| a.1.seen_at().total_cmp(&b.1.seen_at()));
                let Some(url) = oldest.map(|(url, _)| url.clone()) else { break };
                stores.remove(&url);
            }
        }
        // A device in its place is not ours to replace.
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        make_directory(path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        file.write_all(serde_json::to_string_pretty(&self)?.as_bytes())?;
        file.persist(path)?;
        Ok(())
    }
}

/// A file of state: the one that was given, or that of this name in the user's directory; none if there is to be none.
pub(super) fn state_file(given: Option<&str>, name: &str) -> Option<PathBuf> {
    match given {
        Some("none") => None,
        Some(path) => Some(path.into()),
        None => Some(state_directory()?.join(name)),
    }
}

/// Where the user's programs keep what they found out.
pub(super) fn state_directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(base?.join("tanner"))
}

/// More is not read.
const STATE_BYTES_MAX: u64 = 2 << 20;
/// Stores that are remembered; a URL is rarely longer than 2 KiB, so all of them can be read again.
const STORES_MAX: usize = 256;
/// What is less says more about caches than about the store, unless it takes long.
const TELLING_BYTES: u64 = 1 << 20;
const TELLING_SECONDS: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::{Behaviour, STORES_MAX, State};

    /// A store that once dripped would be asked last for ever; and how it takes bytes is another matter.
    #[test]
    fn reads_are_known_for_a_week_and_say_nothing_about_writes() {
        let mut state = State::default();
        let drip = Behaviour { bytes: 1000, busy_seconds: 2.0, answer_seconds: Some(0.5), failed: false };
        state.observe_reads("file:///a", 1e9, &drip);
        assert_eq!(state.of_reads("file:///a", 1e9 + 86_400.0).rate(), Some(500.0));
        assert_eq!(state.of_reads("file:///a", 1e9 + 8.0 * 86_400.0), Default::default());
        assert_eq!(state.of("file:///a"), Default::default());
    }

    #[test]
    fn a_state_file_that_is_wrong_is_as_good_as_none_and_a_full_one_forgets_the_oldest() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("deep/measured.json");
        let mut state = State::read(&path);
        let seen = Behaviour { bytes: 1 << 21, busy_seconds: 2.0, answer_seconds: Some(0.5), failed: true };
        for store in 0..=STORES_MAX {
            state.observe(&format!("file:///{store:03}"), store as f64, &seen);
        }
        state.write(&path).unwrap();
        let state = State::read(&path);
        assert_eq!(state.of("file:///000"), Default::default());
        let measured = state.of("file:///001");
        assert_eq!((measured.rate(), measured.latency()), (Some(1_048_576.0), Some(0.5)));
        assert!(measured.error_ratio(1.0) > 0.3);
        for wrong in
            ["", "nonsense", "{\"store\":{\"a\":{\"bytes\":-1.0}}}", "{\"store\":{\"a\":{\"more\":1}}}"]
        {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(State::read(&path).of("a"), Default::default(), "{wrong}");
        }
    }
}
