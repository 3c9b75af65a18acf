//! Reading enough blocks from many stores at once: the threads that carry out what [`Reading`] decides.
//!
//! Each fetch has a thread, which waits for its store, hashes, and writes: a data block into its place in the staged
//! file, if no other fetch of the block writes there; anything else into the spool. A fetch that is not wanted any
//! more drops its stream and ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tanner_kernels::BlockSet;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found, Reader};
use crate::hash::PieceHasher;
use crate::progress::Progress;
use crate::resources::Stop;
use crate::scheduler::reading::{Action, Fault, Reading, Source, State, TICK};
use crate::spool::{Slot, Spool};

/// What a gathering needs.
pub(crate) struct Gather<'a> {
    pub(crate) found: &'a Found,
    pub(crate) staged: &'a File,
    pub(crate) spool: Arc<Spool>,
    /// The hash of the whole source, for branches.
    pub(crate) source: &'a PieceHasher,
    pub(crate) stop: &'a Stop,
    pub(crate) io: &'a Handle,
    pub(crate) progress: &'a Progress,
}

/// What came of it.
pub(crate) struct Gathered {
    /// Whether the blocks are enough.
    pub(crate) is_enough: bool,
    /// Blocks whose bytes matched their hash, and those without bytes.
    pub(crate) verified: BlockSet,
    /// How many there are of these, and of such as nobody found fault with yet.
    pub(crate) possible: usize,
    /// Those that verified and are parity.
    pub(crate) parity: BTreeMap<usize, Slot>,
    /// Parts of the source's hash: the data blocks, which are in their places.
    pub(crate) branches: Vec<PieceHasher>,
    pub(crate) damages: Vec<Damage>,
    pub(crate) stores: Vec<Source>,
}

/// Who may write to each data block's place: one fetch at most.
type Places = Vec<Mutex<Option<usize>>>;

/// Where a fetch puts what it reads.
enum Into {
    Place(PieceHasher),
    Slot(Slot),
}

/// What a fetch tells.
struct Event {
    fetch: usize,
    at: Duration,
    what: What,
}

enum What {
    Waits,
    Came(u64),
    Good(Into),
    Bad(DamageKind),
    Failed(Error),
    Panicked,
}

/// Why a fetch ends before its block does.
enum Halt {
    Cancelled,
    Failed(Error),
}

/// A fetch under way.
struct Underway {
    block: usize,
    store: usize,
    /// Cancels it when it is dropped.
    _cancel: oneshot::Sender<()>,
}

