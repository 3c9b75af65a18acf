//! Unfinished backups: to go on with one, or to take back what it left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blake3::Hash;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tanner_kernels::BlockSet;
use tanner_transports::{Kept, ObjectName, Put, TransportError};

use crate::backup::Backup;
use crate::crypto::{DeviceKey, Encryption, Recipients};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::journal::{Contents, End, Header, Journal, Journals, Keys, VERSION};
use crate::scheduler::writing::Writing;
use crate::scheduler::{Blocks, Demand, Labels, Placed, Proof, Spread};
use crate::source::Source;
use crate::store::{Store, block_name};
use crate::sweep::{AT_ONCE, in_time};

/// A backup that another run can go on with, if this one is cut off.
#[derive(Debug)]
pub struct Resumable {
    pub(crate) journals: Journals,
    /// The time between two checkpoints: what was sent since the last one is sent again.
    pub(crate) interval: Duration,
    /// The one to go on with.
    pub(crate) found: Option<Journal>,
    /// Whether a backup without a journal is better than none.
    pub(crate) is_optional: bool,
}

impl Resumable {
    /// A new backup, whose journal is to be among these.
    #[must_use]
    pub fn new(journals: Journals, interval: Duration) -> Self {
        Self { journals, interval, found: None, is_optional: false }
    }

    /// Does without a journal where none can be made.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// Goes on with the newest unfinished backup of a file, if there is one.
    ///
    /// # Errors
    /// If another run has it, or the journals cannot be read.
    pub fn newest(journals: Journals, interval: Duration, source: &Path) -> Result<Self, Error> {
        let mut found = None;
        if let Some(id) = unfinished(&journals, source)?.pop() {
            found = journals.open(id).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => Error::JournalBusy { id },
                _ => Error::Journal { path: journals.directory().to_owned(), source: error },
            })?;
        }
        Ok(Self { journals, interval, found, is_optional: false })
    }

    /// The id of the backup that is gone on with, and when that began.
    #[must_use]
    pub fn found(&self) -> Option<(BackupId, u64)> {
        self.found.as_ref().map(|journal| (journal.id, journal.contents.header.created))
    }

    /// What to encrypt the backup with: fresh keys, or those of the one that is gone on with.
    ///
    /// # Errors
    /// If there are no recipients or too many, or those of the one that is gone on with, or the device that signs for it, are
    /// others.
    pub fn encryption(&self, device: DeviceKey, recipients: &Recipients) -> Result<Encryption, Error> {
        let Some(Journal { id, contents, .. }) = &self.found else {
            return Ok(Encryption::begin(device, recipients)?);
        };
        let differs = |what, before, now| Err(Error::ResumeDiffers { id: *id, what, before, now });
        let (readers, now) = (recipients.readers(), device.device().to_string());
        match &contents.header.keys {
            None => differs("the readers", contents.header.readers.join(", "), readers.join(", ")),
            Some(keys) => match keys.encryption(device, readers) {
                encryption if encryption.id() == *id => Ok(encryption),
                _ => differs("the device", "another".into(), now),
            },
        }
    }

    /// Steps in a chunk, if that is given by the tags of the one that is gone on with.
    pub(crate) fn chunk_steps(&self) -> Option<u64> {
        let header = &self.found.as_ref()?.contents.header;
        header.keys.is_some().then_some(header.chunk_steps)
    }

    /// Puts stores into the order in which the backup knows them, if they are the same.
    pub fn arrange(&self, stores: &mut [Store]) {
        let Some(journal) = &self.found else { return };
        let known = &journal.contents.header.stores;
        stores.sort_by_key(|store| known.iter().position(|url| url == store.url()));
    }
}

