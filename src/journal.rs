//! Journals: what an unfinished backup has in which store, so that another run can go on with it or take it back.
//!
//! A journal is one file, named by the id of its backup, locked while that is being made: the lock dies with the
//! program, so a journal that can be locked is of a backup that nobody makes. It is a run of records, each with its
//! length and a checksum, appended and made durable before what they speak of is relied on. A power cut may tear the
//! last one: reading ends at the first that is not whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use blake3::Hash;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tanner_transports::Kept;

use crate::id::BackupId;
use crate::manifest::encode;

/// What a backup is, as far as another run has to know.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Header {
    #[n(0)]
    pub(crate) version: u32,
    /// When it began, in seconds since 1970.
    #[n(1)]
    pub(crate) created: u64,
    /// The absolute path of its source.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) source: Vec<u8>,
    /// What tells that from a changed one: size, inode, seconds and nanoseconds of its modification.
    #[n(3)]
    pub(crate) stamp: [i64; 4],
    /// The code and its parameters, to be compared and shown.
    #[n(4)]
    pub(crate) shape: String,
    /// The URLs of its stores.
    #[n(5)]
    pub(crate) stores: Vec<String>,
    /// What must be survived.
    #[n(6)]
    pub(crate) survive: Vec<String>,
    /// Bytes of each block.
    #[n(7)]
    pub(crate) block_bytes: Vec<u64>,
}

/// How much of a block was made, and what of it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Mark {
    #[n(0)]
    pub(crate) block: u32,
    /// Where it is written, by its place in the header.
    #[n(1)]
    pub(crate) store: u32,
    /// Bytes that were made.
    #[n(2)]
    pub(crate) bytes: u64,
    /// Their BLAKE3.
    #[n(3)]
    pub(crate) hash: ByteArray<32>,
    #[n(4)]
    pub(crate) kept_bytes: u64,
    /// Empty if the store keeps nothing.
    #[n(5)]
    pub(crate) token: ByteVec,
}

impl Mark {
    pub(crate) fn hash(&self) -> Hash {
        Hash::from_bytes(*self.hash)
    }

    pub(crate) fn kept(&self) -> Option<Kept> {
        let token = bytes::Bytes::copy_from_slice(&self.token);
        (!token.is_empty()).then_some(Kept { bytes: self.kept_bytes, token })
    }
}

