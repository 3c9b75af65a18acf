//! What the tasks and the passes of a backup share, and what comes of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blake3::Hash;
use bytes::Bytes;
use tanner_kernels::BlockSet;
use tanner_transports::TransportError;

use crate::chunking::Chunking;
use crate::encode::{Hashes, Pass};
use crate::encrypter::Encrypter;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::input::Input;
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::writing::Writing;
use crate::streams::Streams;
use crate::timed::{Behaviour, Meter};

/// The decisions, which the pass and the tasks share.
#[derive(Clone)]
pub(crate) struct SharedWriting {
    writing: Arc<Mutex<Writing>>,
    began: Instant,
}

impl SharedWriting {
    pub(crate) fn new(writing: Writing) -> Self {
        Self { writing: Arc::new(Mutex::new(writing)), began: Instant::now() }
    }

    /// Tells or asks something, with the time.
    pub(crate) fn with<T>(&self, then: impl FnOnce(Duration, &mut Writing) -> T) -> T {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        then(self.began.elapsed(), &mut writing)
    }
}

/// What every pass of a backup works with.
pub(crate) struct Job {
    pub(crate) source: Input,
    pub(crate) encrypter: Option<Arc<Encrypter>>,
    pub(crate) chunking: Chunking,
    /// Of a stream, as if it had no end.
    pub(crate) geometry: Geometry,
    pub(crate) resources: Arc<Resources>,
    pub(crate) stop: Stop,
    pub(crate) progress: Arc<Progress>,
}

impl Job {
    /// Bytes of a block, if that is known.
    pub(crate) fn block_bytes(&self, block: usize) -> Option<u64> {
        self.source.bytes().map(|_| self.geometry.block_bytes(block))
    }

    pub(crate) fn run(&self, wanted: &BlockSet, known: &Known, streams: Streams) -> Result<Hashes, Error> {
        let (geometry, progress) = (self.geometry, &|bytes| self.progress.advance(bytes));
        let Self { source, chunking, resources, stop, .. } = self;
        let encrypter = self.encrypter.as_deref();
        Pass { source, encrypter, chunking, geometry, resources, stop, progress, wanted, known }.run(streams)
    }
}

/// A manifest, and the bytes that all stores get of it.
pub(crate) struct Published {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
    /// Whether making it again would make other bytes.
    pub(crate) is_sealed: bool,
}

/// Of blocks that were made before, how many bytes, and their hash.
pub(crate) type Known = BTreeMap<usize, (u64, Hash)>;

/// What came of it, besides what [`Writing`] knows.
#[derive(Default)]
pub(crate) struct Written {
    /// As it was put on stores; none if that never began.
    pub(crate) manifest: Option<Published>,
    /// Why there is no backup, if it is not for the stores.
    pub(crate) error: Option<Error>,
    /// The first error of each store.
    pub(crate) failed: BTreeMap<usize, TransportError>,
    /// Bytes that stores had already from an earlier run.
    pub(crate) resumed_bytes: u64,
    /// What went wrong with the journal, and what is left for a sweep.
    pub(crate) troubles: Vec<String>,
    /// For each store, how long each block waited until it was taken, and how long that took.
    pub(crate) seen: BTreeMap<usize, Vec<(Duration, Arc<Meter>)>>,
}

impl Written {
    /// How a store behaved.
    pub(crate) fn behaviour(&self, store: usize) -> Behaviour {
        let now = Instant::now();
        let seen = self.seen.get(&store).map_or(&[][..], Vec::as_slice);
        let waits = seen.iter().map(|(waited, _)| waited);
        let wait = waits.sum::<Duration>().as_secs_f64() / seen.len().max(1) as f64;
        let busy = seen.iter().map(|(_, meter)| meter.busy(now)).max().unwrap_or_default();
        Behaviour {
            bytes: seen.iter().map(|(_, meter)| meter.bytes()).sum(),
            busy_seconds: busy.as_secs_f64(),
            answer_seconds: (!seen.is_empty()).then_some(wait),
            failed: self.failed.contains_key(&store),
        }
    }
}