/// The unfinished backups of a file that can be gone on with, the oldest first.
///
/// # Errors
/// If the journals cannot be read.
pub fn unfinished(journals: &Journals, source: &Path) -> Result<Vec<BackupId>, Error> {
    let failed = |source: io::Error| Error::Journal { path: journals.directory().to_owned(), source };
    let path = absolute(source)?;
    let listed = journals.list().map_err(failed)?.into_iter();
    let is_of = |contents: &Contents| {
        contents.header.source == path.as_os_str().as_bytes()
            && contents.end.is_none_or(|end| end == End::Publishing)
    };
    Ok(listed.filter(|listed| is_of(&listed.contents)).map(|listed| listed.id).collect())
}

/// What a journal says first of a backup.
pub(crate) fn header(
    backup: &Backup,
    source: &Source,
    geometry: &Geometry,
    chunk_steps: u64,
) -> Result<Header, Error> {
    let profile = geometry.profile();
    let (data, parity, code) = (profile.data(), profile.parity(), profile.code_name());
    let (construction, frame) = (profile.construction(), profile.frame_steps());
    Ok(Header {
        version: VERSION,
        created: backup.created,
        source: absolute(backup.source)?.as_os_str().as_bytes().to_vec(),
        stamp: source.stamp(),
        shape: format!("{data}+{parity} {code} ({construction:?}, frames of {frame})"),
        stores: backup.stores.iter().map(|store| store.url().to_owned()).collect(),
        survive: backup.survive.iter().map(Demand::to_string).collect(),
        block_bytes: (0..profile.blocks()).map(|block| geometry.block_bytes(block)).collect(),
        readers: backup.encryption.as_ref().map_or(vec!["everybody".into()], |keys| keys.readers.clone()),
        keys: backup.encryption.as_ref().map(Keys::of),
        chunk_steps,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::Source { path: path.to_owned(), source })
}

/// A backup whose journal is open.
pub(crate) struct Begun {
    pub(crate) journal: Journal,
    pub(crate) interval: Duration,
    pub(crate) left: Left,
}

impl Begun {
    /// Tells what is there already.
    pub(crate) fn tell(&self, writing: &mut Writing) {
        if let Some(live) = &self.left.live {
            writing.resume(live, self.journal.contents.places());
        }
    }
}

impl Resumable {
    /// Begins a journal, or goes on with the one that was found: then the blocks are to be where that says.
    pub(crate) async fn begin(
        self,
        id: BackupId,
        header: Header,
        stores: &[Store],
        blocks: &Blocks,
        labels: &[Labels],
        place: impl FnOnce() -> Result<Placed, Error>,
    ) -> Result<(Placed, Option<Begun>), Error> {
        let Self { journals, interval, found, is_optional } = self;
        let Some(journal) = found else {
            let placed = place()?;
            let begun = |journal| Begun { journal, interval, left: Left::default() };
            return match journals.create(id, header) {
                Ok(journal) => Ok((placed, Some(begun(journal)))),
                Err(_) if is_optional => Ok((placed, None)),
                Err(source) => Err(Error::Journal { path: journals.directory().to_owned(), source }),
            };
        };
        check(&journal, &header)?;
        let placed = match journal.contents.homes.last() {
            None => place()?,
            Some(homes) => {
                let places: Vec<usize> = homes.iter().map(|&store| store as usize).collect();
                placed_before(places, &header, blocks, labels)
            }
        };
        let left = Left::find(&journal, stores, &placed.places).await;
        Ok((placed, Some(Begun { journal, interval, left })))
    }
}

/// The placement of an earlier run.
fn placed_before(places: Vec<usize>, header: &Header, blocks: &Blocks, labels: &[Labels]) -> Placed {
    let demands = header.survive.iter().filter_map(|demand| demand.parse::<Demand>().ok()?.of_labels(labels));
    let kept = Spread::of_places(&blocks.codec, &blocks.empty, places.iter().copied(), labels, |spread| {
        // What does not hold any more is found to be broken in the end.
        let proof = |demand: &Demand| spread.survives(demand).unwrap_or(Proof::Tried(0));
        demands.map(|demand| (demand.clone(), proof(&demand))).collect()
    });
    Placed { places, why: vec!["as it was placed before".into(); labels.len()], kept }
}

/// Refuses to go on with a backup of other bytes, of another shape, or elsewhere.
fn check(journal: &Journal, now: &Header) -> Result<(), Error> {
    let (before, id) = (&journal.contents.header, journal.id);
    if before.stamp != now.stamp {
        let how = if before.stamp[0] == now.stamp[0] {
            "it was modified or replaced"
        } else {
            "its size is another"
        };
        let path = PathBuf::from(OsStr::from_bytes(&now.source));
        return Err(Error::ResumeChanged { path, id, how: how.into() });
    }
    let list = |list: &[String]| if list.is_empty() { "nothing".into() } else { list.join(", ") };
    let differs = |what, before, now| Err(Error::ResumeDiffers { id, what, before, now });
    match () {
        () if before.readers != now.readers => {
            differs("the readers", list(&before.readers), list(&now.readers))
        }
        () if before.stores != now.stores => differs("the stores", list(&before.stores), list(&now.stores)),
        () if before.shape != now.shape => differs("the shape", before.shape.clone(), now.shape.clone()),
        () if before.survive != now.survive => {
            differs("to be survived:", list(&before.survive), list(&now.survive))
        }
        () => Ok(()),
    }
}

/// What an earlier run left to go on with.
#[derive(Default)]
pub(crate) struct Left {
    /// Blocks that are durable; none if there was no earlier run.
    pub(crate) live: Option<BlockSet>,
    /// What stores keep, by block and store.
    pub(crate) kept: BTreeMap<(usize, usize), Kept>,
    /// How many bytes of a block were made, and their hash.
    pub(crate) known: BTreeMap<usize, (u64, Hash)>,
    /// The manifest, if stores may have it.
    pub(crate) sealed: Option<Bytes>,
}

impl Left {
    /// What is there of what a journal says. Trusts no record: whether blocks are there is asked their stores.
    pub(crate) async fn find(journal: &Journal, stores: &[Store], homes: &[usize]) -> Self {
        let Contents { header, marks, made, sealed, .. } = &journal.contents;
        let sealed = sealed.as_ref().map(|bytes| Bytes::copy_from_slice(bytes));
        let mut left = Self { live: Some(BlockSet::none(homes.len())), sealed, ..Self::default() };
        for mark in marks.values() {
            let (block, store) = (mark.block as usize, mark.store as usize);
            let known = left.known.entry(block).or_insert((mark.bytes, mark.hash()));
            if known.0 < mark.bytes {
                *known = (mark.bytes, mark.hash());
            }
            left.kept
                .extend(mark.kept().filter(|_| homes[block] == store).map(|kept| ((block, store), kept)));
        }
        let (Some(live), Some(made)) = (&mut left.live, made) else { return left };
        let look = |(block, &store): (usize, &usize)| async move {
            // Nothing is committed before that was written down.
            let there = in_time(stores[store].transport.stat(&block_name(journal.id, block))).await;
            (block, there.is_ok_and(|there| there.length == header.block_bytes[block]))
        };
        let looked: Vec<_> =
            stream::iter(homes.iter().enumerate()).map(look).buffer_unordered(AT_ONCE).collect().await;
        for (block, is_there) in looked {
            left.known.insert(block, (header.block_bytes[block], Hash::from_bytes(*made[block])));
            if is_there {
                live.insert(block);
                left.kept.remove(&(block, homes[block]));
            }
        }
        left
    }
}

/// Goes on with a put. The program that died may still be connected for a moment.
pub(crate) async fn resume(
    store: &Store,
    name: &ObjectName,
    length: u64,
    kept: &Kept,
) -> Result<Box<dyn Put>, TransportError> {
    let mut tries = 0;
    loop {
        match store.transport.resume(name, Some(length), kept).await {
            Err(TransportError::Busy { .. }) if tries < BUSY_TRIES => tries += 1,
            resumed => return resumed,
        }
        tokio::time::sleep(BUSY_WAIT).await;
    }
}

const BUSY_TRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(250);
