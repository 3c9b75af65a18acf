//! The records of a journal, byte for byte: the length of what follows, a checksum of it, and it itself in CBOR.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};

use blake3::Hash;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use tanner_transports::Kept;

use super::keys::Keys;
use crate::crypto::{EPOCH_NAME_BYTES, Epoch, EpochName, Epochs};
use crate::geometry::SMALL_SYMBOLS_BYTES_MAX;
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
    /// Who can read it; nobody is named if everybody can.
    #[n(8)]
    pub(crate) readers: Vec<String>,
    /// What it is encrypted with, if it is.
    #[n(9)]
    pub(crate) keys: Option<Keys>,
    /// Steps in a chunk: a tag is of one.
    #[n(10)]
    pub(crate) chunk_steps: u64,
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

/// An epoch, as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Begin {
    #[n(0)]
    first_step: u64,
    #[n(1)]
    name: ByteArray<EPOCH_NAME_BYTES>,
}

impl From<Epoch> for Begin {
    fn from(epoch: Epoch) -> Self {
        Self { first_step: epoch.first_step, name: epoch.name.0.into() }
    }
}

impl From<Begin> for Epoch {
    fn from(begin: Begin) -> Self {
        Self { first_step: begin.first_step, name: EpochName(begin.name.into()) }
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
    /// The same of one that was finished: its manifests are to go before anything else does.
    #[n(3)]
    Forgetting,
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) enum Record {
    #[n(0)]
    Header(#[n(0)] Box<Header>),
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
    /// The manifest, byte for byte as stores may have it from here on.
    #[n(5)]
    Sealed(#[n(0)] ByteVec),
    /// The tags of so many chunks are durable.
    #[n(6)]
    Tagged(#[n(0)] u64),
    /// Nothing is encrypted any more by the keys of before, from a step on.
    #[n(7)]
    Epoch(#[n(0)] Begin),
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
    pub(crate) sealed: Option<ByteVec>,
    /// Chunks whose tags are durable.
    pub(crate) tagged: u64,
    pub(crate) epochs: Epochs,
}

impl Contents {
    pub(super) fn new(header: Header) -> Self {
        Self {
            header,
            homes: Vec::new(),
            marks: BTreeMap::new(),
            made: None,
            end: None,
            sealed: None,
            tagged: 0,
            epochs: Epochs::default(),
        }
    }

    /// Takes in a record. Marks may come in any order.
    pub(super) fn add(&mut self, record: Record) {
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
            Record::Sealed(bytes) => self.sealed = Some(bytes),
            Record::Tagged(chunks) => self.tagged = self.tagged.max(chunks),
            // Whoever wrote it had asked.
            Record::Epoch(begin) => _ = self.epochs.begin(begin.into()),
            Record::End(end) => self.end = self.end.max(Some(end)),
        }
    }

    /// The records that say the same as all that were taken in.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Header(self.header.clone().into())];
        records.push(Record::Tagged(self.tagged));
        records.extend(self.epochs.iter().map(|epoch| Record::Epoch((*epoch).into())));
        records.extend(self.homes.iter().cloned().map(Record::Homes));
        records.push(Record::Marks(self.marks.values().cloned().collect()));
        records.extend(self.made.clone().map(Record::Made));
        records.extend(self.sealed.clone().map(Record::Sealed));
        records.extend(self.end.map(Record::End));
        records
    }

    /// Whether what it says of blocks and stores can be: they are all there.
    fn is_sound(&self) -> bool {
        let Header { version, stores, block_bytes, chunk_steps, .. } = &self.header;
        let is_store = |&store: &u32| (store as usize) < stores.len();
        *version == VERSION
            && (block_bytes.is_empty() || (1..=CHUNK_STEPS_MAX).contains(chunk_steps))
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

/// Whole records from the begin, and how many bytes they have.
pub(super) fn read(file: impl Read) -> io::Result<(Option<Contents>, u64)> {
    let mut bytes = Vec::new();
    file.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
    let (mut contents, mut rest): (Option<Contents>, &[u8]) = (None, &bytes);
    let mut whole = 0;
    while let Some((body, after)) = unframe(rest) {
        // What is whole and says nothing is not torn, but of another version.
        let record = minicbor::decode(body).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match (&mut contents, record) {
            (None, Record::Header(header)) => contents = Some(Contents::new(*header)),
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

pub(super) fn frame(record: &Record) -> Vec<u8> {
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

pub(crate) const VERSION: u32 = 3;
/// No chunk has more: those of small symbols take a source whole.
const CHUNK_STEPS_MAX: u64 = SMALL_SYMBOLS_BYTES_MAX;
const CHECKSUM_BYTES: usize = 16;
/// More is not read. The widest backup, with the longest tokens, needs less.
const JOURNAL_BYTES_MAX: u64 = 512 << 20;
