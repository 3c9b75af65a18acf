//! Backups that are cut off, gone on with and made again, of sources that change and do not show it: no key ever covers
//! two plaintexts in one place. [`Ledger`] sees all that is encrypted, and panics.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use age::x25519::Identity;
use tanner_kernels::{Construction, Profile};
use tanner_transports::{Fault, Faults, Memory};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::crypto::ledger::Ledger;
use crate::crypto::{DeviceKey, Identities, Recipients};
use crate::{
    Backup, BackupReport, Error, Even, Found, IoMode, Journals, Progress, Resources, RestoreTo, Resumable,
    Shape, Stop, Store, restore,
};

/// Draws from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What belongs to one backup, whoever makes it.
struct World {
    place: TempDir,
    bytes: Vec<u8>,
    identity: Identity,
    recipients: Recipients,
    stores: Vec<(Memory, Faults)>,
    seed: u64,
}

/// What became of a world, counted.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    cut_off: u64,
    resumed: u64,
    refused: u64,
    passed_again: u64,
    restored: u64,
    restored_by_epochs: u64,
}

impl World {
    fn new(seed: u64, dice: &mut Dice) -> Self {
        let place = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..BYTES).map(|_| dice.below(256) as u8).collect();
        fs::write(place.path().join("source"), &bytes).unwrap();
        DeviceKey::create(&place.path().join("device.pem")).unwrap();
        let (identity, mut recipients) = (Identity::generate(), Recipients::default());
        recipients.add(&identity.to_public().to_string()).unwrap();
        let stores = (0..STORES).map(|store| {
            let dies_after = (store < 2 && dice.one_in(2)).then(|| dice.below(60));
            let error = if store == 2 { 0.02 } else { 0.0 };
            let delay = Duration::from_millis(8);
            (
                Memory::named(&format!("ledger-{seed}-{store}")),
                Faults { dies_after, error, delay, ..Faults::none() },
            )
        });
        let stores = stores.collect();
        Self { place, bytes, identity, recipients, stores, seed }
    }

    fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    /// A directory of journals.
    fn journals(&self, number: u64) -> PathBuf {
        self.place.path().join(format!("journals-{number}"))
    }

    fn stores(&self) -> Vec<Store> {
        let store = |(memory, faults): &(Memory, Faults)| {
            Store::new(Arc::new(Fault::new(Arc::new(memory.clone()), self.seed, *faults)))
        };
        self.stores.iter().map(store).collect()
    }

    /// Goes on with what the journals have, or begins.
    async fn run(
        &self,
        journals: &Path,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        let (source, mut stores) = (self.source(), self.stores());
        let resumable = Resumable::newest(Journals::within(journals.to_owned()), Duration::ZERO, &source)?;
        resumable.arrange(&mut stores);
        let device = DeviceKey::load(&self.place.path().join("device.pem"))?;
        let encryption = resumable.encryption(device, &self.recipients)?;
        let (id, created) = resumable.found().unwrap_or((encryption.id(), 7));
        let profile = Profile::new(3, 2, Construction::Shift { modulus: 0 }, 64, 64)?;
        let backup = Backup {
            source: &source,
            io: IoMode::Auto,
            shape: Shape::Profile(profile),
            stores,
            policy: &Even,
            survive: &[],
            quorum: 1,
            encryption: Some(encryption),
            id,
            created,
        };
        let resources = Arc::new(Resources::new(1, 64 << 20)?);
        backup.run_resumable(resumable, &resources, stop, progress).await
    }

    /// Changes the source, or makes it again what it was; and nobody can tell but by reading it.
    fn meddle(&self, dice: &mut Dice) {
        let file = File::options().write(true).open(self.source()).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        match dice.below(4) {
            0 | 1 => file.write_all_at(&self.bytes, 0).unwrap(),
            count => (1..count)
                .for_each(|_| file.write_all_at(&[dice.below(256) as u8], dice.below(BYTES)).unwrap()),
        }
        file.set_modified(modified).unwrap();
    }

    /// One run, cut off at some moment if it lasts until then. The journals as they were at that moment are what is left,
    /// however far it got afterwards.
    async fn attempt(&self, number: u64, dice: &mut Dice, seen: &mut Seen) {
        let (journals, image) = (self.journals(number), self.journals(number + 1));
        let (stop, progress) = (Stop::default(), Arc::new(Progress::default()));
        let mut run = Box::pin(self.run(&journals, &stop, &progress));
        let cut = dice.below(BYTES * 5 / 4);
        let moment = async {
            while progress.get().0 < cut.min(BYTES) {
                sleep(Duration::from_millis(1)).await;
            }
            // Passes over parity alone count for nothing.
            sleep(Duration::from_millis(2 * (cut.max(BYTES) - BYTES) / 1000)).await;
        };
        let ended = tokio::select! { ended = &mut run => Some(ended), () = moment => None };
        copy(&journals, &image);
        if dice.one_in(3) {
            self.meddle(dice);
        }
        let ended = match (ended, dice.below(3)) {
            (None, 0) => {
                seen.cut_off += 1;
                None
            }
            (None, 1) => {
                stop.request(2);
                Some(run.await)
            }
            (None, _) => Some(run.await),
            (ended, _) => ended,
        };
        match ended {
            Some(Ok(report)) => self.restores(&report, seen).await,
            Some(Err(error)) if error.exit_code() == 7 => seen.refused += 1,
            _ => {}
        }
    }

    async fn restores(&self, report: &BackupReport, seen: &mut Seen) {
        seen.passed_again += u64::from(report.passes > 1);
        let stores = self.stores.iter().map(|(memory, _)| Store::new(Arc::new(memory.clone()))).collect();
        // Another run of the same backup, from a state that was put back, may have left blocks and manifests of its own.
        let Ok(mut found) = Found::open(stores, report.manifest.id).await else { return };
        let mut identities = Identities::default();
        identities.add_key(self.identity.clone());
        let key = identities.file_key(report.manifest.id, found.manifest.wrapped()).unwrap();
        found.unlock(&key).unwrap();
        let resources = Arc::new(Resources::new(1, 64 << 20).unwrap());
        let to = RestoreTo { path: self.place.path().join("restored"), replace: true, resume: false };
        match restore(found, to, &resources, &Stop::default(), &Arc::default()).await {
            Err(Error::NotRecoverable { .. }) => return,
            // It is held against the hash of what was read.
            restored => restored.unwrap(),
        };
        seen.restored += 1;
        seen.restored_by_epochs += u64::from(report.manifest.epochs.iter().next().is_some());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(entries) = fs::read_dir(from) else { return };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    // A journal says nothing of tags that are not there.
    names.sort();
    // One may be removed meanwhile.
    names.iter().for_each(|name| _ = fs::copy(from.join(name), to.join(name)));
}

