//! Finding a backup in its stores.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use tanner_kernels::{BlockSet, Codec};
use tanner_transports::{ObjectName, Transport, TransportError};
use tokio::time::{Instant, timeout_at};

use crate::copies::Copies;
use crate::crypto::{Cipher, FileKey};
use crate::error::{Error, SealedError};
use crate::id::BackupId;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, SealedManifest};
use crate::store::{MANIFEST, Store, manifest_name};

/// A backup as it lies in its stores.
#[derive(Clone)]
pub struct Found {
    /// What anybody can know of it.
    pub manifest: SealedManifest,
    /// The rest, if it is plain or was [unlocked](Self::unlock).
    opened: Option<Arc<Opened>>,
    /// Its codec.
    pub codec: Arc<Codec>,
    /// The stores it was looked for in.
    pub stores: Vec<Store>,
    /// For each store, the blocks that it lists.
    pub listed: Vec<BlockSet>,
    /// For each store, whether it has the manifest.
    pub has_manifest: Vec<bool>,
    /// For each store, whether the others were done long before it answered, and it was not waited for.
    pub is_silent: Vec<bool>,
    /// Stores that could not be listed, or whose copy of the manifest is missing, unreadable or different.
    pub troubles: Vec<Trouble>,
}

/// What its readers know of a backup.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    /// What its source is encrypted with.
    pub(crate) cipher: Option<Arc<Cipher>>,
}

/// Something wrong with a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The store's URL.
    pub store: String,
    /// What is wrong.
    pub what: String,
}

/// A copy of a block that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The block.
    pub block: usize,
    /// The store's URL; none if no store has the block.
    pub store: Option<String>,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a copy of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// It is not there.
    Missing,
    /// Its length is wrong.
    Length {
        /// Bytes that it should have.
        wanted: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// Its bytes are not those that were stored.
    Hash,
    /// It cannot be read.
    Unreadable(String),
}

impl DamageKind {
    /// Whether the copy is known to be wrong. One that cannot be read may be right.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self, Self::Hash | Self::Length { .. })
    }
}

impl From<TransportError> for DamageKind {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Missing { at } if at.name.is_some() => Self::Missing,
            // `Truncated`, too: it says where the reading ended, not what the store has.
            error => Self::Unreadable(chain(&error)),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.block)?;
        self.store.iter().try_for_each(|store| write!(f, " in {store}"))?;
        match &self.kind {
            DamageKind::Missing => write!(f, " is missing"),
            DamageKind::Length { wanted, got } => write!(f, " has {got} bytes instead of {wanted}"),
            DamageKind::Hash => write!(f, " is damaged: its hash is wrong"),
            DamageKind::Unreadable(error) => write!(f, " cannot be read: {error}"),
        }
    }
}

impl Found {
    /// Looks for backup `id` in the stores. Of a signed one it is for the caller to hold what is found against what was
    /// [seen](crate::Seen) before, and to know the signer.
    ///
    /// # Errors
    /// If no store has it, or no copy of its manifest can be read.
    pub async fn open(stores: Vec<Store>, id: BackupId) -> Result<Self, Error> {
        Self::open_within(stores, id, false).await
    }

