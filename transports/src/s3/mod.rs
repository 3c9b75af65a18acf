//! Objects in a bucket behind the S3 protocol: AWS, Garage, MinIO, Ceph, and whoever else speaks it.
//!
//! The client is `object_store`; nothing that a server answers is believed without a check. Lengths are ours to
//! count, an `ETag` means nothing, and a conditional put is never relied on, because stores are in use that ignore
//! the condition and overwrite.

mod client;
mod credentials;
mod error;
mod parts;
mod put;
mod read;
mod upload;
mod url;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

use self::client::Failure;
pub use self::client::{Patience, S3Keys};
use self::error::{convert, failure};
use self::put::S3Put;
use self::url::Address;
use crate::transport::{check_range, whole};
use crate::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Target,
    Transport, TransportError,
};

/// A store in a bucket, or below a prefix of one: the object `NAME` is the key `PREFIX/NAME`. Clones are the same
/// store.
///
/// The bucket has to be there. A put takes up to three parts of memory, of 8 MiB each, and keeps whole parts. One
/// that ends with its process leaves parts that nobody sees and somebody pays for, kept or not: tell the bucket to drop
/// uploads that are a week old. Two programs that go on with one put do not notice each other before one commits.
#[derive(Clone, Debug)]
pub struct S3 {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: AmazonS3,
    /// The connections of `store`, for what it has no call for.
    http: HttpClient,
    url: Arc<str>,
    /// Empty, or it ends with a slash.
    prefix: String,
    /// Whether the bucket was ever seen to be there.
    seen: AtomicBool,
}

impl S3 {
    /// The store of an `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, with the keys of the environment.
    ///
    /// # Errors
    /// `BadUrl`; `Refused` when the environment has no keys.
    pub fn from_url(url: &str) -> Result<Self> {
        Self::open(url, &S3Keys::Environment, Patience::default())
    }

    /// The one spelling of such a URL.
    ///
    /// # Errors
    /// `BadUrl`.
    pub fn spelling(url: &str) -> Result<String> {
        Address::parse(url).map(|address| address.url())
    }

    /// As [`from_url`](Self::from_url), with keys and patience of your own.
    ///
    /// # Errors
    /// As [`from_url`](Self::from_url).
    pub fn open(url: &str, keys: &S3Keys, patience: Patience) -> Result<Self> {
        let address = Address::parse(url)?;
        let (store, http) = client::connect(&address, keys, patience)?;
        let (url, seen) = (address.url().into(), AtomicBool::new(false));
        Ok(Self { inner: Arc::new(Inner { store, http, url, prefix: address.prefix, seen }) })
    }
}

#[async_trait]
impl Transport for S3 {
    fn url(&self) -> &str {
        &self.inner.url
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            exclusive_create: false,
            ranges: true,
            list: true,
            keep: true,
            prove: false,
            range_gap_bytes: RANGE_GAP_BYTES,
            object_bytes_max: Some(put::OBJECT_BYTES_MAX),
        }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        Ok(Box::new(S3Put::new(self.inner.clone(), name, length)?))
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        Ok(Box::new(S3Put::new(self.inner.clone(), name, length)?.resume(kept).await?))
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let at = self.inner.at(name);
        // Neither an empty nor an inverted range can be asked for, nor one beyond what servers can count.
        if range.is_empty() || i64::try_from(range.end).is_err() {
            check_range(&at, &range, self.inner.length(name).await?)?;
            return if range.is_empty() { Ok(stream::empty().boxed()) } else { Err(nonsense(at)) };
        }
        let options = GetOptions::new().with_range(Some(range.clone()));
        let answer = match self.inner.store.get_opts(&self.inner.key(name), options).await {
            Ok(answer) => answer,
            Err(error) if matches!(failure(&error), Some(Failure::Answered { status: 416, .. })) => {
                check_range(&at, &range, self.inner.length(name).await?)?;
                return Err(convert(at, &error));
            }
            Err(error) => return Err(self.inner.missing(convert(at, &error)).await),
        };
        self.inner.seen.store(true, Ordering::Relaxed);
        check_range(&at, &range, answer.meta.size)?;
        if answer.range != range {
            return Err(nonsense(at));
        }
        Ok(read::exactly(at, range.end - range.start, answer.into_stream()))
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return self.inner.length(name).await.map(|_| Vec::new());
        }
        // `get_ranges` of the client panics when an object became shorter.
        let one = async |range: Range<u64>| whole(self.get(name, range).await?).await;
        stream::iter(ranges.to_vec()).map(one).buffered(RANGES_AT_A_TIME).try_collect().await
    }

    async fn prove(&self, name: &ObjectName, _: Range<u64>, _: &Nonce) -> Result<Hash> {
        let source = io::Error::other("S3 computes no proofs");
        Err(TransportError::Refused { at: self.inner.at(name), source })
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        Ok(ObjectMeta { length: self.inner.length(name).await? })
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        ObjectName::check_prefix(prefix)?;
        let (inner, prefix) = (self.inner.clone(), prefix.to_owned());
        let first = inner.page(&prefix, None).await?;
        let pages = stream::try_unfold((Some(first), 0), move |(page, count)| {
            let (inner, prefix) = (inner.clone(), prefix.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let names = inner.names(&prefix, &page);
                let next = match page.page_token {
                    None => None,
                    // A server that never ends, or is led in a circle.
                    Some(_) if count == PAGES_MAX => return Err(nonsense(Target::store(inner.url.clone()))),
                    Some(token) => {
                        let next = inner.page(&prefix, Some(token.clone())).await?;
                        if next.page_token.as_ref() == Some(&token) {
                            return Err(nonsense(Target::store(inner.url.clone())));
                        }
                        Some(next)
                    }
                };
                Ok(Some((stream::iter(names.into_iter().map(Ok)), (next, count + 1))))
            }
        });
        Ok(pages.try_flatten().boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        match self
            .inner
            .store
            .delete(&self.inner.key(name))
            .await
            .map_err(|error| convert(self.inner.at(name), &error))
        {
            Err(TransportError::Missing { at }) if at.name.is_some() => Ok(()),
            result => result,
        }
    }
}

