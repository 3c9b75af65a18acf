//! Objects as files below a directory: `ROOT/PREFIX/PART`.
//!
//! What is in a file goes through the ring, or through positioned calls where there is none; all that concerns names is
//! plain calls. Both run on threads that may block, never on tokio's workers. Nothing in the root is trusted: what is
//! not a directory of regular files is never followed, listed or overwritten.

mod dir;
mod io;
mod put;
mod stage;
mod trash;
mod url;
mod writeback;

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::fs::FileType;
use tokio::task::spawn_blocking;

use self::dir::Dir;
pub use self::io::DiskIo;
use self::io::Io;
use self::put::{DiskPut, Held};
use self::stage::{KeptName, Stage};
pub use self::trash::{Trash, TrashClock, Trashed};
use self::writeback::Writeback;
use crate::ring;
use crate::transport::{check_length, check_range, not_kept};
use crate::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, PIECE_BYTES_MAX, Put,
    Result, Target, Transport, TransportError,
};

/// A store in a directory of a local or mounted file system. Clones are the same store.
///
/// The first put makes the directory, and removes what puts left there that died with their process: at once what they
/// had not [kept](Put::keep), and the rest a [`KEPT_TIME`](crate::KEPT_TIME) after it was last written to. Files are made
/// with 0666, directories with 0777, less the umask. A put holds three descriptors.
#[derive(Clone, Debug)]
pub struct Disk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    url: Arc<str>,
    /// When this `Disk` has made its root and swept it.
    ready: Mutex<Option<Instant>>,
    /// Empty until the first use has found out what there is.
    io: OnceLock<Io>,
}

impl Disk {
    /// The store in the directory `root`, which need not exist. A relative path is taken from where the process
    /// stands now. Changes nothing on the disk.
    ///
    /// # Errors
    /// `BadUrl` when `root` is empty, `Other` when the process stands nowhere.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        if root.as_os_str().is_empty() {
            return Err(TransportError::BadUrl { url: String::new(), reason: "a path is not empty" });
        }
        let absolute = std::path::absolute(root)
            .map_err(|error| TransportError::from_io(Target::store(root.to_string_lossy()), error))?;
        let root = one_spelling(&absolute);
        let url = url::from_path(&root).into();
        Ok(Self { inner: Arc::new(Inner { root, url, ready: Mutex::new(None), io: OnceLock::new() }) })
    }

    /// The store of a `file:` URL.
    ///
    /// # Errors
    /// `BadUrl` when it names no path of this machine.
    pub fn from_url(url: &str) -> Result<Self> {
        Self::open(url::to_path(url)?)
    }

    /// The same store, read and written in this way.
    ///
    /// # Errors
    /// `Other` when this process cannot use the ring that is asked for.
    pub fn with_io(self, io: DiskIo) -> Result<Self> {
        let at = Target::store(self.inner.url.clone());
        let refused = |why| TransportError::Other {
            at,
            source: std::io::Error::new(ErrorKind::Unsupported, format!("io_uring cannot be used: {why}")),
        };
        let io = match io {
            DiskIo::Auto => OnceLock::new(),
            DiskIo::Ring => {
                let driver = ring::shared().map_err(refused)?.clone();
                Io::Ring { driver, or_positioned: false }.into()
            }
            DiskIo::Positioned => Io::Positioned.into(),
        };
        let (root, url) = (self.inner.root.clone(), self.inner.url.clone());
        Ok(Self { inner: Arc::new(Inner { root, url, ready: Mutex::new(None), io }) })
    }

    /// The same store, with a driver of the test's own.
    #[cfg(test)]
    pub(crate) fn with_driver(self, driver: ring::Driver, or_positioned: bool) -> Self {
        let io = Io::Ring { driver: Arc::new(driver), or_positioned };
        self.inner.io.set(io).expect("nothing was read or written yet");
        self
    }

    fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.inner.url.clone(), name)
    }
}

