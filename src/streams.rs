//! The streams of a pass to its stores: each block has a queue of its own, and a task that empties it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tanner_transports::{Put, TransportError};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout_at;

use crate::error::Error;
use crate::resources::Stop;
use crate::scheduler::writing::Seen;
use crate::timed::Meter;
use crate::write::SharedWriting;

/// A task that writes a block. The put is handed back, not yet visible.
pub(crate) type Writer = JoinHandle<Result<Box<dyn Put>, TransportError>>;

/// The ends of all streams that the pass writes to.
pub(crate) struct Streams {
    /// By block; none where nothing is to be written.
    streams: Vec<Option<Stream>>,
    writing: SharedWriting,
    /// For how long the pass waited for stores.
    waited: Duration,
    /// The share of the source that is still to come.
    left: f64,
}

struct Stream {
    sink: mpsc::Sender<Bytes>,
    meter: Arc<Meter>,
    task: AbortHandle,
}

impl Streams {
    /// For so many blocks, none of which is written yet.
    pub(crate) fn new(blocks: usize, writing: SharedWriting) -> Self {
        let streams = (0..blocks).map(|_| None).collect();
        Self { streams, writing, waited: Duration::ZERO, left: 1.0 }
    }

    /// The stream of a block leads to this task.
    pub(crate) fn add(
        &mut self,
        block: usize,
        sink: mpsc::Sender<Bytes>,
        meter: Arc<Meter>,
        task: AbortHandle,
    ) {
        self.streams[block] = Some(Stream { sink, meter, task });
    }

    /// Hands bytes to the stream of a block, and waits until there is room. A block whose stream ended is lost, and the
    /// pass goes on.
    ///
    /// # Errors
    /// If the run is to stop.
    pub(crate) fn send(&mut self, stop: &Stop, block: usize, mut bytes: Bytes) -> Result<(), Error> {
        let began = Instant::now();
        let mut stalled = Duration::ZERO;
        while let Some(stream) = &self.streams[block] {
            match stream.sink.try_send(bytes) {
                Ok(()) => break,
                Err(TrySendError::Closed(_)) => {
                    self.streams[block] = None;
                    break;
                }
                Err(TrySendError::Full(back)) => bytes = back,
            }
            // A store may hang for ever; whoever stops the run must not.
            stop.check()?;
            std::thread::sleep(FULL_STORE_WAIT);
            self.waited += began.elapsed() - stalled;
            stalled = began.elapsed();
            self.look(stalled);
        }
        Ok(())
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
pub(crate) fn spawn_writer(put: Box<dyn Put>) -> (mpsc::Sender<Bytes>, Writer) {
    let (sink, chunks) = queue();
    (sink, tokio::spawn(write(put, chunks, Arc::new(Meter::new()))))
}

/// The queue of a block.
pub(crate) fn queue() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(CHUNKS_QUEUED)
}

/// Writes the chunks of one block as they come.
pub(crate) async fn write(
    mut put: Box<dyn Put>,
    mut chunks: mpsc::Receiver<Bytes>,
    meter: Arc<Meter>,
) -> Result<Box<dyn Put>, TransportError> {
    while let Some(chunk) = chunks.recv().await {
        if let Err(error) = meter.time(chunk.len(), put.write(chunk)).await {
            chunks.close();
            return Err(error);
        }
    }
    Ok(put)
}

/// Waits until a store takes the bytes. One that failed closed its sink: its block is lost, the others go on.
pub(crate) fn hand_over(stop: &Stop, sink: &mpsc::Sender<Bytes>, mut bytes: Bytes) -> Result<(), Error> {
    while let Err(TrySendError::Full(back)) = sink.try_send(bytes) {
        // A store may hang for ever; whoever stops the run must not.
        stop.check()?;
        std::thread::sleep(FULL_STORE_WAIT);
        bytes = back;
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

/// Chunks that wait for a store; the pool bounds them all together.
const CHUNKS_QUEUED: usize = 2;
/// How long to wait before a store that was full is asked again.
const FULL_STORE_WAIT: Duration = Duration::from_micros(200);
/// How long a run that failed waits for its stores to take back what was staged.
const ABANDON_WAIT: Duration = Duration::from_secs(5);
