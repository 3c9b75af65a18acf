//! Deleted objects that can still be brought back: `ROOT/.tanner-trash/WALL-SERVED-RANDOM+PREFIX+PART`, of which WALL is
//! when it was deleted, in seconds since 1970.
//!
//! A clock that jumps must not destroy what it was to protect. So something is old enough only when two clocks say so:
//! that of the wall, which may be set, and SERVED, the seconds in which somebody looked after this trash, which only go
//! on while a process runs that does. The latter is written down as the name of an empty file, each time that the trash
//! is looked through; what a crash loses of it is added to the delay, and so is the time in which no server ran.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dir::Dir;
use super::{Disk, blocking, stage};
use crate::{ObjectName, Result, Target, TransportError};

/// What was deleted from a [`Disk`] within the last while. Clones are the same trash.
#[derive(Clone)]
pub struct Trash {
    disk: Disk,
    delay: Duration,
    clock: TrashClock,
    /// Seconds served before this process, once they were read.
    before: Arc<OnceLock<u64>>,
}

/// Tells the time, and how long the process has run; the latter never jumps.
pub type TrashClock = Arc<dyn Fn() -> (SystemTime, Duration) + Send + Sync>;

/// A deleted object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Its name before.
    pub name: ObjectName,
    /// Its bytes.
    pub bytes: u64,
    /// When it was deleted, by the clock of the wall.
    pub deleted: SystemTime,
    /// What tells it from others of the same name, which may have been deleted before and after.
    pub id: String,
    served: u64,
}

impl Trash {
    /// The trash of a store, where objects stay for `delay`, and longer by the time in which nobody calls
    /// [`purge`](Self::purge).
    pub fn new(disk: Disk, delay: Duration) -> Self {
        let began = Instant::now();
        Self::with_clock(disk, delay, Arc::new(move || (SystemTime::now(), began.elapsed())))
    }

    /// As [`new`](Self::new), with a clock of the caller's.
    pub fn with_clock(disk: Disk, delay: Duration, clock: TrashClock) -> Self {
        Self { disk, delay, clock, before: Arc::default() }
    }

