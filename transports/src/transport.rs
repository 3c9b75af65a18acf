//! The trait that every store is behind. Its documentation is the contract; `conformance` is its proof.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use blake3::Hash;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use crate::{ObjectName, Result, Target, TransportError};

/// The bytes of an object in order, in pieces of 1 to [`PIECE_BYTES_MAX`] bytes. Ends after its first error.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// What a proof is asked for with: random, and never used again.
pub type Nonce = [u8; blake3::KEY_LEN];

/// Names in no particular order. Ends after its first error.
pub type NameStream = BoxStream<'static, Result<ObjectName>>;

/// A place that keeps objects: immutable runs of bytes with a name.
///
/// Nothing is ever overwritten, so every call may be repeated after an error that
/// [`is_retryable`](TransportError::is_retryable). All calls may be made at the same time from many tasks. The
/// future of any call may be dropped: a put then ends as if it had been dropped, a delete is done or not done,
/// the other calls change nothing.
#[async_trait]
pub trait Transport: Send + Sync + Debug {
    /// Where the store is: names it in messages and opens it again. Holds no secret.
    fn url(&self) -> &str;

    /// What the store can do. The same for the life of the transport.
    fn capabilities(&self) -> Capabilities;

    /// Begins to store an object. No other call sees anything of it before its
    /// [`commit`](Put::commit).
    ///
    /// `length`, in bytes, is for callers who know it: space is reserved before the first byte, and the commit
    /// of any other length fails. The first put may create the store. A store may refuse a name whose prefix is
    /// an object, and an object whose name is a prefix.
    ///
    /// An object of the same name is in the way of the commit only: so what replaces a damaged object can be whole
    /// and checked before the damaged one is deleted.
    ///
    /// # Errors
    /// `Full` when the declared length does not fit.
    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>>;

    /// Goes on with a put of which bytes were [kept](Put::keep): the first byte to write is the one after them, whatever
    /// else was written before. `name` and `length` are those that the put began with.
    ///
    /// # Errors
    /// `Missing` when the kept bytes are not there, or no more: after a commit, an [`abandon`](Put::abandon) or a
    /// [`KEPT_TIME`]. `Busy` while somebody else writes them; a store that cannot know lets both in, and of their commits
    /// one wins. `Refused` when `kept` is not of this store and this name, `WrongLength` when it has more bytes than
    /// `length`.
    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let _ = (length, kept);
        Err(not_kept(Target::object(self.url(), name), "the store keeps no part of an object"))
    }

    /// What is kept in the store, by living programs too, with the bytes of room that it takes, reserved ones too. Sweeps
    /// before it looks. For whoever counts room: empty where a store cannot tell.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    async fn kept(&self) -> Result<Vec<Kept>> {
        Ok(Vec::new())
    }

    /// Streams one range of an object: exactly as many bytes as it is long, or an error, never a short end.
    ///
    /// The range may be empty, also at the end of the object. An object that is deleted meanwhile is streamed
    /// to its end or gives an error.
    ///
    /// # Errors
    /// `Missing` and `OutOfRange` before the first byte, by the call itself. From the stream: `Truncated` when
    /// the object became shorter than it was.
    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream>;

    /// Reads many ranges of an object: one answer for each, in the order asked. Ranges may overlap and come in
    /// any order. Takes as much memory as all of them together.
    ///
    /// # Errors
    /// As [`get`](Self::get). One bad range fails the call.
    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>>;

    /// Proves that the store has these bytes now: BLAKE3 of the range in its keyed mode, with `nonce` as the key. A
    /// nonce that was never used before cannot have been answered in advance, so whoever answers read the bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get), but all by the call itself; `Refused` when the store can compute nothing.
    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash>;

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// `Missing` when no put of this name was committed.
    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta>;

    /// The names `PREFIX/…`, or with `""` all names. Objects committed or deleted meanwhile may be among them
    /// or not; objects not committed, and what is not an object, never are. No such name is an empty list.
    ///
    /// # Errors
    /// `Missing` without a name when the store itself does not exist; `BadName` when `prefix` is not one
    /// component of a name.
    async fn list(&self, prefix: &str) -> Result<NameStream>;

    /// Deletes an object for good. Deleting what is not there is a success, so that a delete whose answer was
    /// lost can be repeated.
    ///
    /// # Errors
    /// Only when the object may still be there.
    async fn delete(&self, name: &ObjectName) -> Result<()>;
}

