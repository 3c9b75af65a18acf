//! Real backups and restores beside a plain copy and a plain hash of the same bytes, in turn.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use blake3::Hash;
use clap::ValueEnum;
use tanner_transports::Registry;
use tempfile::TempDir;

use super::codec::{decode_name, facts, losses_max};
use super::disk::{check_room, scratch};
use super::recorder::Recorder;
use super::report::{Kind, Subject};
use super::{Blocks, fill, verified};
use crate::backup::{Backup, Shape};
use crate::crypto::{DeviceKey, Encryption, Identities, IdentityFile, Recipients};
use crate::error::Error;
use crate::fetch::Found;
use crate::hash::PieceHasher;
use crate::id::BackupId;
use crate::parallel::{self, blocking};
use crate::resources::{Resources, Stop};
use crate::restore::{RestoreTo, restore};
use crate::scheduler::Even;
use crate::source::IoMode;
use crate::store::{Store, block_name};

/// What to measure.
pub(crate) struct Run {
    /// Where the stores are made; the source and its copies are in the first.
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    pub(crate) shape: Blocks,
    pub(crate) encryption: Modes,
    pub(crate) resources: Arc<Resources>,
}

/// Which backups to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Modes {
    /// Plain ones.
    #[default]
    Off,
    /// Encrypted and signed ones, as backups are by default.
    On,
    /// Both in each round, and what encryption costs.
    Both,
}

impl Run {
    /// Makes a source, and times all jobs round by round.
    ///
    /// # Errors
    /// As backup and restore, or if the directories have no room.
    pub(crate) async fn run(&self, recorder: &mut Recorder, registry: &Registry) -> Result<(), Error> {
        let Blocks { data, parity } = self.shape;
        let stored =
            u128::from(self.bytes) * u128::from(data.saturating_add(parity)) / u128::from(data.max(1));
        let stored = u64::try_from(stored).unwrap_or(u64::MAX);
        // The source, a copy or a restored file, and the blocks.
        check_room(&self.directories[..1], self.bytes.saturating_mul(2).saturating_add(stored))?;
        check_room(&self.directories, stored / self.directories.len() as u64)?;
        let places: Vec<TempDir> =
            self.directories.iter().map(|directory| scratch(directory)).collect::<Result<_, _>>()?;
        let paths = Paths::new(places[0].path());
        let urls: Vec<String> = (0..places.len().max(STORES))
            .map(|store| places[store % places.len()].path().join(format!("store{store}")))
            .map(|path| path.display().to_string())
            .collect();
        let (source, bytes, stop) = (paths.source.clone(), self.bytes, recorder.stop().clone());
        let wanted = blocking(move || make(&source, bytes, &stop)).await?;
        let keys = Keys::new(places[0].path())?;
        let mut modes = match self.encryption {
            Modes::Off => vec![None],
            Modes::On => vec![Some(&keys)],
            Modes::Both => vec![None, Some(&keys)],
        };
        for _ in 0..self.rounds {
            recorder.next_round();
            self.copies(recorder, &paths, wanted).await?;
            for keys in &modes {
                let stores = Store::open_all(registry, &urls, "--to")?;
                self.real(recorder, &paths, stores, *keys, wanted).await?;
                urls.iter().for_each(|url| _ = std::fs::remove_dir_all(url));
            }
            // Whoever comes second finds another machine: each is as often the first.
            modes.reverse();
        }
        Ok(())
    }

    /// A plain copy and a plain hash.
    async fn copies(&self, recorder: &mut Recorder, paths: &Paths, wanted: Hash) -> Result<(), Error> {
        let threads = self.resources.thread_count();
        let (from, to, stop) = (paths.source.clone(), paths.copy.clone(), recorder.stop().clone());
        recorder.progress().start(self.bytes);
        let began = Instant::now();
        blocking(move || copy(&from, &to, &stop)).await?;
        recorder.add(&subject(COPY, 1), self.bytes, began.elapsed().as_secs_f64());
        for (path, timed) in [(&paths.source, true), (&paths.copy, false)] {
            let (path, bytes) = (path.clone(), self.bytes);
            let (resources, stop) = (Arc::clone(&self.resources), recorder.stop().clone());
            let began = Instant::now();
            let hash = blocking(move || hash(&path, bytes, &resources, &stop)).await?;
            if timed {
                recorder.add(&subject(HASH, threads), self.bytes, began.elapsed().as_secs_f64());
            }
            verified(hash == wanted, || "hashing or copying a file".into())?;
        }
        remove(&paths.copy)
    }

