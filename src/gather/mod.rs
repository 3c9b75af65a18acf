//! Reading enough blocks from many stores at once: the threads that carry out what [`Reading`] decides.
//!
//! Each fetch has a thread, which waits for its store, hashes, and writes to the block's place, in which nobody else
//! has the same range. A fetch that is not wanted any more drops its stream and ends.

mod fetch;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::Scope;
use std::time::Duration;

use tanner_kernels::BlockSet;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::fetch::{Event, Fetch, Teller, What};
use crate::assembly::{Assembly, Home, Part, left_over};
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::hash::PieceHasher;
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::reading::{Action, Fault, Reading, Source, State, TICK};
use crate::scratch::Scratch;

/// What a gathering needs.
pub(crate) struct Gather<'a> {
    pub(crate) found: &'a Found,
    pub(crate) staged: &'a Scratch,
    pub(crate) resources: &'a Resources,
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
    pub(crate) parity: BTreeMap<usize, Home>,
    /// Parts of the source's hash: the data blocks, which are in their places.
    pub(crate) branches: Vec<PieceHasher>,
    pub(crate) damages: Vec<Damage>,
    pub(crate) stores: Vec<Source>,
    /// Bytes of blocks that an earlier restore had left.
    pub(crate) left_bytes: u64,
}

/// A gathering under way.
struct Going<'a> {
    gather: &'a Gather<'a>,
    reading: Reading,
    fetches: BTreeMap<usize, Underway>,
    assemblies: BTreeMap<usize, Assembly>,
    gathered: Gathered,
}

/// A fetch under way.
struct Underway {
    block: usize,
    store: usize,
    /// Dropping it cancels the fetch.
    cancel: Option<oneshot::Sender<()>>,
}

impl Gather<'_> {
    /// Reads until there is enough, or it is known that there never will be.
    pub(crate) fn run(&self) -> Result<Gathered, Error> {
        let left = match self.staged.is_resumed {
            true => left_over(self.found, self.staged, self.resources, self.stop, self.progress)?,
            false => Vec::new(),
        };
        let mut going = self.going(left);
        // When this returns, no fetch writes anywhere any more.
        std::thread::scope(|scope| {
            let done = going.run(scope);
            going.fetches.clear();
            done
        })?;
        let Going { reading, mut gathered, .. } = going;
        gathered.is_enough = reading.state() == State::Done;
        gathered.verified = reading.blocks().clone();
        gathered.possible = reading.possible().len();
        gathered.stores = reading.stores().to_vec();
        let data = 0..self.found.manifest.geometry.profile().data();
        let done = data.filter(|&block| gathered.verified.contains(block));
        self.progress.set(done.map(|block| self.found.block_bytes(block)).sum());
        Ok(gathered)
    }

    /// What is there before anything is read.
    fn going(&self, left: Vec<(usize, Assembly)>) -> Going<'_> {
        let mut gathered = Gathered {
            is_enough: false,
            verified: self.found.manifest.geometry.empty_blocks(),
            possible: 0,
            parity: BTreeMap::new(),
            branches: Vec::new(),
            damages: Vec::new(),
            stores: Vec::new(),
            left_bytes: 0,
        };
        let mut assemblies = BTreeMap::new();
        for (block, mut assembly) in left {
            let bytes = assembly.part.bytes;
            if bytes < self.found.block_bytes(block) {
                assemblies.insert(block, assembly);
            } else if assembly.is_right(self.found, block) {
                gathered.verified.insert(block);
                gathered.keep(block, assembly);
            } else {
                continue;
            }
            gathered.left_bytes += bytes;
        }
        let stores = self.found.stores.iter().map(|store| store.facts.clone());
        let kept = |block| assemblies.get(&block).map_or(0, |assembly: &Assembly| assembly.part.bytes);
        let reading = Reading::new(
            Arc::clone(&self.found.codec),
            (0..self.found.manifest.hashes.len()).map(|block| (self.found.block_bytes(block), kept(block))),
            gathered.verified.clone(),
            stores.zip(self.found.listed.iter().cloned()),
        );
        Going { gather: self, reading, fetches: BTreeMap::new(), assemblies, gathered }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Staged { id: self.found.manifest.id, source }
    }
}

