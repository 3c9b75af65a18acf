//! Verify: reads every copy of every block where it lies and says what is wrong; changes nothing.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tanner_kernels::BlockSet;
use tanner_transports::TransportError;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::parallel;
use crate::progress::Progress;
use crate::questions::{Asker, Question, Questions};
use crate::resources::Stop;
use crate::restore::missing;
use crate::scheduler::{DomainLosses, Placement};
use crate::store::block_name;
use crate::sweep::AT_ONCE;

/// What the stores hold of a backup, and what that is good for.
#[derive(Clone, Debug)]
pub struct Health {
    /// Blocks of which some store has a good copy, and those that need none.
    pub good: BlockSet,
    /// For each store, the blocks of which it has a good copy.
    pub held: Vec<BlockSet>,
    /// Copies that cannot be used, and blocks that no store has.
    pub damages: Vec<Damage>,
    /// How many more blocks may be lost, whichever they are; none if the backup cannot be restored.
    pub blocks_survivable: Option<usize>,
    /// How many stores may be lost, whichever they are; none if the backup cannot be restored.
    pub stores_survivable: Option<usize>,
    /// What the loss of one store more than that would do; none if that is all, or more than can be tried.
    pub beyond: Option<DomainLosses>,
}

impl Health {
    /// What follows from the blocks that each store holds.
    #[must_use]
    pub fn of(found: &Found, held: Vec<BlockSet>, damages: Vec<Damage>) -> Self {
        let empty = found.manifest.geometry.empty_blocks();
        let good = found.live_of(&held);
        let blocks_survivable = found.codec.recoverable(&good);
        let manifests = found.has_manifest.iter().filter(|&&has| has).count();
        let placement = Placement { codec: &found.codec, always: &empty, held: &held, manifests };
        let stores_survivable = placement.survivable();
        let next = stores_survivable.and_then(|stores| placement.losses_of(stores + 1));
        let beyond = next.filter(|losses| losses.domains < found.stores.len());
        Self { good, held, damages, blocks_survivable, stores_survivable, beyond }
    }

    /// What the stores list, without reading a block.
    #[must_use]
    pub fn as_listed(found: &Found) -> Self {
        Self::of(found, found.listed.clone(), missing(found))
    }
}

/// How much of what is stored is read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Extent {
    /// Every copy of every block.
    Full,
    /// This share of the copies, drawn at random, one at least; of the others what [`Quick`](Self::Quick) asks.
    Sample(f64),
    /// Nothing: stores are asked what they have, and how long it is. Shows what is lost or cut off, and no wrong byte; but
    /// of copies for which there is a question it does.
    Quick,
}

/// What was looked at, and what it showed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How the backup is.
    pub health: Health,
    /// Copies of blocks that there are.
    pub copies: usize,
    /// Copies that were read.
    pub copies_read: usize,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Copies whose stores proved that they have them, unread.
    pub copies_proved: usize,
}

/// Reads and checks all blocks.
///
/// # Errors
/// If it was told to stop.
pub async fn verify(found: Found, stop: &Stop, progress: &Arc<Progress>) -> Result<Health, Error> {
    Ok(check(found, Extent::Full, None, stop, progress).await?.health)
}

/// Looks at all blocks, and reads and checks as many as it is told to. What is read leaves questions, and a quick look
/// spends them.
///
/// # Errors
/// If it was told to stop.
pub async fn check(
    found: Found,
    extent: Extent,
    mut questions: Option<Questions>,
    stop: &Stop,
    progress: &Arc<Progress>,
) -> Result<Checked, Error> {
    let (mut held, mut damages) = match extent {
        Extent::Full => {
            (vec![BlockSet::none(found.manifest.hashes.len()); found.stores.len()], missing(&found))
        }
        Extent::Sample(_) | Extent::Quick => lengths(&found).await,
    };
    let mut copies_proved = 0;
    if let (Extent::Quick, Some(questions)) = (extent, &mut questions) {
        let asked = questions.take(&found, &copies_in(&held));
        for (block, store, answer) in answers(&found, asked).await {
            let kind = match answer {
                Ok(true) => None,
                Ok(false) => Some(DamageKind::Hash),
                // It never could.
                Err(TransportError::Refused { .. }) => continue,
                Err(error) => Some(error.into()),
            };
            copies_proved += usize::from(kind.is_none());
            if let Some(kind) = kind {
                held[store].remove(block);
                damages.push(found.damage(block, store, kind));
            }
        }
    }
    let copies = found.listed.iter().map(BlockSet::len).sum();
    let read = match extent {
        Extent::Full => copies_in(&found.listed),
        Extent::Sample(share) => drawn(copies_in(&held), share),
        Extent::Quick => Vec::new(),
    };
    progress.start(read.iter().map(|&(block, _)| found.block_bytes(block)).sum());
    let (io, stop, progress) = (Handle::current(), stop.clone(), Arc::clone(progress));
    let run = move || {
        let copies_read = read.len();
        let asks = questions.is_some();
        let take = |_: &Found, block, store: usize, read: Result<Option<Question>, DamageKind>| match read {
            Ok(question) => {
                held[store].insert(block);
                if let (Some(questions), Some(question)) = (&mut questions, question) {
                    questions.note(found.manifest.id, found.stores[store].url(), block, &question);
                }
            }
            Err(kind) => {
                held[store].remove(block);
                damages.push(found.damage(block, store, kind));
            }
        };
        let read = read.into_iter().map(|(block, store)| (&found, block, store));
        read_copies(read, asks, &io, &stop, &progress, take)?;
        // Without them the next quick look proves nothing, and says so.
        questions.iter().for_each(|questions| _ = questions.write());
        damages.sort_by_key(|damage| damage.block);
        let bytes_read = progress.get().0;
        let health = Health::of(&found, held, damages);
        Ok(Checked { health, copies, copies_read, bytes_read, copies_proved })
    };
    parallel::blocking(run).await
}

