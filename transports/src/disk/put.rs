//! The life of one put: every call takes the staged file with it and gives it back, or ends the put.

use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::blocking;
use super::io::Io;
use super::stage::{KeptName, Stage};
use super::writeback::Writeback;
use crate::transport::{check_length, over};
use crate::{Kept, ObjectName, Put, Result, Target, TransportError};

/// An object that is being staged.
#[derive(Debug)]
pub(super) struct DiskPut {
    pub(super) io: Io,
    pub(super) name: ObjectName,
    pub(super) at: Target,
    pub(super) length: Option<u64>,
    /// `None` once the put is over: a call takes it, and gives it back only if it succeeds.
    pub(super) stage: Option<Held>,
    pub(super) writeback: Writeback,
}

#[async_trait]
impl Put for DiskPut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut stage = self.take()?;
        let written = stage.written.saturating_add(bytes.len() as u64);
        let done = match check_length(&self.at, self.length, written, false) {
            Ok(()) => self.io.write_all_at(&self.at, &stage.file, bytes, stage.written).await,
            refused => refused,
        };
        stage.written = written;
        let stage = self.unless_over(stage, done).await?;
        self.writeback.advance(&stage.file, written);
        self.stage = Some(stage);
        Ok(())
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        let stage = self.take()?;
        let durable = self.io.sync(&self.at, &stage.file).await;
        let mut stage = self.unless_over(stage, durable).await?.release();
        let (at, name) = (self.at.clone(), self.name.clone());
        let keep = move || match stage.keep(&name) {
            Ok(kept) => Ok((stage, kept)),
            Err(error) => Err(TransportError::from_io(at, error)),
        };
        let (stage, KeptName(token)) = blocking(&self.at, keep).await?;
        let kept = Kept { bytes: stage.written, token: token.into() };
        self.stage = Some(Held::new(stage));
        Ok(Some(kept))
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let stage = self.take()?;
        let checked = match check_length(&self.at, self.length, stage.written, true) {
            Ok(()) if stage.kept => self.cut(stage).await,
            checked => self.unless_over(stage, checked).await,
        };
        let stage = checked?;
        // A failed fsync is final: the kernel may have dropped the bytes and would call a second one a success.
        let durable = self.io.sync(&self.at, &stage.file).await;
        let stage = self.unless_over(stage, durable).await?.release();
        let (at, name) = (self.at.clone(), self.name.clone());
        let publish = move || stage.publish(&name).map_err(|error| TransportError::from_io(at, error));
        blocking(&self.at, publish).await
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        let Some(stage) = self.stage.take().map(Held::release) else { return Ok(()) };
        let at = self.at.clone();
        blocking(&self.at, move || stage.discard().map_err(|error| TransportError::from_io(at, error))).await
    }
}

impl DiskPut {
    fn take(&mut self) -> Result<Held> {
        self.stage.take().ok_or_else(|| over(&self.at))
    }

    async fn cut(&self, stage: Held) -> Result<Held> {
        let (at, stage) = (self.at.clone(), stage.release());
        let cut = move || match stage.cut() {
            Ok(()) => Ok(stage),
            Err(error) => Err(TransportError::from_io(at, error)),
        };
        blocking(&self.at, cut).await.map(Held::new)
    }

    /// Gives the stage back, or drops it because of an error.
    async fn unless_over(&self, stage: Held, done: Result<()>) -> Result<Held> {
        let Err(error) = done else { return Ok(stage) };
        let stage = stage.release();
        let remove = move || {
            drop(stage);
            Ok(())
        };
        blocking(&self.at, remove).await?;
        Err(error)
    }
}

/// A stage in the hands of a future: if that is dropped, the file is removed, or closed, where it may block.
#[derive(Debug)]
pub(super) struct Held(Option<Stage>);

impl Held {
    pub(super) fn new(stage: Stage) -> Self {
        Self(Some(stage))
    }

    fn release(mut self) -> Stage {
        self.0.take().expect(HELD)
    }
}

impl Deref for Held {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Stage {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(stage) = self.0.take() else { return };
        // A runtime that is shutting down drops the closure, and so the stage, without running it.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(|| drop(stage))),
            Err(_) => drop(stage),
        }
    }
}

const HELD: &str = "it is there until it is released or dropped";
