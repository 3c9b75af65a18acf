//! The life of one put, which holds a process of its own.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::Inner;
use super::lane::{Answer, Failure};
use super::pool::Hired;
use crate::transport::{check_length, over};
use crate::{ObjectName, PIECE_BYTES_MAX, Put, Result, Target};

/// An object on its way into a program.
pub(super) struct ExecPut {
    inner: Arc<Inner>,
    at: Target,
    length: Option<u64>,
    written: u64,
    /// `None` once the put is over: a call takes it, and gives it back only if it succeeds.
    hired: Option<Hired>,
}

impl ExecPut {
    pub(super) async fn begin(inner: Arc<Inner>, name: &ObjectName, length: Option<u64>) -> Result<Self> {
        let at = inner.at(name);
        let declared = length.map_or("-".to_owned(), |length| length.to_string());
        match inner.ask(&at, None, &format!("PUT {name} {declared}\n")).await? {
            (hired, Answer::Ok) => Ok(Self { inner, at, length, written: 0, hired: Some(hired) }),
            _ => Err(super::out_of_turn(&at)),
        }
    }

    /// Sends a line, with bytes or none, which has to be answered with `OK`.
    async fn send(&self, hired: &mut Hired, line: &str, bytes: &[u8]) -> Result<(), Failure> {
        hired.lane.send(&self.at, line).await?;
        hired.lane.send_bytes(&self.at, bytes).await?;
        hired.lane.hear(&self.at, &Answer::Ok).await
    }

    /// Ends the put in the words of the protocol.
    async fn end(&self, mut hired: Hired, line: &str) -> Result<()> {
        match self.send(&mut hired, line, &[]).await {
            Ok(()) => {
                self.inner.pool.give_back(hired);
                Ok(())
            }
            Err(failure) => Err(self.inner.pool.failed(hired, &self.at, None, failure)),
        }
    }
}

#[async_trait]
impl Put for ExecPut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut hired = self.hired.take().ok_or_else(|| over(&self.at))?;
        let written = self.written.saturating_add(bytes.len() as u64);
        if let Err(error) = check_length(&self.at, self.length, written, false) {
            // The first error is the one to report.
            let _ = self.end(hired, "ABANDON\n").await;
            return Err(error);
        }
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            if let Err(failure) = self.send(&mut hired, &format!("DATA {}\n", piece.len()), piece).await {
                return Err(self.inner.pool.failed(hired, &self.at, None, failure));
            }
        }
        self.written = written;
        self.hired = Some(hired);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let hired = self.hired.take().ok_or_else(|| over(&self.at))?;
        if let Err(error) = check_length(&self.at, self.length, self.written, true) {
            let _ = self.end(hired, "ABANDON\n").await;
            return Err(error);
        }
        self.end(hired, "COMMIT\n").await
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        match self.hired.take() {
            Some(hired) => self.end(hired, "ABANDON\n").await,
            None => Ok(()),
        }
    }
}

impl Drop for ExecPut {
    fn drop(&mut self) {
        let Some(hired) = self.hired.take() else { return };
        // Without a runtime the process is killed, which abandons the put as well.
        if let Ok(runtime) = Handle::try_current() {
            let (inner, at) = (self.inner.clone(), self.at.clone());
            let put = Self { inner, at, length: None, written: 0, hired: None };
            runtime.spawn(async move { put.end(hired, "ABANDON\n").await });
        }
    }
}
