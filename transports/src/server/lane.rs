//! One lane: requests in, answers out, the store in between.

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::clients::Right;
use super::limits::{LIST_BYTES, READ_BYTES};
use super::taken_back::denied;
use super::tcp::LINGER_TIME;
use super::{Client, Limits, Shared, Stopped, until_stopped};
use crate::net::{DeleteToken, Lane, Pace};
use crate::transport::check_range;
use crate::wire::{Answer, Header, Kind, NAMES_BYTES_MAX, Refusal, Request, VERSION, Welcome};
use crate::{Nonce, ObjectName, Result, Target, Transport, TransportError};

/// What serves one lane.
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    /// Whether this connection was greeted.
    pub(super) greeted: Arc<AtomicBool>,
    /// Lanes of its connection.
    pub(super) lanes: u16,
    pub(super) lane: Lane,
}

/// Bytes in flight, until it is dropped.
pub(super) struct Room {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// What becomes of a lane after a request.
pub(super) enum Next {
    /// It carries the next one.
    Request,
    /// It ends, and what the client still sends is thrown away, so that it reads why.
    End,
}

impl Service {
    /// Serves one request after another.
    pub(super) async fn run(mut self, mut stopped: Stopped) {
        while let Ok(Next::Request) = self.next(&mut stopped).await {}
        self.end().await;
    }

    /// Serves one request.
    pub(super) async fn run_once(mut self, mut stopped: Stopped) {
        let _ = self.next(&mut stopped).await;
        self.end().await;
    }

    async fn next(&mut self, stopped: &mut Stopped) -> io::Result<Next> {
        self.lane.rest();
        tokio::select! {
            () = until_stopped(stopped) => return Ok(Next::End),
            begun = self.lane.reader.idle(self.shared.limits.idle_time) => begun?,
        }
        let Some(header) = self.lane.reader.header().await? else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // Before a megabyte is read that belongs to nothing.
        if matches!(header.kind, Kind::Data) {
            return self.refuse_frame("DATA outside of a put").await;
        }
        let Some((kind, payload)) = self.lane.reader.frame().await? else { return Ok(Next::End) };
        match Request::decode(kind, payload) {
            Ok(request) => self.serve(request).await,
            Err(error) => self.refuse_frame(&error.to_string()).await,
        }
    }

    async fn serve(&mut self, request: Request) -> io::Result<Next> {
        let greeted = self.greeted.load(Ordering::Acquire);
        match request {
            Request::Hello { .. } if !greeted => {
                self.greeted.store(true, Ordering::Release);
                self.answer(&Answer::Welcome(self.welcome())).await?;
                return Ok(Next::Request);
            }
            _ if !greeted => return self.refuse_frame("a request before HELLO").await,
            Request::Hello { .. } | Request::Commit | Request::Abandon | Request::Keep | Request::Data(_) => {
                return self.refuse_frame("a request out of place").await;
            }
            Request::Put { name, length } => return self.put(name, length).await,
            Request::Resume { name, length, kept } => return self.resume(name, length, kept).await,
            Request::Get { name, range } => self.get(&name, range).await?,
            Request::Gets { name, ranges } => self.gets(&name, &ranges).await?,
            Request::Prove { name, range, nonce } => self.prove(&name, range, &nonce).await?,
            Request::Stat { name } => self.stat(&name).await?,
            Request::List { prefix } => self.list(&prefix).await?,
            Request::Delete { name, token } => self.delete(&name, token).await?,
        }
        Ok(Next::Request)
    }

    fn welcome(&self) -> Welcome {
        let can = self.store().capabilities();
        Welcome {
            version: VERSION,
            durable: can.durable,
            complete: can.exclusive_create && can.ranges && can.list && can.prove,
            append_only: self.client.only_adds(),
            lanes: self.lanes,
            object_bytes_max: can.object_bytes_max,
            keep: can.keep,
            delete_token: self.client.wants_token(),
        }
    }