    /// As [`open`](Self::open), but without stores that do not answer long after half of them did, if the others have blocks
    /// enough: enough to restore, and not to say how a backup is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_soon(stores: Vec<Store>, id: BackupId) -> Result<Self, Error> {
        match Self::open_within(stores.clone(), id, true).await {
            Ok(found) if found.codec.recoverable(&found.live()).is_some() => Ok(found),
            _ => Self::open(stores, id).await,
        }
    }

    async fn open_within(stores: Vec<Store>, id: BackupId, is_hurried: bool) -> Result<Self, Error> {
        let (mut copies, mut troubles, mut unreadable) = (Copies::default(), Vec::new(), false);
        let trouble = |store: &Store, what: String| Trouble { store: store.url().to_owned(), what };
        let silent = |store: &Store| format!("{} does not answer", store.url());
        let asked = stores.iter().map(|store| read_manifest(store, id));
        let answers = all_in_time(asked.collect(), is_hurried).await;
        let mut is_silent: Vec<bool> = answers.iter().map(Option::is_none).collect();
        for (index, (store, answer)) in stores.iter().zip(answers).enumerate() {
            let Some(answer) = answer else {
                troubles.push(trouble(store, silent(store)));
                continue;
            };
            match answer {
                Ok(bytes) => match SealedManifest::from_bytes_of(id, &bytes) {
                    Ok(manifest) => copies.add(index, manifest),
                    Err(error) => {
                        troubles.push(trouble(
                            store,
                            format!("the manifest in {} cannot be read: {error}", store.url()),
                        ));
                        unreadable = true;
                    }
                },
                Err(TransportError::Missing { at }) if at.name.is_some() => {
                    troubles.push(trouble(store, no_manifest_in(store)));
                }
                Err(error) => troubles.push(trouble(store, chain(&error))),
            }
        }
        if copies.is_empty() {
            return Err(no_manifest(id, unreadable, &troubles, &stores));
        }
        let best = copies.best().map_err(|source| Error::Sealed { id, source: source.into() })?;
        let (manifest, holders) = best.ok_or_else(|| {
            let what =
                "the stores' manifests differ, and none is on most stores: name those that you trust".into();
            Error::NoManifest { id, what }
        })?;
        for (index, store) in stores.iter().enumerate() {
            if !holders.contains(&index) && troubles.iter().all(|trouble| trouble.store != store.url()) {
                troubles.push(trouble(
                    store,
                    format!("the manifest in {} differs from the other stores'", store.url()),
                ));
            }
        }
        let blocks = manifest.hashes.len();
        let asked = stores.iter().zip(&is_silent).map(|(store, &is_silent)| async move {
            match is_silent {
                true => Ok(BlockSet::none(blocks)),
                false => list_blocks(store, id, blocks).await,
            }
        });
        let answers = all_in_time(asked.collect(), is_hurried).await;
        let mut listed = Vec::new();
        for (index, (store, answer)) in stores.iter().zip(answers).enumerate() {
            let error = match answer {
                Some(Ok(blocks)) => {
                    listed.push(blocks);
                    continue;
                }
                Some(Err(TransportError::Missing { .. })) => None,
                Some(Err(error)) => Some(chain(&error)),
                None => Some(silent(store)),
            };
            is_silent[index] |= error.as_ref().is_some_and(|error| *error == silent(store));
            troubles.extend(error.map(|error| trouble(store, error)));
            listed.push(BlockSet::none(blocks));
        }
        let codec = Arc::new(Codec::new(*manifest.geometry.profile()));
        let has_manifest = (0..stores.len()).map(|store| holders.contains(&store)).collect();
        let plain = manifest.plain().map(|plain| Opened { manifest: plain.clone(), cipher: None });
        let opened = plain.map(Arc::new);
        Ok(Self { manifest, opened, codec, stores, listed, has_manifest, is_silent, troubles })
    }

    /// The same without the stores that have nothing of the backup, if all of it is in the others: it was never to be
    /// in these.
    #[must_use]
    pub(crate) fn without_strangers(mut self) -> Self {
        if self.live().len() < self.live().blocks() {
            return self;
        }
        for store in (0..self.stores.len()).rev() {
            let of_store = |trouble: &Trouble| trouble.store == self.stores[store].url();
            let nothing = no_manifest_in(&self.stores[store]);
            let is_stranger = self.listed[store].is_empty()
                && self
                    .troubles
                    .iter()
                    .filter(|trouble| of_store(trouble))
                    .all(|trouble| trouble.what == nothing);
            if is_stranger && !self.has_manifest[store] {
                self.troubles.retain(|trouble| trouble.what != nothing);
                self.stores.remove(store);
                self.listed.remove(store);
                self.has_manifest.remove(store);
                self.is_silent.remove(store);
            }
        }
        self
    }

    /// Opens what only readers know.
    ///
    /// # Errors
    /// If the key is another backup's, or what it opens is malformed.
    pub fn unlock(&mut self, key: &FileKey) -> Result<(), ManifestError> {
        let manifest = self.manifest.open(key)?;
        let cipher = |_| key.cipher(manifest.id, &manifest.geometry, &manifest.epochs);
        let cipher = self.manifest.signer().map(cipher).map(Arc::new);
        self.opened = Some(Arc::new(Opened { manifest, cipher }));
        Ok(())
    }

    /// All that is recorded, if it is plain or unlocked.
    #[must_use]
    pub fn opened(&self) -> Option<&Manifest> {
        self.opened.as_ref().map(|opened| &opened.manifest)
    }

    /// What decrypts its source, if it is encrypted and unlocked.
    pub(crate) fn cipher(&self) -> Option<&Arc<Cipher>> {
        self.opened.as_ref()?.cipher.as_ref()
    }

    /// What is to be restored can be read.
    pub(crate) fn check_opened(&self) -> Result<&Manifest, Error> {
        let source = SealedError::Manifest(ManifestError::Encrypted);
        self.opened().ok_or(Error::Sealed { id: self.manifest.id, source })
    }

    /// Blocks that some store lists, or that need none.
    #[must_use]
    pub fn live(&self) -> BlockSet {
        self.live_of(&self.listed)
    }

    /// Blocks that some store holds, if they hold these, or that need none.
    pub(crate) fn live_of(&self, held: &[BlockSet]) -> BlockSet {
        let mut live = self.manifest.geometry.empty_blocks();
        held.iter().for_each(|blocks| live.insert_all(blocks));
        live
    }

    /// The error for so few good blocks that the others do not follow from them.
    pub(crate) fn not_recoverable(&self, good: usize, damages: Vec<Damage>) -> Error {
        let missing = self.codec.profile().threshold().saturating_sub(good).max(1);
        Error::NotRecoverable { id: self.manifest.id, good, missing, damages }
    }

    /// Something wrong with a store's copy of a block.
    pub(crate) fn damage(&self, block: usize, store: usize, kind: DamageKind) -> Damage {
        Damage { block, store: Some(self.stores[store].url().to_owned()), kind }
    }

    /// The store that has the damaged copy.
    pub(crate) fn store_of(&self, damage: &Damage) -> Option<usize> {
        self.stores.iter().position(|store| Some(store.url()) == damage.store.as_deref())
    }
}