/// An object on its way into a store.
///
/// Dropping it without [`commit`](Self::commit) leaves nothing behind, soon if not at once. So does an error of
/// any call, or dropping the future of a [`write`](Self::write) or a [`keep`](Self::keep) that has not ended: the put is
/// over, all further calls fail, and only a new put can store the object.
///
/// Of a put that was kept or resumed all this leaves the kept bytes, and the death of the program does too: from there it
/// is [resumed](Transport::resume). Only `commit` and `abandon` take them away.
#[async_trait]
pub trait Put: Send {
    /// Adds bytes to the end. Returns when the store has taken charge of them, which is the back-pressure. Without bytes it
    /// changes nothing, but tells a store that gives up who is silent that more is to come.
    ///
    /// # Errors
    /// `WrongLength` as soon as more than the declared length was written.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes what was written outlive this program, as durable as an object of this store: how much of it, and how it is
    /// found again. May be called at any time, and again; what counts is the last one. `None` if the store cannot.
    ///
    /// The kept bytes are fewer than were written where the store holds the end back until more of it comes; what is
    /// beyond them is to be written again. They take room, and are no object: no call but a `resume` sees them. A store
    /// sweeps them when nobody wrote to them for a [`KEPT_TIME`].
    ///
    /// # Errors
    /// What keeps the bytes from being durable. The put is over, and what an earlier call kept stays.
    async fn keep(&mut self) -> Result<Option<Kept>> {
        Ok(None)
    }

    /// Publishes the object: when this returns it is durable (where the store can be) and visible to every
    /// call, all at once.
    ///
    /// After an error that [`is_retryable`](TransportError::is_retryable), and when this future is dropped, the
    /// object is there as a whole or not at all; what was kept of it may still be there, or be gone.
    ///
    /// # Errors
    /// `Exists` when the name is taken: of racing puts one wins and the bytes of the others are gone.
    /// `WrongLength` when fewer bytes were written than declared.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Gives up. When this returns, nothing is left, nor of what was kept.
    ///
    /// # Errors
    /// When something may be left; it is never visible as an object, and later swept by the store.
    async fn abandon(self: Box<Self>) -> Result<()>;
}

/// What a store can do. Decides which conformance trials apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A committed object survives the end of the process and the loss of power.
    pub durable: bool,
    /// Of two racing puts of one name exactly one wins. Without it the last one may overwrite the other.
    pub exclusive_create: bool,
    /// Any range can be read. Without it only whole objects can, other ranges are `Refused`.
    pub ranges: bool,
    /// Objects can be listed. Without it [`list`](Transport::list) is `Refused`.
    pub list: bool,
    /// Puts can outlive their program. Without it [`keep`](Put::keep) gives `None`, and so it does where a server turns out
    /// to be too old.
    pub keep: bool,
    /// The store hashes where the bytes are. Without it [`prove`](Transport::prove) is `Refused`.
    pub prove: bool,
    /// Two ranges of [`get_ranges`](Transport::get_ranges) with at most this many bytes between them cost less as one:
    /// what a range costs of its own, in bytes of reading.
    pub range_gap_bytes: u64,
    /// Bytes of the largest object, if the store has a limit of its own. A longer put is `Full`.
    pub object_bytes_max: Option<u64>,
}

/// The beginning of an object that outlives the program which wrote it, and the one way to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of the object that are kept.
    pub bytes: u64,
    /// How the store finds them: at most [`KEPT_TOKEN_BYTES_MAX`] bytes, which mean something to it alone.
    pub token: Bytes,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Bytes of the object.
    pub length: u64,
}

/// Refuses a range that is inverted or does not lie in an object of `length` bytes.
pub(crate) fn check_range(at: &Target, range: &Range<u64>, length: u64) -> Result<()> {
    if range.start <= range.end && range.end <= length {
        return Ok(());
    }
    Err(TransportError::OutOfRange { at: at.clone(), range: range.clone(), length })
}

/// Refuses a put that cannot have its declared length: more at any time, or less when it has `ended`.
pub(crate) fn check_length(at: &Target, declared: Option<u64>, written: u64, ended: bool) -> Result<()> {
    match declared {
        Some(declared) if written > declared || (ended && written < declared) => {
            Err(TransportError::WrongLength { at: at.clone(), declared, written })
        }
        _ => Ok(()),
    }
}

/// Refuses a token by which this store never finds anything of this object.
pub(crate) fn not_kept(at: Target, why: &'static str) -> TransportError {
    TransportError::Refused { at, source: io::Error::new(io::ErrorKind::InvalidInput, why) }
}

/// All bytes of a range. Memory grows with what comes, not with what was announced.
pub(crate) async fn whole(mut pieces: ByteStream) -> Result<Bytes> {
    let Some(first) = pieces.try_next().await? else { return Ok(Bytes::new()) };
    let Some(second) = pieces.try_next().await? else { return Ok(first) };
    let mut bytes = BytesMut::from(&*first);
    bytes.extend_from_slice(&second);
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// What every call after the end of a put says.
pub(crate) fn over(at: &Target) -> TransportError {
    let source = io::Error::other("this put is over: a call of it failed or was cancelled");
    TransportError::Other { at: at.clone(), source }
}

/// Bytes of the largest piece of a [`ByteStream`], and so the memory that a slow reader holds.
pub const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the longest token of a [`Kept`]: what each object that is kept takes in a journal.
pub const KEPT_TOKEN_BYTES_MAX: usize = 1024;

/// How long bytes are kept that nobody goes on with: longer than a broken machine takes to be repaired.
pub const KEPT_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