/// One spelling for one place: links and dots are followed as far as the path exists, and no slash ends it.
fn one_spelling(absolute: &Path) -> PathBuf {
    let real = absolute.ancestors().find_map(|ancestor| {
        let rest = absolute.strip_prefix(ancestor).expect("an ancestor is a prefix");
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    real.unwrap_or_else(|| absolute.to_owned()).components().collect()
}

#[async_trait]
impl Transport for Disk {
    fn url(&self) -> &str {
        &self.inner.url
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            exclusive_create: true,
            ranges: true,
            list: true,
            keep: true,
            prove: true,
            range_gap_bytes: RANGE_GAP_BYTES,
            object_bytes_max: None,
        }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        blocking(&self.at(&name), move || {
            let root = inner.writable()?;
            // What can never be replaced is known to be in vain: better now than after the bytes were sent.
            match root.descend(name.prefix()).and_then(|dir| dir.length(name.part())) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(TransportError::from_io(at, error));
                }
                _ => {}
            }
            let stage = Stage::new(root, length.unwrap_or(0));
            let stage = stage.map_err(|error| TransportError::from_io(at.clone(), error))?;
            Ok(inner.put(name, at, length, stage))
        })
        .await
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        check_length(&at, length, kept.bytes, false)?;
        let file = KeptName::parse(&kept.token, &name);
        let (file, bytes) = (file.ok_or_else(|| not_kept(at.clone(), NOT_A_TOKEN))?, kept.bytes);
        blocking(&self.at(&name), move || {
            let resumed = Stage::resume(inner.root()?, &file, bytes, length.unwrap_or(0));
            match resumed.map_err(|error| TransportError::from_io(at.clone(), error))? {
                Some(stage) => Ok(inner.put(name, at, length, stage)),
                None => Err(TransportError::Busy { at }),
            }
        })
        .await
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        let inner = self.inner.clone();
        blocking(&Target::store(self.inner.url.clone()), move || {
            let root = inner.root()?;
            let kept = stage::sweep(&root).and_then(|()| stage::kept(&root));
            let kept = kept.map_err(|error| inner.store_error(error))?;
            Ok(kept.into_iter().map(|(name, bytes)| Kept { bytes, token: name.into() }).collect())
        })
        .await
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        let (io, file, length) = blocking(&at, move || inner.object(&name)).await?;
        check_range(&at, &range, length)?;
        let pieces = stream::try_unfold(range.start, move |offset| {
            let (io, file, at, range) = (io.clone(), file.clone(), at.clone(), range.clone());
            async move {
                if offset == range.end {
                    return Ok(None);
                }
                let end = range.end.min(offset + PIECE_BYTES);
                let piece = offset..end;
                let mut read = io.read(&at, &file, std::slice::from_ref(&piece)).await?;
                Ok(Some((whole(&at, &range, &piece, read.remove(0))?, end)))
            }
        });
        Ok(pieces.boxed())
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        let (io, file, length) = blocking(&at, move || inner.object(&name)).await?;
        ranges.iter().try_for_each(|range| check_range(&at, range, length))?;
        let read = io.read(&at, &file, ranges).await?;
        ranges.iter().zip(read).map(|(range, bytes)| whole(&at, range, range, bytes)).collect()
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
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        blocking(&at.clone(), move || {
            let length = inner.root()?.descend(name.prefix()).and_then(|dir| dir.length(name.part()));
            Ok(ObjectMeta { length: length.map_err(|error| TransportError::from_io(at, error))? })
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        ObjectName::check_prefix(prefix)?;
        let (inner, prefix) = (self.inner.clone(), prefix.to_owned());
        let at = Target::store(self.inner.url.clone());
        let (root, names, prefixes) = blocking(&at.clone(), move || {
            let root = inner.root()?;
            if !prefix.is_empty() {
                return Ok((Arc::new(root), Vec::new(), vec![prefix]));
            }
            let entries = root.entries().map_err(|error| TransportError::from_io(at, error))?;
            let (dirs, files): (Vec<_>, _) =
                entries.into_iter().partition(|(_, kind)| *kind == FileType::Directory);
            let dirs = dirs.into_iter().map(|(name, _)| name).filter(|name| ObjectName::new(name).is_ok());
            Ok((Arc::new(root), objects(None, files), dirs.collect()))
        })
        .await?;
        // One directory at a time: the memory of a listing is that of the largest backup.
        let at = Target::store(self.inner.url.clone());
        let below = stream::try_unfold(prefixes.into_iter(), move |mut rest| {
            let (root, at) = (root.clone(), at.clone());
            async move {
                let Some(prefix) = rest.next() else { return Ok::<_, TransportError>(None) };
                let names = blocking(&at.clone(), move || list_dir(&root, &prefix, at)).await?;
                Ok(Some((stream::iter(names.into_iter().map(Ok)), rest)))
            }
        });
        Ok(stream::iter(names.into_iter().map(Ok)).chain(below.try_flatten()).boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let (inner, at, name) = (self.inner.clone(), self.at(name), name.clone());
        blocking(&at.clone(), move || {
            let root = inner.root()?;
            let deleted = root.descend(name.prefix()).and_then(|dir| match dir.unlink(name.part()) {
                // Deleted by a call that perhaps did not live to make that durable.
                Err(error) if error.kind() == ErrorKind::NotFound => dir.sync(),
                unlinked => unlinked.and_then(|()| dir.sync()),
            });
            // Only tidy, and fails until the last object is gone: an empty directory is no object.
            let _ = name.prefix().map(|prefix| root.remove_dir(prefix));
            match deleted {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(TransportError::from_io(at, error)),
                _ => Ok(()),
            }
        })
        .await
    }
}

impl Inner {
    fn root(&self) -> Result<Dir> {
        Dir::open_root(&self.root).map_err(|error| self.store_error(error))
    }

    /// The root, made by the first put, and swept by it and again each [`SWEEP_TIME`]. A root that vanishes later is
    /// `Missing`: an unmounted disk must not become a directory of the disk below it.
    fn writable(&self) -> Result<Dir> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_none() {
            Dir::make_root(&self.root).map_err(|error| self.store_error(error))?;
        }
        let root = self.root()?;
        if ready.is_none_or(|swept| swept.elapsed() > SWEEP_TIME) {
            stage::sweep(&root).map_err(|error| self.store_error(error))?;
            *ready = Some(Instant::now());
        }
        Ok(root)
    }

    fn put(&self, name: ObjectName, at: Target, length: Option<u64>, stage: Stage) -> Box<dyn Put> {
        let (io, writeback) = (self.io().clone(), Writeback::after(stage.written));
        Box::new(DiskPut { io, name, at, length, stage: Some(Held::new(stage)), writeback })
    }

    /// An object opened to read, how to read it, and its length in bytes.
    fn object(&self, name: &ObjectName) -> Result<(Io, Arc<File>, u64)> {
        let opened = self.root()?.descend(name.prefix()).and_then(|dir| dir.file(name.part()));
        let (file, length) =
            opened.map_err(|error| TransportError::from_io(Target::object(self.url.clone(), name), error))?;
        Ok((self.io().clone(), Arc::new(file), length))
    }

    /// The first call may start a thread.
    fn io(&self) -> &Io {
        let ring = |driver: &Arc<ring::Driver>| Io::Ring { driver: driver.clone(), or_positioned: true };
        self.io.get_or_init(|| ring::shared().map_or(Io::Positioned, ring))
    }

    fn store_error(&self, error: std::io::Error) -> TransportError {
        TransportError::from_io(Target::store(self.url.clone()), error)
    }
}

/// Runs `work` where it may block. If the future is dropped, `work` still ends and its result is dropped.
async fn blocking<T: Send + 'static>(
    at: &Target,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(stopped)) => Err(TransportError::Other { at: at.clone(), source: stopped.into() }),
    }
}

