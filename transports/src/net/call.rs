//! One request and its answers, on a lane that is used again only when it is known what comes next on it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::lane::{Lane, broke_off, violation};
use super::lease::Lease;
use super::remote::Inner;
use crate::transport::over;
use crate::wire::{Answer, Kind, Request, WireError};
use crate::{Result, Target, TransportError};

/// A request that was sent. Dropping it closes its lane.
pub(super) struct Call {
    inner: Arc<Inner>,
    /// What it is about.
    pub(super) at: Target,
    /// `None` once nothing more is to be said.
    lease: Option<Lease>,
    /// Time that the server's being at work has taken since it last moved something.
    at_work: Duration,
    /// Bytes that moved in that time.
    moved: usize,
    /// Whether a put is under way: the server may speak unasked, and an error ends the lane.
    within_put: bool,
    /// Whether the server answered with an error.
    refused: bool,
}

impl Call {
    /// Sends a request and waits for the first answer.
    pub(super) async fn begin(inner: &Arc<Inner>, at: Target, request: &Request) -> Result<(Self, Answer)> {
        loop {
            let lease = inner.lease(&at).await?;
            let reused = lease.reused;
            let (inner, at) = (inner.clone(), at.clone());
            let lease = Some(lease);
            let mut call = Self {
                inner,
                at,
                lease,
                at_work: Duration::ZERO,
                moved: 0,
                within_put: false,
                refused: false,
            };
            let answer = match call.send(request).await {
                Ok(()) => call.answer().await,
                Err(error) => Err(error),
            };
            match answer {
                // The server closed it while it lay idle. There are only so many of those, then one is new.
                Err(TransportError::Unreachable { .. }) if reused && !call.refused => {}
                answer => return answer.map(|answer| (call, answer)),
            }
        }
    }

    /// As [`begin`](Self::begin), for a request that is first answered with OK.
    pub(super) async fn begin_ok(inner: &Arc<Inner>, at: Target, request: &Request) -> Result<Self> {
        match Self::begin(inner, at, request).await? {
            (call, Answer::Ok) => Ok(call),
            (call, answer) => Err(call.out_of_place(&answer, "OK")),
        }
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<()> {
        let writer = &mut self.lane()?.writer;
        match request {
            Request::Delete { token: Some(_), .. } => writer.begin_secret(|out| request.encode(out)),
            _ => writer.begin(|out| request.encode(out)),
        }
        self.flush().await
    }

    /// Sends bytes of a put.
    pub(super) async fn send_data(&mut self, bytes: Bytes) -> Result<()> {
        let count = bytes.len();
        self.lane()?.writer.begin_data(bytes);
        self.flush().await?;
        self.progress(count);
        Ok(())
    }

    /// Sends what was begun. Within a put, an error that the server sends meanwhile is not left for the commit, and a
    /// server that is at work takes what is sent as soon as it can.
    async fn flush(&mut self) -> Result<()> {
        let (within_put, mut began) = (self.within_put, Instant::now());
        loop {
            let Lane { reader, writer } = self.lane()?;
            // An answer to what is being sent cannot come before this has seen it sent.
            let said = tokio::select! {
                biased;
                said = reader.unasked(), if within_put => said,
                sent = writer.flush() => match sent {
                    Ok(()) => return Ok(()),
                    Err(error) => return Err(self.last_words(error).await),
                },
            };
            match self.decode(said)? {
                Answer::Wait => self.wait(&mut began)?,
                answer => return Err(self.out_of_place(&answer, "silence")),
            }
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Result<Answer> {
        let mut began = Instant::now();
        loop {
            let said = self.lane()?.reader.frame().await;
            let bytes = said.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, payload)| payload.len());
            match self.decode(said)? {
                Answer::Wait => self.wait(&mut began)?,
                answer => {
                    self.progress(bytes);
                    return Ok(answer);
                }
            }
        }
    }

    /// The server says that it is at work, and has been since it last did or since `began`.
    fn wait(&mut self, began: &mut Instant) -> Result<()> {
        self.at_work += began.elapsed();
        *began = Instant::now();
        let most = self.inner.patience.answer;
        if self.at_work > most {
            let words = format!("the server said for {} s that it is at work", most.as_secs_f64());
            return Err(self.failed(io::Error::new(io::ErrorKind::TimedOut, words)));
        }
        let Lane { reader, writer } = self.lane()?;
        reader.forgive();
        writer.forgive();
        Ok(())
    }

    /// Crumbs between saying that it is at work are no progress.
    fn progress(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= self.inner.patience.stall_bytes {
            (self.at_work, self.moved) = (Duration::ZERO, 0);
        }
    }

    fn lane(&mut self) -> Result<&mut Lane> {
        let lease = self.lease.as_mut().ok_or_else(|| over(&self.at))?;
        Ok(&mut lease.lane)
    }

    /// Whether the server may be asked to keep a put.
    pub(super) fn server_keeps(&self) -> bool {
        self.inner.keeps()
    }

    /// From here on the server may say WAIT unasked, and an error means that it reads no further.
    pub(super) fn within_put(&mut self) {
        self.within_put = true;
    }

    /// All was said: the lane may be used again.
    pub(super) fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// An answer that does not belong to the request.
    pub(super) fn out_of_place(&self, answer: &Answer, wanted: &'static str) -> TransportError {
        self.failed(violation(WireError::OutOfPlace { kind: answer.kind(), wanted }))
    }

    /// What the server sent is not what was asked for.
    pub(super) fn broken(&self, what: &str) -> TransportError {
        self.failed(io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}")))
    }

    fn failed(&self, error: io::Error) -> TransportError {
        self.inner.failed(&self.at, error)
    }

    /// An answer, or why there is none; the lane is kept only if the server said why in good order.
    fn decode(&mut self, said: io::Result<Option<(Kind, Bytes)>>) -> Result<Answer> {
        let answer = said.and_then(|frame| {
            let (kind, payload) = frame.ok_or_else(broke_off)?;
            Answer::decode(kind, payload).map_err(violation)
        });
        match answer {
            Ok(Answer::Error(refusal)) => {
                self.refused = true;
                if !self.within_put {
                    self.end();
                }
                self.lease = None;
                Err(refusal.into_error(&self.at))
            }
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.lease = None;
                Err(self.failed(error))
            }
        }
    }

    /// A server that closes a lane has often said why, and that is worth more than the closing.
    async fn last_words(&mut self, error: io::Error) -> TransportError {
        let Some(mut lease) = self.lease.take() else { return over(&self.at) };
        let said = timeout(LAST_WORDS_TIME, lease.lane.reader.unasked()).await;
        match said {
            Ok(said @ Ok(Some(_))) => self.decode(said).err().unwrap_or_else(|| self.failed(error)),
            Ok(Err(why)) => self.failed(why),
            _ => self.failed(error),
        }
    }
}

/// For an error that was sent before the lane broke.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);
