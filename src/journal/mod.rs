//! Journals: what an unfinished backup has in which store, so that another run can go on with it or take it back.
//!
//! A journal is one file, named by the id of its backup, locked while that is being made: the lock dies with the
//! program, so a journal that can be locked is of a backup that nobody makes. It is a run of records, each with its
//! length and a checksum, appended and made durable before what they speak of is relied on. A power cut may tear the
//! last one: reading ends at the first that is not whole. Beside it are the [tags](crate::tags) of an encrypted backup.

mod keys;
mod record;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub(crate) use self::keys::Keys;
pub(crate) use self::record::{Contents, End, Header, Mark, Record, VERSION};
use self::record::{frame, read};
use crate::error::Error;
use crate::id::BackupId;

/// The journal of a backup that this program makes, goes on with, or takes back: nobody else does meanwhile.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) id: BackupId,
    pub(crate) contents: Contents,
    path: PathBuf,
    file: File,
    bytes: u64,
    /// What of that could not be said shorter.
    needed_bytes: u64,
}

impl Journal {
    fn create(path: PathBuf, id: BackupId, header: Header) -> io::Result<Self> {
        let file = loop {
            let file = OpenOptions::new().append(true).read(true).create_new(true).mode(0o600).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Until then others may take it for a beginning that nobody goes on with, and remove it.
            if file.metadata()?.nlink() > 0 {
                break file;
            }
        };
        if header.keys.is_some() {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.with_extension(TAGS))?;
        }
        let contents = Contents::new(header.clone());
        let mut journal = Self { id, contents, path, file, bytes: 0, needed_bytes: 0 };
        journal.append(Record::Header(header.into()))?;
        journal.needed_bytes = journal.bytes;
        sync_directory(&journal.path)?;
        Ok(journal)
    }

    /// Opens a journal that nobody else has; none if it is gone, or what is in it was never more than a beginning.
    fn open(path: PathBuf, id: BackupId) -> io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().append(true).read(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        lock(&file)?;
        // Who had it may have removed or rewritten it.
        let (ours, there) = (file.metadata()?, fs::metadata(&path));
        if !there.is_ok_and(|there| there.ino() == ours.ino()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (contents, bytes) = read(&mut file)?;
        let Some(contents) = contents else {
            remove(&path)?;
            return Ok(None);
        };
        // What is torn would hide what comes behind it.
        file.set_len(bytes)?;
        Ok(Some(Self { id, contents, path, file, bytes, needed_bytes: bytes }))
    }

    /// The file of the tags. A pass that nobody waits for any more still has it for a while.
    pub(crate) fn open_tags(&self) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.with_extension(TAGS))?;
        lock(&file)?;
        Ok(file)
    }

    /// The error for what cannot be done with it.
    pub(crate) fn refused(&self, source: io::Error) -> Error {
        match source.kind() {
            ErrorKind::WouldBlock => Error::JournalBusy { id: self.id },
            _ => Error::Journal { path: self.path.parent().unwrap_or(&self.path).to_owned(), source },
        }
    }

    /// Adds a record, durably.
    pub(crate) fn append(&mut self, record: Record) -> io::Result<()> {
        let bytes = frame(&record);
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        self.contents.add(record);
        if self.bytes > REWRITE_BYTES && self.bytes / REWRITE_FACTOR > self.needed_bytes {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Says the same in fewer records.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.path.with_extension(NEW);
        let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        lock(&file)?;
        let bytes: Vec<u8> = self.contents.records().iter().flat_map(frame).collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&path, &self.path)?;
        sync_directory(&self.path)?;
        (self.file, self.bytes, self.needed_bytes) = (file, bytes.len() as u64, bytes.len() as u64);
        Ok(())
    }

    /// There is nothing left to go on with, or to take back.
    pub(crate) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// The directory of a user's journals.
#[derive(Clone, Debug)]
pub struct Journals(PathBuf);

/// A journal as it was found.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: BackupId,
    pub(crate) contents: Contents,
}

impl Journals {
    /// Those in a directory, which is made when it is needed.
    #[must_use]
    pub fn within(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn create(&self, id: BackupId, header: Header) -> io::Result<Journal> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        Journal::create(self.path(id), id, header)
    }