/// Makes sure that one piece of a range was not cut short.
fn whole(at: &Target, range: &Range<u64>, piece: &Range<u64>, bytes: Bytes) -> Result<Bytes> {
    let end = piece.start + bytes.len() as u64;
    if end == piece.end {
        return Ok(bytes);
    }
    let (wanted, got) = (range.end - range.start, end - range.start);
    Err(TransportError::Truncated { at: at.clone(), wanted, got })
}

/// The names below one prefix. A directory that is not there, or no more, has none.
fn list_dir(root: &Dir, prefix: &str, at: Target) -> Result<Vec<ObjectName>> {
    match root.open(prefix).and_then(|dir| dir.entries()) {
        Ok(entries) => Ok(objects(Some(prefix), entries)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(TransportError::from_io(at, error)),
    }
}

/// The names of the entries which can be objects.
fn objects(prefix: Option<&str>, entries: Vec<(String, FileType)>) -> Vec<ObjectName> {
    let files = entries.into_iter().filter(|(_, kind)| *kind == FileType::RegularFile).map(|(part, _)| part);
    let names = files.map(|part| prefix.map_or_else(|| part.clone(), |prefix| format!("{prefix}/{part}")));
    names.filter_map(|name| ObjectName::new(name).ok()).collect()
}

const NOT_A_TOKEN: &str = "what was kept there is not of this object";
/// A server that runs for months sweeps, too: what a day adds is little against what is there.
const SWEEP_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Where 64-byte pieces are read up to 4 KiB apart, the whole file goes through the page cache, and each call takes as
/// long as reading some KiB: what lies in between comes anyway. The example `pieces` measures it.
const RANGE_GAP_BYTES: u64 = 64 * 1024;
/// Bytes of a piece: large enough to hide the cost of a thread switch, small enough to hold many.
const PIECE_BYTES: u64 = 512 * 1024;
const _: () = assert!(PIECE_BYTES <= PIECE_BYTES_MAX as u64);
