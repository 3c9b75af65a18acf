//! The life of one put: a single request for what fits one part, an upload in parts for what does not or is kept.

use std::io::{Error, ErrorKind};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::Inner;
use super::error::convert;
use super::upload::Upload;
use crate::transport::{check_length, over};
use crate::{Kept, ObjectName, Put, Result, Target, TransportError};

/// An object on its way into a bucket.
pub(super) struct S3Put {
    to: To,
    length: Option<u64>,
    /// `None` once the put is over: a call takes it, and gives it back only if it succeeds.
    sent: Option<Sent>,
}

/// Where the object goes.
#[derive(Clone)]
pub(super) struct To {
    pub(super) inner: Arc<Inner>,
    pub(super) name: ObjectName,
    pub(super) at: Target,
    pub(super) key: Path,
    part_bytes: usize,
}

/// What was written.
#[derive(Default)]
struct Sent {
    written: u64,
    /// The last part, which is not under way yet.
    part: Vec<u8>,
    upload: Option<Upload>,
}

impl S3Put {
    pub(super) fn new(inner: Arc<Inner>, name: &ObjectName, length: Option<u64>) -> Result<Self> {
        let (at, key) = (inner.at(name), inner.key(name));
        if length.is_some_and(|length| length > OBJECT_BYTES_MAX) {
            return Err(too_large(at));
        }
        let part_bytes = PART_BYTES
            .max(usize::try_from(length.unwrap_or(0).div_ceil(PARTS_MAX)).unwrap_or(PART_BYTES_MAX));
        let to = To { inner, name: name.clone(), at, key, part_bytes };
        Ok(Self { to, length, sent: Some(Sent::default()) })
    }

    /// Goes on with an upload.
    pub(super) async fn resume(mut self, kept: &Kept) -> Result<Self> {
        check_length(&self.to.at, self.length, kept.bytes, false)?;
        let upload = Some(Upload::resume(&self.to, kept).await?);
        self.sent = Some(Sent { written: kept.bytes, part: Vec::new(), upload });
        Ok(self)
    }
}

#[async_trait]
impl Put for S3Put {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut sent = self.sent.take().ok_or_else(|| over(&self.to.at))?;
        match sent.add(&self.to, self.length, bytes).await {
            Ok(()) => {
                self.sent = Some(sent);
                Ok(())
            }
            Err(error) => sent.abort_after(&self.to, error).await,
        }
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        let mut sent = self.sent.take().ok_or_else(|| over(&self.to.at))?;
        match sent.keep(&self.to).await {
            Ok(kept) => {
                self.sent = Some(sent);
                Ok(kept)
            }
            Err(error) => sent.abort_after(&self.to, error).await,
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let sent = self.sent.take().ok_or_else(|| over(&self.to.at))?;
        if let Err(error) = check_length(&self.to.at, self.length, sent.written, true) {
            return sent.abort_after(&self.to, error).await;
        }
        // A task of its own goes to its end, whatever becomes of this future: so the object is there as a whole, or
        // what was sent is cleaned up.
        let at = self.to.at.clone();
        run(&at, sent.publish(self.to.clone())).await?
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        match self.sent.take() {
            Some(sent) => sent.abort(&self.to).await,
            None => Ok(()),
        }
    }
}

impl Sent {
    /// Takes charge of `bytes`. They are copied: parts are whole, and what they were cut from is free again.
    async fn add(&mut self, to: &To, length: Option<u64>, mut bytes: Bytes) -> Result<()> {
        check_length(&to.at, length, self.written.saturating_add(bytes.len() as u64), false)?;
        while !bytes.is_empty() {
            if self.part.len() == to.part_bytes {
                self.send_part(to).await?;
            }
            if self.part.is_empty() {
                let rest = length.map_or(bytes.len() as u64, |length| length - self.written);
                self.part.reserve_exact(to.part_bytes.min(usize::try_from(rest).unwrap_or(usize::MAX)));
            }
            let piece = bytes.split_to(bytes.len().min(to.part_bytes - self.part.len()));
            self.part.extend_from_slice(&piece);
            self.written += piece.len() as u64;
        }
        Ok(())
    }

    async fn send_part(&mut self, to: &To) -> Result<()> {
        let part = std::mem::take(&mut self.part);
        self.begun(to).await?.send(to, part).await
    }