/// The answers of all stores, asked at once; if it is hurried, none of those that have not answered when half of them have, and
/// several times as long has passed.
async fn all_in_time<T>(asked: Vec<impl Future<Output = T>>, is_hurried: bool) -> Vec<Option<T>> {
    let (began, count) = (Instant::now(), asked.len());
    let mut answers: Vec<Option<T>> = asked.iter().map(|_| None).collect();
    let asked = asked.into_iter().enumerate();
    let mut asked: FuturesUnordered<_> =
        asked.map(|(index, answer)| async move { (index, answer.await) }).collect();
    let (mut answered, mut deadline) = (0, None);
    loop {
        let next = match deadline {
            None => asked.next().await,
            Some(deadline) => timeout_at(deadline, asked.next()).await.unwrap_or(None),
        };
        let Some((index, answer)) = next else { return answers };
        answers[index] = Some(answer);
        answered += 1;
        if is_hurried && 2 * answered >= count {
            deadline.get_or_insert(Instant::now() + (began.elapsed() * SILENT).max(SILENT_MIN));
        }
    }
}

/// The manifest's bytes, as the store has them.
pub(crate) async fn read_manifest(store: &Store, id: BackupId) -> Result<Vec<u8>, TransportError> {
    // What is longer is none, and its head is enough to say so.
    read_head(&*store.transport, &manifest_name(id), MANIFEST_BYTES_MAX as u64 + 1).await
}

/// A whole object, for those that fit in memory.
///
/// # Errors
/// If it is not there or cannot be read.
pub async fn read_object(transport: &dyn Transport, name: &ObjectName) -> Result<Vec<u8>, TransportError> {
    read_head(transport, name, u64::MAX).await
}

async fn read_head(
    transport: &dyn Transport,
    name: &ObjectName,
    bytes_max: u64,
) -> Result<Vec<u8>, TransportError> {
    let length = transport.stat(name).await?.length.min(bytes_max);
    let pieces: Vec<Bytes> = transport.get(name, 0..length).await?.try_collect().await?;
    Ok(pieces.concat())
}

async fn list_blocks(store: &Store, id: BackupId, blocks: usize) -> Result<BlockSet, TransportError> {
    let mut listed = BlockSet::none(blocks);
    let mut names = store.transport.list(&id.to_string()).await?;
    while let Some(name) = names.try_next().await? {
        let block = name.part().parse().ok().filter(|&block: &usize| block < blocks);
        // Only the one canonical spelling is a block.
        block
            .filter(|block| block.to_string() == name.part())
            .into_iter()
            .for_each(|block| listed.insert(block));
    }
    Ok(listed)
}

/// The ids of all backups that a store has a manifest of, ascending.
///
/// # Errors
/// If the store cannot be listed.
pub async fn list_backups(store: &Store) -> Result<Vec<BackupId>, TransportError> {
    list_ids(store, |name| name.part() == MANIFEST).await
}

/// The ids of all backups that a store has anything of, ascending.
///
/// # Errors
/// As [`list_backups`].
pub(crate) async fn list_parts(store: &Store) -> Result<Vec<BackupId>, TransportError> {
    list_ids(store, |_| true).await
}

async fn list_ids(
    store: &Store,
    is_sign: impl Fn(&ObjectName) -> bool,
) -> Result<Vec<BackupId>, TransportError> {
    let mut ids = BTreeSet::new();
    let mut names = store.transport.list("").await?;
    while let Some(name) = names.try_next().await? {
        let id = name.prefix().filter(|_| is_sign(&name)).map(str::parse::<BackupId>);
        ids.extend(id.and_then(Result::ok));
    }
    Ok(ids.into_iter().collect())
}

fn no_manifest_in(store: &Store) -> String {
    format!("{} has no manifest of this backup", store.url())
}

fn no_manifest(id: BackupId, unreadable: bool, troubles: &[Trouble], stores: &[Store]) -> Error {
    let what = troubles.iter().map(|trouble| trouble.what.as_str()).collect::<Vec<_>>().join("; ");
    match unreadable {
        true => Error::NoManifest { id, what },
        false => no_such_backup(id, stores),
    }
}

/// The error for a backup of which none of these stores has a manifest.
pub(crate) fn no_such_backup(id: BackupId, stores: &[Store]) -> Error {
    Error::NoSuchBackup { id, stores: stores.iter().map(Store::url).collect::<Vec<_>>().join(", ") }
}

/// An error and all its causes, on one line.
pub fn chain<E: std::error::Error>(error: &E) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// How many times as long as for half of the stores it is waited for the others.
const SILENT: u32 = 8;
/// The least time that it is.
const SILENT_MIN: Duration = Duration::from_millis(250);
