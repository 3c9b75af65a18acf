//! A restore in virtual time: carries out what the reading decides.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tanner_kernels::BlockSet;

use super::faults::Kind;
use super::mistakes::Mistake;
use super::net::{Heard, Net, Ticker};
use super::store::{Answer, Name, No, Reply, Request};
use super::world::World;
use crate::copies::Copies;
use crate::hash::PieceHasher;
use crate::manifest::{Manifest, SealedManifest};
use crate::scheduler::reading::{Action, CUT_BYTES, FETCHES_MAX, Fault, Reading, State};

/// What a restore gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Restored {
    /// A file.
    Bytes(Vec<u8>),
    /// A clean error.
    Refused(&'static str),
    /// Nothing, but what it had staged.
    Killed(Left),
    /// Nothing, and it would never have ended.
    Hangs,
    /// It had more under way than it may.
    Floods,
}

/// What a killed restore leaves: blocks, and how far each was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Left {
    pub(super) blocks: Vec<Vec<u8>>,
    written: Vec<u64>,
}

/// A restore that is to be run.
pub(super) struct Restore<'a> {
    pub(super) stores: &'a [usize],
    /// What is there from another.
    pub(super) left: Left,
    /// When it is killed, after its begin.
    pub(super) killed_after: Option<Duration>,
    pub(super) mistake: Option<Mistake>,
}

impl Restore<'_> {
    pub(super) fn run(self, world: &World, net: &mut Net) -> Restored {
        let ends_at = net.now + ENDS_WITHIN;
        let killed_at = self.killed_after.map(|after| net.now + after);
        self.killed_after.iter().for_each(|&after| net.ring_after(after));
        let mut program = Program { world, net, restore: self, killed_at, ends_at };
        let restored = program.run().unwrap_or_else(|refused| refused);
        net.forget_all();
        restored
    }
}

struct Program<'a> {
    world: &'a World,
    net: &'a mut Net,
    restore: Restore<'a>,
    killed_at: Option<Duration>,
    ends_at: Duration,
}

/// A range of a block on its way from a store.
struct Fetch {
    block: usize,
    store: usize,
    range: Range<u64>,
    /// Bytes that came.
    came: u64,
    call: u64,
}

/// Blocks as they come, and what is decided about them.
struct Gathering {
    reading: Reading,
    staged: Left,
    fetches: BTreeMap<usize, Fetch>,
    /// Fetches that a store may have at a time.
    per_store: usize,
}

impl Left {
    /// Takes in how far a fetch wrote: what has a gap before it is not found again.
    fn extend(&mut self, fetch: &Fetch) {
        let (written, end) = (&mut self.written[fetch.block], fetch.range.start + fetch.came);
        if fetch.range.start <= *written {
            let is_whole = end == self.blocks[fetch.block].len() as u64;
            *written = if is_whole { end } else { (end / CUT_BYTES * CUT_BYTES).max(*written) };
        }
    }
}