    /// The journal of a backup; an error of kind `WouldBlock` if another program has it.
    pub(crate) fn open(&self, id: BackupId) -> io::Result<Option<Journal>> {
        Journal::open(self.path(id), id)
    }

    /// All that can be read, the oldest first, whoever has them. Mere beginnings that nobody has are removed.
    pub(crate) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for id in self.ids()? {
            // One may be removed meanwhile; one that cannot be read is a sweep's business.
            let read = File::open(self.path(id)).and_then(|mut file| read(&mut file));
            match read {
                Ok((Some(contents), _)) => listed.push(Listed { id, contents }),
                Ok((None, _)) => drop(self.open(id)),
                Err(_) => {}
            }
        }
        listed.sort_by_key(|listed| (listed.contents.header.created, listed.id));
        Ok(listed)
    }

    pub(crate) fn ids(&self) -> io::Result<Vec<BackupId>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
        let names = entries.map(name).collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    fn path(&self, id: BackupId) -> PathBuf {
        self.0.join(id.to_string())
    }
}

/// Reads a journal, and again what it would be rewritten to.
pub(crate) fn check(bytes: &[u8]) -> io::Result<()> {
    if let (Some(contents), _) = read(bytes)? {
        let rewritten: Vec<u8> = contents.records().iter().flat_map(frame).collect();
        let (again, whole) = read(rewritten.as_slice())?;
        assert_eq!(
            (again.as_ref(), whole),
            (Some(&contents), rewritten.len() as u64),
            "rewriting changes it"
        );
    }
    Ok(())
}