impl Inner {
    fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.url.clone(), name)
    }

    fn key(&self, name: &ObjectName) -> Path {
        Path::parse(format!("{}{name}", self.prefix)).expect("prefix and name were checked")
    }

    /// Bytes of an object.
    async fn length(&self, name: &ObjectName) -> Result<u64> {
        let found = self.store.get_opts(&self.key(name), GetOptions::new().with_head(true)).await;
        match found {
            Ok(found) => {
                self.seen.store(true, Ordering::Relaxed);
                Ok(found.meta.size)
            }
            Err(error) => Err(self.missing(convert(self.at(name), &error)).await),
        }
    }

    /// Finds out which of the two is missing, as not every answer says so, and one without a body cannot.
    async fn missing(&self, error: TransportError) -> TransportError {
        if matches!(error, TransportError::Missing { .. })
            && !self.seen.load(Ordering::Relaxed)
            && let Err(store @ TransportError::Missing { .. }) = self.page("", None).await
        {
            return store;
        }
        error
    }

    async fn page(&self, prefix: &str, page_token: Option<String>) -> Result<PaginatedListResult> {
        let slash = if prefix.is_empty() { "" } else { "/" };
        let start = format!("{}{prefix}{slash}", self.prefix);
        let start = Some(&*start).filter(|start| !start.is_empty());
        let page =
            self.store.list_paginated(start, PaginatedListOptions { page_token, ..Default::default() }).await;
        let page = page.map_err(|error| convert(Target::store(self.url.clone()), &error))?;
        self.seen.store(true, Ordering::Relaxed);
        Ok(page)
    }

    /// The objects of a page. Whatever else lies in the bucket is none of ours.
    fn names(&self, prefix: &str, page: &PaginatedListResult) -> Vec<ObjectName> {
        let keys = page.result.objects.iter().map(|object| object.location.as_ref());
        let names = keys.filter_map(|key| ObjectName::new(key.strip_prefix(&self.prefix)?).ok());
        names.filter(|name| prefix.is_empty() || name.prefix() == Some(prefix)).collect()
    }
}

/// What a server says of `at` that cannot be.
fn nonsense(at: Target) -> TransportError {
    TransportError::Other {
        at,
        source: io::Error::other("the server answered something else than it was asked"),
    }
}

/// Where an answer takes 20 ms to begin and then 50 MB come each second, a request costs as much as 1 MiB.
const RANGE_GAP_BYTES: u64 = 1024 * 1024;
/// Requests of one `get_ranges` that are under way: enough to hide the way to the server.
const RANGES_AT_A_TIME: usize = 8;
/// Pages of the longest listing: at 1000 keys each as many as a backup of a million blocks has, ten times over.
const PAGES_MAX: usize = 10_000;