    /// Moves an object here, durably. One that is not there is a success, as with
    /// [`delete`](crate::Transport::delete).
    ///
    /// # Errors
    /// `Corrupt` when it is no object, or why it cannot be moved.
    pub async fn take(&self, name: &ObjectName) -> Result<()> {
        let name = name.clone();
        self.at_root((), move |trash, root| match trash.move_in(root, &name) {
            // Deleted by a call that perhaps did not live to make that durable.
            Err(error) if error.kind() == ErrorKind::NotFound => match root.descend(name.prefix()) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                dir => dir?.sync(),
            },
            moved => moved,
        })
        .await
    }

    /// What is here, in the order in which it was deleted, at about 300 bytes of memory each.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<Trashed>> {
        self.at_root(Vec::new(), |_, root| {
            let mut all = Vec::new();
            each(root, |_, object| all.push(object))?;
            all.sort_by(|one, other| (one.deleted, &one.id).cmp(&(other.deleted, &other.id)));
            Ok(all)
        })
        .await
    }

    /// The sum of what `cost` says of the bytes of each object here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn sum(&self, cost: fn(u64) -> u64) -> Result<u64> {
        self.at_root(0, move |_, root| {
            let mut sum = 0_u64;
            each(root, |_, object| sum = sum.saturating_add(cost(object.bytes)))?;
            Ok(sum)
        })
        .await
    }

    /// Brings an object back under its name, durably.
    ///
    /// # Errors
    /// `Exists` when there is another by now, `Missing` when it is not here any more.
    pub async fn restore(&self, object: &Trashed) -> Result<()> {
        let (object, at) = (object.clone(), self.disk.at(&object.name));
        let restored =
            self.at_root(Err(ErrorKind::NotFound.into()), move |_, root| Ok(move_out(root, &object)));
        restored.await?.map_err(|error| TransportError::from_io(at, error))
    }

    /// Removes what has been here for longer than the delay, and returns the sum of what `cost` says of its bytes.
    ///
    /// # Errors
    /// When the directory cannot be read or written. What was removed by then is not told.
    pub async fn purge(&self, cost: fn(u64) -> u64) -> Result<u64> {
        self.at_root(0, move |trash, root| {
            let (wall, served) = trash.now(root)?;
            let is_old = |object: &Trashed| {
                let by_wall = wall.duration_since(object.deleted).is_ok_and(|age| age > trash.delay);
                let by_served = served.checked_sub(object.served);
                by_wall && by_served.is_some_and(|age| age > trash.delay.as_secs())
            };
            let mut gone = 0_u64;
            each(root, |dir, object| {
                // What somebody brought back meanwhile is not gone.
                if is_old(&object) && dir.unlink(&object.file()).is_ok() {
                    gone = gone.saturating_add(cost(object.bytes));
                }
            })?;
            // What is not noted is added to the delay; a full disk must not keep its trash for that.
            let _ = root.open_or_make(TRASH_DIR).and_then(|dir| note_served(&dir, served));
            Ok(gone)
        })
        .await
    }

    fn move_in(&self, root: &Dir, name: &ObjectName) -> io::Result<()> {
        let dir = root.descend(name.prefix())?;
        let bytes = dir.length(name.part())?;
        let (deleted, served) = self.now(root)?;
        let object = Trashed { name: name.clone(), bytes, deleted, id: stage::random(), served };
        let trash = root.open_or_make(TRASH_DIR)?;
        // The name is new: there is nothing to overwrite.
        dir.rename(name.part(), &trash, &object.file())?;
        trash.sync().and_then(|()| dir.sync())?;
        // Only tidy, as when an object is deleted.
        let _ = name.prefix().map(|prefix| root.remove_dir(prefix));
        root.sync()
    }

    /// The time, and the seconds that were served.
    fn now(&self, root: &Dir) -> io::Result<(SystemTime, u64)> {
        let (wall, running) = (self.clock)();
        let before = match self.before.get() {
            Some(before) => *before,
            None => {
                let before = served_before(root)?;
                *self.before.get_or_init(|| before)
            }
        };
        Ok((wall, before.saturating_add(running.as_secs())))
    }

    /// Works in the root, or has `none` where there is no root.
    async fn at_root<T: Send + 'static>(
        &self,
        none: T,
        work: impl FnOnce(&Self, &Dir) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (trash, at) = (self.clone(), Target::store(self.disk.inner.url.clone()));
        blocking(&at, move || match trash.disk.inner.root() {
            Err(TransportError::Missing { .. }) => Ok(none),
            root => work(&trash, &root?).map_err(|error| trash.disk.inner.store_error(error)),
        })
        .await
    }
}

impl fmt::Debug for Trash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trash").field("disk", &self.disk).field("delay", &self.delay).finish_non_exhaustive()
    }
}

impl Trashed {
    fn file(&self) -> String {
        let deleted = self.deleted.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("{deleted}-{}-{}+{}", self.served, self.id, self.name.as_str().replace('/', "+"))
    }

    /// All but its bytes.
    fn parse(file: &str) -> Option<Self> {
        let (stamps, name) = file.split_once('+')?;
        let mut stamps = stamps.splitn(3, '-');
        let (deleted, served, id) = (stamps.next()?, stamps.next()?, stamps.next()?);
        let deleted = UNIX_EPOCH.checked_add(Duration::from_secs(deleted.parse().ok()?))?;
        let name = ObjectName::new(name.replace('+', "/")).ok()?;
        let object = Self { name, bytes: 0, deleted, id: id.to_owned(), served: served.parse().ok()? };
        // What is written in another way is not found again by its name.
        (object.file() == file).then_some(object)
    }
}

