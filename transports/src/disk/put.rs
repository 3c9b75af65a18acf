//! The life of one put: every call takes the staged file to a blocking thread and back, or ends the put there.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::blocking;
use super::stage::Stage;
use crate::transport::{check_length, over};
use crate::{ObjectName, Put, Result, Target, TransportError};

/// An object that is being staged.
#[derive(Debug)]
pub(super) struct DiskPut {
    pub(super) name: ObjectName,
    pub(super) at: Target,
    pub(super) length: Option<u64>,
    /// `None` once the put is over: a call takes it, and gives it back only if it succeeds.
    pub(super) stage: Option<Stage>,
}

#[async_trait]
impl Put for DiskPut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut stage = self.stage.take().ok_or_else(|| over(&self.at))?;
        let (at, length) = (self.at.clone(), self.length);
        let work = move || {
            check_length(&at, length, stage.written.saturating_add(bytes.len() as u64), false)?;
            stage.write(&bytes).map_err(|error| TransportError::from_io(at, error))?;
            Ok(stage)
        };
        self.stage = Some(blocking(&self.at, work).await?);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let stage = self.stage.take().ok_or_else(|| over(&self.at))?;
        let (at, length, name) = (self.at.clone(), self.length, self.name.clone());
        let work = move || {
            check_length(&at, length, stage.written, true)?;
            stage.publish(&name).map_err(|error| TransportError::from_io(at, error))
        };
        blocking(&self.at, work).await
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        let Some(stage) = self.stage.take() else { return Ok(()) };
        let at = self.at.clone();
        blocking(&self.at, move || stage.discard().map_err(|error| TransportError::from_io(at, error))).await
    }
}

impl Drop for DiskPut {
    fn drop(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        // A runtime that is shutting down drops the closure, and so the stage, without running it.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(|| drop(stage))),
            Err(_) => drop(stage),
        }
    }
}
