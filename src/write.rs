//! The tasks and the pass that carry out what [`Writing`](crate::scheduler::writing::Writing) decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tanner_kernels::BlockSet;
use tanner_transports::{Kept, ObjectName, Put, Target, TransportError};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::encode::Hashes;
use crate::error::Error;
use crate::id::BackupId;
use crate::job::{Job, Published, SharedWriting, Written};
use crate::journal::End;
use crate::keeper::Keeper;
use crate::manifest::MANIFEST_BYTES_MAX;
use crate::parallel::blocking;
use crate::scheduler::writing::{Action, Passed, Request, TICK, Verdict};
use crate::source::Source;
use crate::store::{Store, block_name, manifest_name, put_and_read_back};
use crate::streams::{Stream, Streams, queue, write};
use crate::timed::Meter;
use crate::unfinished::resume;

/// A backup on its way.
pub(crate) struct Write<'a> {
    id: BackupId,
    stores: &'a [Store],
    job: Arc<Job>,
    writing: SharedWriting,
    /// Makes the manifest of a backup whose blocks are durable, by their hashes and stores.
    publish: &'a Publish<'a>,
    tasks: JoinSet<Event>,
    /// Ends what a store is asked.
    underway: BTreeMap<Request, AbortHandle>,
    /// The streams of the next pass.
    streams: Streams,
    /// What was written, and is not yet durable.
    puts: BTreeMap<usize, Box<dyn Put>>,
    /// For each block, how long it took its last store, and how many bytes that had taken when we last looked.
    meters: BTreeMap<usize, (Arc<Meter>, u64)>,
    hashes: Option<Hashes>,
    keeper: Option<Keeper>,
    written: Written,
}

enum Event {
    Opened { block: usize, store: usize, waited: Duration, put: Result<Open, TransportError> },
    Written { block: usize, store: usize, put: Result<Box<dyn Put>, TransportError> },
    Answered { request: Request, answer: Result<(), TransportError> },
    Passed { make: BlockSet, made: Result<Hashes, Error> },
}

/// Makes the manifest by the blocks' hashes and stores; or takes the bytes that were made of it before.
type Publish<'a> = dyn Fn(&Hashes, &[usize], Option<Bytes>) -> Published + Sync + 'a;

/// A put, and how many bytes it has already.
type Open = (Box<dyn Put>, u64);

impl<'a> Write<'a> {
    pub(crate) fn new(
        id: BackupId,
        stores: &'a [Store],
        job: Arc<Job>,
        writing: SharedWriting,
        publish: &'a Publish<'a>,
        keeper: Option<Keeper>,
    ) -> Self {
        let keeping = keeper.as_ref().and_then(Keeper::keeping);
        let streams = Streams::new(job.geometry.profile().blocks(), writing.clone(), keeping);
        let live = writing.with(|_, writing| writing.live().clone());
        let resumed_bytes = live.iter().map(|block| job.geometry.block_bytes(block)).sum();
        Self {
            id,
            stores,
            job,
            writing,
            publish,
            tasks: JoinSet::new(),
            underway: BTreeMap::new(),
            streams,
            puts: BTreeMap::new(),
            meters: BTreeMap::new(),
            hashes: None,
            keeper,
            written: Written { resumed_bytes, ..Written::default() },
        }
    }