/// Says what is in the trash, and in which directory.
fn each(root: &Dir, mut what: impl FnMut(&Dir, Trashed)) -> io::Result<()> {
    let Some(dir) = open(root)? else { return Ok(()) };
    dir.each(|file, _| {
        // What cannot be looked at was brought back or removed meanwhile, or is none of ours.
        if let (Some(object), Ok(bytes)) = (Trashed::parse(file), dir.length(file)) {
            what(&dir, Trashed { bytes, ..object });
        }
    })
}

/// The directory, if anything was deleted yet.
fn open(root: &Dir) -> io::Result<Option<Dir>> {
    match root.open(TRASH_DIR) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        dir => dir.map(Some),
    }
}

fn move_out(root: &Dir, object: &Trashed) -> io::Result<()> {
    let trash = root.open(TRASH_DIR)?;
    let mut attempts = 0;
    let dir = loop {
        let dir = match object.name.prefix() {
            Some(prefix) => root.open_or_make(prefix)?,
            None => root.descend(None)?,
        };
        match trash.rename_new(&object.file(), &dir, object.name.part()) {
            Ok(()) => break dir,
            // A delete of the last object beside this one removed the directory: make it again.
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && attempts < ATTEMPTS_MAX
                    && trash.length(&object.file()).is_ok() =>
            {
                attempts += 1;
            }
            Err(error) => {
                let _ = object.name.prefix().map(|prefix| root.remove_dir(prefix));
                return Err(error);
            }
        }
    };
    dir.sync().and_then(|()| root.sync()).and_then(|()| trash.sync())
}

/// The seconds that were noted last, and no fewer than the youngest object was deleted at.
fn served_before(root: &Dir) -> io::Result<u64> {
    let (dir, mut most) = (open(root)?, 0);
    let seconds = |file: &str| match file.strip_prefix(SERVED) {
        Some(seconds) => seconds.parse().ok(),
        None => Trashed::parse(file).map(|object| object.served),
    };
    dir.map_or(Ok(()), |dir| dir.each(|file, _| most = most.max(seconds(file).unwrap_or(0))))?;
    Ok(most)
}