impl Gather<'_> {
    /// Reads until there is enough, or it is known that there never will be.
    pub(crate) fn run(&self) -> Result<Gathered, Error> {
        let geometry = &self.found.manifest.geometry;
        let blocks = geometry.profile().blocks();
        let stores = self.found.stores.iter().map(|store| store.facts.clone());
        let mut gathered = Gathered {
            is_enough: false,
            verified: BlockSet::none(blocks),
            possible: 0,
            parity: BTreeMap::new(),
            branches: Vec::new(),
            damages: Vec::new(),
            stores: Vec::new(),
        };
        let mut reading = Reading::new(
            Arc::clone(&self.found.codec),
            (0..blocks).map(|block| geometry.block_bytes(block)).collect(),
            stores.zip(self.found.listed.iter().cloned()),
        );
        let places = (0..geometry.profile().data()).map(|_| Mutex::new(None)).collect();
        // When this returns, no fetch writes anywhere any more.
        std::thread::scope(|scope| {
            let (began, (events, heard)) = (Instant::now(), channel());
            let mut underway = BTreeMap::new();
            while reading.state() == State::Going {
                self.stop.check()?;
                for action in reading.next(began.elapsed()) {
                    match action {
                        Action::Begin { fetch, block, store } => {
                            let (cancel, cancelled) = oneshot::channel();
                            let into = self.into(fetch, block, &places, &underway)?;
                            underway.insert(fetch, Underway { block, store, _cancel: cancel });
                            let teller = Teller { fetch, began, events: events.clone() };
                            let fetch = Fetch {
                                gather: self,
                                block,
                                store,
                                places: &places,
                                into,
                                cancelled,
                                teller,
                            };
                            scope.spawn(move || fetch.run());
                        }
                        Action::Cancel { fetch } => _ = underway.remove(&fetch),
                    }
                }
                // All that was told so far, before anybody is held to be slow.
                let mut event = heard.recv_timeout(TICK).ok();
                while let Some(told) = event {
                    self.hear(told, &mut reading, &mut underway, &places, &mut gathered)?;
                    event = heard.try_recv().ok();
                }
            }
            Ok::<_, Error>(())
        })?;
        gathered.is_enough = reading.state() == State::Done;
        gathered.verified = reading.blocks().clone();
        gathered.possible = reading.possible().len();
        gathered.stores = reading.stores().to_vec();
        Ok(gathered)
    }

    /// Takes in what a fetch tells.
    fn hear(
        &self,
        Event { fetch, at, what }: Event,
        reading: &mut Reading,
        underway: &mut BTreeMap<usize, Underway>,
        places: &Places,
        gathered: &mut Gathered,
    ) -> Result<(), Error> {
        match what {
            What::Waits => reading.waits(at, fetch),
            What::Came(bytes) => reading.came(at, fetch, bytes),
            What::Failed(error) => return Err(error),
            What::Panicked => panic!("a fetch panicked"),
            What::Bad(kind) => {
                let Some(Underway { block, store, .. }) = underway.remove(&fetch) else { return Ok(()) };
                let is_store = matches!(kind, DamageKind::Unreadable(_));
                gathered.damages.push(self.found.damage(block, store, kind));
                reading.failed(fetch, if is_store { Fault::Store } else { Fault::Copy });
            }
            What::Good(into) => {
                let Some(Underway { block, .. }) = underway.remove(&fetch) else { return Ok(()) };
                if reading.verified(fetch) {
                    self.keep(block, into, places, gathered)?;
                }
            }
        }
        Ok(())
    }

    /// Where a new fetch puts its block.
    fn into(
        &self,
        fetch: usize,
        block: usize,
        places: &Places,
        underway: &BTreeMap<usize, Underway>,
    ) -> Result<Into, Error> {
        if let Some(place) = places.get(block) {
            let mut owner = lock(place);
            if owner.is_none_or(|owner| !underway.contains_key(&owner)) {
                *owner = Some(fetch);
                return Ok(Into::Place(self.source.branch()));
            }
        }
        self.spool.slot().map(Into::Slot).map_err(|source| self.failed(source))
    }

    /// Takes in a block that verified.
    fn keep(&self, block: usize, into: Into, places: &Places, gathered: &mut Gathered) -> Result<(), Error> {
        match into {
            Into::Place(branch) => gathered.branches.push(branch),
            Into::Slot(slot) => match places.get(block) {
                None => _ = gathered.parity.insert(block, slot),
                Some(place) => {
                    // Whoever writes there writes no more from here on.
                    *lock(place) = None;
                    gathered.branches.push(self.place(block, &slot).map_err(|source| self.failed(source))?);
                }
            },
        }
        Ok(())
    }

    /// Copies a data block from the spool to its place.
    fn place(&self, block: usize, slot: &Slot) -> io::Result<PieceHasher> {
        let (range, mut branch) = (self.found.manifest.geometry.data_range(block), self.source.branch());
        let mut buffer = vec![0; COPY_BYTES];
        for at in range.clone().step_by(COPY_BYTES) {
            let count = usize::try_from(range.end - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
            let piece = &mut buffer[..count];
            slot.file().read_exact_at(piece, slot.start() + at - range.start)?;
            self.staged.write_all_at(piece, at)?;
            branch.add(at, piece);
            self.progress.advance(count as u64);
        }
        Ok(branch)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Staged { id: self.found.manifest.id, source }
    }
}

/// A fetch on its thread.
struct Fetch<'a> {
    gather: &'a Gather<'a>,
    block: usize,
    store: usize,
    places: &'a Places,
    into: Into,
    cancelled: oneshot::Receiver<()>,
    teller: Teller,
}

/// Tells what becomes of a fetch, even of one that panics.
struct Teller {
    fetch: usize,
    began: Instant,
    events: Sender<Event>,
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
    fn run(mut self) {
        let gather = self.gather;
        let what = match gather.found.read_from(self.block, self.store, &mut self) {
            Ok(None) => What::Good(self.into),
            Ok(Some(kind)) => What::Bad(kind),
            Err(Halt::Failed(error)) => What::Failed(error),
            Err(Halt::Cancelled) => return,
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
        let written = match &mut self.into {
            Into::Slot(slot) => slot.write(offset, piece),
            Into::Place(branch) => {
                let at = self.gather.found.manifest.geometry.data_range(self.block).start + offset;
                let owner = lock(&self.places[self.block]);
                if *owner != Some(self.teller.fetch) {
                    return Err(Halt::Cancelled);
                }
                let written = self.gather.staged.write_all_at(piece, at);
                drop(owner);
                branch.add(at, piece);
                self.gather.progress.advance(piece.len() as u64);
                written
            }
        };
        written.map_err(|source| Halt::Failed(self.gather.failed(source)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A multiple of what a source hash is put together from.
const COPY_BYTES: usize = 1 << 20;
