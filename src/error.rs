//! What can go wrong, and the exit code that says so.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use tanner_kernels::{LevelError, ProfileError};
use tanner_transports::TransportError;
use tanner_transports::net::{IdentityError, TokenError};
use thiserror::Error;

use crate::crypto::CryptoError;
use crate::fetch::Damage;
use crate::id::{BackupId, IdError};
use crate::manifest::ManifestError;
use crate::scheduler::{Need, Refusal};

/// Everything that ends a run without success. [`Error::exit_code`] is part of the command line's contract.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to read from or to write to.
    #[error("no store was named: give at least one with {flag} DIR")]
    NoStore {
        /// The flag that names stores.
        flag: &'static str,
    },
    /// The same store twice: losing it would lose both.
    #[error("store {url} was named twice: its loss would count once in the promise and twice in fact")]
    StoreTwice {
        /// The store.
        url: String,
    },
    /// The shape is not one.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Less parity than one block.
    #[error(
        "of {data} data blocks that overhead is less than half a parity block: ask for more, or for more --data"
    )]
    OverheadTooSmall {
        /// Data blocks.
        data: u64,
    },
    /// No shape survives what was asked for.
    #[error(
        "no shape with one block on each of {stores} stores survives the loss of {lost}: take more stores, or ask for less"
    )]
    NoShape {
        /// Stores.
        stores: usize,
        /// How many may be lost.
        lost: usize,
    },
    /// A file of certificates that cannot be read or written, or is none.
    #[error("{}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The SIMD level asked for cannot be used.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Text is no backup id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The memory allowed is too little for the shape.
    #[error("--memory is too little for this shape: it needs at least {}MiB", needed.div_ceil(1 << 20))]
    Memory {
        /// Bytes needed.
        needed: u64,
    },
    /// The system starts no more threads.
    #[error(
        "the system refuses to start another thread: raise the limit of tasks (`ulimit -u`, or the container's limit of \
         pids), or use fewer --threads"
    )]
    Threads {
        /// What it says.
        source: io::Error,
    },
    /// Something that cannot be done with a stream.
    #[error("{flag}: {why}")]
    OfStream {
        /// What was asked for.
        flag: &'static str,
        /// Why it cannot be.
        why: &'static str,
    },
    /// A dash where a file belongs.
    #[error("`-`: {what} is not supported; for a file of that name, write ./-")]
    NoStreams {
        /// What was asked for.
        what: &'static str,
    },
    /// A source that is not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A source beyond all bounds.
    #[error("{} has {bytes} bytes: {} are the most", path.display(), crate::geometry::SOURCE_BYTES_MAX)]
    SourceTooLarge {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// A size to plan for that no source may have.
    #[error(
        "{bytes} bytes are more than a source may have: {} are the most",
        crate::geometry::SOURCE_BYTES_MAX
    )]
    SizeTooLarge {
        /// Bytes.
        bytes: u64,
    },
    /// The source cannot be read.
    #[error("cannot read {}", path.display())]
    Source {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source changed while it was read; nothing was stored.
    #[error("{} changed while it was read ({how}): nothing was stored", path.display())]
    SourceChanged {
        /// The path.
        path: PathBuf,
        /// What gave it away.
        how: &'static str,
    },
    /// A command without a program.
    #[error("--command is empty: name a program and its arguments")]
    NoCommand,
    /// Neither backups nor rules.
    #[error(
        "nothing says what to forget: name backups by their ids, or say with --keep-last and the like what is to stay"
    )]
    NothingToForget,
    /// A command that cannot be started.
    #[error("cannot start `{command}`")]
    CommandStart {
        /// The program and its arguments.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A command whose output was to be backed up failed.
    #[error("`{command}` ended with {status}: nothing was stored")]
    Command {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Two paths that would be one in an archive.
    #[error("{} and {} would have the same place in the archive: back them up apart", first.display(), second.display())]
    ArchivedTwice {
        /// The name of the first in the archive.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// An entry of an archive that is not unpacked.
    #[error("the archive is not unpacked, because of {name}: {what}")]
    Archive {
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something is where an archive was to be unpacked.
    #[error("{} is there already, and not empty: name another directory", path.display())]
    OutputNotEmpty {
        /// The path.
        path: PathBuf,
    },
    /// A stream beyond all bounds.
    #[error(
        "{name} has more than {} bytes, which are the most: nothing was stored",
        crate::geometry::SOURCE_BYTES_MAX
    )]
    StreamTooLarge {
        /// What it is called.
        name: String,
    },
    /// The file to restore to is there already.
    #[error("{} exists: name another file, or allow it to be replaced with --force", path.display())]
    OutputExists {
        /// The path.
        path: PathBuf,
    },
    /// The restored file cannot be written.
    #[error("cannot write {}", path.display())]
    Output {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is restoring to the same file.
    #[error("another restore to this file is under way, in {}: wait for it, or stop it", path.display())]
    RestoreUnderway {
        /// The file that it writes.
        path: PathBuf,
    },
    /// A restore was stopped by a signal; what it read is left to another.
    #[error(
        "stopped by {}: what was read is kept in {}, to go on with it add --resume",
        signal_name(*signal),
        path.display()
    )]
    RestoreStopped {
        /// The signal's number.
        signal: u8,
        /// The staged output.
        path: PathBuf,
    },
    /// The staged output of a restore failed under us.
    #[error("cannot read or write the staged output of backup {id}")]
    Staged {
        /// The backup.
        id: BackupId,
        /// Why.
        source: io::Error,
    },
    /// A store cannot be opened or does not answer.
    #[error(transparent)]
    Store(#[from] TransportError),
    /// No store has a manifest of this backup.
    #[error("no store has a manifest of backup {id}: looked at {stores}")]
    NoSuchBackup {
        /// The id.
        id: BackupId,
        /// Where it was looked for.
        stores: String,
    },
    /// Stores have manifests of this backup, but none that can be read.
    #[error("no readable manifest of backup {id}: {what}")]
    NoManifest {
        /// The id.
        id: BackupId,
        /// What is wrong with the copies.
        what: String,
    },
    /// Too few good blocks.
    #[error("backup {id} cannot be restored from these stores: {good} good blocks, {missing} more needed")]
    NotRecoverable {
        /// The id.
        id: BackupId,
        /// Blocks that verified, or that nobody found fault with when it was known that they are too few.
        good: usize,
        /// How many more blocks always suffice.
        missing: usize,
        /// What is wrong with those that could not be used.
        damages: Vec<Damage>,
    },
    /// A range that the source does not have.
    #[error("--range {start}-{end}: the source has {bytes} bytes")]
    Range {
        /// Its first byte.
        start: u64,
        /// The byte behind its last.
        end: u64,
        /// Bytes of the source.
        bytes: u64,
    },
    /// All blocks verified, twice, and still the lost ones could not be rebuilt from them.
    #[error(
        "backup {id} was not repaired, nothing was changed: all that was used had verified, and yet {what}"
    )]
    NotRebuilt {
        /// The id.
        id: BackupId,
        /// What gave it away.
        what: String,
    },
    /// All blocks verified and still the whole does not match its hash.
    #[error("the restored bytes of {what} do not match their hash: nothing was written")]
    WrongHash {
        /// What was compared.
        what: String,
    },
    /// Too many stores failed for the backup to be restorable; what was written was taken back, or is to be gone on with.
    #[error("only {stored} of {blocks} blocks could be stored and {needed} are needed: {}", kept(*unfinished))]
    Quorum {
        /// Blocks stored.
        stored: usize,
        /// All blocks.
        blocks: usize,
        /// How many always suffice.
        needed: usize,
        /// The backup, if another run can go on with it.
        unfinished: Option<BackupId>,
        /// The first failure.
        source: TransportError,
    },
    /// Fewer stores did their part than were asked for; what was written was taken back.
    #[error("{stores} of the {quorum} stores of --quorum have the backup: nothing is kept")]
    StoreQuorum {
        /// Stores with a manifest.
        stores: usize,
        /// How many were asked for.
        quorum: usize,
        /// The first failure; none if there are not so many stores.
        source: Option<TransportError>,
    },
    /// No store has the label that a loss is to be survived of.
    #[error("no store has a label `{label}`: give it with --fact STORE {label}=…, or to the store's name")]
    NoLabel {
        /// The label.
        label: String,
    },
    /// A fact of a store that is not one.
    #[error("--fact {store} {fact}: {what}")]
    Fact {
        /// The store.
        store: String,
        /// The fact as given.
        fact: String,
        /// What is wrong with it.
        what: String,
    },
    /// What is to be survived cannot be on these stores; nothing was read or written.
    #[error("{need}; nothing was stored")]
    Unsurvivable {
        /// What would be enough.
        need: Need,
    },
    /// The stores have too little room; nothing was read or written.
    #[error(
        "there is room for {fit} of {blocks} blocks{}: {missing_bytes} bytes more are needed; nothing was stored",
        if *demanded { " where the losses to be survived allow them" } else { "" }
    )]
    NoRoom {
        /// All blocks.
        blocks: usize,
        /// How many fit.
        fit: usize,
        /// Bytes of those that do not.
        missing_bytes: u64,
        /// Whether there is room enough but for what is to be survived.
        demanded: bool,
    },
    /// A measurement gave wrong bytes, so its time means nothing.
    #[error("{what} gave wrong bytes: nothing of this run can be trusted")]
    BenchWrong {
        /// What was done.
        what: String,
    },
    /// A measurement would not fit into memory.
    #[error(
        "measuring this takes {needed} bytes of memory and {available} are there: choose a smaller --size"
    )]
    BenchMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes at hand.
        available: u64,
    },
    /// The system refuses memory to measure in.
    #[error("no memory for {blocks} blocks of {block_bytes} bytes to measure in: choose a smaller --size")]
    BenchBuffer {
        /// Blocks asked for.
        blocks: usize,
        /// Bytes of each.
        block_bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// A measurement would not fit onto the disk.
    #[error("measuring {} takes {needed} bytes and {free} are free: choose a smaller --size", path.display())]
    BenchRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes needed, together with what the same disk is to take elsewhere.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A measurement of no bytes, or of more than a peer serves.
    #[error("--size is out of bounds: wanted 1 to {most} bytes")]
    BenchSize {
        /// The most bytes.
        most: u64,
    },
    /// A directory to measure is not there.
    #[error("{} is not a directory: name one that exists", path.display())]
    BenchDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file is not what `tanner bench --json` wrote.
    #[error("{} is not the output of `tanner bench --json`: {what}", path.display())]
    NotBenchOutput {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Two reports without a measurement in common.
    #[error("{} and {} measured nothing in common", a.display(), b.display())]
    NothingInCommon {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
    },
    /// Nothing can listen there.
    #[error("cannot listen on {address}")]
    NetListen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot reach {peer}")]
    NetUnreachable {
        /// The address.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// A peer that answered broke off or fell silent.
    #[error("the connection to {peer} failed")]
    Net {
        /// The address.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// Something else listens there.
    #[error("{peer} is no `tanner bench net --listen` of this version, or serves too many already")]
    NetPeer {
        /// The address.
        peer: String,
    },
    /// This node has no key to be known by, or one that cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A key that cannot be had, or does not fit.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A backup that does not open, or not safely.
    #[error("backup {id}")]
    Sealed {
        /// The id.
        id: BackupId,
        /// Why.
        source: SealedError,
    },
    /// What was seen of backups before cannot be read back.
    #[error(
        "{}: what it says of backups seen before cannot be read, and without it a store could pass off an old one: mend it, \
         or remove it and trust what the stores say now",
        path.display()
    )]
    Seen {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A delete token that cannot be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nothing of that name was deleted, or it is gone by now.
    #[error("nothing that was deleted from {} is called {what}: `tanner undelete --root {}` lists what was", root.display(), root.display())]
    NotInTrash {
        /// What was asked for.
        what: String,
        /// The root of the server.
        root: PathBuf,
    },
    /// A file of settings that cannot be read or written, or says nothing that is known.
    #[error("{}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server whose pin nobody has compared yet.
    #[error(
        "the server at {url} shows the pin {pin}: if that is what it printed when it started, run `tanner store add {name} {url}#{pin}`"
    )]
    Unpinned {
        /// The name that the store is to have.
        name: String,
        /// The URL without a pin.
        url: String,
        /// What the server shows.
        pin: String,
    },
    /// The name is another store's.
    #[error(
        "there is a store called {name}: choose another name, or forget that one with `tanner store rm {name}`"
    )]
    StoreNamed {
        /// The name.
        name: String,
    },
    /// Nothing has this name.
    #[error("no store is called {name}: see `tanner store ls`")]
    NoSuchStore {
        /// The name.
        name: String,
    },
    /// No job has this name.
    #[error(
        "no job is called {name} in {file}: {}", if known.is_empty() { "there are none".into() } else { format!("there are {known}") }
    )]
    NoSuchJob {
        /// The name.
        name: String,
        /// The file of settings.
        file: String,
        /// The jobs that there are.
        known: String,
    },
    /// A job that cannot be meant.
    #[error("job {name}: {what}")]
    Job {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another run has the journal of a backup.
    #[error("backup {id} is being made or taken back by another run: wait until that ends")]
    JournalBusy {
        /// The backup.
        id: BackupId,
    },
    /// Rules go by names and times, and no key opens any.
    #[error(
        "no backup here shows its name and time, so that rules say nothing of them; by their ids they can be forgotten: {why}"
    )]
    NothingOpens {
        /// Why the last one stayed closed.
        why: String,
    },
    /// A backup that is not finished is not forgotten: what is known of it is in its journal.
    #[error("backup {id} is unfinished: `tanner sweep {id}` takes it back")]
    ForgetUnfinished {
        /// The backup.
        id: BackupId,
    },
    /// Journals cannot be read or written.
    #[error("the journals in {} cannot be used: name another directory by --journal, or none", path.display())]
    Journal {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No unfinished backup has this id.
    #[error("no backup {id} is unfinished by the journals in {}", path.display())]
    NoJournal {
        /// The backup.
        id: BackupId,
        /// The directory.
        path: PathBuf,
    },
    /// A backup cannot be gone on with by other arguments.
    #[error(
        "backup {id} began with {what} {before}, which now would be {now}: repeat its arguments, or take it back with `tanner sweep {id}`"
    )]
    ResumeDiffers {
        /// The backup.
        id: BackupId,
        /// What is different.
        what: &'static str,
        /// What it was.
        before: String,
        /// What it would be.
        now: String,
    },
    /// A backup was gone on with so often that its manifest would have no room for more keys.
    #[error(
        "backup {id} was cut off {most} times and more: take it back with `tanner sweep {id}` and begin anew"
    )]
    ResumedTooOften {
        /// The backup.
        id: BackupId,
        /// The most epochs.
        most: usize,
    },
    /// What is known of an earlier reading of the source is gone.
    #[error(
        "it cannot be told any more whether the source is what was read before: take back what is unfinished with \
         `tanner sweep`, and begin anew"
    )]
    Tags {
        /// Why.
        source: io::Error,
    },
    /// A backup cannot be gone on with because its source is not what it was.
    #[error(
        "{} changed since backup {id} of it began ({how}): take that back with `tanner sweep {id}` and begin anew",
        path.display()
    )]
    ResumeChanged {
        /// The source.
        path: PathBuf,
        /// The backup.
        id: BackupId,
        /// What changed.
        how: String,
    },
    /// Stopped by a signal; what was stored is to be gone on with.
    #[error(
        "stopped by {}: backup {id} is unfinished; the same command with --resume goes on with it, `tanner sweep` takes it back",
        if *signal == 15 { "SIGTERM" } else { "SIGINT" }
    )]
    Suspended {
        /// The signal's number.
        signal: u8,
        /// The backup.
        id: BackupId,
    },
    /// A protected file among other stores.
    #[error("{url} keeps its file's own blocks and no others: name it without other stores")]
    NotAlone {
        /// The store.
        url: String,
    },
    /// A store that is to be given up and one that is to stay are the same place.
    #[error("{url} and {other} are the same place: what is deleted from one is gone from the other")]
    SamePlace {
        /// The store that is to be given up.
        url: String,
        /// The other.
        other: String,
    },
    /// There is parity beside the file already.
    #[error(
        "{0} is protected already, by {id}: `tanner verify {0}` checks it, `tanner repair {0}` mends it, and --force protects \
         it as it is now",
        path.display()
    )]
    Protected {
        /// The file.
        path: PathBuf,
        /// What protects it.
        id: BackupId,
    },
    /// What was named as a backup is a file without parity beside it.
    #[error("{} is neither the id of a backup nor a protected file: `tanner protect` makes parity beside it", path.display())]
    NotProtected {
        /// The file.
        path: PathBuf,
    },
    /// Stopped by a signal; nothing was stored or written.
    #[error("stopped by {}: nothing was stored or written", signal_name(*signal))]
    Stopped {
        /// The signal's number.
        signal: u8,
    },
}

