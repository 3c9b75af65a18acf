//! What has to hold, whatever befell.

use std::time::Duration;

use blake3::Hash;
use tanner_kernels::BlockSet;

use super::backup::{self, Backup, End, Journal};
use super::faults::{FOR_EVER, Kind, Strike};
use super::mistakes::Mistake;
use super::net::Net;
use super::restore::{Left, Restore, Restored};
use super::store::{Name, Object};
use super::world::{Ending, World};
use crate::manifest::Manifest;
use crate::scheduler::writing::{Standing, Verdict, Writing};
use crate::scheduler::{Demand, Domains, STORE};

/// How a world ended, if nothing was wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ended {
    Unplaced,
    /// Too few blocks, or too few stores, or the program was told to stop or could not go on.
    TooFewBlocks,
    TooFewStores,
    Failed,
    Killed,
    /// It left what another run could go on with.
    Suspended,
    Partial,
    Complete,
}

/// Plays a world to its end.
///
/// # Errors
/// What is wrong with it.
pub(super) fn play(world: &mut World, net: &mut Net, mistake: Option<Mistake>) -> Result<Ended, String> {
    let mut journal = Journal::default();
    let mut backup = backup::run(world, net, mistake, world.ending, &mut journal);
    let is_cut = match &backup.end {
        End::Killed => true,
        End::Ended { writing, .. } => writing.is_suspended(),
        End::Unplaced | End::Hangs => false,
    };
    if let End::Killed = backup.end {
        net.tally.count(Kind::BackupKilled);
    }
    if is_cut && world.is_journaled && world.is_resumed && journal.can_go_on() {
        // Time passes, in which stores get lost.
        if world.dice.chance(0.4) {
            let time = if world.dice.chance(0.5) { FOR_EVER } else { Duration::from_secs(600) };
            net.strike_after(Duration::ZERO, world.dice.below(net.stores.len()), Strike::Crash(time));
        }
        backup = backup::run(world, net, mistake, Ending::ByItself, &mut journal);
    }
    let Backup { end, most_bytes, bytes_max, kept_by } = backup;
    if most_bytes > bytes_max {
        return Err(format!("{most_bytes} bytes were in memory, {bytes_max} may be"));
    }
    match end {
        End::Hangs => Err("the backup never ends".into()),
        End::Unplaced => {
            let is_clean = net.stores.iter().all(|store| store.objects.is_empty());
            is_clean.then_some(Ended::Unplaced).ok_or_else(|| "stored, and refused before".into())
        }
        End::Killed => {
            net.settle();
            restores(world, net, mistake).map(|()| Ended::Killed)
        }
        End::Ended { writing, .. } if writing.is_suspended() => {
            net.settle();
            restores(world, net, mistake).map(|()| Ended::Suspended)
        }
        End::Ended { verdict: Verdict::Kept(standing), writing, manifest } => {
            net.note(|| format!("kept: {standing:?}, live {:?}", writing.live().iter().collect::<Vec<_>>()));
            let kept = Kept { world, writing: &writing, standing: &standing, manifest: manifest.as_deref() };
            kept.is_stored(net)?;
            let promises = kept.promises(mistake);
            copy(world, net);
            forge(world, net, manifest.as_deref());
            restores(world, net, mistake)?;
            promises.iter().try_for_each(|promise| is_kept(world, net, promise, mistake))?;
            Ok(if standing.is_complete { Ended::Complete } else { Ended::Partial })
        }
        End::Ended { verdict, .. } => {
            net.note(|| format!("refused: {verdict:?}"));
            net.settle();
            nothing_is_left(net, &kept_by)?;
            restores(world, net, mistake)?;
            Ok(match verdict {
                Verdict::TooFewBlocks => Ended::TooFewBlocks,
                Verdict::TooFewStores { .. } => Ended::TooFewStores,
                _ => Ended::Failed,
            })
        }
    }
}

/// A backup that was kept.
struct Kept<'a> {
    world: &'a World,
    writing: &'a Writing,
    standing: &'a Standing,
    manifest: Option<&'a [u8]>,
}