    async fn get(&mut self, name: &ObjectName, range: Range<u64>) -> io::Result<()> {
        let store = self.store();
        let got = self.at_work(store.get(name, range)).await?;
        match got {
            Ok(pieces) => {
                self.answer(&Answer::Ok).await?;
                let sent = self.send_pieces(pieces).await?;
                self.end_of(sent).await
            }
            Err(error) => self.refuse(&error).await,
        }
    }

    async fn gets(&mut self, name: &ObjectName, ranges: &[Range<u64>]) -> io::Result<()> {
        let (store, at) = (self.store(), self.client.area.at(name));
        let checked = self.at_work(async {
            let length = store.stat(name).await?.length;
            ranges.iter().try_for_each(|range| check_range(&at, range, length))
        });
        if let Err(error) = checked.await? {
            return self.refuse(&error).await;
        }
        self.answer(&Answer::Ok).await?;
        let mut rest = ranges;
        let mut sent = Ok(());
        while sent.is_ok() && !rest.is_empty() {
            let (batch, more) = rest.split_at(batch(rest));
            rest = more;
            sent = match batch {
                [range] => match self.at_work(store.get(name, range.clone())).await? {
                    Ok(pieces) => self.send_pieces(pieces).await?,
                    Err(error) => Err(error),
                },
                batch => self.send_batch(&*store, name, batch).await?,
            };
        }
        self.end_of(sent).await
    }

