//! Questions to stores whose answers are known: how a store shows that it still has a block, without sending it.
//!
//! A store that is asked for the hash of a block could have kept that hash and thrown the block away. So it is asked for a
//! keyed hash ([`Transport::prove`]), with a key that it never saw. Who knows the answer is whoever read the block: a
//! verification that reads copies leaves one question for each, and the next quick one spends them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blake3::Hash;
use serde::{Deserialize, Serialize};
use tanner_transports::{Nonce, ObjectName, Transport, TransportError};

use crate::cursor::{read_state, write_state};
use crate::fetch::Found;
use crate::id::BackupId;
use crate::probe::{host_of, inside};
use crate::store::Store;

/// A key, and the hash that a good block has with it.
#[derive(Clone)]
pub(crate) struct Question {
    key: Nonce,
    answer: Hash,
}

/// Questions that were never asked, one for a copy of a block at most, and the file that keeps them.
pub struct Questions {
    path: PathBuf,
    copies: Copies,
}

/// By backup and store.
#[derive(Default, Serialize, Deserialize)]
struct Copies(BTreeMap<String, BTreeMap<String, OfStore>>);

/// By block: key and answer, in hexadecimal digits.
type OfStore = BTreeMap<usize, (String, String)>;

impl Questions {
    /// Those in a file. What cannot be read is none.
    #[must_use]
    pub fn read(path: PathBuf) -> Self {
        Self { copies: read_state(&path), path }
    }

    /// Takes the questions to some copies of blocks, which nobody asks again.
    pub(crate) fn take(&mut self, found: &Found, copies: &[(usize, usize)]) -> Vec<(usize, usize, Question)> {
        let Some(of_backup) = self.copies.0.get_mut(&found.manifest.id.to_string()) else {
            return Vec::new();
        };
        let mut take = |&(block, store): &(usize, usize)| {
            let (key, answer) = of_backup.get_mut(found.stores[store].url())?.remove(&block)?;
            let bytes = |text: &str| Hash::from_hex(text).ok();
            Some((block, store, Question { key: *bytes(&key)?.as_bytes(), answer: bytes(&answer)? }))
        };
        let taken: Vec<_> = copies.iter().filter_map(&mut take).collect();
        // A question that might be asked twice is none.
        if self.write().is_ok() { taken } else { Vec::new() }
    }

    /// A copy that was just read, and what to ask about it.
    pub(crate) fn note(&mut self, id: BackupId, store: &str, block: usize, question: &Question) {
        let text = |bytes: &Hash| bytes.to_hex().to_string();
        let stores = self.copies.0.entry(id.to_string()).or_default();
        let pair = (text(&Hash::from_bytes(question.key)), text(&question.answer));
        stores.entry(store.to_owned()).or_default().insert(block, pair);
    }

    /// Replaces the file, which nobody else may read.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        write_state(&self.copies, &self.path)
    }
}

/// Makes a question while a block is read.
pub(crate) struct Asker {
    key: Nonce,
    hasher: blake3::Hasher,
}

impl Asker {
    /// For a store that hashes where its blocks are, and that is not here: here reading is as fast.
    pub(crate) fn for_store(store: &Store) -> Option<Self> {
        let is_far = store.transport.capabilities().prove && host_of(inside(store.url())).is_some();
        is_far.then(|| {
            let mut key = Nonce::default();
            getrandom::fill(&mut key).expect("the system provides random numbers");
            Self { key, hasher: blake3::Hasher::new_keyed(&key) }
        })
    }

    /// Adds the next bytes of the block.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// The question, once all of the block is in and known to be right.
    pub(crate) fn question(self) -> Question {
        Question { key: self.key, answer: self.hasher.finalize() }
    }
}

impl Question {
    /// Whether the store has the block.
    pub(crate) async fn ask(
        &self,
        store: &dyn Transport,
        name: &ObjectName,
        bytes: u64,
    ) -> Result<bool, TransportError> {
        Ok(store.prove(name, 0..bytes, &self.key).await? == self.answer)
    }
}
