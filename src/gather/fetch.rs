//! A fetch on its thread.

use std::ops::Range;
use std::pin::pin;
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Gather;
use crate::assembly::{Home, Part};
use crate::error::Error;
use crate::fetch::DamageKind;
use crate::range::Reader;

/// What a fetch tells.
pub(super) struct Event {
    pub(super) fetch: usize,
    pub(super) at: Duration,
    pub(super) what: What,
}

pub(super) enum What {
    Waits,
    Came(u64),
    /// These ranges are written, from the begin of its own on; and what is wrong, if anything.
    Ended(Part, Option<DamageKind>),
    Failed(Error),
    Panicked,
}

/// A fetch on its thread.
pub(super) struct Fetch<'a> {
    pub(super) gather: &'a Gather<'a>,
    pub(super) block: usize,
    pub(super) store: usize,
    pub(super) home: Home,
    pub(super) part: Part,
    pub(super) cancelled: oneshot::Receiver<()>,
    pub(super) teller: Teller,
}

/// Why a fetch ends before its range does.
pub(super) enum Halt {
    Cancelled,
    Failed(Error),
}

/// Tells what becomes of a fetch, even of one that panics.
pub(super) struct Teller {
    pub(super) fetch: usize,
    pub(super) began: Instant,
    pub(super) events: Sender<Event>,
}

impl Teller {
    /// Nobody listens any more once there is enough.
    fn tell(&self, what: What) {
        _ = self.events.send(Event { fetch: self.fetch, at: self.began.elapsed(), what });
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(What::Panicked);
        }
    }
}

impl Fetch<'_> {
    pub(super) fn run(mut self, range: Range<u64>) {
        let what = match self.gather.found.read_range(self.block, self.store, range, &mut self) {
            Ok(damage) => What::Ended(self.part, damage),
            Err(Halt::Cancelled) => What::Ended(self.part, None),
            Err(Halt::Failed(error)) => What::Failed(error),
        };
        self.teller.tell(what);
    }
}

impl Reader for Fetch<'_> {
    type Error = Halt;

    fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Halt> {
        self.teller.tell(What::Waits);
        let answer = pin!(answer);
        match self.gather.io.block_on(select(&mut self.cancelled, answer)) {
            Either::Left(_) => Err(Halt::Cancelled),
            Either::Right((answer, _)) => Ok(answer),
        }
    }

    fn came(&mut self, bytes: u64) {
        self.teller.tell(What::Came(bytes));
    }

    fn take(&mut self, offset: u64, piece: &[u8]) -> Result<(), Halt> {
        // Where it has no thread of its own, nobody could cancel it.
        self.gather.stop.check().map_err(Halt::Failed)?;
        let turned = self.home.turned(offset, piece);
        let written = self.home.write(offset, &turned);
        written.map_err(|source| Halt::Failed(self.gather.failed(source)))?;
        self.part.add(&self.home, offset, piece, &turned);
        self.gather.progress.advance(if self.part.source.is_some() { piece.len() as u64 } else { 0 });
        Ok(())
    }
}
