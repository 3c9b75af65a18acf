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
use crate::scheduler::{Load, excess};
use crate::timed::Meter;

/// A task that writes a block. The put is handed back, not yet visible.
pub(crate) type Writer = JoinHandle<Result<Box<dyn Put>, TransportError>>;

/// Whether a store may be relieved of these blocks.
pub(crate) type MayDrop = Box<dyn FnMut(usize, &[usize]) -> bool + Send>;

/// The ends of all streams that the pass writes to.
pub(crate) struct Streams {
    /// By block; none where nothing is to be written.
    streams: Vec<Option<Stream>>,
    stores: usize,
    may_drop: MayDrop,
    /// The share of the source that is still to come.
    left: f64,
    began: Instant,
    span: Span,
}

struct Stream {
    store: usize,
    sink: mpsc::Sender<Bytes>,
    meter: Arc<Meter>,
    task: AbortHandle,
}

/// What happens between two looks at the stores.
struct Span {
    began: Instant,
    /// How long the pass waited for stores.
    waited: Duration,
    /// How long each stream had been writing when it began.
    busy: Vec<Duration>,
}

impl Streams {
    /// For so many blocks, none of which is written yet.
    pub(crate) fn new(blocks: usize, stores: usize, may_drop: MayDrop) -> Self {
        let began = Instant::now();
        let span = Span { began, waited: Duration::ZERO, busy: vec![Duration::ZERO; blocks] };
        let streams = (0..blocks).map(|_| None).collect();
        Self { streams, stores, may_drop, left: 1.0, began, span }
    }

    /// Opens the stream of a block.
    pub(crate) fn open(&mut self, block: usize, store: usize, put: Box<dyn Put>) -> (Arc<Meter>, Writer) {
        let (sink, meter, writer) = spawn_writer(put);
        let task = writer.abort_handle();
        self.streams[block] = Some(Stream { store, sink, meter: meter.clone(), task });
        (meter, writer)
    }

    /// Hands bytes to the stream of a block, and waits until there is room. A block whose stream ended is lost, and the
    /// pass goes on.
    ///
    /// # Errors
    /// If the run is to stop.
    pub(crate) fn send(&mut self, stop: &Stop, block: usize, mut bytes: Bytes) -> Result<(), Error> {
        let began = Instant::now();
        let mut waited = Duration::ZERO;
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
            self.span.waited += began.elapsed() - waited;
            waited = began.elapsed();
            self.look(waited > STALLED);
        }
        Ok(())
    }

    /// Tells how much of the source is still to come.
    pub(crate) fn advance(&mut self, left: f64) {
        self.left = left;
        self.look(false);
    }

    /// Takes blocks from a store that holds up all others.
    fn look(&mut self, is_stalled: bool) {
        let now = Instant::now();
        let span = now - self.span.began;
        if span < SPAN_LEAST.max((now - self.began) / SPANS) {
            return;
        }
        let mut loads = vec![Load { blocks: 0, busy: 0.0 }; self.stores];
        for (stream, before) in self.streams.iter().zip(&self.span.busy) {
            let Some(stream) = stream else { continue };
            let load = &mut loads[stream.store];
            load.blocks += 1;
            load.busy = load.busy.max((stream.meter.busy(now) - *before).div_duration_f64(span).min(1.0));
        }
        let pass_busy = 1.0 - self.span.waited.div_duration_f64(span).min(1.0);
        for (store, blocks) in excess(&loads, pass_busy, self.left) {
            // The cheapest to make again are data blocks, of which only their part of the source is read.
            let of_store = |stream: &Option<Stream>| stream.as_ref().is_some_and(|s| s.store == store);
            let candidates = (0..self.streams.len()).filter(|&block| of_store(&self.streams[block]));
            let blocks: Vec<usize> = candidates.take(blocks).collect();
            if is_stalled || (self.may_drop)(store, &blocks) {
                for block in blocks {
                    self.streams[block].take().inspect(|stream| stream.task.abort());
                }
            }
        }
        let busy = self
            .streams
            .iter()
            .zip(&self.span.busy)
            .map(|(stream, before)| stream.as_ref().map_or(*before, |stream| stream.meter.busy(now)));
        self.span = Span { began: now, waited: Duration::ZERO, busy: busy.collect() };
    }
}

/// Begins a task that writes what comes through the queue that leads to it.
pub(crate) fn spawn_writer(put: Box<dyn Put>) -> (mpsc::Sender<Bytes>, Arc<Meter>, Writer) {
    let (sink, chunks) = mpsc::channel(CHUNKS_QUEUED);
    let meter = Arc::new(Meter::new());
    let writer = tokio::spawn(write(put, chunks, meter.clone()));
    (sink, meter, writer)
}

/// Writes the chunks of one block as they come.
async fn write(
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
/// The shortest time to judge a store by: longer than most pauses of a disk that is well.
const SPAN_LEAST: Duration = Duration::from_millis(250);
/// Long passes are judged by longer spans: this part of them.
const SPANS: u32 = 20;
/// A store that takes nothing for so long loses its blocks whatever becomes of them.
const STALLED: Duration = Duration::from_secs(60);
/// How long a run that failed waits for its stores to take back what was staged.
const ABANDON_WAIT: Duration = Duration::from_secs(5);
