//! A file as a store of its own data blocks: parity lies beside the untouched file.
//!
//! The data blocks of a file are its own bytes in order, so they need no copy. For the file `big.img` all else is in
//! the directory `big.img.tanner`: parity blocks and the manifest, and below `copy` the manifest once more. With
//! [`Beside`] everything that reads and repairs backups reads and repairs the file itself.

mod protect;
mod put;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::percent_decode_str;
use tanner_transports::{
    ByteStream, Capabilities, Disk, Hash, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Target,
    Transport, TransportError,
};

pub use self::protect::{Protect, Protected, protection};
use self::put::{Discarded, InPlace};
use crate::fetch::{list_backups, read_manifest};
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::manifest::{Manifest, SealedManifest};
use crate::store::{Store, block_name};

/// The store of a file and the directory beside it. A put of a data block writes to the file, and deleting one changes
/// nothing: only repairs put them.
#[derive(Clone, Debug)]
pub struct Beside(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    path: PathBuf,
    disk: Disk,
    /// The data blocks of a backup that is being made of the file. It has no manifest yet.
    making: Option<usize>,
    /// What the newest manifest says.
    current: Mutex<Option<Arc<Current>>>,
}

/// What protects the file: of an older one the file may have no byte any more.
#[derive(Debug)]
struct Current {
    id: BackupId,
    geometry: Geometry,
    created: u64,
    /// When the file was changed last, in seconds since 1970.
    modified: Option<u64>,
}

impl Beside {
    /// The store of the file at `path`, which need not exist any more.
    ///
    /// # Errors
    /// `BadUrl` when `path` is empty.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(path, None)
    }

    /// The store at `beside:PATH` or `beside://PATH`; the second is percent-encoded.
    ///
    /// # Errors
    /// `BadUrl` when it names no path.
    pub fn from_url(url: &str) -> Result<Self> {
        let rest = url.split_once(':').map_or("", |(_, rest)| rest);
        match rest.strip_prefix("//") {
            // Checks the spelling.
            Some(_) => Disk::from_url(&format!("file:{rest}")).and_then(|file| Self::open(&path_of(&file))),
            None => Self::open(Path::new(rest)),
        }
    }

    fn new(path: &Path, making: Option<usize>) -> Result<Self> {
        let file = Disk::open(path)?;
        let (url, path) = (file.url().replacen("file:", "beside:", 1), path_of(&file));
        let disk = Disk::open(directory(&path))?;
        Ok(Self(Arc::new(Inner { url, path, disk, making, current: Mutex::default() })))
    }

    fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.0.url.as_str(), name)
    }

    /// Where a data block lies in the file; none if this names something else.
    async fn data(&self, name: &ObjectName) -> Result<Option<Data>> {
        let block = name.part().parse().ok().filter(|block: &usize| block.to_string() == name.part());
        let (Some(current), Some(block)) = (self.of(name.prefix()).await?, block) else { return Ok(None) };
        if block >= current.geometry.profile().data() {
            return Ok(None);
        }
        let range = current.geometry.source_ranges(block, 0..u64::MAX).next().unwrap_or(0..0);
        Ok(Some(Data { at: self.at(name), path: self.0.path.clone(), range, modified: current.modified }))
    }

    /// What protects the file, if this is its id.
    async fn of(&self, id: Option<&str>) -> Result<Option<Arc<Current>>> {
        let Some(id) = id.and_then(|id| id.parse::<BackupId>().ok()) else { return Ok(None) };
        Ok(self.current().await?.filter(|current| current.id == id))
    }

    /// What protects the file: the newest of what is beside it.
    async fn current(&self) -> Result<Option<Arc<Current>>> {
        let known = || self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &*known() {
            return Ok(Some(Arc::clone(current)));
        }
        let (mut all, mut failed) = (Vec::new(), None);
        for disk in [self.0.disk.clone(), copy(&self.0.path)?] {
            let store = Store::new(Arc::new(disk));
            let ids = match list_backups(&store).await {
                Err(TransportError::Missing { .. }) => continue,
                ids => ids?,
            };
            for id in ids {
                match read_manifest(&store, id).await {
                    Ok(bytes) => all.extend(Current::of(id, &bytes)),
                    Err(TransportError::Missing { .. }) => {}
                    Err(error) => failed = Some(error),
                }
            }
        }
        match (all.into_iter().max_by_key(|one| (one.created, one.id)), failed) {
            (None, Some(error)) => Err(error),
            (newest, _) => {
                let newest = newest.map(Arc::new);
                known().clone_from(&newest);
                Ok(newest)
            }
        }
    }
}

impl Current {
    /// What a manifest says, if it is of a file that is not encrypted: the rows of a stream are not in its order.
    fn of(id: BackupId, manifest: &[u8]) -> Option<Self> {
        let manifest = SealedManifest::from_bytes_of(id, manifest).ok()?;
        let Manifest { geometry, created, modified, .. } = *manifest.plain()?;
        geometry.row_steps().is_none().then_some(Self { id, geometry, created, modified })
    }
}

