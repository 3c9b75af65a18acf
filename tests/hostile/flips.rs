//! Every bit of every object of a small backup, turned over one at a time.
//!
//! `TANNER_EVERY_BIT=1 cargo nextest run --test hostile bit` turns all of them, instead of every 16th.

use std::fs;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tanner::crypto::{Identities, IdentityFile};
use tanner::{
    BackupId, Error, Found, Progress, Resources, RestoreTo, SealedManifest, Stop, Store, restore, verify,
};
use tanner_transports::{Memory, ObjectName, Transport};

use crate::cases::{below_tests, file};
use crate::readers::{fast, own_file};

/// A backup, of which a worker has a copy in memory that it may damage.
struct Backup {
    id: BackupId,
    objects: Vec<(ObjectName, Vec<u8>)>,
    parity: usize,
    source: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_bit_of_an_encrypted_backup_flips_its_bytes_come_back_or_nothing_does() {
    flip("encrypted", "e774796e1d6e8756a584064d3f3ee0ad").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_bit_of_a_plain_backup_flips_its_bytes_come_back_or_nothing_does() {
    flip("shift-frames", "59fc5de0b641aadd547c1693523e0a9c").await;
}

async fn flip(golden: &str, id: &str) {
    let backup = Backup::golden(golden, id);
    let stored: usize = backup.objects.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!((8 << 10..64 << 10).contains(&stored), "{stored} bytes");
    let step = if std::env::var_os("TANNER_EVERY_BIT").is_some() { 1 } else { 16 };
    // Every bit of a byte gets its turn, somewhere.
    let bits = |bytes: &[u8]| (0..bytes.len() * 8).step_by(step).map(move |bit| bit + (bit / 16 % 16) % step);
    let objects = backup.objects.iter().enumerate();
    let flips = objects.flat_map(|(object, (_, bytes))| {
        let length = bytes.len() * 8;
        bits(bytes).filter(move |&bit| bit < length).map(move |bit| (object, bit))
    });
    let flips: Vec<_> = flips.collect();
    println!("{} of {} bits", flips.len(), stored * 8);
    let resources = Arc::new(Resources::new(1, 64 << 20).unwrap());
    let each = flips.len().div_ceil(WORKERS);
    let workers = flips.chunks(each).enumerate().map(|(worker, flips)| {
        let (backup, resources) = (&backup, &resources);
        async move {
            let copy = Copy::of(backup, &format!("{golden}{worker}")).await;
            for &(object, bit) in flips {
                copy.flip(object, bit, resources).await;
            }
        }
    });
    iter(workers).buffer_unordered(WORKERS).collect::<()>().await;
}

impl Backup {
    fn golden(golden: &str, id: &str) -> Self {
        let directory = format!("golden/{golden}/{id}");
        let files = fs::read_dir(below_tests(&directory)).unwrap();
        let object = |entry: std::io::Result<fs::DirEntry>| {
            let name = format!("{id}/{}", entry.unwrap().file_name().to_str().unwrap());
            (ObjectName::new(&*name).unwrap(), file(&format!("golden/{golden}/{name}")))
        };
        let objects: Vec<_> = files.map(object).collect();
        let (_, manifest) = objects.iter().find(|(name, _)| name.part() == "manifest").unwrap();
        let geometry = SealedManifest::from_bytes(manifest).unwrap().geometry;
        // That of all golden backups.
        let source = (0..geometry.source_bytes()).map(|i| ((i % 251 + i / 251) % 256) as u8).collect();
        Self { id: id.parse().unwrap(), objects, parity: geometry.profile().parity(), source }
    }
}

/// A copy of all of it in one store, and of the manifest in another.
struct Copy<'a> {
    backup: &'a Backup,
    store: Memory,
    other: Memory,
    identities: Identities,
    place: tempfile::TempDir,
}

impl<'a> Copy<'a> {
    async fn of(backup: &'a Backup, name: &str) -> Self {
        let place = tempfile::tempdir_in(fast()).unwrap();
        let mut identities = Identities::default();
        let identity = own_file(place.path(), "identity", &file("golden/keys/identity.txt"));
        identities.add_file(IdentityFile::read(&identity, None).unwrap());
        let (store, other) = (Memory::named(name), Memory::named(&format!("{name}'s")));
        for (name, bytes) in &backup.objects {
            put(&store, name, bytes).await;
            if name.part() == "manifest" {
                put(&other, name, bytes).await;
            }
        }
        Self { backup, store, other, identities, place }
    }