/// Why a backup does not open.
#[derive(Debug, Error)]
pub enum SealedError {
    /// No key for it.
    #[error(transparent)]
    Key(#[from] CryptoError),
    /// There is nothing to open.
    #[error("it is not encrypted: whoever can read a store can read it")]
    Plain,
    /// Its manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SealedError {
    /// Whether another key, or the trust in another device, might open it.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Key(error) => error.is_wrong_key(),
            Self::Plain => false,
            Self::Manifest(error) => matches!(error, ManifestError::WrongKey | ManifestError::Encrypted),
        }
    }
}

impl Error {
    /// The exit code of a run that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoStore { .. }
            | Self::StoreTwice { .. }
            | Self::Profile(_)
            | Self::Certificates { .. }
            | Self::NoShape { .. }
            | Self::OverheadTooSmall { .. }
            | Self::Level(_)
            | Self::Id(_)
            | Self::Memory { .. }
            | Self::NoStreams { .. }
            | Self::OfStream { .. }
            | Self::NoCommand
            | Self::NothingToForget
            | Self::ArchivedTwice { .. }
            | Self::OutputNotEmpty { .. }
            | Self::StreamTooLarge { .. }
            | Self::NotAFile { .. }
            | Self::SourceTooLarge { .. }
            | Self::SizeTooLarge { .. }
            | Self::OutputExists { .. }
            | Self::Range { .. }
            | Self::BenchMemory { .. }
            | Self::BenchBuffer { .. }
            | Self::BenchRoom { .. }
            | Self::BenchSize { .. }
            | Self::NotBenchOutput { .. }
            | Self::NothingInCommon { .. }
            | Self::Config { .. }
            | Self::Job { .. }
            | Self::Unpinned { .. }
            | Self::StoreNamed { .. }
            | Self::ResumeDiffers { .. }
            | Self::NoLabel { .. }
            | Self::Protected { .. }
            | Self::NotAlone { .. }
            | Self::SamePlace { .. }
            | Self::Fact { .. }
            | Self::Store(
                TransportError::BadUrl { .. }
                | TransportError::UnknownScheme { .. }
                | TransportError::BadName(_),
            ) => 2,
            Self::NothingOpens { .. } => 12,
            Self::Crypto(error) if error.is_wrong_key() => 12,
            Self::Sealed { source, .. } if source.is_closed() => 12,
            Self::Crypto(CryptoError::Write { .. }) => 1,
            Self::Crypto(_) | Self::Sealed { source: SealedError::Plain | SealedError::Key(_), .. } => 2,
            Self::NotRecoverable { .. }
            | Self::Sealed { .. }
            | Self::NoManifest { .. }
            | Self::NotRebuilt { .. }
            | Self::WrongHash { .. } => 5,
            Self::Quorum { .. }
            | Self::StoreQuorum { .. }
            | Self::Unsurvivable { .. }
            | Self::NoRoom { .. } => 6,
            Self::SourceChanged { .. } | Self::ResumeChanged { .. } => 7,
            Self::NoSuchBackup { .. }
            | Self::BenchDirectory { .. }
            | Self::NoSuchStore { .. }
            | Self::NoSuchJob { .. }
            | Self::NoJournal { .. }
            | Self::NotProtected { .. }
            | Self::NotInTrash { .. }
            | Self::NetUnreachable { .. }
            | Self::Store(TransportError::Missing { .. } | TransportError::Unreachable { .. }) => 10,
            Self::Stopped { signal }
            | Self::Suspended { signal, .. }
            | Self::RestoreStopped { signal, .. } => 128 + signal,
            Self::Source { .. }
            | Self::CommandStart { .. }
            | Self::Archive { .. }
            | Self::Command { .. }
            | Self::Seen { .. }
            | Self::Threads { .. }
            | Self::Identity(_)
            | Self::Token(_)
            | Self::Output { .. }
            | Self::Staged { .. }
            | Self::RestoreUnderway { .. }
            | Self::BenchWrong { .. }
            | Self::NetListen { .. }
            | Self::JournalBusy { .. }
            | Self::ForgetUnfinished { .. }
            | Self::Journal { .. }
            | Self::Net { .. }
            | Self::NetPeer { .. }
            | Self::ResumedTooOften { .. }
            | Self::Tags { .. }
            | Self::Store(_) => 1,
        }
    }
}

fn signal_name(signal: u8) -> &'static str {
    if signal == 15 { "SIGTERM" } else { "SIGINT" }
}

fn kept(unfinished: Option<BackupId>) -> String {
    unfinished.map_or_else(
        || "nothing is kept".into(),
        |id| format!("backup {id} is unfinished; the same command with --resume goes on with it"),
    )
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoLabel { demand } => Self::NoLabel { label: demand.label },
            Refusal::Room { blocks, fit, missing_bytes, demanded } => {
                Self::NoRoom { blocks, fit, missing_bytes, demanded }
            }
            Refusal::Demand(need) => Self::Unsurvivable { need },
        }
    }
}