impl Kept<'_> {
    /// What was said to be durable is, unless it is a fault that it is not.
    fn is_stored(&self, net: &Net) -> Result<(), String> {
        let is_wrong = |object: Option<&Object>, wanted: &[u8]| {
            object.is_none_or(|object| object.bytes != wanted && !object.is_tainted)
        };
        for block in self.writing.live().iter() {
            let store = self.writing.homes().of[block];
            let at = &net.stores[store];
            let object = at.objects.get(&Name::Block(block));
            if at.nature.lie.is_none() && is_wrong(object, &self.world.contents[block]) {
                return Err(format!("block {block} was acknowledged and store {store} does not have it"));
            }
        }
        let manifest = self.manifest.unwrap_or_default();
        let stores = self.writing.stores().iter().enumerate();
        let with: Vec<usize> = stores.filter(|(_, sink)| sink.has_manifest).map(|(store, _)| store).collect();
        if let Some(store) =
            with.iter().find(|&&store| is_wrong(net.stores[store].objects.get(&Name::Manifest), manifest))
        {
            return Err(format!("store {store} does not have the manifest that it is said to have"));
        }
        if with.len() < self.world.quorum {
            return Err(format!("{} stores are no quorum of {}", with.len(), self.world.quorum));
        }
        let is_all = self.writing.live().len() == self.world.contents.len();
        if self.standing.is_complete && !(is_all && self.standing.broken.is_empty()) {
            return Err("complete, and yet something is missing".into());
        }
        Ok(())
    }

    /// The losses that are said to be survived.
    fn promises(&self, mistake: Option<Mistake>) -> Vec<Demand> {
        let claims = mistake == Some(Mistake::ClaimsThePlan);
        let planned = self.writing.homes().planned().unwrap_or(0);
        let losses = if claims { planned } else { self.standing.stores_survivable };
        let mut promises = vec![Demand { losses, label: STORE.into() }];
        let labels = self.world.labels();
        let demands = self.world.survive.iter().filter_map(|demand| demand.of_labels(&labels));
        promises.extend(demands.filter(|demand| claims || !self.standing.broken.contains(demand)));
        let margins = self.standing.margins.iter().filter_map(|margin| {
            Some(Demand { losses: margin.survivable?, label: margin.domains.label.clone() })
        });
        promises.extend(margins);
        promises
    }
}

/// Somebody copies blocks from store to store.
fn copy(world: &World, net: &mut Net) {
    for &(from, to) in world.copies.iter().filter(|(from, to)| from != to) {
        let objects = net.stores[from].objects.clone();
        let blocks = objects.into_iter().filter(|(name, _)| *name != Name::Manifest);
        blocks.for_each(|(name, object)| _ = net.stores[to].objects.entry(name).or_insert(object));
    }
}

/// Some stores make up a manifest: the right one, but that two blocks have changed places.
fn forge(world: &World, net: &mut Net, manifest: Option<&[u8]>) {
    let Some(mut forged) = manifest.and_then(|bytes| Manifest::from_bytes(bytes).ok()) else { return };
    forged.hashes.reverse();
    forged.source_hash = blake3::hash(b"something else");
    for &store in &world.forgers {
        let Net { stores, tally, .. } = net;
        stores[store].forge(forged.to_bytes().into(), tally);
    }
}

/// Restores amid faults, and when they are over.
fn restores(world: &mut World, net: &mut Net, mistake: Option<Mistake>) -> Result<(), String> {
    let stores: Vec<usize> = (0..net.stores.len()).collect();
    world.restore_storm.begin(net);
    net.note(|| "restore amid faults".into());
    let killed_after = world.restore_killed.map(|(after, _)| after);
    let restore = Restore { stores: &stores, left: Left::default(), killed_after, mistake };
    let restored = restore.run(world, net);
    is_right(world, &restored, false)?;
    net.settle();
    let mut left = Left::default();
    if let (Restored::Killed(staged), Some((_, is_lost))) = (restored, world.restore_killed) {
        net.tally.count(Kind::RestoreKilled);
        left = staged;
        let blocks: Vec<usize> =
            (0..left.blocks.len()).filter(|&block| !left.blocks[block].is_empty()).collect();
        if is_lost && !blocks.is_empty() {
            net.tally.count(Kind::StagedLost);
            left.blocks[world.dice.pick(&blocks)].fill(0);
        }
    }
    let has_to = must_restore(world, net, &stores);
    net.note(|| format!("restore: has to {has_to}"));
    is_right(world, &Restore { stores: &stores, left, killed_after: None, mistake }.run(world, net), has_to)
}

