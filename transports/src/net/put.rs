//! A put on its way to a block server.

use async_trait::async_trait;
use bytes::Bytes;

use super::call::Call;
use crate::transport::{check_length, over};
use crate::wire::{Answer, Request};
use crate::{Kept, Put, Result, Target};

pub(super) struct RemotePut {
    at: Target,
    length: Option<u64>,
    written: u64,
    /// `None` once the put is over: a call takes it, and gives it back only if it succeeds.
    call: Option<Call>,
}

impl RemotePut {
    /// A put that the server has taken, of which `written` bytes are there.
    pub(super) fn new(mut call: Call, length: Option<u64>, written: u64) -> Self {
        call.within_put();
        Self { at: call.at.clone(), length, written, call: Some(call) }
    }
}

#[async_trait]
impl Put for RemotePut {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let mut call = self.call.take().ok_or_else(|| over(&self.at))?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        check_length(&self.at, self.length, self.written, false)?;
        loop {
            call.send_data(bytes.split_to(bytes.len().min(PIECE_BYTES))).await?;
            if bytes.is_empty() {
                break;
            }
        }
        self.call = Some(call);
        Ok(())
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        let mut call = self.call.take().ok_or_else(|| over(&self.at))?;
        let kept = if call.server_keeps() { keep(&mut call, self.written).await? } else { None };
        self.call = Some(call);
        Ok(kept)
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let call = self.call.take().ok_or_else(|| over(&self.at))?;
        check_length(&self.at, self.length, self.written, true)?;
        end(call, &Request::Commit).await
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        match self.call.take() {
            Some(call) => end(call, &Request::Abandon).await,
            None => Ok(()),
        }
    }
}

/// Asks the server to keep what was sent.
async fn keep(call: &mut Call, written: u64) -> Result<Option<Kept>> {
    call.send(&Request::Keep).await?;
    match call.answer().await? {
        Answer::Kept(Some(kept)) if kept.bytes > written => {
            Err(call.broken("that it keeps more than it was sent"))
        }
        Answer::Kept(kept) => Ok(kept),
        answer => Err(call.out_of_place(&answer, "KEPT")),
    }
}

/// Says the last of a put, and waits until the server has done it.
async fn end(mut call: Call, request: &Request) -> Result<()> {
    call.send(request).await?;
    match call.answer().await? {
        Answer::Ok => {
            call.end();
            Ok(())
        }
        answer => Err(call.out_of_place(&answer, "OK")),
    }
}

/// Bytes of a frame of data: large enough to hide its header, small enough for a server to hold many.
const PIECE_BYTES: usize = 256 * 1024;
const _: () = assert!(PIECE_BYTES <= crate::wire::DATA_BYTES_MAX);