impl Gathered {
    /// Takes in a block that verified.
    fn keep(&mut self, block: usize, Assembly { home, part }: Assembly) {
        match part.source {
            Some(branch) => self.branches.push(branch),
            None => _ = self.parity.insert(block, home),
        }
    }
}

impl<'a> Going<'a> {
    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> Result<(), Error>
    where
        'a: 'scope,
    {
        let (began, (events, heard)) = (Instant::now(), channel());
        while self.reading.state() == State::Going {
            self.gather.stop.check()?;
            for action in self.reading.next(began.elapsed()) {
                self.act(action, scope, began, &events)?;
            }
            // All that was told so far, before anybody is held to be slow.
            let mut event = heard.recv_timeout(TICK).ok();
            while let Some(told) = event {
                self.hear(told)?;
                event = heard.try_recv().ok();
            }
        }
        Ok(())
    }

    /// Does what the reading wants.
    fn act<'scope>(
        &mut self,
        action: Action,
        scope: &'scope Scope<'scope, '_>,
        began: Instant,
        events: &Sender<Event>,
    ) -> Result<(), Error>
    where
        'a: 'scope,
    {
        match action {
            Action::Begin { fetch, block, store, range } => {
                let home = self.assembly(block)?.home.clone();
                let (cancel, cancelled) = oneshot::channel();
                self.fetches.insert(fetch, Underway { block, store, cancel: Some(cancel) });
                let teller = Teller { fetch, began, events: events.clone() };
                let part = Part::new(self.gather.found, block);
                let fetch = Fetch { gather: self.gather, block, store, home, part, cancelled, teller };
                parallel::beside(scope, move || fetch.run(range));
            }
            Action::Cancel { fetch } => _ = self.fetches.entry(fetch).and_modify(|fetch| fetch.cancel = None),
            Action::Forget { block } => {
                self.assembly(block)?.part = Part::new(self.gather.found, block);
            }
        }
        Ok(())
    }

    /// Takes in what a fetch tells.
    fn hear(&mut self, Event { fetch, at, what }: Event) -> Result<(), Error> {
        match what {
            What::Waits => self.reading.waits(at, fetch),
            What::Came(bytes) => self.reading.came(at, fetch, bytes),
            What::Ended(part, damage) => self.end(at, fetch, part, damage)?,
            What::Failed(error) => return Err(error),
            What::Panicked => panic!("a fetch panicked"),
        }
        Ok(())
    }

    /// Takes in what a fetch came to.
    fn end(
        &mut self,
        at: Duration,
        fetch: usize,
        part: Part,
        damage: Option<DamageKind>,
    ) -> Result<(), Error> {
        let Some(Underway { block, store, .. }) = self.fetches.remove(&fetch) else { return Ok(()) };
        let (found, taken) = (self.gather.found, part.bytes);
        self.assembly(block)?.part.join(part);
        let is_store = matches!(damage, Some(DamageKind::Unreadable(_)));
        let fault = damage.map(|kind| {
            self.gathered.damages.push(found.damage(block, store, kind));
            if is_store { Fault::Store } else { Fault::Copy }
        });
        if !self.reading.ended(at, fetch, taken, fault) {
            return Ok(());
        }
        let is_right = self.assembly(block)?.is_right(found, block);
        if let Some(store) = self.reading.checked(block, is_right) {
            self.gathered.damages.push(found.damage(block, store, DamageKind::Hash));
        }
        if is_right {
            let assembly = self.assemblies.remove(&block);
            assembly.into_iter().for_each(|assembly| self.gathered.keep(block, assembly));
        }
        Ok(())
    }

    fn assembly(&mut self, block: usize) -> Result<&mut Assembly, Error> {
        let Gather { found, staged, .. } = self.gather;
        match self.assemblies.entry(block) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let assembly = Assembly::new(found, staged, block);
                Ok(entry.insert(assembly.map_err(|source| self.gather.failed(source))?))
            }
        }
    }
}