/// Removes a journal last: what is beside it is found by it.
fn remove(path: &Path) -> io::Result<()> {
    for beside in [NEW, TAGS] {
        match fs::remove_file(path.with_extension(beside)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_file(path)
}

fn lock(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(ErrorKind::WouldBlock.into()),
        locked => Ok(locked?),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().expect("a journal is in a directory"))?.sync_all()
}

const NEW: &str = "new";
const TAGS: &str = "tags";
/// Shorter journals are not rewritten.
const REWRITE_BYTES: u64 = 4 << 20;
/// How many times as long as it needs to be a journal may become.
const REWRITE_FACTOR: u64 = 4;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{End, Header, Journals, Keys, Mark, REWRITE_BYTES, Record, VERSION};
    use crate::crypto::Epoch;
    use crate::id::BackupId;

    fn header() -> Header {
        Header {
            version: VERSION,
            created: 7,
            source: b"/a\xff".to_vec(),
            stamp: [1, 2, 3, 4],
            shape: "shape".into(),
            stores: vec!["file:///a".into(), "file:///b".into()],
            survive: vec!["1 host".into()],
            block_bytes: vec![10, 20, 30],
            readers: vec!["age1a".into()],
            keys: Some(Keys::new(&[8; 16], &[9; 32], &[vec![1; 200]])),
            chunk_steps: 64,
        }
    }

    fn mark(block: u32, bytes: u64) -> Mark {
        Mark { block, store: 0, bytes, hash: [7; 32].into(), kept_bytes: bytes, token: b"t".to_vec().into() }
    }

    #[test]
    fn whatever_is_torn_or_damaged_at_the_end_hides_nothing_of_what_is_before() {
        let place = tempfile::tempdir().unwrap();
        let (journals, id) = (Journals::within(place.path().join("deep/er")), BackupId::random());
        let mut journal = journals.create(id, header()).unwrap();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&journal.path), mode(journals.directory())), (0o600, 0o700));
        let mut states = vec![(journal.bytes, journal.contents.clone())];
        for record in [
            Record::Homes(vec![0, 1, 0]),
            Record::Marks(vec![mark(0, 5), mark(1, 6)]),
            Record::Marks(vec![mark(0, 4), mark(1, 9)]),
            Record::Made(vec![[1; 32].into(); 3]),
            Record::Sealed(b"sealed".to_vec().into()),
            Record::Tagged(9),
            Record::Epoch(Epoch::random(30).into()),
            Record::Tagged(8),
            Record::Epoch(Epoch::random(70).into()),
            Record::Epoch(Epoch::random(50).into()),
            Record::End(End::Publishing),
            Record::End(End::Published),
        ] {
            journal.append(record).unwrap();
            states.push((journal.bytes, journal.contents.clone()));
        }
        let last = &states.last().unwrap().1;
        assert_eq!((last.marks[&(0, 0)].bytes, last.marks[&(1, 0)].bytes), (5, 9));
        let (path, bytes) = (journal.path.clone(), fs::read(&journal.path).unwrap());
        drop(journal);
        for cut in 0..=bytes.len() {
            let mut damaged = bytes.clone();
            damaged.truncate(cut);
            let expected = states.iter().rfind(|(whole, _)| *whole <= cut as u64);
            for flip in [false, true] {
                if flip && cut < bytes.len() {
                    damaged = bytes.clone();
                    damaged[cut] ^= 4;
                }
                fs::write(&path, &damaged).unwrap();
                let journal = journals.open(id).unwrap();
                assert_eq!(journal.as_ref().map(|j| &j.contents), expected.map(|(_, c)| c), "{cut} {flip}");
                // And what is added now is read again.
                let Some(mut journal) = journal else { continue };
                journal.append(Record::Homes(vec![1, 1, 1])).unwrap();
                let (read, _) = super::read(&mut fs::File::open(&path).unwrap()).unwrap();
                assert_eq!(read.unwrap().homes.last(), Some(&vec![1, 1, 1]));
            }
        }
    }

    /// Two runs that go on with the same backup would write into each other's blocks.
    #[test]
    fn a_journal_has_one_owner_and_a_rewritten_one_too() {
        let place = tempfile::tempdir().unwrap();
        let (journals, id) = (Journals::within(place.path().to_owned()), BackupId::random());
        let mut journal = journals.create(id, header()).unwrap();
        let is_busy = || journals.open(id).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(is_busy());
        let marks: Vec<Mark> = (0..2).map(|block| mark(block, 1)).collect();
        let (mut written, many) = (0, vec![marks[0].clone(); 20_000]);
        while written <= 2 * REWRITE_BYTES {
            written += super::frame(&Record::Marks(many.clone())).len() as u64;
            journal.append(Record::Marks(many.clone())).unwrap();
        }
        journal.append(Record::Marks(marks)).unwrap();
        assert!(journal.bytes < written / 2 && is_busy());
        let contents = journal.contents.clone();
        assert_eq!(journals.list().unwrap()[0].contents, contents);
        drop(journal);
        let journal = journals.open(id).unwrap().unwrap();
        assert_eq!(journal.contents, contents);
        journal.remove().unwrap();
        assert!(journals.open(id).unwrap().is_none() && journals.ids().unwrap().is_empty());
    }

    /// A program that was killed before the first record was whole had stored nothing.
    #[test]
    fn a_mere_beginning_is_removed_unless_it_is_somebodys() {
        let place = tempfile::tempdir().unwrap();
        let journals = Journals::within(place.path().to_owned());
        let id = BackupId::random();
        let journal = journals.create(id, header()).unwrap();
        let bytes = fs::read(&journal.path).unwrap();
        for length in [0, 1, bytes.len() - 1] {
            fs::write(&journal.path, &bytes[..length]).unwrap();
            assert!(journals.list().unwrap().is_empty() && journals.ids().unwrap() == [id]);
        }
        drop(journal);
        assert!(journals.list().unwrap().is_empty() && journals.ids().unwrap().is_empty());
    }

    #[test]
    fn a_journal_that_speaks_of_stores_or_blocks_that_are_not_there_is_none() {
        let place = tempfile::tempdir().unwrap();
        let journals = Journals::within(place.path().to_owned());
        for wrong in [
            Record::Homes(vec![0, 1]),
            Record::Homes(vec![0, 1, 2]),
            Record::Marks(vec![mark(3, 1)]),
            Record::Made(vec![[1; 32].into(); 2]),
        ] {
            let id = BackupId::random();
            journals.create(id, header()).unwrap().append(wrong).unwrap();
            assert!(journals.list().unwrap().is_empty() && journals.open(id).is_err());
        }
    }
}