    async fn prove(&mut self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> io::Result<()> {
        let (store, _room) = (self.store(), self.room(READ_BYTES).await?);
        match self.at_work(store.prove(name, range, nonce)).await? {
            Ok(hash) => self.answer(&Answer::Proof(hash)).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    async fn stat(&mut self, name: &ObjectName) -> io::Result<()> {
        let store = self.store();
        match self.at_work(store.stat(name)).await? {
            Ok(meta) => self.answer(&Answer::Meta(meta.length)).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    async fn list(&mut self, prefix: &str) -> io::Result<()> {
        let (store, _room) = (self.store(), self.room(LIST_BYTES).await?);
        let mut names = match self.at_work(store.list(prefix)).await? {
            Ok(names) => names.ready_chunks(NAMES_BATCH),
            Err(error) => return self.refuse(&error).await,
        };
        loop {
            let Some(batch) = self.at_work(names.next()).await? else {
                return self.answer(&Answer::End).await;
            };
            let (mut good, mut failed) = (Vec::with_capacity(batch.len()), None);
            for name in batch {
                match name {
                    Ok(name) => good.push(name),
                    Err(error) => failed = Some(error),
                }
            }
            while !good.is_empty() {
                let some = Answer::names(&mut good);
                self.answer(&some).await?;
            }
            if let Some(error) = failed {
                return self.refuse(&error).await;
            }
        }
    }

    async fn delete(&mut self, name: &ObjectName, token: Option<DeleteToken>) -> io::Result<()> {
        let area = self.client.area.clone();
        let Some(right) = self.client.right(token.as_ref()) else {
            return self.refuse(&denied(area.at(name), WRONG_TOKEN)).await;
        };
        drop(token);
        let deleted = self.at_work_to_the_end(async {
            match right {
                Right::Everything => area.delete(name).await,
                Right::Unfinished => area.take_back(name).await,
            }
        });
        match deleted.await? {
            Ok(()) => self.answer(&Answer::Ok).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Sends pieces as they come. The inner result is that of the store.
    async fn send_pieces(&mut self, mut pieces: crate::ByteStream) -> io::Result<Result<()>> {
        loop {
            let _room = self.room(READ_BYTES).await?;
            match self.at_work(pieces.try_next()).await? {
                Ok(Some(piece)) => self.send(piece).await?,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Sends ranges that fit one frame together.
    async fn send_batch(
        &mut self,
        store: &dyn Transport,
        name: &ObjectName,
        batch: &[Range<u64>],
    ) -> io::Result<Result<()>> {
        let _room = self.room(2 * BATCH_BYTES as usize).await?;
        match self.at_work(store.get_ranges(name, batch)).await? {
            Ok(ranges) => {
                let bytes: Bytes = ranges.concat().into();
                if !bytes.is_empty() {
                    self.send(bytes).await?;
                }
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        let count = bytes.len();
        self.lane.writer.data(bytes).await?;
        self.shared.traffic.get(count);
        Ok(())
    }

    async fn end_of(&mut self, sent: Result<()>) -> io::Result<()> {
        match sent {
            Ok(()) => self.answer(&Answer::End).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Transport> {
        self.client.area.store.clone()
    }

    pub(super) async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.lane.writer.send(|out| answer.encode(out)).await
    }

    pub(super) async fn refuse(&mut self, error: &TransportError) -> io::Result<()> {
        self.shared.traffic.refuse();
        self.answer(&Answer::Error(Refusal::of(error))).await
    }

    /// A client that breaks the protocol is told so once.
    pub(super) async fn refuse_frame(&mut self, what: &str) -> io::Result<Next> {
        let at = Target::store(self.client.area.store.url());
        let source = io::Error::other(format!("the client broke the protocol: it sent {what}"));
        self.refuse(&TransportError::Other { at, source }).await?;
        Ok(Next::End)
    }

    /// Lets the store work, and tells the client now and then that it does.
    pub(super) async fn at_work<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = pin!(work);
        loop {
            match timeout(self.shared.limits.wait_time, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => self.answer(&Answer::Wait).await?,
            }
        }
    }

    /// As [`at_work`](Self::at_work), for what must not end half-way: it goes on when the client is gone, and the
    /// client's connection counts until it is done.
    pub(super) async fn at_work_to_the_end<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut work = pin!(work);
        let done = self.at_work(&mut work).await;
        if done.is_err() {
            work.await;
        }
        done
    }

    /// Memory for bytes on their way, the client's own first: it waits for itself before it waits for others. Those
    /// may keep it for as long as their peers are slow, so the client is told that it is waited for.
    pub(super) async fn room(&mut self, bytes: usize) -> io::Result<Room> {
        let bytes = u32::try_from(bytes).map_err(io::Error::other)?;
        let (own, all) = (self.client.inflight.clone(), self.shared.inflight.clone());
        let room = self.at_work(async {
            let own = own.acquire_many_owned(bytes).await?;
            Ok(Room { _own: own, _all: all.acquire_many_owned(bytes).await? })
        });
        room.await?.map_err(|closed: AcquireError| io::Error::other(closed))
    }

    async fn end(mut self) {
        let _ = self.lane.writer.finish().await;
        let _ = timeout(LINGER_TIME, self.lane.reader.drain()).await;
    }
}

impl Limits {
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.progress_time, self.progress_bytes)
    }
}

/// Answers a greeting with a no.
pub(super) async fn turn_away(mut lane: Lane, client: &Client, why: &'static str) {
    let at = Target::store(client.area.store.url());
    let source = io::Error::new(io::ErrorKind::ResourceBusy, why);
    let answer = Answer::Error(Refusal::of(&TransportError::Other { at, source }));
    let _ = lane.writer.send(|out| answer.encode(out)).await;
    let _ = lane.writer.finish().await;
    let _ = timeout(LINGER_TIME, lane.reader.drain()).await;
}

/// How many of these ranges go together: as many as fit, or one that does not.
fn batch(ranges: &[Range<u64>]) -> usize {
    let mut room = BATCH_BYTES;
    let fits = ranges.iter().take_while(|range| match room.checked_sub(range.end - range.start) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    });
    fits.count().max(1)
}

const WRONG_TOKEN: &str = "the delete token is none of those that the server has for this client: give the right file in \
                           TANNER_DELETE_TOKEN_FILE or as delete_token_file of the store, or have its hash added to the \
                           server's file of clients";
/// Bytes of ranges that are read at once; twice that while they are joined.
const BATCH_BYTES: u64 = 256 * 1024;
const _: () = assert!(BATCH_BYTES as usize <= crate::wire::DATA_BYTES_MAX);
/// Names that are taken from the store at once: fewer than fit one frame as they mostly are.
const NAMES_BATCH: usize = 1024;
const _: () = assert!(NAMES_BATCH * 40 < NAMES_BYTES_MAX);
const _: () = assert!(Header::BYTES == 5);
