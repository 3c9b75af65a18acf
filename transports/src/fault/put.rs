//! A put into a store with faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::roll::Roll;
use super::{Core, fault};
use crate::transport::{check_length, over};
use crate::{Kept, ObjectName, Put, Result, Target, TransportError};

pub(super) struct FaultPut {
    pub(super) core: Arc<Core>,
    pub(super) name: ObjectName,
    pub(super) at: Target,
    pub(super) length: Option<u64>,
    pub(super) written: u64,
    /// Offset of the byte that is stored wrong.
    pub(super) rotten: Option<u64>,
    /// Where what is stored ends, when that is not all.
    pub(super) end: Option<u64>,
    /// `None` once the put is over.
    pub(super) inner: Option<Box<dyn Put>>,
}

impl FaultPut {
    /// Makes the store's own put: of an unknown length where it will not get all the bytes. With `kept`, from there on.
    pub(super) async fn begin(
        core: Arc<Core>,
        roll: Roll,
        name: &ObjectName,
        length: Option<u64>,
        kept: Option<&Kept>,
    ) -> Result<Self> {
        let end = roll.then("short").chance(core.faults.short);
        let rotten = roll.then("rot").chance(core.faults.rot);
        let end = end.then(|| roll.then("kept").below(length.unwrap_or(0)));
        let rotten = rotten.then(|| roll.then("rotten").below(length.unwrap_or(1)));
        let declared = length.filter(|_| end.is_none());
        let inner = match kept {
            None => core.inner.put(name, declared).await?,
            Some(kept) => core.inner.resume(name, declared, kept).await?,
        };
        let (at, written) = (core.at(Some(name)), kept.map_or(0, |kept| kept.bytes));
        Ok(Self { core, name: name.clone(), at, length, written, rotten, end, inner: Some(inner) })
    }

    /// What is stored of `bytes`, which come next.
    fn stored(&self, mut bytes: Bytes) -> Bytes {
        let begin = self.written;
        if let Some(offset) = self.rotten.and_then(|offset| offset.checked_sub(begin)) {
            bytes = flipped(bytes, offset);
        }
        let room = self.end.map_or(u64::MAX, |end| end.saturating_sub(begin));
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        bytes
    }
}

#[async_trait]
impl Put for FaultPut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        let roll = self.core.begin("write", Some(&self.name)).await?;
        self.core.fail(&roll, &self.at)?;
        self.core.take_room(&self.at, bytes.len() as u64)?;
        self.core.pace(bytes.len()).await;
        let (stored, written) = (self.stored(bytes.clone()), self.written + bytes.len() as u64);
        if self.end.is_some() {
            check_length(&self.at, self.length, written, false)?;
        }
        inner.write(stored).await?;
        self.core.hold_back(&roll).await;
        self.written = written;
        self.inner = Some(inner);
        Ok(())
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        let mut inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        let roll = self.core.begin("keep", Some(&self.name)).await?;
        self.core.fail(&roll, &self.at)?;
        // Of a put that is cut short no more than is there: what comes after it is written again.
        let kept = inner.keep().await?;
        self.core.hold_back(&roll).await;
        self.inner = Some(inner);
        Ok(kept)
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        let roll = self.core.begin("commit", Some(&self.name)).await?;
        if let Err(error) = self.core.fail(&roll, &self.at) {
            return match roll.then("done").chance(0.5) {
                // The answer is lost, not the object.
                true => inner.commit().await.and(Err(error)),
                false => Err(error),
            };
        }
        let is_lie = roll.then("lie").chance(self.core.faults.lie);
        if is_lie || self.end.is_some() || self.core.is_lost(&self.name) {
            check_length(&self.at, self.length, self.written, true)?;
        }
        if is_lie || self.core.is_lost(&self.name) {
            inner.abandon().await?;
        } else {
            inner.commit().await?;
        }
        self.core.hold_back(&roll).await;
        Ok(())
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        match self.inner.take() {
            Some(inner) => inner.abandon().await,
            None => Ok(()),
        }
    }
}

/// `bytes` with all bits of the one at `offset` the other way round, if there is one.
pub(super) fn flipped(bytes: Bytes, offset: u64) -> Bytes {
    let mut bytes = Vec::from(bytes);
    if let Some(byte) = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset)) {
        *byte ^= 0xff;
    }
    bytes.into()
}

impl Core {
    /// Counts bytes against the room that there is.
    pub(super) fn take_room(&self, at: &Target, bytes: u64) -> Result<()> {
        let Some(room) = self.faults.room_bytes else { return Ok(()) };
        let taken = self.counts.written_bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        if taken.saturating_add(bytes) <= room {
            return Ok(());
        }
        Err(TransportError::Full { at: at.clone(), source: fault() })
    }
}
