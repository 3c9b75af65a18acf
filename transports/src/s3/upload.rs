//! An upload in parts: what it has is nowhere to be seen until it is complete, and outlives whoever began it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Inner;
use super::client::Failure;
use super::error::{convert, failure};
use super::parts;
use super::put::{PARTS_MAX, To, too_large};
use crate::transport::not_kept;
use crate::{KEPT_TOKEN_BYTES_MAX, Kept, ObjectName, Result, TransportError};

/// An upload in parts that has begun. Dropping it aborts it, unless it is kept.
pub(super) struct Upload {
    /// `None` once it is over.
    id: Option<Id>,
    under_way: Parts,
    /// Those that arrived, by number.
    parts: Vec<Option<PartId>>,
    kept: bool,
}

/// How the server knows it.
#[derive(Clone)]
struct Id {
    inner: Arc<Inner>,
    key: Path,
    id: String,
}

type Parts = JoinSet<object_store::Result<(usize, PartId)>>;

impl Upload {
    pub(super) async fn begin(to: &To) -> Result<Self> {
        let id = to.inner.store.create_multipart(&to.key).await;
        let id = id.map_err(|error| convert(to.at.clone(), &error))?;
        Ok(Self::of(to, id, Vec::new(), false))
    }

    /// Goes on with the parts that make up the kept bytes; others that are there are sent again.
    pub(super) async fn resume(to: &To, kept: &Kept) -> Result<Self> {
        let of_another = || not_kept(to.at.clone(), "what was kept there is not of this object");
        let token = std::str::from_utf8(&kept.token).map_err(|_| of_another())?;
        let id = token.strip_prefix(&token_start(&to.name)).filter(|id| is_id(id)).ok_or_else(of_another)?;
        let (mut bytes, mut parts) = (0, Vec::new());
        for part in parts::list(to, id).await? {
            if bytes < kept.bytes {
                bytes += part.size;
                parts.push(Some(PartId { content_id: part.e_tag }));
            }
        }
        if bytes != kept.bytes {
            return Err(TransportError::Missing { at: to.at.clone() });
        }
        Ok(Self::of(to, id.to_owned(), parts, true))
    }

    fn of(to: &To, id: String, parts: Vec<Option<PartId>>, kept: bool) -> Self {
        let id = Id { inner: to.inner.clone(), key: to.key.clone(), id };
        Self { id: Some(id), under_way: Parts::new(), parts, kept }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(super) async fn send(&mut self, to: &To, part: Vec<u8>) -> Result<()> {
        if self.parts.len() as u64 == PARTS_MAX {
            return Err(too_large(to.at.clone()));
        }
        while self.under_way.len() >= PARTS_AT_A_TIME {
            self.one_arrives(to).await?;
        }
        let (id, number) = (self.id().clone(), self.parts.len());
        self.parts.push(None);
        self.under_way.spawn(async move {
            let payload = PutPayload::from(part);
            Ok((number, id.inner.store.put_part(&id.key, &id.id, number, payload).await?))
        });
        Ok(())
    }

    /// Waits for the parts under way, and lets all of them outlive this program. How they are found again, if that can be
    /// said in the bytes that there are.
    pub(super) async fn keep(&mut self, to: &To) -> Result<Option<Bytes>> {
        self.all_arrive(to).await?;
        let token = format!("{}{}", token_start(&to.name), self.id().id);
        if token.len() > KEPT_TOKEN_BYTES_MAX {
            return Ok(None);
        }
        self.kept = true;
        Ok(Some(token.into()))
    }

    pub(super) async fn complete(&mut self, to: &To) -> Result<()> {
        self.all_arrive(to).await?;
        let id = self.id().clone();
        let parts = self.parts.iter().flatten().cloned().collect();
        let completed = id.inner.store.complete_multipart(&id.key, &id.id, parts).await;
        completed.map_err(|error| convert(to.at.clone(), &error))?;
        self.id = None;
        Ok(())
    }

    pub(super) async fn abort(mut self) -> object_store::Result<()> {
        let Some(id) = self.id.take() else { return Ok(()) };
        abort(id, std::mem::take(&mut self.under_way)).await
    }

    fn id(&self) -> &Id {
        self.id.as_ref().expect("nothing is done after the end")
    }

    async fn all_arrive(&mut self, to: &To) -> Result<()> {
        while !self.under_way.is_empty() {
            self.one_arrives(to).await?;
        }
        Ok(())
    }

    async fn one_arrives(&mut self, to: &To) -> Result<()> {
        match self.under_way.join_next().await {
            None => Ok(()),
            Some(Ok(Ok((number, part)))) => {
                self.parts[number] = Some(part);
                Ok(())
            }
            Some(Ok(Err(error))) => Err(convert(to.at.clone(), &error)),
            Some(Err(stopped)) => Err(TransportError::Other { at: to.at.clone(), source: stopped.into() }),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // A runtime that is shutting down leaves the upload to the bucket's own rule.
        if let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) {
            runtime.spawn(abort(id, std::mem::take(&mut self.under_way)));
        }
    }
}

async fn abort(id: Id, mut parts: Parts) -> object_store::Result<()> {
    // A part that arrives after the abort would stay, also one whose request was cut off: the server may have all of it
    // by then.
    let _ = timeout(PARTS_END_TIME, async { while parts.join_next().await.is_some() {} }).await;
    parts.shutdown().await;
    match id.inner.store.abort_multipart(&id.key, &id.id).await {
        Err(error) if matches!(failure(&error), Some(Failure::Answered { status: 404, .. })) => Ok(()),
        result => result,
    }
}

/// What a token begins with; the rest is the server's name of the upload. Not every server holds that against the key.
fn token_start(name: &ObjectName) -> String {
    let hash = blake3::hash(name.as_str().as_bytes()).to_hex();
    format!("{}-", &hash[..16])
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= KEPT_TOKEN_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Parts of one put that are under way: one more than are needed to keep the way full while one is answered.
const PARTS_AT_A_TIME: usize = 2;
/// How long an upload that is given up waits for the parts under way.
const PARTS_END_TIME: Duration = Duration::from_secs(5);