#[async_trait]
impl Transport for Beside {
    fn url(&self) -> &str {
        &self.0.url
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { exclusive_create: false, keep: false, ..self.0.disk.capabilities() }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        if let Some(data) = self.data(name).await? {
            return Ok(Box::new(InPlace::begin(data).await?));
        }
        let is_known = self.of(name.prefix()).await?.is_some();
        match self.0.making {
            _ if is_known => {}
            Some(data) if name.part().parse().is_ok_and(|block: usize| block < data) => {
                return Ok(Box::new(Discarded { at: self.at(name), length, written: 0 }));
            }
            Some(_) => {}
            // Data blocks of another file would be taken for this one's.
            None => {
                let why = "it keeps what protects its file, and nothing else";
                return Err(TransportError::Refused { at: self.at(name), source: io::Error::other(why) });
            }
        }
        self.0.disk.put(name, length).await
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let Some(data) = self.data(name).await? else { return self.0.disk.get(name, range).await };
        data.get(range).await
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(data) = self.data(name).await? else { return self.0.disk.get_ranges(name, ranges).await };
        let (file, length) = data.open().await?;
        ranges.iter().try_for_each(|range| data.check(range, length))?;
        let ranges = ranges.to_vec();
        blocking(move || ranges.into_iter().map(|range| data.read(&file, range)).collect()).await
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        let mut hasher = blake3::Hasher::new_keyed(nonce);
        let mut pieces = self.get(name, range).await?;
        while let Some(piece) = pieces.try_next().await? {
            hasher.update(&piece);
        }
        Ok(hasher.finalize())
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let Some(data) = self.data(name).await? else { return self.0.disk.stat(name).await };
        let (_, length) = data.open().await?;
        Ok(ObjectMeta { length })
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        let names = self.0.disk.list(prefix).await?;
        let Some(current) = self.of(Some(prefix)).await? else { return Ok(names) };
        let (geometry, id, path) = (current.geometry, current.id, self.0.path.clone());
        let bytes = blocking(move || Ok(path.metadata().map_or(0, |metadata| metadata.len()))).await?;
        let is_there = move |block: &usize| {
            geometry.source_ranges(*block, 0..u64::MAX).next().is_some_and(|range| range.start < bytes)
        };
        let data =
            (0..geometry.profile().data()).filter(is_there).map(move |block| Ok(block_name(id, block)));
        Ok(names.chain(stream::iter(data)).boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        // What is wrong with it is overwritten: nothing else may follow.
        if self.data(name).await?.is_some() { Ok(()) } else { self.0.disk.delete(name).await }
    }
}

/// A data block: a range of the file.
#[derive(Clone)]
struct Data {
    at: Target,
    path: PathBuf,
    range: Range<u64>,
    /// When the file was changed last before it was protected, in seconds since 1970.
    modified: Option<u64>,
}

impl Data {
    /// The file, and how many bytes of the block it has.
    async fn open(&self) -> Result<(Arc<File>, u64)> {
        let data = self.clone();
        blocking(move || {
            let file = File::open(&data.path).map_err(|error| data.failed(error))?;
            let bytes = file.metadata().map_err(|error| data.failed(error))?.len();
            match bytes.min(data.range.end).saturating_sub(data.range.start) {
                0 if !data.range.is_empty() => Err(TransportError::Missing { at: data.at }),
                length => Ok((Arc::new(file), length)),
            }
        })
        .await
    }

    fn check(&self, range: &Range<u64>, length: u64) -> Result<()> {
        if range.start <= range.end && range.end <= length {
            return Ok(());
        }
        Err(TransportError::OutOfRange { at: self.at.clone(), range: range.clone(), length })
    }

    async fn get(self, range: Range<u64>) -> Result<ByteStream> {
        let (file, length) = self.open().await?;
        self.check(&range, length)?;
        let pieces = stream::try_unfold(range.start, move |start| {
            let (data, file) = (self.clone(), Arc::clone(&file));
            let piece = start..range.end.min(start + PIECE_BYTES);
            async move {
                if piece.is_empty() {
                    return Ok(None);
                }
                let end = piece.end;
                Ok(Some((blocking(move || data.read(&file, piece)).await?, end)))
            }
        });
        Ok(pieces.boxed())
    }

    /// A range of the block.
    fn read(&self, file: &File, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end - range.start;
        let mut bytes = vec![0; usize::try_from(wanted).expect("ranges are read into memory")];
        match file.read_exact_at(&mut bytes, self.range.start + range.start) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(TransportError::Truncated { at: self.at.clone(), wanted, got: 0 })
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: io::Error) -> TransportError {
        TransportError::from_io(self.at.clone(), source)
    }
}

/// The path that a directory's store was opened with.
fn path_of(disk: &Disk) -> PathBuf {
    let path = disk.url().strip_prefix("file://").expect("so a disk's URL begins");
    OsString::from_vec(percent_decode_str(path).collect()).into()
}

/// Where the parity of a file lies.
fn directory(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".tanner");
    path.into()
}

/// The store with the other copy of the manifest, of the store at this URL; none if that is not the store of a file.
///
/// # Errors
/// `BadUrl`.
pub(crate) fn copy_of(url: &str) -> Result<Option<Disk>> {
    if !is_beside(url) {
        return Ok(None);
    }
    copy(&Beside::from_url(url)?.0.path).map(Some)
}

/// Whether this is the URL of the store of a file.
pub(crate) fn is_beside(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| scheme == "beside")
}

/// The store with another copy of the manifest.
fn copy(path: &Path) -> Result<Disk> {
    Disk::open(directory(path).join("copy"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 1 << 20;