    async fn real(
        &self,
        recorder: &mut Recorder,
        paths: &Paths,
        stores: Vec<Store>,
        keys: Option<&Keys>,
        wanted: Hash,
    ) -> Result<(), Error> {
        let how = if keys.is_some() { ENCRYPTED } else { "" };
        let encryption = keys.map(Keys::begin).transpose()?;
        let id = encryption.as_ref().map_or_else(BackupId::random, Encryption::id);
        let (resources, threads) = (&self.resources, self.resources.thread_count());
        let backup = Backup {
            source: &paths.source,
            io: IoMode::default(),
            shape: Shape::Blocks {
                data: self.shape.data,
                parity: self.shape.parity,
                code: tanner_kernels::CodeChoice::Auto,
            },
            stores: stores.clone(),
            policy: &Even,
            quorum: 1,
            survive: &[],
            encryption,
            id,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        let (stop, progress) = (recorder.stop().clone(), Arc::clone(recorder.progress()));
        let began = Instant::now();
        let report = backup.run(resources, &stop, &progress).await?;
        recorder.add(
            &subject(&format!("{how}backup {}", self.shape), threads),
            self.bytes,
            began.elapsed().as_secs_f64(),
        );
        verified(report.manifest.source_hash == wanted, || "the hash of a backup".into())?;
        let profile = *report.manifest.geometry.profile();
        let most = losses_max(&profile);
        if !recorder.report.profiles.iter().any(|known| known.shape == self.shape.to_string()) {
            recorder.report.profiles.push(facts(&profile));
        }
        for lost in [0, most] {
            for block in 0..lost {
                for store in &stores {
                    store.transport.delete(&block_name(id, block)).await?;
                }
            }
            let began = Instant::now();
            let mut found = Found::open(stores.clone(), id).await?;
            if let Some(keys) = keys {
                let key = keys.identities.file_key(id, found.manifest.wrapped())?;
                found.unlock(&key).map_err(|error| Error::Sealed { id, source: error.into() })?;
            }
            let to = RestoreTo { path: paths.restored.clone(), replace: true, resume: false };
            restore(found, to, resources, &stop, &progress).await?;
            let shape = self.shape.to_string();
            let name = format!("{how}restore {}", if lost == 0 { shape } else { decode_name(&shape, lost) });
            recorder.add(&subject(&name, threads), self.bytes, began.elapsed().as_secs_f64());
            let (path, bytes) = (paths.restored.clone(), self.bytes);
            let (resources, stop) = (Arc::clone(resources), stop.clone());
            let hash = blocking(move || hash(&path, bytes, &resources, &stop)).await?;
            verified(hash == wanted, || name.clone())?;
            remove(&paths.restored)?;
        }
        Ok(())
    }
}

/// The files of a run.
struct Paths {
    source: PathBuf,
    copy: PathBuf,
    restored: PathBuf,
}

impl Paths {
    fn new(place: &Path) -> Self {
        Self { source: place.join("source"), copy: place.join("copy"), restored: place.join("restored") }
    }
}

/// Whoever backs up, and reads, what is encrypted.
struct Keys {
    device: PathBuf,
    recipients: Recipients,
    identities: Identities,
}

impl Keys {
    fn new(place: &Path) -> Result<Self, Error> {
        let device = place.join("device.pem");
        let key = DeviceKey::create(&device)?;
        let identity = IdentityFile::create(&place.join("identity.txt"), key.device(), None)?;
        let (recipients, mut identities) = (identity.recipients(), Identities::default());
        identities.add_file(identity);
        Ok(Self { device, recipients, identities })
    }

    fn begin(&self) -> Result<Encryption, Error> {
        Ok(Encryption::begin(DeviceKey::load(&self.device)?, &self.recipients)?)
    }
}

fn subject(name: &str, threads: usize) -> Subject {
    Subject::new(Kind::E2e, name, threads)
}

/// Writes the source and returns its hash.
fn make(path: &Path, bytes: u64, stop: &Stop) -> Result<Hash, Error> {
    let failed = |source| Error::Output { path: path.to_owned(), source };
    let (mut file, mut hasher) = (File::create(path).map_err(failed)?, blake3::Hasher::new());
    let (mut left, mut piece) = (bytes, vec![0; PIECE_BYTES]);
    while left > 0 {
        stop.check()?;
        let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        fill(&mut piece[..length], usize::try_from(left).unwrap_or(0));
        file.write_all(&piece[..length]).map_err(failed)?;
        hasher.update(&piece[..length]);
        left -= length as u64;
    }
    // Backups are not to be slowed down by the disk still taking the source.
    file.sync_all().map_err(failed)?;
    Ok(hasher.finalize())
}

/// Copies by reads and writes: a file system that shares blocks between copies would copy nothing.
fn copy(from: &Path, to: &Path, stop: &Stop) -> Result<(), Error> {
    let cannot_read = |source| Error::Source { path: from.to_owned(), source };
    let cannot_write = |source| Error::Output { path: to.to_owned(), source };
    let mut source = File::open(from).map_err(cannot_read)?;
    let mut target = File::create(to).map_err(cannot_write)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        stop.check()?;
        match source.read(&mut piece).map_err(cannot_read)? {
            0 => return target.sync_all().map_err(cannot_write),
            length => target.write_all(&piece[..length]).map_err(cannot_write)?,
        }
    }
}

/// Hashes a file on all threads.
fn hash(path: &Path, bytes: u64, resources: &Resources, stop: &Stop) -> Result<Hash, Error> {
    let failed = |source| Error::Source { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut whole = PieceHasher::new(bytes, true);
    let pieces = bytes.div_ceil(PIECE_BYTES as u64);
    let state = || -> Result<_, Error> { Ok(vec![0; PIECE_BYTES]) };
    let work = |buffer: &mut Vec<u8>, piece: u64| {
        stop.check()?;
        let at = piece * PIECE_BYTES as u64;
        let length = usize::try_from(bytes - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.read_exact_at(&mut buffer[..length], at).map_err(failed)?;
        let mut branch = PieceHasher::new(bytes, true);
        branch.add(at, &buffer[..length]);
        Ok(branch)
    };
    parallel::each(0..pieces, resources.thread_count(), state, work, |branch| whole.join(branch))?;
    whole.finish().ok_or_else(|| Error::BenchWrong { what: "hashing a file".into() })
}

fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|source| Error::Output { path: path.to_owned(), source })
}

pub(super) const COPY: &str = "copy and sync";
pub(super) const HASH: &str = "hash";
/// Before the name of a job that encrypts.
pub(super) const ENCRYPTED: &str = "encrypted ";
const STORES: usize = 3;
const PIECE_BYTES: usize = 1 << 20;