/// How far the end of a backup got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub(crate) enum End {
    /// Manifests may be in stores.
    #[n(0)]
    Publishing,
    /// It is there, and is to stay.
    #[n(1)]
    Published,
    /// Whatever is left of it is to go.
    #[n(2)]
    Removing,
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) enum Record {
    #[n(0)]
    Header(#[n(0)] Header),
    /// The store of each block, from here on.
    #[n(1)]
    Homes(#[n(0)] Vec<u32>),
    #[n(2)]
    Marks(#[n(0)] Vec<Mark>),
    /// The hashes of all blocks: some may be committed from here on.
    #[n(3)]
    Made(#[n(0)] Vec<ByteArray<32>>),
    #[n(4)]
    End(#[n(0)] End),
}

/// What is in a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Contents {
    pub(crate) header: Header,
    /// The store of each block, and what it was before.
    pub(crate) homes: Vec<Vec<u32>>,
    /// The last mark of each block in each store.
    pub(crate) marks: BTreeMap<(u32, u32), Mark>,
    /// The hash of each block, once all are known.
    pub(crate) made: Option<Vec<ByteArray<32>>>,
    pub(crate) end: Option<End>,
}

impl Contents {
    fn new(header: Header) -> Self {
        Self { header, homes: Vec::new(), marks: BTreeMap::new(), made: None, end: None }
    }

    /// Takes in a record. Marks may come in any order.
    fn add(&mut self, record: Record) {
        match record {
            Record::Header(_) => {}
            Record::Homes(homes) => {
                if self.homes.last() != Some(&homes) {
                    self.homes.push(homes);
                }
            }
            Record::Marks(marks) => {
                for mark in marks {
                    let last = self.marks.entry((mark.block, mark.store)).or_insert_with(|| mark.clone());
                    if last.bytes <= mark.bytes {
                        *last = mark;
                    }
                }
            }
            Record::Made(hashes) => self.made = Some(hashes),
            Record::End(end) => self.end = self.end.max(Some(end)),
        }
    }

    /// The records that say the same as all that were taken in.
    fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Header(self.header.clone())];
        records.extend(self.homes.iter().cloned().map(Record::Homes));
        records.push(Record::Marks(self.marks.values().cloned().collect()));
        records.extend(self.made.clone().map(Record::Made));
        records.extend(self.end.map(Record::End));
        records
    }

    /// Whether what it says of blocks and stores can be: they are all there.
    fn is_sound(&self) -> bool {
        let Header { version, stores, block_bytes, .. } = &self.header;
        let is_store = |&store: &u32| (store as usize) < stores.len();
        *version == VERSION
            && self.homes.iter().all(|homes| homes.len() == block_bytes.len() && homes.iter().all(is_store))
            && self
                .marks
                .keys()
                .all(|&(block, ref store)| is_store(store) && (block as usize) < block_bytes.len())
            && self.made.as_ref().is_none_or(|hashes| hashes.len() == block_bytes.len())
    }

    /// Every block in every store that it was ever to be in, and so may be in.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let of = |homes: &Vec<u32>| {
            let of = homes.iter().enumerate().map(|(block, &store)| (block, store as usize));
            of.collect::<Vec<_>>()
        };
        self.homes.iter().flat_map(of)
    }
}

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
        let file = OpenOptions::new().append(true).read(true).create_new(true).mode(0o600).open(&path)?;
        lock(&file)?;
        let contents = Contents::new(header.clone());
        let mut journal = Self { id, contents, path, file, bytes: 0, needed_bytes: 0 };
        journal.append(Record::Header(header))?;
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
            fs::remove_file(&path)?;
            return Ok(None);
        };
        // What is torn would hide what comes behind it.
        file.set_len(bytes)?;
        Ok(Some(Self { id, contents, path, file, bytes, needed_bytes: bytes }))
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
        let _ = fs::remove_file(self.path.with_extension(NEW));
        fs::remove_file(&self.path)
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

    /// All that can be read, the oldest first, whoever has them.
    pub(crate) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for id in self.ids()? {
            // One may be removed meanwhile; one that cannot be read is a sweep's business.
            let read = File::open(self.path(id)).and_then(|mut file| read(&mut file));
            if let Ok((Some(contents), _)) = read {
                listed.push(Listed { id, contents });
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

/// Whole records from the begin, and how many bytes they have.
fn read(file: &mut File) -> io::Result<(Option<Contents>, u64)> {
    let mut bytes = Vec::new();
    file.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
    let (mut contents, mut rest): (Option<Contents>, &[u8]) = (None, &bytes);
    let mut whole = 0;
    while let Some((body, after)) = unframe(rest) {
        // What is whole and says nothing is not torn, but of another version.
        let record = minicbor::decode(body).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match (&mut contents, record) {
            (None, Record::Header(header)) => contents = Some(Contents::new(header)),
            (None, _) => break,
            (Some(contents), record) => contents.add(record),
        }
        whole += (rest.len() - after.len()) as u64;
        rest = after;
    }
    match contents {
        Some(contents) if !contents.is_sound() => {
            Err(io::Error::new(ErrorKind::InvalidData, "it is damaged, or of another version of tanner"))
        }
        contents => Ok((contents, whole)),
    }
}

fn frame(record: &Record) -> Vec<u8> {
    let body = encode(record);
    let length = u32::try_from(body.len()).expect("a record is far below 4 GiB");
    [&length.to_le_bytes(), &blake3::hash(&body).as_bytes()[..CHECKSUM_BYTES], &body].concat()
}

fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_at_checked(CHECKSUM_BYTES)?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let is_whole = &blake3::hash(body).as_bytes()[..CHECKSUM_BYTES] == checksum;
    is_whole.then_some((body, rest))
}

fn lock(file: &File) -> io::Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(ErrorKind::WouldBlock.into()),
        locked => Ok(locked?),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().expect("a journal is in a directory"))?.sync_all()
}

pub(crate) const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 16;
const NEW: &str = "new";
/// Shorter journals are not rewritten.
const REWRITE_BYTES: u64 = 4 << 20;
/// How many times as long as it needs to be a journal may become.
const REWRITE_FACTOR: u64 = 4;
/// More is not read. The widest backup, with the longest tokens, needs less.
const JOURNAL_BYTES_MAX: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{End, Header, Journals, Mark, REWRITE_BYTES, Record, VERSION};
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