impl Program<'_> {
    fn run(&mut self) -> Result<Restored, Restored> {
        let manifest = self.manifest()?;
        let listed = self.listed(manifest.hashes.len())?;
        let blocks = self.gather(&manifest, listed)?;
        self.assemble(&manifest, &blocks).map(Restored::Bytes)
    }

    /// The manifest that most stores have.
    fn manifest(&mut self) -> Result<Manifest, Restored> {
        let answers = self.ask_all(|_| Request::Stat(Name::Manifest))?;
        let lengths: Vec<u64> = answers
            .iter()
            .map(|answer| if let Ok(Answer::Length(length)) = answer { *length } else { 0 })
            .collect();
        let answers = self.ask_all(|index| Request::Read(Name::Manifest, 0..lengths[index]))?;
        let mut copies = Copies::default();
        for (store, answer) in answers.into_iter().enumerate() {
            let Ok(Answer::Bytes(bytes)) = answer else { continue };
            if let Ok(manifest) = SealedManifest::from_bytes_of(self.world.id, &bytes) {
                copies.add(store, manifest);
                if self.restore.mistake == Some(Mistake::TrustsTheFirstManifest) {
                    break;
                }
            }
        }
        if copies.is_empty() {
            return Err(Restored::Refused("no manifest"));
        }
        let best = copies.best().ok().flatten().and_then(|(manifest, _)| manifest.into_plain());
        best.ok_or(Restored::Refused("manifests differ"))
    }

    fn listed(&mut self, blocks: usize) -> Result<Vec<BlockSet>, Restored> {
        let answers = self.ask_all(|_| Request::List)?;
        let listed = answers.into_iter().map(|answer| {
            let mut listed = BlockSet::none(blocks);
            let names = if let Ok(Answer::Names(names)) = answer { names } else { Vec::new() };
            for name in names {
                if let Name::Block(block) = name
                    && block < blocks
                {
                    listed.insert(block);
                }
            }
            listed
        });
        Ok(listed.collect())
    }

    /// Asks all stores at once, and waits for all.
    fn ask_all(&mut self, request: impl Fn(usize) -> Request) -> Result<Vec<Reply>, Restored> {
        let stores = self.restore.stores.iter().enumerate();
        let mut calls: BTreeMap<u64, usize> =
            stores.map(|(index, &store)| (self.net.call(store, request(index)), index)).collect();
        let mut answers = vec![Err(No::Slow); self.restore.stores.len()];
        while !calls.is_empty() {
            let heard = self.net.next().ok_or(Restored::Hangs)?;
            if self.is_killed() {
                return Err(Restored::Killed(std::mem::take(&mut self.restore.left)));
            }
            if let Heard::Reply(call, reply) = heard
                && let Some(index) = calls.remove(&call)
            {
                answers[index] = reply;
            }
        }
        Ok(answers)
    }

    /// Reads until there is enough.
    fn gather(
        &mut self,
        manifest: &Manifest,
        listed: Vec<BlockSet>,
    ) -> Result<Vec<Option<Vec<u8>>>, Restored> {
        let geometry = &manifest.geometry;
        let lengths: Vec<u64> = (0..manifest.hashes.len()).map(|block| geometry.block_bytes(block)).collect();
        let facts = self.restore.stores.iter().map(|&store| self.world.facts[store].clone());
        let holders = listed.iter().filter(|listed| !listed.is_empty()).count().max(1);
        let per_store = FETCHES_MAX.div_ceil(holders).max(FETCHES_PER_STORE_MIN);
        let (staged, verified) = self.go_on(manifest, &lengths);
        let reading = Reading::new(
            self.world.blocks.codec.clone(),
            lengths.iter().copied().zip(staged.written.iter().copied()),
            verified,
            facts.zip(listed),
        );
        let mut gathering = Gathering { reading, staged, fetches: BTreeMap::new(), per_store };
        let mut ticker = Ticker::new(self.net);
        while gathering.reading.state() == State::Going {
            for action in gathering.reading.next(self.net.now) {
                self.act(manifest, &mut gathering, action);
            }
            for store in self.restore.stores {
                let fetches = gathering.fetches.values().filter(|fetch| fetch.store == *store);
                if fetches.count() > gathering.per_store {
                    return Err(Restored::Floods);
                }
            }
            if self.net.now > self.ends_at {
                return Err(Restored::Hangs);
            }
            let heard = self.net.next().ok_or(Restored::Hangs)?;
            if self.is_killed() {
                return Err(Restored::Killed(gathering.staged));
            }
            ticker.hears(self.net, &heard);
            if let Heard::Reply(call, reply) = heard {
                self.hear(manifest, &mut gathering, call, reply);
            }
        }
        let Gathering { reading, staged, .. } = gathering;
        match reading.state() {
            State::Done => {
                let blocks = staged.blocks.into_iter().enumerate();
                let is_there = |block| reading.blocks().contains(block);
                Ok(blocks.map(|(block, bytes)| is_there(block).then_some(bytes)).collect())
            }
            _ => Err(Restored::Refused("too few blocks")),
        }
    }

    /// What a killed restore left, and which of it verifies.
    fn go_on(&mut self, manifest: &Manifest, lengths: &[u64]) -> (Left, BlockSet) {
        let mut verified = manifest.geometry.empty_blocks();
        let mut left = std::mem::take(&mut self.restore.left);
        if left.blocks.is_empty() {
            left.blocks = lengths.iter().map(|&bytes| vec![0; bytes as usize]).collect();
            left.written = vec![0; lengths.len()];
        }
        for block in (0..lengths.len()).filter(|&block| lengths[block] > 0) {
            let written = &mut left.written[block];
            if *written == lengths[block] {
                match self.is_right(manifest, block, &left.blocks[block]) {
                    true => verified.insert(block),
                    false => *written = 0,
                }
            }
            if *written > 0 {
                self.net.tally.count(Kind::WentOn);
            }
        }
        (left, verified)
    }

    fn is_killed(&self) -> bool {
        self.killed_at.is_some_and(|at| self.net.now >= at)
    }

    fn is_right(&self, manifest: &Manifest, block: usize, bytes: &[u8]) -> bool {
        blake3::hash(bytes) == manifest.hashes[block] || self.skips(false)
    }

    fn act(&mut self, manifest: &Manifest, gathering: &mut Gathering, action: Action) {
        self.net.note(|| format!("{action:?}"));
        match action {
            Action::Begin { fetch, block, store, range } => {
                let store = self.restore.stores[store];
                if gathering.fetches.values().any(|fetch| fetch.block == block) {
                    self.net.tally.count(Kind::ReadInParts);
                }
                let call = self.net.call(store, Request::Stat(Name::Block(block)));
                gathering.fetches.insert(fetch, Fetch { block, store, range, came: 0, call });
            }
            Action::Cancel { fetch } => {
                self.net.tally.count(Kind::ReadOn);
                self.end(manifest, gathering, fetch, None);
            }
            Action::Forget { block } => {
                self.net.tally.count(Kind::ReadAnew);
                (gathering.staged.written[block], gathering.staged.blocks[block]) =
                    (0, vec![0; gathering.staged.blocks[block].len()]);
            }
        }
    }

    /// What a store answered, and what it is asked next.
    fn hear(&mut self, manifest: &Manifest, gathering: &mut Gathering, call: u64, reply: Reply) {
        let Gathering { reading, staged, fetches, .. } = gathering;
        let Some((&number, fetch)) = fetches.iter_mut().find(|(_, fetch)| fetch.call == call) else { return };
        let wanted = manifest.geometry.block_bytes(fetch.block);
        let fault = match reply {
            Ok(Answer::Length(length)) if length == wanted => None,
            Ok(Answer::Bytes(bytes)) => {
                let at = (fetch.range.start + fetch.came) as usize;
                staged.blocks[fetch.block][at..at + bytes.len()].copy_from_slice(&bytes);
                fetch.came += bytes.len() as u64;
                staged.extend(fetch);
                reading.came(self.net.now, number, bytes.len() as u64);
                None
            }
            Ok(_) | Err(No::Missing) => Some(Fault::Copy),
            Err(_) => Some(Fault::Store),
        };
        let offset = fetch.range.start + fetch.came;
        if fault.is_some() || offset == fetch.range.end {
            return self.end(manifest, gathering, number, fault);
        }
        reading.waits(self.net.now, number);
        let end = fetch.range.end.min(offset + wanted.div_ceil(PIECES).next_multiple_of(1024));
        fetch.call = self.net.call(fetch.store, Request::Read(Name::Block(fetch.block), offset..end));
    }

    /// A fetch is over.
    fn end(&mut self, manifest: &Manifest, gathering: &mut Gathering, number: usize, fault: Option<Fault>) {
        let Gathering { reading, fetches, .. } = gathering;
        let Some(Fetch { block, came, range, call, .. }) = fetches.remove(&number) else { return };
        self.net.forget(call);
        let is_whole = range.start + came == range.end;
        let taken = if is_whole { came } else { came / CUT_BYTES * CUT_BYTES };
        if reading.ended(self.net.now, number, taken, fault) {
            let is_right = self.is_right(manifest, block, &gathering.staged.blocks[block]);
            self.net.note(|| format!("block {block} is right: {is_right}"));
            gathering.reading.checked(block, is_right);
        }
    }

    /// Decodes what is missing, and compares all of it.
    fn assemble(&self, manifest: &Manifest, blocks: &[Option<Vec<u8>>]) -> Result<Vec<u8>, Restored> {
        let (geometry, codec) = (&manifest.geometry, &self.world.blocks.codec);
        let profile = geometry.profile();
        let length = usize::try_from(geometry.steps()).expect("small") * profile.unit();
        let lost: Vec<usize> = (0..profile.data()).filter(|&block| blocks[block].is_none()).collect();
        let mut decoded: Vec<Vec<u8>> =
            lost.iter().map(|&block| vec![0; geometry.block_bytes(block) as usize]).collect();
        let given: Vec<Option<&[u8]>> = blocks.iter().map(Option::as_deref).collect();
        let outputs = lost.iter().copied().zip(decoded.iter_mut().map(Vec::as_mut_slice));
        codec
            .reconstruct(&given, &mut outputs.collect::<Vec<_>>(), length)
            .map_err(|_| Restored::Refused("not decoded"))?;
        let mut source = PieceHasher::new(geometry.source_bytes(), geometry.is_kib_aligned());
        let (mut bytes, mut decoded) = (Vec::new(), decoded.into_iter());
        for (block, own) in blocks.iter().take(profile.data()).enumerate() {
            let content = own.clone().or_else(|| decoded.next()).expect("one of both");
            if blake3::hash(&content) != manifest.hashes[block] && !self.skips(false) {
                return Err(Restored::Refused("a decoded block is wrong"));
            }
            let range = geometry.source_ranges(block, 0..u64::MAX).next();
            source.add(range.map_or(0, |range| range.start), &content);
            bytes.extend(content);
        }
        if source.finish() != Some(manifest.source_hash) && !self.skips(true) {
            return Err(Restored::Refused("the whole is wrong"));
        }
        Ok(bytes)
    }

    fn skips(&self, is_whole: bool) -> bool {
        self.restore.mistake == Some(Mistake::SkipsAllHashes)
            || (self.restore.mistake == Some(Mistake::SkipsBlockHashes) && !is_whole)
    }
}

/// Pieces that a block is read in.
const PIECES: u64 = 8;
/// The longest that anything may take.
const ENDS_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// As in the reading.
const FETCHES_PER_STORE_MIN: usize = 2;