    async fn flip(&self, object: usize, bit: usize, resources: &Arc<Resources>) {
        let (name, good) = &self.backup.objects[object];
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.store.remove(name).unwrap();
        put(&self.store, name, &bytes).await;
        let (of, both) = (format!("bit {bit} of {name}"), [&self.store, &self.other]);
        if name.part() == "manifest" {
            let alone = Found::open(opened(&both[..1]), self.backup.id).await.map(drop).unwrap_err();
            assert!(alone.to_string().contains(&*self.backup.id.to_string()), "{of}: {alone}");
            let found = self.found(&both).await;
            assert_eq!(found.has_manifest, [false, true], "{of}");
            assert!(found.troubles.iter().any(|trouble| trouble.store == self.store.url()), "{of}");
            self.restores(found, resources, &of).await;
        } else {
            let block: usize = name.part().parse().unwrap();
            let found = self.found(&both).await;
            let health =
                verify(found.clone(), &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
            let named: Vec<_> =
                health.damages.iter().map(|damage| (damage.block, damage.store.as_deref())).collect();
            assert_eq!(named, [(block, Some(self.store.url()))], "{of}");
            self.restores(found, resources, &of).await;
            if bit % 128 < 16 {
                self.is_refused(block, resources, &of).await;
            }
        }
        self.store.remove(name).unwrap();
        put(&self.store, name, good).await;
    }

    async fn found(&self, stores: &[&Memory]) -> Found {
        let mut found = Found::open(opened(stores), self.backup.id).await.unwrap();
        if found.opened().is_none() {
            let key = self.identities.file_key(self.backup.id, found.manifest.wrapped()).unwrap();
            found.unlock(&key).unwrap();
        }
        found
    }

    async fn restores(&self, found: Found, resources: &Arc<Resources>, of: &str) {
        self.restore(found, resources).await.unwrap_or_else(|error| panic!("{of}: {error}"));
        assert!(fs::read(self.output()).unwrap() == self.backup.source, "{of}: other bytes");
        fs::remove_file(self.output()).unwrap();
    }

    /// With no more blocks than it takes, one of which is damaged.
    async fn is_refused(&self, block: usize, resources: &Arc<Resources>, of: &str) {
        let blocks = self.backup.objects.iter().filter(|(name, _)| name.part() != "manifest");
        let others: Vec<_> =
            blocks.filter(|(name, _)| name.part() != block.to_string()).take(self.backup.parity).collect();
        others.iter().for_each(|(name, _)| self.store.remove(name).unwrap());
        let found = self.found(&[&self.store]).await;
        let error = self.restore(found, resources).await.expect_err(of);
        let Error::NotRecoverable { damages, .. } = &error else { panic!("{of}: {error}") };
        assert!(damages.iter().any(|damage| damage.block == block), "{of}: {error}");
        assert!(!self.output().exists(), "{of}");
        for (name, bytes) in others {
            put(&self.store, name, bytes).await;
        }
    }

    async fn restore(&self, found: Found, resources: &Arc<Resources>) -> Result<(), Error> {
        let to = RestoreTo { path: self.output(), replace: false, resume: false };
        restore(found, to, resources, &Stop::default(), &Arc::new(Progress::default())).await.map(drop)
    }

    fn output(&self) -> std::path::PathBuf {
        self.place.path().join("restored")
    }
}

fn opened(stores: &[&Memory]) -> Vec<Store> {
    stores.iter().map(|&store| Store::new(Arc::new(store.clone()))).collect()
}

async fn put(store: &Memory, name: &ObjectName, bytes: &[u8]) {
    let mut put = store.put(name, Some(bytes.len() as u64)).await.unwrap();
    put.write(bytes.to_vec().into()).await.unwrap();
    put.commit().await.unwrap();
}

/// Copies that are damaged at a time.
const WORKERS: usize = 8;