    async fn begun(&mut self, to: &To) -> Result<&mut Upload> {
        if self.upload.is_none() {
            let to = to.clone();
            let at = to.at.clone();
            // Left alone it ends as an upload that nobody holds, and so is aborted.
            let begun = run(&at, async move { Upload::begin(&to).await }).await?;
            self.upload = Some(begun?);
        }
        Ok(self.upload.as_mut().expect("it has just begun"))
    }

    /// Whole parts are kept. What is left of the last one is sent when it is whole, too.
    async fn keep(&mut self, to: &To) -> Result<Option<Kept>> {
        if self.part.len() == to.part_bytes {
            self.send_part(to).await?;
        }
        let bytes = self.written - self.part.len() as u64;
        let token = self.begun(to).await?.keep(to).await?;
        Ok(token.map(|token| Kept { bytes, token }))
    }

    async fn publish(mut self, to: To) -> Result<()> {
        match self.try_publish(&to).await {
            Ok(()) => Ok(()),
            Err(error) => self.abort_after(&to, error).await,
        }
    }

    async fn try_publish(&mut self, to: &To) -> Result<()> {
        // No server is trusted to refuse an object that is in the way. Two that come at the same time overwrite each
        // other, as the capabilities say.
        match to.inner.length(&to.name).await {
            Ok(_) => return Err(TransportError::Exists { at: to.at.clone() }),
            Err(TransportError::Missing { at }) if at.name.is_some() => {}
            Err(error) => return Err(error),
        }
        let stored = self.store(to).await;
        to.confirm(stored, self.written).await
    }

    async fn store(&mut self, to: &To) -> Result<()> {
        if self.upload.is_none() {
            let payload = PutPayload::from(std::mem::take(&mut self.part));
            let stored = to.inner.store.put(&to.key, payload).await;
            return stored.map(drop).map_err(|error| convert(to.at.clone(), &error));
        }
        if !self.part.is_empty() {
            self.send_part(to).await?;
        }
        self.upload.as_mut().expect("parts were sent").complete(to).await
    }

    /// Leaves what was kept and may still become an object, and else nothing if it can. The first error is the one to
    /// report.
    async fn abort_after<T>(self, to: &To, error: TransportError) -> Result<T> {
        let is_kept = self.upload.as_ref().is_some_and(Upload::is_kept);
        if !is_kept || matches!(error, TransportError::Exists { .. }) {
            let _ = self.abort(to).await;
        }
        Err(error)
    }

    /// Leaves nothing.
    async fn abort(mut self, to: &To) -> Result<()> {
        match self.upload.take() {
            Some(upload) => upload.abort().await.map_err(|error| convert(to.at.clone(), &error)),
            None => Ok(()),
        }
    }
}

impl To {
    /// Looks what is there, whatever the server said: an answer may be lost, and a part too. What is shorter must
    /// not stay.
    async fn confirm(&self, stored: Result<()>, written: u64) -> Result<()> {
        let found = self.inner.length(&self.name).await;
        match (stored, found) {
            // It was not there a moment ago.
            (_, Ok(length)) if length == written => Ok(()),
            (Err(error), _) => Err(error),
            (Ok(()), Ok(got)) => {
                let _ = self.inner.store.delete(&self.key).await;
                Err(TransportError::Truncated { at: self.at.clone(), wanted: written, got })
            }
            (Ok(()), Err(TransportError::Missing { .. })) => {
                Err(TransportError::Truncated { at: self.at.clone(), wanted: written, got: 0 })
            }
            (Ok(()), Err(error)) => Err(error),
        }
    }
}

/// Runs `work` to its end, even if the caller goes away; its result is then dropped.
async fn run<T: Send + 'static>(at: &Target, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    match tokio::spawn(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => Ok(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(stopped)) => Err(TransportError::Other { at: at.clone(), source: stopped.into() }),
    }
}

pub(super) fn too_large(at: Target) -> TransportError {
    let source =
        Error::new(ErrorKind::FileTooLarge, "S3 takes 10000 parts; without a declared length of 8 MiB each");
    TransportError::Full { at, source }
}

/// Bytes of a part; more only where the object has more than [`PARTS_MAX`] of them. A put holds one that fills and
/// two under way: 24 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one upload: the limit of S3.
pub(super) const PARTS_MAX: u64 = 10_000;
/// Bytes of the largest part: a put of the largest object takes 192 MiB.
const PART_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the largest object: 625 GiB.
pub(super) const OBJECT_BYTES_MAX: u64 = PARTS_MAX * PART_BYTES_MAX as u64;
