//! The streams of a pass to its stores: each block has a queue of its own, and a task that empties it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use blake3::Hash;
use bytes::Bytes;
use tanner_transports::{Put, TransportError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{timeout, timeout_at};

use crate::checkpoint::{Checkpoint, Marker};
use crate::error::Error;
use crate::job::SharedWriting;
use crate::journal::Mark;
use crate::resources::Stop;
use crate::scheduler::writing::Seen;
use crate::timed::Meter;

/// A task that writes a block. The put is handed back, not yet visible.
pub(crate) type Writer = JoinHandle<Result<Box<dyn Put>, TransportError>>;

/// What goes through the queue of a block.
pub(crate) enum Item {
    Bytes(Bytes),
    Keep(Marker),
}

/// The ends of all streams that the pass writes to.
pub(crate) struct Streams {
    /// By block; none where nothing is to be written.
    streams: Vec<Option<Stream>>,
    writing: SharedWriting,
    /// For how long the pass waited for stores.
    waited: Duration,
    /// The share of the source that is still to come.
    left: f64,
    keeping: Option<Keeping>,
}

pub(crate) struct Stream {
    pub(crate) store: usize,
    pub(crate) sink: mpsc::Sender<Item>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) task: AbortHandle,
    /// Bytes of the block that its store has already: so many are left out.
    pub(crate) skip: u64,
}

/// When streams keep what they have, and where that is written down.
pub(crate) struct Keeping {
    pub(crate) interval: Duration,
    pub(crate) done: mpsc::UnboundedSender<Vec<Mark>>,
    pub(crate) last: Instant,
    /// The last checkpoint, until it is done.
    pub(crate) underway: Weak<Checkpoint>,
    /// Since when the run is to stop.
    pub(crate) stops_since: Option<Instant>,
}

impl Keeping {
    pub(crate) fn new(interval: Duration, done: mpsc::UnboundedSender<Vec<Mark>>) -> Self {
        Self { interval, done, last: Instant::now(), underway: Weak::new(), stops_since: None }
    }
}

impl Streams {
    /// For so many blocks, none of which is written yet.
    pub(crate) fn new(blocks: usize, writing: SharedWriting, keeping: Option<Keeping>) -> Self {
        let streams = (0..blocks).map(|_| None).collect();
        Self { streams, writing, waited: Duration::ZERO, left: 1.0, keeping }
    }

    /// The stream of a block.
    pub(crate) fn add(&mut self, block: usize, stream: Stream) {
        self.streams[block] = Some(stream);
    }

    /// Hands bytes of a block to its stream, but for those that its store has already.
    ///
    /// # Errors
    /// If the run is to stop.
    pub(crate) fn send(&mut self, stop: &Stop, block: usize, mut bytes: Bytes) -> Result<(), Error> {
        if let Some(stream) = &mut self.streams[block] {
            let skipped = usize::try_from(stream.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            stream.skip -= skipped as u64;
            bytes = bytes.split_off(skipped);
        }
        if bytes.is_empty() { Ok(()) } else { self.push(stop, block, Item::Bytes(bytes)) }
    }

    /// Lets all streams keep what they were given, if it is time. `made` says how many bytes of a block were made, and their
    /// hash.
    ///
    /// # Errors
    /// If the run is to stop.
    pub(crate) fn checkpoint(
        &mut self,
        stop: &Stop,
        made: impl Fn(usize) -> (u64, Hash),
    ) -> Result<(), Error> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let is_time = keeping.last.elapsed() >= keeping.interval && keeping.underway.strong_count() == 0;
        if !is_time && !stop.is_requested() {
            return Ok(());
        }
        let checkpoint = Checkpoint::new(keeping.done.clone());
        (keeping.last, keeping.underway) = (Instant::now(), Arc::downgrade(&checkpoint));
        for block in 0..self.streams.len() {
            let Some(stream) = &self.streams[block] else { continue };
            // Kept parts that begin behind what was made hold more than they are to be asked for.
            if stream.skip == 0 {
                let (bytes, hash) = made(block);
                let marker = checkpoint.marker(block, stream.store, bytes, hash);
                self.push(stop, block, Item::Keep(marker))?;
            }
        }
        Ok(())
    }

