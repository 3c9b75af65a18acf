//! A store that is used no faster than it may be: what keeps a line or a disk usable for others.

mod limiter;
mod timetable;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

pub use self::limiter::{Limiter, Limits, WeekClock};
pub use self::timetable::{Timetable, TimetableError};
use crate::transport::over;
use crate::wrapped::Wrapped;
use crate::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, PIECE_BYTES_MAX, Put,
    Registry, Result, Target, Transport,
};

/// A transport around another, which keeps to the [`Limits`] of a [`Limiter`]. The streams that share a limiter, of one
/// store or of many, get equal shares, whatever the size of their pieces.
///
/// The rate counts the bytes of objects, not what a protocol adds. It is the same store with or without limits, so its
/// URL is that of the inner one. For a budget of several stores beside one for each, put a limit around a limit.
#[derive(Clone, Debug)]
pub struct Limit {
    inner: Arc<dyn Transport>,
    limiter: Limiter,
}

impl Limit {
    /// Lets `inner` be used as fast as `limiter` allows.
    pub fn new(inner: Arc<dyn Transport>, limiter: Limiter) -> Self {
        Self { inner, limiter }
    }

    /// Opens `limit:rate=5M,requests=4,inflight=8MiB+URL`: the options are those of [`Limits`], of which each opening has
    /// its own, and `registry` opens the rest. A space in a timetable may be written `%20`.
    ///
    /// # Errors
    /// `BadUrl` for options that are none, or what opening the inner URL reports.
    pub fn from_url(registry: &Registry, url: &str, clock: WeekClock) -> Result<Self> {
        let wrapped = Wrapped::parse(url)?;
        let limiter = Limiter::new(Limits::parse(&wrapped)?, clock);
        Ok(Self::new(registry.open(wrapped.inner)?, limiter))
    }

    /// Waits for the turn of a call that carries no bytes of objects.
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let _turn = self.limiter.enter(0).await;
        call.await
    }

    fn around(&self, inner: Box<dyn Put>, name: &ObjectName) -> Box<dyn Put> {
        let at = Target::object(self.url(), name);
        Box::new(LimitPut { inner: Some(inner), limiter: self.limiter.clone(), at })
    }
}

#[async_trait]
impl Transport for Limit {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let inner = self.call(self.inner.put(name, length)).await?;
        Ok(self.around(inner, name))
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let inner = self.call(self.inner.resume(name, length, kept)).await?;
        Ok(self.around(inner, name))
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        self.call(self.inner.kept()).await
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let length = range.end.saturating_sub(range.start);
        let inner = self.call(self.inner.get(name, range)).await?;
        let ahead = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
        let pieces = in_turn(self.limiter.clone(), inner, ahead);
        let limiter = self.limiter.clone();
        let portions = pieces.map_ok(move |piece| {
            let rest = (limiter.clone(), piece);
            stream::try_unfold(rest, async |(limiter, mut rest)| {
                let portion = rest.split_to(limiter.portion(rest.len()));
                if portion.is_empty() {
                    return Ok(None);
                }
                limiter.pay(portion.len()).await;
                Ok(Some((portion, (limiter, rest))))
            })
        });
        Ok(portions.try_flatten().boxed())
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let lengths = ranges.iter().map(|range| range.end.saturating_sub(range.start));
        let asked = usize::try_from(lengths.fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
        let answers = {
            let _turn = self.limiter.enter(asked).await;
            self.inner.get_ranges(name, ranges).await?
        };
        // Afterwards: only now is known that there were so many, and what came was carried, whatever becomes of it.
        let mut came: usize = answers.iter().map(Bytes::len).sum();
        while came > 0 {
            let portion = self.limiter.portion(came);
            self.limiter.pay(portion).await;
            came -= portion;
        }
        Ok(answers)
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        self.call(self.inner.prove(name, range, nonce)).await
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.call(self.inner.stat(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        let names = self.call(self.inner.list(prefix)).await?;
        Ok(in_turn(self.limiter.clone(), names, 0))
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.call(self.inner.delete(name)).await
    }
}

/// A stream whose every item is waited for in turn, with `ahead` bytes under way for the time.
fn in_turn<T: Send + 'static>(
    limiter: Limiter,
    inner: BoxStream<'static, Result<T>>,
    ahead: usize,
) -> BoxStream<'static, Result<T>> {
    stream::try_unfold((limiter, inner), move |(limiter, mut inner)| async move {
        let item = {
            let _turn = limiter.enter(ahead).await;
            inner.try_next().await?
        };
        Ok(item.map(|item| (item, (limiter, inner))))
    })
    .boxed()
}

struct LimitPut {
    /// `None` once the put is over.
    inner: Option<Box<dyn Put>>,
    limiter: Limiter,
    at: Target,
}

#[async_trait]
impl Put for LimitPut {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let mut inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        while !bytes.is_empty() {
            let portion = bytes.split_to(self.limiter.portion(bytes.len()));
            let _turn = self.limiter.enter(portion.len()).await;
            self.limiter.pay(portion.len()).await;
            inner.write(portion).await?;
        }
        self.inner = Some(inner);
        Ok(())
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        let mut inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        let _turn = self.limiter.enter(0).await;
        let kept = inner.keep().await?;
        self.inner = Some(inner);
        Ok(kept)
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let inner = self.inner.take().ok_or_else(|| over(&self.at))?;
        let _turn = self.limiter.enter(0).await;
        inner.commit().await
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        match self.inner.take() {
            Some(inner) => inner.abandon().await,
            None => Ok(()),
        }
    }
}
