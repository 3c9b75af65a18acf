//! A store in which things go wrong, always in the same way for the same seed: for tests, and for whoever wants to
//! rehearse a disaster before it comes.

mod faults;
mod put;
mod read;
mod roll;

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;

pub use self::faults::Faults;
use self::put::FaultPut;
use self::roll::{Numbers, Roll};
use crate::wrapped::{Wrapped, url_of};
use crate::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, Put, Registry, Result,
    Target, Transport, TransportError,
};

/// A transport around another, in which [`Faults`] happen. Without any it changes nothing.
///
/// What goes wrong depends on the seed, the kind of call, the object and how many such calls of it there were, and on
/// nothing else: so whatever a seed brings about, it brings about again, in whichever order the calls of different
/// objects come. Only what counts calls or bytes of the whole store (`dies_after`, `hangs_after`, `room_bytes`)
/// depends on that order.
///
/// ```
/// # use std::sync::Arc;
/// # use tanner_transports::{Fault, Faults, Memory, ObjectName, Registry, Transport, TransportError};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tanner_transports::Result<()> {
/// let store = Fault::new(Arc::new(Memory::new()), 7, Faults { loss: 1.0, ..Faults::none() });
/// assert_eq!(store.url(), "fault:seed=7,loss=1+memory:");
/// // The same, from a URL:
/// let store = Registry::default().open(store.url())?;
/// let name = ObjectName::new("00c0ffee/0")?;
/// store.put(&name, None).await?.commit().await?;
/// assert!(matches!(store.stat(&name).await, Err(TransportError::Missing { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fault {
    core: Arc<Core>,
    url: String,
}

impl Fault {
    /// Lets `faults` happen to `inner`.
    pub fn new(inner: Arc<dyn Transport>, seed: u64, faults: Faults) -> Self {
        let mut options: Vec<(&str, &dyn std::fmt::Display)> = vec![("seed", &seed)];
        let written = faults.options();
        options.extend(written.iter().map(|(key, value)| (*key, &**value)));
        let url = url_of("fault", &options, inner.url());
        let core = Core {
            inner,
            url: url.as_str().into(),
            root: Roll::new(seed),
            faults,
            counts: Counts::default(),
        };
        Self { core: Arc::new(core), url }
    }

    /// Opens `fault:seed=7,loss=0.1,delay=50ms+URL`: the options are those of [`Faults`], and `registry` opens the rest.
    ///
    /// # Errors
    /// `BadUrl` for options that are none, or what opening the inner URL reports.
    pub fn from_url(registry: &Registry, url: &str) -> Result<Self> {
        let wrapped = Wrapped::parse(url)?;
        let (seed, faults) = Faults::parse(&wrapped)?;
        Ok(Self::new(registry.open(wrapped.inner)?, seed, faults))
    }
}

/// What calls, puts and streams share.
#[derive(Debug)]
struct Core {
    inner: Arc<dyn Transport>,
    url: Arc<str>,
    root: Roll,
    faults: Faults,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    of_each: Numbers,
    calls: AtomicU64,
    written_bytes: AtomicU64,
}

#[async_trait]
impl Transport for Fault {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        self.core.inner.capabilities()
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let roll = self.core.enter("put", Some(name)).await?;
        self.core.begin_put(roll, name, length, None).await
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let roll = self.core.enter("resume", Some(name)).await?;
        if roll.then("lie").chance(self.core.faults.lie) {
            return Err(self.core.missing(name));
        }
        self.core.begin_put(roll, name, length, Some(kept)).await
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        self.core.enter("kept", None).await?;
        self.core.inner.kept().await
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let roll = self.core.enter_read("get", name).await?;
        let of = self.core.perhaps_another(&roll, name).await?;
        let pieces = match self.core.inner.get(&of, range.clone()).await {
            // The other one is too short for the lie.
            Err(_) if of != *name => return Err(self.core.missing(name)),
            pieces => pieces?,
        };
        self.core.hold_back(&roll).await;
        Ok(read::distort(self.core.clone(), roll, name, &range, pieces))
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let roll = self.core.enter_read("get ranges", name).await?;
        let of = self.core.perhaps_another(&roll, name).await?;
        let answers = match self.core.inner.get_ranges(&of, ranges).await {
            Err(_) if of != *name => return Err(self.core.missing(name)),
            answers => answers?,
        };
        self.core.pace(answers.iter().map(Bytes::len).sum()).await;
        self.core.hold_back(&roll).await;
        Ok(read::distort_ranges(&self.core.faults, &roll, answers))
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        let roll = self.core.enter_read("prove", name).await?;
        let hash = self.core.inner.prove(name, range, nonce).await?;
        self.core.hold_back(&roll).await;
        let lie = roll.then("lie");
        Ok(if lie.chance(self.core.faults.lie) { Hash::from_bytes(lie.then("hash").bytes()) } else { hash })
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let roll = self.core.enter_read("stat", name).await?;
        let ObjectMeta { length } = self.core.inner.stat(name).await?;
        self.core.hold_back(&roll).await;
        let lie = roll.then("lie");
        if !lie.chance(self.core.faults.lie) {
            return Ok(ObjectMeta { length });
        }
        // From 0 to about twice the length, and never the truth.
        let other = lie.then("length").below(length.saturating_mul(2).saturating_add(2));
        Ok(ObjectMeta { length: if other == length { length + 1 } else { other } })
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        let roll = self.core.enter("list", ObjectName::new(prefix).ok().as_ref()).await?;
        let names = self.core.inner.list(prefix).await?;
        self.core.hold_back(&roll).await;
        read::distort_list(self.core.clone(), &roll, prefix, names).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let (core, at) = (&self.core, self.core.at(Some(name)));
        let roll = core.begin("delete", Some(name)).await?;
        let failed = core.fail(&roll, &at);
        let in_vain = if failed.is_err() { 0.5 } else { core.faults.lie };
        if !roll.then("in vain").chance(in_vain) {
            core.inner.delete(name).await?;
        }
        core.hold_back(&roll).await;
        failed
    }
}