fn note_served(dir: &Dir, served: u64) -> io::Result<()> {
    let file = format!("{SERVED}{served}");
    match dir.create(&file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    dir.each(|other, _| {
        if other.starts_with(SERVED) && other != file {
            // Another server of the same trash may have been faster.
            let _ = dir.unlink(other);
        }
    })
}

/// Starts with a dot, as no name of an object does.
const TRASH_DIR: &str = ".tanner-trash";
/// Starts as no deleted object does.
const SERVED: &str = "served-";
/// Each attempt loses a race against a delete; losing so many in a row is another fault.
const ATTEMPTS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Transport;

    const BYTES: fn(u64) -> u64 = |bytes| bytes;
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A disk in a place of its own, with clocks that the test turns: the wall's, and how long the process runs.
    struct Turned {
        place: tempfile::TempDir,
        clocks: Arc<Mutex<(SystemTime, Duration)>>,
    }

    impl Turned {
        fn new() -> Self {
            let now = (UNIX_EPOCH + 20_000 * DAY, Duration::ZERO);
            Self { place: tempfile::tempdir().unwrap(), clocks: Arc::new(Mutex::new(now)) }
        }

        fn disk(&self) -> Disk {
            Disk::open(self.place.path()).unwrap()
        }

        /// As a process that begins now.
        fn trash(&self) -> Trash {
            self.clocks.lock().unwrap().1 = Duration::ZERO;
            let clocks = self.clocks.clone();
            Trash::with_clock(self.disk(), 7 * DAY, Arc::new(move || *clocks.lock().unwrap()))
        }

        fn pass(&self, wall: Duration, running: Duration) {
            let mut clocks = self.clocks.lock().unwrap();
            *clocks = (clocks.0 + wall, clocks.1 + running);
        }

        async fn put(&self, name: &str, bytes: &'static str) {
            let mut put = self.disk().put(&ObjectName::new(name).unwrap(), None).await.unwrap();
            put.write(bytes.into()).await.unwrap();
            put.commit().await.unwrap();
        }

        async fn delete(&self, trash: &Trash, name: &str) {
            trash.take(&ObjectName::new(name).unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_destroys_nothing() {
        let turned = Turned::new();
        let trash = turned.trash();
        turned.put("id/7", "abc").await;
        turned.delete(&trash, "id/7").await;
        turned.pass(1000 * DAY, DAY);
        assert!(trash.purge(BYTES).await.unwrap() == 0, "by the wall alone");
        turned.clocks.lock().unwrap().0 -= 1000 * DAY;
        turned.pass(Duration::ZERO, 100 * DAY);
        assert!(trash.purge(BYTES).await.unwrap() == 0, "by running alone");
        turned.pass(8 * DAY, DAY);
        assert_eq!(trash.purge(BYTES).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn time_served_goes_on_after_a_restart_and_stands_still_between() {
        let turned = Turned::new();
        let trash = turned.trash();
        turned.put("id/7", "abc").await;
        turned.delete(&trash, "id/7").await;
        for _ in 0..7 {
            let trash = turned.trash();
            turned.pass(DAY, DAY);
            assert!(trash.purge(BYTES).await.unwrap() == 0);
        }
        let trash = turned.trash();
        turned.pass(30 * DAY, Duration::ZERO);
        assert!(trash.purge(BYTES).await.unwrap() == 0, "while nobody served");
        turned.pass(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(trash.purge(BYTES).await.unwrap(), 3);
        let left = std::fs::read_dir(turned.place.path().join(TRASH_DIR)).unwrap().count();
        assert_eq!(left, 1, "what was noted before the last time");
    }

    #[tokio::test]
    async fn each_version_comes_back_on_its_own_and_none_over_another() {
        let turned = Turned::new();
        let trash = turned.trash();
        for bytes in ["one", "three", "seventh"] {
            turned.put("id/7", bytes).await;
            turned.delete(&trash, "id/7").await;
            turned.pass(DAY, DAY);
        }
        assert!(!turned.place.path().join("id").exists(), "an empty directory is left");
        let versions = trash.list().await.unwrap();
        assert_eq!(versions.iter().map(|version| version.bytes).collect::<Vec<_>>(), [3, 5, 7]);
        trash.restore(&versions[1]).await.unwrap();
        let error = trash.restore(&versions[2]).await.unwrap_err();
        assert!(matches!(error, TransportError::Exists { .. }), "{error:?}");
        let error = trash.restore(&versions[1]).await.unwrap_err();
        assert!(matches!(error, TransportError::Missing { .. } | TransportError::Exists { .. }), "{error:?}");
        assert_eq!(std::fs::read(turned.place.path().join("id/7")).unwrap(), b"three");
        assert_eq!(trash.list().await.unwrap(), [versions[0].clone(), versions[2].clone()]);
    }

    #[tokio::test]
    async fn what_is_not_ours_in_the_trash_stays_and_is_not_listed() {
        let turned = Turned::new();
        let trash = turned.trash();
        assert!(trash.list().await.unwrap().is_empty());
        turned.put("lonely", "abc").await;
        turned.delete(&trash, "lonely").await;
        let dir = turned.place.path().join(TRASH_DIR);
        let strange = [
            "notes.txt",
            "1-2-3",
            "+id+7",
            "1-2-3+../x",
            "01-2-3+id+7",
            "99999999999999999999-1-a+b",
            "served-x",
        ];
        strange.iter().for_each(|name| std::fs::write(dir.join(name.replace('/', "_")), "x").unwrap());
        std::os::unix::fs::symlink("/etc/passwd", dir.join("1-2-3+id+8")).unwrap();
        let names: Vec<_> = trash.list().await.unwrap().into_iter().map(|object| object.name).collect();
        assert_eq!(names, [ObjectName::new("lonely").unwrap()]);
        turned.pass(100 * DAY, 100 * DAY);
        assert_eq!(trash.purge(BYTES).await.unwrap(), 3);
        assert!(dir.join("notes.txt").exists() && dir.join("1-2-3+id+8").is_symlink());
    }
}