/// The bytes, or a clean error where that may be.
fn is_right(world: &World, restored: &Restored, has_to: bool) -> Result<(), String> {
    match restored {
        Restored::Bytes(bytes) if *bytes == world.source => Ok(()),
        Restored::Bytes(_) => Err("WRONG BYTES were restored".into()),
        Restored::Hangs => Err("a restore never ends".into()),
        Restored::Floods => Err("a restore has too many fetches from one store".into()),
        Restored::Killed(_) => Ok(()),
        Restored::Refused(why) if has_to => Err(format!("what is there is enough, and yet: {why}")),
        Restored::Refused(_) => Ok(()),
    }
}

/// Whether these stores have enough between them, seen from outside.
fn must_restore(world: &World, net: &Net, stores: &[usize]) -> bool {
    let mut good: BlockSet = world.blocks.empty.clone();
    let mut sources: Vec<(Hash, usize)> = Vec::new();
    for &store in stores.iter().filter(|&&store| !net.is_lost_for_good(store)) {
        let at = &net.stores[store];
        let is_right = |block: usize| {
            let object = at.objects.get(&Name::Block(block));
            object.is_some_and(|object| object.bytes == world.contents[block])
        };
        (0..good.blocks()).filter(|&block| at.nature.lie.is_none() && is_right(block)).for_each(|block| {
            good.insert(block);
        });
        let object = at.objects.get(&Name::Manifest);
        let manifest = object.and_then(|object| Manifest::from_bytes_of(world.id, &object.bytes).ok());
        if let Some(Manifest { source_hash, .. }) = manifest {
            match sources.iter_mut().find(|(hash, _)| *hash == source_hash) {
                Some((_, count)) => *count += 1,
                None => sources.push((source_hash, 1)),
            }
        }
    }
    sources.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let is_agreed = match &sources[..] {
        [] => false,
        [(_, most), (_, next), ..] if most == next => false,
        [(hash, _), ..] => *hash == blake3::hash(&world.source),
    };
    is_agreed && world.blocks.codec.recoverable(&good).is_some()
}

/// Loses what may be lost, with those first that lie or are gone anyway, and restores from the rest.
fn is_kept(
    world: &mut World,
    net: &mut Net,
    promise: &Demand,
    mistake: Option<Mistake>,
) -> Result<(), String> {
    let domains = Domains::of_label(&promise.label, &world.labels());
    let mut lost: Vec<usize> = (0..net.stores.len())
        .filter(|&store| net.is_lost_for_good(store) || !net.stores[store].is_honest())
        .map(|store| domains.of[store])
        .collect();
    lost.sort_unstable();
    lost.dedup();
    if lost.len() > promise.losses || promise.losses > domains.count {
        return Ok(());
    }
    let mut others: Vec<usize> = (0..domains.count).filter(|domain| !lost.contains(domain)).collect();
    world.dice.shuffle(&mut others);
    lost.extend(others.into_iter().take(promise.losses - lost.len()));
    let stores: Vec<usize> =
        (0..net.stores.len()).filter(|&store| !lost.contains(&domains.of[store])).collect();
    net.note(|| format!("restore without {} {lost:?}", promise.label));
    let restore = Restore { stores: &stores, left: Left::default(), killed_after: None, mistake };
    match restore.run(world, net) {
        Restored::Bytes(bytes) if bytes == world.source => Ok(()),
        other => {
            let got =
                if let Restored::Bytes(_) = other { "WRONG BYTES".into() } else { format!("{other:?}") };
            Err(format!("the loss of {promise} was to be survived: without {lost:?} {got}"))
        }
    }
}

/// What was refused is not there, unless a store that was asked did not take it back.
fn nothing_is_left(net: &Net, kept_by: &[usize]) -> Result<(), String> {
    let stores =
        (0..net.stores.len()).filter(|store| !kept_by.contains(store) && !net.is_lost_for_good(*store));
    for store in stores {
        let at = &net.stores[store];
        if let Some(name) = at.objects.keys().find(|name| !at.late.contains(name)) {
            return Err(format!("the backup was refused, and store {store} has {name:?}"));
        }
    }
    Ok(())
}