impl Core {
    /// Begins a call: it may come late, find the store dead, or fail.
    async fn enter(&self, call: &'static str, name: Option<&ObjectName>) -> Result<Roll> {
        let roll = self.begin(call, name).await?;
        self.fail(&roll, &self.at(name))?;
        Ok(roll)
    }

    /// Begins a call that reads an object, which may be lost.
    async fn enter_read(&self, call: &'static str, name: &ObjectName) -> Result<Roll> {
        let roll = self.enter(call, Some(name)).await?;
        if self.is_lost(name) { Err(self.missing(name)) } else { Ok(roll) }
    }

    async fn begin(&self, call: &'static str, name: Option<&ObjectName>) -> Result<Roll> {
        let number = self.counts.of_each.next(call, name);
        let object = self.root.then(call).then(name.map_or("", ObjectName::as_str));
        let roll = object.then(&number.to_string());
        self.alive(&self.at(name)).await?;
        sleep(self.faults.delay.mul_f64(roll.then("delay").fraction())).await;
        Ok(roll)
    }

    /// Counts what can be the last that works.
    async fn alive(&self, at: &Target) -> Result<()> {
        let before = self.counts.calls.fetch_add(1, Ordering::Relaxed);
        if self.faults.hangs_after.is_some_and(|calls| before >= calls) {
            std::future::pending::<()>().await;
        }
        if self.faults.dies_after.is_some_and(|calls| before >= calls) {
            return Err(TransportError::Unreachable { at: at.clone(), source: fault() });
        }
        Ok(())
    }

    /// One of the errors that may pass, perhaps.
    fn fail(&self, roll: &Roll, at: &Target) -> Result<()> {
        if !roll.then("error").chance(self.faults.error) {
            return Ok(());
        }
        let (at, source) = (at.clone(), fault());
        Err(match roll.then("which error").below(3) {
            0 => TransportError::Unreachable { at, source },
            1 => TransportError::Slow { at, source },
            _ => TransportError::Other { at, source: io::Error::new(ErrorKind::Interrupted, source) },
        })
    }

    async fn hold_back(&self, roll: &Roll) {
        sleep(self.faults.reorder.mul_f64(roll.then("reorder").fraction())).await;
    }

    async fn pace(&self, bytes: usize) {
        if let Some(rate) = self.faults.bytes_per_second {
            sleep(Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
        }
    }

    async fn begin_put(
        self: &Arc<Self>,
        roll: Roll,
        name: &ObjectName,
        length: Option<u64>,
        kept: Option<&Kept>,
    ) -> Result<Box<dyn Put>> {
        let taken = self.counts.written_bytes.load(Ordering::Relaxed);
        let left = self.faults.room_bytes.map(|room| room.saturating_sub(taken));
        let to_come = length.unwrap_or(0).saturating_sub(kept.map_or(0, |kept| kept.bytes));
        if left.is_some_and(|left| left == 0 || to_come > left) {
            return Err(TransportError::Full { at: self.at(Some(name)), source: fault() });
        }
        let put = FaultPut::begin(self.clone(), roll, name, length, kept).await?;
        self.hold_back(&roll).await;
        Ok(Box::new(put))
    }

    fn is_lost(&self, name: &ObjectName) -> bool {
        self.root.then("loss").then(name.as_str()).chance(self.faults.loss)
    }

    /// The object to read: now and then another one of the same backup, or none at all.
    async fn perhaps_another(&self, roll: &Roll, name: &ObjectName) -> Result<ObjectName> {
        let lie = roll.then("lie");
        if !lie.chance(self.faults.lie) {
            return Ok(name.clone());
        }
        if lie.then("missing").chance(0.5) || !self.inner.capabilities().list {
            return Err(self.missing(name));
        }
        let mut names: Vec<_> = self.inner.list(name.prefix().unwrap_or("")).await?.try_collect().await?;
        names.sort();
        names.retain(|other| other != name);
        let other = lie.then("other").below(names.len() as u64);
        names.get(other as usize).cloned().ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &ObjectName) -> TransportError {
        TransportError::Missing { at: self.at(Some(name)) }
    }

    fn at(&self, name: Option<&ObjectName>) -> Target {
        Target { store: self.url.clone(), name: name.cloned() }
    }
}

/// No sleep of no time: even that one would give way to other tasks.
async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn fault() -> io::Error {
    io::Error::other("a fault of the rehearsal")
}
