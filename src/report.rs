//! What became of a backup, in numbers and words.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use tanner_kernels::{BlockSet, Profile};
use tanner_transports::{Target, TransportError};

use crate::backup::Backup;
use crate::error::Error;
use crate::input::Input;
use crate::job::Written;
use crate::manifest::Manifest;
use crate::scheduler::writing::{Standing, Verdict, Writing};
use crate::scheduler::{Demand, Margin, Placed};
use crate::source::Source;
use crate::timed::Behaviour;

/// What became of a backup.
#[derive(Debug)]
pub struct BackupReport {
    /// What is recorded of it.
    pub manifest: Manifest,
    /// The manifest as stored.
    pub manifest_bytes: Bytes,
    /// Blocks that are durable.
    pub live: BlockSet,
    is_complete: bool,
    /// How many stores may be lost, whichever they are, with the backup still restorable.
    pub stores_survivable: usize,
    /// The same, had all stores done well.
    pub stores_survivable_planned: usize,
    /// How many more blocks may be lost, whichever they are.
    pub blocks_survivable: usize,
    /// Stores that were too slow for all their blocks.
    pub slow: Vec<String>,
    /// How many blocks are in another store than planned.
    pub blocks_moved: usize,
    /// How often the source was read, if only in part.
    pub passes: usize,
    /// Bytes that stores had already from an earlier run.
    pub resumed_bytes: u64,
    /// What went wrong with the journal, and what may be left for a sweep.
    pub troubles: Vec<String>,
    /// How many domains may be lost, of each label.
    pub margins: Vec<Margin>,
    /// Demands that are not kept by what is there.
    pub broken: Vec<Demand>,
    /// Where the blocks were to go, and why.
    pub placed: Placed,
    /// How each store behaved.
    pub behaviour: Vec<Behaviour>,
    /// Stores that failed, with the first error of each.
    pub failed: Vec<(String, TransportError)>,
    /// Whether the source could be read but once.
    pub is_stream: bool,
    /// Which reader was used for the source.
    pub reader: &'static str,
    /// What was to be backed up with the rest and could not be: what is neither file nor directory nor link.
    pub left_out: Vec<PathBuf>,
    /// Why it is not the one that was asked for, if so.
    pub reader_refusal: Option<String>,
}

impl BackupReport {
    /// Bytes in all durable blocks.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.live.iter().map(|block| self.manifest.geometry.block_bytes(block)).sum()
    }

    /// Whether everything was stored as planned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl Backup<'_> {
    pub(crate) fn report(
        &self,
        standing: Standing,
        source: &Input,
        writing: &Writing,
        written: Written,
        placed: Placed,
    ) -> BackupReport {
        let url = |store: usize| self.stores[store].url().to_owned();
        let Standing { is_complete, stores_survivable, blocks_survivable, margins, broken } = standing;
        let slow = writing.stores().iter().enumerate().filter(|(_, store)| store.is_slow);
        let behaviour = (0..self.stores.len()).map(|store| written.behaviour(store)).collect();
        let published = written.manifest.expect("who keeps a backup put its manifest");
        BackupReport {
            live: writing.live().clone(),
            is_complete,
            stores_survivable,
            stores_survivable_planned: writing.homes().planned().unwrap_or(0),
            blocks_survivable,
            slow: slow.map(|(store, _)| url(store)).collect(),
            blocks_moved: writing.blocks_moved(),
            passes: writing.passes(),
            resumed_bytes: written.resumed_bytes,
            troubles: written.troubles.clone(),
            margins,
            broken,
            placed,
            behaviour,
            manifest: published.manifest,
            manifest_bytes: published.bytes,
            failed: written.failed.into_iter().map(|(store, error)| (url(store), error)).collect(),
            is_stream: source.file().is_none(),
            reader: source.file().map_or("stream", Source::reader),
            left_out: source.left_out(),
            reader_refusal: source.file().and_then(Source::refusal).map(str::to_owned),
        }
    }

    /// Why there is no backup.
    pub(crate) fn refusal(
        &self,
        verdict: &Verdict,
        profile: &Profile,
        writing: &Writing,
        written: Written,
    ) -> Error {
        let (first, id) = (written.failed.into_iter().next().map(|(_, error)| error), self.id);
        match *verdict {
            Verdict::TooFewStores { manifests } => {
                Error::StoreQuorum { stores: manifests, quorum: self.quorum, source: first }
            }
            Verdict::TooFewBlocks => {
                let (stored, blocks, needed) = (writing.live().len(), profile.blocks(), profile.threshold());
                let slow = || {
                    let slow = writing.stores().iter().position(|store| store.is_slow);
                    let at = Target::store(self.stores[slow.unwrap_or(0)].url());
                    TransportError::Slow { at, source: io::ErrorKind::TimedOut.into() }
                };
                let (source, unfinished) = (first.unwrap_or_else(slow), writing.is_suspended().then_some(id));
                Error::Quorum { stored, blocks, needed, unfinished, source }
            }
            Verdict::Failed | Verdict::Kept(_) => {
                match (writing.is_suspended(), written.error.expect("a pass fails for a reason")) {
                    (true, Error::Stopped { signal }) => Error::Suspended { signal, id },
                    (true, Error::SourceChanged { path, how }) => {
                        Error::ResumeChanged { path, id, how: how.into() }
                    }
                    (_, error) => error,
                }
            }
        }
    }
}