async fn live(seed: u64) -> Seen {
    let (mut dice, mut seen) = (Dice(seed), Seen::default());
    let world = World::new(seed, &mut dice);
    let mut number = 0;
    for attempt in 0..ATTEMPTS {
        world.attempt(number, &mut dice, &mut seen).await;
        let journals = world.journals(number + 1);
        if dice.one_in(2) {
            world.meddle(&mut dice);
        }
        // Somebody puts back a state of long ago.
        number += 1;
        if attempt > 0 && dice.one_in(4) {
            fs::remove_dir_all(&journals).unwrap();
            copy(&world.journals(number - 2), &journals);
        }
        seen.resumed += u64::from(fs::read_dir(&journals).unwrap().count() > 0);
    }
    seen
}

/// Lives through worlds until there are no more seeds.
fn live_on(seeds: &AtomicU64, end: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut all = Seen::default();
    loop {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return all;
        }
        let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(live(seed))));
        all.add(lived.unwrap_or_else(|_| panic!("TANNER_SEED={seed} shows it again")));
    }
}

/// Whoever sees two plaintexts under one key stream sees their difference, and with a guess of one the other.
#[test]
fn no_key_ever_covers_two_plaintexts_whatever_is_cut_off_gone_on_with_or_changed() {
    let first = std::env::var("TANNER_SEED").map_or(0, |seed| seed.parse().unwrap());
    let (seeds, mut all) = (AtomicU64::new(first), Seen::default());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| live_on(&seeds, first + SEEDS))).collect();
        threads.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
    });
    // Passes that were dropped with their run go on for a moment.
    thread::sleep(Duration::from_millis(500));
    let ledger = Ledger::get();
    println!("{all:?}, {} blocks of the cipher", ledger.bytes / 16);
    assert!(ledger.broken.is_empty(), "{:?}", ledger.broken);
    assert!(ledger.bytes / 16 >= 1_000_000, "{} bytes", ledger.bytes);
    let Seen { cut_off, resumed, refused, passed_again, restored, restored_by_epochs } = all;
    for counted in [cut_off, resumed, refused, passed_again, restored, restored_by_epochs] {
        assert!(counted >= 5, "{counted} are too few to show anything");
    }
}

impl Seen {
    fn add(&mut self, seen: Self) {
        self.cut_off += seen.cut_off;
        self.resumed += seen.resumed;
        self.refused += seen.refused;
        self.passed_again += seen.passed_again;
        self.restored += seen.restored;
        self.restored_by_epochs += seen.restored_by_epochs;
    }
}

const BYTES: u64 = 200_001;
const STORES: usize = 6;
const ATTEMPTS: u64 = 5;
const SEEDS: u64 = 48;
const AT_ONCE: usize = 16;