/// What stores answer to questions about copies of blocks.
async fn answers(
    found: &Found,
    asked: Vec<(usize, usize, Question)>,
) -> Vec<(usize, usize, Result<bool, TransportError>)> {
    let ask = |(block, store, question): (usize, usize, Question)| async move {
        let (name, bytes) = (block_name(found.manifest.id, block), found.block_bytes(block));
        (block, store, question.ask(&*found.stores[store].transport, &name, bytes).await)
    };
    stream::iter(asked).map(ask).buffer_unordered(AT_ONCE).collect().await
}

/// Reads copies of blocks, a few at a time, and says of each what is wrong with it, or what to ask its store the next time,
/// if anything and if that is wanted.
pub(crate) fn read_copies<'a>(
    copies: impl Iterator<Item = (&'a Found, usize, usize)> + Send,
    asks: bool,
    io: &Handle,
    stop: &Stop,
    progress: &Progress,
    mut take: impl FnMut(&Found, usize, usize, Result<Option<Question>, DamageKind>) + Send,
) -> Result<(), Error> {
    let check = |(): &mut (), (found, block, store): (&'a Found, usize, usize)| -> Result<_, Error> {
        let mut asker = Some(&found.stores[store]).filter(|_| asks).and_then(Asker::for_store);
        let mut sink = |_, piece: &[u8]| {
            progress.advance(piece.len() as u64);
            asker.iter_mut().for_each(|asker| asker.update(piece));
            stop.check()
        };
        let damage = found.fetch_from(block, store, io, &mut sink)?;
        Ok((found, block, store, damage.map_or_else(|| Ok(asker.map(Asker::question)), Err)))
    };
    let take = |(found, block, store, read)| take(found, block, store, read);
    parallel::each(copies, VERIFIERS, || Ok(()), check, take)
}

/// All copies, by store.
pub(crate) fn copies_in(held: &[BlockSet]) -> Vec<(usize, usize)> {
    let of = |(store, blocks): (usize, &BlockSet)| {
        blocks.iter().map(move |block| (block, store)).collect::<Vec<_>>()
    };
    held.iter().enumerate().flat_map(of).collect()
}

/// This share of some things, one at least.
pub(crate) fn drawn<T>(things: Vec<T>, share: f64) -> Vec<T> {
    let count = (things.len() as f64 * share).ceil() as usize;
    let lot = || getrandom::u64().expect("the system provides random numbers");
    let mut lots: Vec<(u64, T)> = things.into_iter().map(|thing| (lot(), thing)).collect();
    lots.sort_by_key(|(lot, _)| *lot);
    lots.into_iter().take(count.max(1)).map(|(_, thing)| thing).collect()
}

/// Looks at the lengths of all blocks, and reads none.
pub(crate) async fn glance(found: &Found) -> Health {
    let (held, damages) = lengths(found).await;
    Health::of(found, held, damages)
}

/// The blocks that each store has in their right length, and what is wrong with the others.
pub(crate) async fn lengths(found: &Found) -> (Vec<BlockSet>, Vec<Damage>) {
    let (mut held, mut damages) = (found.listed.clone(), missing(found));
    let look = |(block, store): (usize, usize)| async move {
        let transport = &found.stores[store].transport;
        let wanted = found.block_bytes(block);
        match transport.stat(&block_name(found.manifest.id, block)).await {
            Ok(meta) if meta.length == wanted => None,
            Ok(meta) => Some((block, store, DamageKind::Length { wanted, got: meta.length })),
            Err(error) => Some((block, store, error.into())),
        }
    };
    let looked: Vec<_> =
        stream::iter(copies_in(&found.listed)).map(look).buffer_unordered(AT_ONCE).collect().await;
    for (block, store, kind) in looked.into_iter().flatten() {
        held[store].remove(block);
        damages.push(found.damage(block, store, kind));
    }
    damages.sort_by_key(|damage| damage.block);
    (held, damages)
}

/// Blocks that are read at a time.
const VERIFIERS: usize = 8;