    /// Writes until there is a backup, or nothing of it.
    pub(crate) async fn run(mut self) -> (Verdict, Written) {
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                self.look();
            }
            let (actions, verdict) =
                self.writing.with(|now, writing| (writing.next(now), writing.verdict().cloned()));
            actions.iter().for_each(|action| self.write_down(action));
            actions.into_iter().for_each(|action| self.carry_out(action));
            if let Some(verdict) = verdict {
                return self.end(verdict).await;
            }
            match timeout(TICK, self.tasks.join_next()).await {
                Ok(Some(Ok(event))) => self.hear(event),
                Ok(Some(Err(ended))) => {
                    // Who was given up says nothing.
                    if let Ok(panic) = ended.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
                Ok(None) => unreachable!("a writing that goes on waits for somebody"),
                Err(_) => {}
            }
        }
    }

    async fn end(mut self, verdict: Verdict) -> (Verdict, Written) {
        // What nobody asks for any more must not be in the way.
        self.puts.clear();
        self.tasks.shutdown().await;
        if let Some(mut keeper) = self.keeper {
            keeper.end(&verdict, self.stores).await;
            self.written.troubles = keeper.troubles;
        }
        (verdict, self.written)
    }

    /// What another run has to know is written down before it is so.
    fn write_down(&mut self, action: &Action) {
        if let Action::Begin(Request::Manifest { .. }) = action {
            self.publish();
        }
        let Some(keeper) = &mut self.keeper else { return };
        match action {
            Action::Begin(Request::Open { .. }) => {
                let homes = self.writing.with(|_, writing| writing.homes().of.clone());
                keeper.homes(&homes);
            }
            Action::Begin(Request::Manifest { .. }) => keeper.reach(End::Publishing),
            Action::Begin(Request::Abandon { .. } | Request::Remove { .. }) => keeper.reach(End::Removing),
            _ => {}
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Begin(request) => self.begin(request),
            Action::GiveUp(request) => {
                self.underway.remove(&request).inspect(AbortHandle::abort);
                if let Request::Write { block, .. } | Request::Commit { block, .. } = request {
                    self.puts.remove(&block);
                }
                self.writing.with(|_, writing| writing.may_mend());
                self.fail(request.store(), |at| {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "others answered long ago");
                    TransportError::Slow { at, source }
                });
            }
            Action::Pass { make } => {
                if self.hashes.is_some() {
                    let again = make.iter().filter(|&block| block < self.job.geometry.profile().data());
                    let bytes = again.map(|block| self.job.geometry.block_bytes(block)).sum();
                    self.job.progress.extend(bytes);
                }
                let (job, streams) = (Arc::clone(&self.job), self.take_streams());
                let known = self.keeper.as_ref().map(|keeper| keeper.left.known.clone()).unwrap_or_default();
                let _ = self.tasks.spawn(async move {
                    let of_pass = make.clone();
                    let made = blocking(move || job.run(&of_pass, &known, streams)).await;
                    Event::Passed { make, made }
                });
            }
        }
    }

    fn begin(&mut self, request: Request) {
        let at = self.stores[request.store()].clone();
        let transport = Arc::clone(&at.transport);
        let (id, manifest) = (self.id, manifest_name(self.id));
        let task = match request {
            Request::Open { block, store } => {
                let (name, length) = (block_name(id, block), self.job.block_bytes(block));
                let kept = self.keeper.as_mut().and_then(|keeper| keeper.take_kept(block, store));
                self.tasks.spawn(async move {
                    let began = Instant::now();
                    let put = open(&at, &name, length, kept).await;
                    Event::Opened { block, store, waited: began.elapsed(), put }
                })
            }
            Request::Commit { block, .. } => {
                let (put, (meter, _)) = (self.written_put(block), self.meters[&block].clone());
                self.answer(request, async move { meter.time(0, put.commit()).await })
            }
            Request::Abandon { block, .. } => {
                let put = self.written_put(block);
                self.answer(request, put.abandon())
            }
            Request::Manifest { .. } => {
                let bytes = self.publish();
                self.answer(request, async move { put_and_read_back(&*transport, &manifest, bytes).await })
            }
            Request::Remove { block, .. } => {
                let name = block.map_or(manifest, |block| block_name(id, block));
                self.answer(request, async move { transport.delete(&name).await })
            }
            Request::Write { .. } => unreachable!("a write begins by itself"),
        };
        self.underway.insert(request, task);
    }

    /// The manifest's bytes, made once. Another run puts the same, so they are written down before any store gets them.
    fn publish(&mut self) -> Bytes {
        if let Some(published) = &self.written.manifest {
            return published.bytes.clone();
        }
        let hashes = self.hashes.as_ref().expect("blocks are durable, so they were made");
        let homes = self.writing.with(|_, writing| writing.homes().of.clone());
        let before = self.keeper.as_ref().and_then(|keeper| keeper.left.sealed.clone());
        let published = (self.publish)(hashes, &homes, before);
        let bytes = published.bytes.clone();
        debug_assert!(bytes.len() <= MANIFEST_BYTES_MAX);
        if published.is_sealed {
            self.keeper.iter_mut().for_each(|keeper| keeper.sealed(&bytes));
        }
        self.written.manifest = Some(published);
        bytes
    }

    fn answer(
        &mut self,
        request: Request,
        answer: impl Future<Output = Result<(), TransportError>> + Send + 'static,
    ) -> AbortHandle {
        self.tasks.spawn(async move { Event::Answered { request, answer: answer.await } })
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Opened { block, store, waited, put } => {
                if let Some((put, skip)) = self.ended(Request::Open { block, store }, put) {
                    self.stream(block, store, waited, put, skip);
                }
            }
            Event::Written { block, store, put } => {
                if let Some(put) = self.ended(Request::Write { block, store }, put) {
                    self.puts.insert(block, put);
                }
            }
            Event::Answered { request, answer } => _ = self.ended(request, answer),
            Event::Passed { make, made } => {
                let checked = made.and_then(|made| self.take_in(&make, made));
                let is_resumed = self.keeper.as_ref().is_some_and(Keeper::is_resumed);
                let passed = match &checked {
                    Ok(()) => Passed::Well,
                    Err(Error::Stopped { .. }) => Passed::Early,
                    // Hours of sending are not thrown away for what may be mended.
                    Err(_) if is_resumed => Passed::Early,
                    Err(_) => Passed::Failed,
                };
                self.writing.with(|now, writing| writing.passed(now, passed));
                self.written.error = checked.err();
            }
        }
    }

    /// Of blocks that were made before, the bytes have to be the same.
    fn take_in(&mut self, make: &BlockSet, made: Hashes) -> Result<(), Error> {
        match &self.hashes {
            None if made.source.is_none() => Err(Error::WrongHash { what: "an incomplete pass".into() }),
            None => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.made(&made);
                }
                self.hashes = Some(made);
                Ok(())
            }
            Some(hashes) if make.iter().any(|block| hashes.blocks[block] != made.blocks[block]) => {
                Err(self.job.source.changed(Source::changed_meanwhile))
            }
            Some(_) => Ok(()),
        }
    }

    /// Begins the stream of a block that was opened.
    fn stream(&mut self, block: usize, store: usize, waited: Duration, put: Box<dyn Put>, skip: u64) {
        let ((sink, chunks), meter) = (queue(), Arc::new(Meter::new()));
        self.meters.insert(block, (Arc::clone(&meter), 0));
        self.written.seen.entry(store).or_default().push((waited, Arc::clone(&meter)));
        let writer = write(put, chunks, Arc::clone(&meter));
        let task = self.tasks.spawn(async move { Event::Written { block, store, put: writer.await } });
        self.underway.insert(Request::Write { block, store }, task.clone());
        self.written.resumed_bytes += skip;
        self.streams.add(block, Stream { store, sink, meter, task, skip });
    }

    /// Takes in an answer; what it brought, if that still counts.
    fn ended<T>(&mut self, request: Request, answer: Result<T, TransportError>) -> Option<T> {
        self.underway.remove(&request);
        let counts = self.writing.with(|now, writing| writing.ended(now, request, answer.is_ok()));
        let is_undoing = matches!(request, Request::Abandon { .. } | Request::Remove { .. });
        match answer {
            Ok(brought) => counts.then_some(brought),
            Err(error) => {
                if counts && !is_undoing {
                    if error.is_retryable() {
                        self.writing.with(|_, writing| writing.may_mend());
                    }
                    self.fail(request.store(), |_| error);
                }
                None
            }
        }
    }

    fn fail(&mut self, store: usize, error: impl FnOnce(Target) -> TransportError) {
        let at = || Target::store(self.stores[store].url());
        self.written.failed.entry(store).or_insert_with(|| error(at()));
    }

    /// Looks at what goes on without an answer.
    fn look(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.marks();
        }
        let streams: Vec<_> = self.writing.with(|_, writing| writing.streams().collect());
        for (block, store) in streams {
            let Some((meter, seen)) = self.meters.get_mut(&block) else { continue };
            let bytes = meter.bytes();
            if bytes > std::mem::replace(seen, bytes) {
                self.writing.with(|now, writing| writing.moves(now, Request::Write { block, store }));
            }
        }
        if let Err(error) = self.job.stop.check() {
            // Streams end when nothing more can come.
            self.take_streams();
            if self.writing.with(|now, writing| writing.stop(now)) {
                self.written.error = Some(error);
            }
        }
    }

    fn take_streams(&mut self) -> Streams {
        let keeping = self.keeper.as_ref().and_then(Keeper::keeping);
        let none = Streams::new(self.job.geometry.profile().blocks(), self.writing.clone(), keeping);
        std::mem::replace(&mut self.streams, none)
    }

    fn written_put(&mut self, block: usize) -> Box<dyn Put> {
        self.puts.remove(&block).expect("what was written is committed or abandoned, once")
    }
}

/// Begins with a block, or goes on with what is kept of it.
async fn open(
    store: &Store,
    name: &ObjectName,
    length: Option<u64>,
    kept: Option<Kept>,
) -> Result<Open, TransportError> {
    if let (Some(kept), Some(length)) = (kept, length)
        && let Ok(put) = resume(store, name, length, &kept).await
    {
        return Ok((put, kept.bytes));
    }
    Ok((store.transport.put(name, length).await?, 0))
}