    /// Waits until there is room in the queue of a block. A block whose stream ended is lost, and the pass goes on.
    fn push(&mut self, stop: &Stop, block: usize, mut item: Item) -> Result<(), Error> {
        let began = Instant::now();
        let mut stalled = Duration::ZERO;
        while let Some(stream) = &self.streams[block] {
            match stream.sink.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Closed(_)) => {
                    self.streams[block] = None;
                    break;
                }
                Err(TrySendError::Full(back)) => item = back,
            }
            self.check(stop)?;
            std::thread::sleep(FULL_STORE_WAIT);
            self.waited += began.elapsed() - stalled;
            stalled = began.elapsed();
            self.look(stalled);
        }
        Ok(())
    }

    /// A store may hang for ever; whoever stops the run must not. What is to be gone on with is handed over, if it can be
    /// soon.
    fn check(&mut self, stop: &Stop) -> Result<(), Error> {
        let Some(keeping) = &mut self.keeping else { return stop.check() };
        let is_over = stop.is_requested()
            && keeping.stops_since.get_or_insert_with(Instant::now).elapsed() > HAND_OVER_WAIT;
        if is_over { stop.check() } else { Ok(()) }
    }

    /// Tells how much of the source is still to come.
    pub(crate) fn advance(&mut self, left: f64) {
        self.left = left;
        self.look(Duration::ZERO);
    }

    /// Takes blocks from a store that holds up all others.
    fn look(&mut self, stalled: Duration) {
        let now = Instant::now();
        let busy = |block: usize| {
            self.streams[block].as_ref().map_or(Duration::ZERO, |stream| stream.meter.busy(now))
        };
        let seen = Seen { waited: self.waited, stalled, left: self.left, busy: &busy };
        let taken = self.writing.with(|now, writing| writing.look(now, &seen));
        for block in taken {
            self.streams[block].take().inspect(|stream| stream.task.abort());
        }
    }
}

/// Begins a task that writes what comes through the queue that leads to it.
pub(crate) fn spawn_writer(put: Box<dyn Put>) -> (mpsc::Sender<Item>, Writer) {
    let (sink, chunks) = queue();
    (sink, tokio::spawn(write(put, chunks, Arc::new(Meter::new()))))
}

/// The queue of a block.
pub(crate) fn queue() -> (mpsc::Sender<Item>, mpsc::Receiver<Item>) {
    mpsc::channel(CHUNKS_QUEUED)
}

/// Writes the chunks of one block as they come, and keeps them where it is told to.
pub(crate) async fn write(
    mut put: Box<dyn Put>,
    mut items: mpsc::Receiver<Item>,
    meter: Arc<Meter>,
) -> Result<Box<dyn Put>, TransportError> {
    loop {
        let done = match timeout(SILENCE_MAX, items.recv()).await {
            Ok(None) => return Ok(put),
            // Whatever the pass waits for, the store does not give up the block.
            Err(_) => meter.time(0, put.write(Bytes::new())).await,
            Ok(Some(Item::Bytes(chunk))) => meter.time(chunk.len(), put.write(chunk)).await,
            Ok(Some(Item::Keep(marker))) => meter.time(0, put.keep()).await.map(|kept| marker.answer(kept)),
        };
        if let Err(error) = done {
            items.close();
            return Err(error);
        }
    }
}

/// Waits until a store takes the bytes. One that failed closed its sink: its block is lost, the others go on.
pub(crate) fn hand_over(stop: &Stop, sink: &mpsc::Sender<Item>, bytes: Bytes) -> Result<(), Error> {
    let mut item = Item::Bytes(bytes);
    while let Err(TrySendError::Full(back)) = sink.try_send(item) {
        // A store may hang for ever; whoever stops the run must not.
        stop.check()?;
        std::thread::sleep(FULL_STORE_WAIT);
        item = back;
    }
    Ok(())
}

/// Gives up all streams: each ends with what it was doing and takes that back. A store that hangs is not waited for.
pub(crate) async fn abandon(writers: Vec<(usize, Writer)>) {
    let deadline = tokio::time::Instant::now() + ABANDON_WAIT;
    for (_, mut writer) in writers {
        match timeout_at(deadline, &mut writer).await {
            // The pass failed already; what a store says now changes nothing.
            Ok(Ok(Ok(put))) => _ = timeout_at(deadline, put.abandon()).await,
            Ok(_) => {}
            Err(_) => writer.abort(),
        }
    }
}

/// How long a store may hear nothing of a block that is being written. Servers give up who is silent for two minutes.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Chunks that wait for a store; the pool bounds them all together.
const CHUNKS_QUEUED: usize = 2;
/// How long to wait before a store that was full is asked again.
const FULL_STORE_WAIT: Duration = Duration::from_micros(200);
/// How long a run that is to stop, and to be gone on with, waits for a store to take what is in flight.
const HAND_OVER_WAIT: Duration = Duration::from_secs(5);
/// How long a run that failed waits for its stores to take back what was staged.
const ABANDON_WAIT: Duration = Duration::from_secs(5);
