//! A store behind a block server. Nothing that the server says is taken on trust: lengths, ranges and names are
//! held against what was asked.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use quinn::{ConnectionError, ReadError, WriteError};
use rustls::AlertDescription;
use tokio::time::timeout;

use super::call::Call;
use super::lane::{broke_off, violation};
use super::lease::{Lease, Patience};
use super::put::RemotePut;
use super::quic::QuicLanes;
use super::tcp::TcpLanes;
use super::tls::{Shown, client_config};
use super::url::Address;
use super::{DeleteToken, Identity, Pin, TokenError, read};
use crate::transport::{check_length, not_kept};
use crate::wire::{Answer, Request, VERSION, WireError};
use crate::{
    ByteStream, Capabilities, Hash, KEPT_TOKEN_BYTES_MAX, Kept, NameStream, Nonce, ObjectMeta, ObjectName,
    Put, Result, Target, Transport, TransportError,
};

/// The objects that a block server keeps for this node. Connects when it is first used; clones share their lanes.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
    token_file: TokenFile,
}

/// Where the delete token for the store of a URL is, if anywhere.
type TokenFile = Arc<dyn Fn(&str) -> Option<PathBuf> + Send + Sync>;

impl Remote {
    /// The store at `tcp://HOST:PORT#PIN` or `quic://HOST:PORT#PIN`, asked for in the name of `identity`.
    ///
    /// # Errors
    /// `BadUrl`.
    pub fn open(url: &str, identity: &Identity, patience: Patience) -> Result<Self> {
        Self::at(&Address::parse(url)?, identity, patience)
    }

    pub(super) fn at(address: &Address, identity: &Identity, patience: Patience) -> Result<Self> {
        let shown = Shown::default();
        let config = client_config(identity, address.pin, shown.clone());
        let lanes = if address.quic {
            Lanes::Quic(QuicLanes::new(address.clone(), config, patience))
        } else {
            Lanes::Tcp(TcpLanes::new(address.clone(), config, patience))
        };
        let (url, own) = (address.to_string().into(), identity.pin());
        let (keeps, wants_token) = (AtomicBool::new(false), AtomicBool::new(false));
        let wanted = address.pin;
        let inner = Inner { url, wanted, own, shown, patience, lanes, keeps, wants_token };
        Ok(Self { inner: Arc::new(inner), token_file: Arc::new(|_| None) })
    }

    /// The same store, with a file that holds a [`DeleteToken`](super::DeleteToken): `file` is asked for it with the URL
    /// of the store, and the file is read, when something is to be deleted and the server wants a token, not before.
    #[must_use]
    pub fn with_token_file(self, file: impl Fn(&str) -> Option<PathBuf> + Send + Sync + 'static) -> Self {
        Self { token_file: Arc::new(file), ..self }
    }

    /// Reaches the server and greets it, to see that it knows this node.
    ///
    /// # Errors
    /// What keeps the store from being used.
    pub async fn greet(&self) -> Result<()> {
        let lease = self.inner.lease(&self.store()).await?;
        lease.give_back();
        Ok(())
    }

    /// The token to delete with, if the server wants one and there is one. The inner error is a file that is not there:
    /// what belongs to no finished backup goes without it.
    async fn delete_token(&self, at: &Target) -> Result<Result<Option<DeleteToken>, TokenError>> {
        let Some(path) = (self.token_file)(&self.inner.url) else { return Ok(Ok(None)) };
        let wanted = || self.inner.wants_token.load(Ordering::Relaxed);
        if !wanted() {
            // Who was not greeted yet may want one.
            self.greet().await?;
        }
        if !wanted() {
            return Ok(Ok(None));
        }
        let loaded = tokio::task::spawn_blocking(move || DeleteToken::load(&path)).await;
        match loaded.map_err(|error| TransportError::Other { at: at.clone(), source: error.into() })? {
            Err(error @ TokenError::NoToken { .. }) => Ok(Err(error)),
            loaded => loaded.map(|token| Ok(Some(token))).map_err(|error| no_token(at.clone(), error)),
        }
    }

    fn store(&self) -> Target {
        Target::store(self.inner.url.clone())
    }

    fn object(&self, name: &ObjectName) -> Target {
        Target::object(self.inner.url.clone(), name)
    }
}

/// The pin of the server at a URL that has none, for somebody who compares it with what the server printed.
///
/// # Errors
/// `BadUrl`, or why no server answered.
pub async fn shown_pin(url: &str, identity: &Identity, patience: Patience) -> Result<Pin> {
    let remote = Remote::at(&Address { pin: None, ..Address::parse_unpinned(url)? }, identity, patience)?;
    let result = remote.greet().await;
    match (remote.inner.shown.pin(), result) {
        (Some(pin), _) => Ok(pin),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(remote.inner.failed(&remote.store(), broke_off())),
    }
}

/// What the calls of one store share.
pub(super) struct Inner {
    url: Arc<str>,
    wanted: Option<Pin>,
    own: Pin,
    shown: Shown,
    pub(super) patience: Patience,
    lanes: Lanes,
    /// Whether the server that was greeted last keeps puts.
    keeps: AtomicBool,
    /// Whether it wants a token to delete.
    wants_token: AtomicBool,
}

enum Lanes {
    Tcp(TcpLanes),
    Quic(QuicLanes),
}

impl Inner {
    /// A lane whose server was greeted.
    pub(super) async fn lease(&self, at: &Target) -> Result<Lease> {
        let lease = match &self.lanes {
            Lanes::Quic(lanes) => {
                let greet = |mut lease| async move { self.hello(&mut lease).await }.boxed();
                lanes.lease(greet).await
            }
            Lanes::Tcp(lanes) => match lanes.lease().await {
                Ok((mut lease, true)) => {
                    let greeted = timeout(self.patience.connect, self.hello(&mut lease)).await;
                    greeted.unwrap_or_else(|late| Err(late.into())).map(|()| lease)
                }
                lease => lease.map(|(lease, _)| lease),
            },
        };
        lease.map_err(|error| match self.distrust(&error) {
            Some(words) => {
                let source = io::Error::new(io::ErrorKind::PermissionDenied, words);
                TransportError::Refused { at: Target::store(self.url.clone()), source }
            }
            None => self.failed(at, error),
        })
    }

    /// The first request of a connection.
    async fn hello(&self, lease: &mut Lease) -> io::Result<()> {
        let lane = &mut lease.lane;
        lane.writer.send(|out| Request::Hello { version: VERSION }.encode(out)).await?;
        let (kind, payload) = lane.reader.frame().await?.ok_or_else(broke_off)?;
        match Answer::decode(kind, payload).map_err(violation)? {
            Answer::Welcome(welcome) if welcome.version == VERSION && welcome.complete && welcome.durable => {
                self.keeps.store(welcome.keep, Ordering::Relaxed);
                self.wants_token.store(welcome.delete_token, Ordering::Relaxed);
                Ok(())
            }
            Answer::Welcome(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the server cannot do all that is needed"))
            }
            Answer::Error(refusal) => {
                Err(io::Error::other(refusal.into_error(&Target::store(self.url.clone()))))
            }
            answer => Err(violation(WireError::OutOfPlace { kind: answer.kind(), wanted: "WELCOME" })),
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Relaxed)
    }

    /// Why one side does not want to talk to the other, if that is what an error means.
    fn distrust(&self, error: &io::Error) -> Option<String> {
        match (self.shown.pin(), self.wanted) {
            (Some(shown), Some(wanted)) if shown != wanted => {
                return Some(format!(
                    "the server's key has pin {shown} and {wanted} was expected: it is another server, or its key was replaced"
                ));
            }
            _ => {}
        }
        let own = self.own;
        is_denied(error).then(|| format!("the server does not know this node: it has to allow the pin {own}"))
    }

    /// An error of a lane, as an error of the store.
    pub(super) fn failed(&self, at: &Target, error: io::Error) -> TransportError {
        let store = || Target::store(self.url.clone());
        // A greeting may end in an error that is one already.
        let error = match error.downcast::<TransportError>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotConnected if fell_silent(&error) => {
                TransportError::Slow { at: at.clone(), source: error }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected => {
                TransportError::Unreachable { at: store(), source: error }
            }
            io::ErrorKind::InvalidData => TransportError::Corrupt { at: store(), source: error },
            _ => TransportError::from_io(at.clone(), error),
        }
    }
}

/// Whether a peer closed the connection because of who we are.
fn is_denied(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    if let Some(rustls::Error::AlertReceived(alert)) = inner.downcast_ref() {
        return matches!(alert, AlertDescription::AccessDenied | AlertDescription::CertificateRequired);
    }
    let denied = quinn::TransportErrorCode::crypto(AlertDescription::AccessDenied.into());
    matches!(inner.downcast_ref(), Some(ConnectionError::ConnectionClosed(close)) if close.error_code == denied)
}

/// Whether a QUIC connection ended because nothing came any more.
fn fell_silent(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    let lost = match (inner.downcast_ref(), inner.downcast_ref()) {
        (Some(ReadError::ConnectionLost(lost)), _) | (_, Some(WriteError::ConnectionLost(lost))) => {
            Some(lost)
        }
        _ => inner.downcast_ref(),
    };
    matches!(lost, Some(ConnectionError::TimedOut))
}

#[async_trait]
impl Transport for Remote {
    fn url(&self) -> &str {
        &self.inner.url
    }

    /// What the protocol asks of every server.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            exclusive_create: true,
            ranges: true,
            list: true,
            keep: true,
            prove: true,
            range_gap_bytes: RANGE_GAP_BYTES,
            object_bytes_max: None,
        }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let request = Request::Put { name: name.clone(), length };
        let call = Call::begin_ok(&self.inner, self.object(name), &request).await?;
        Ok(Box::new(RemotePut::new(call, length, 0)))
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let at = self.object(name);
        check_length(&at, length, kept.bytes, false)?;
        if kept.token.len() > KEPT_TOKEN_BYTES_MAX {
            return Err(not_kept(at, "no server gave out a token so long"));
        }
        // Who was not greeted yet may keep, or be too old for it.
        if !self.inner.keeps() {
            self.greet().await?;
        }
        if !self.inner.keeps() {
            return Err(not_kept(at, "the server keeps no part of an object"));
        }
        let request = Request::Resume { name: name.clone(), length, kept: kept.clone() };
        let call = Call::begin_ok(&self.inner, at, &request).await?;
        Ok(Box::new(RemotePut::new(call, length, kept.bytes)))
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        read::range(self.inner.clone(), self.object(name), name.clone(), range).await
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        read::ranges(&self.inner, self.object(name), name, ranges).await
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        let request = Request::Prove { name: name.clone(), range, nonce: *nonce };
        match Call::begin(&self.inner, self.object(name), &request).await? {
            (mut call, Answer::Proof(hash)) => {
                call.end();
                Ok(hash)
            }
            (call, answer) => Err(call.out_of_place(&answer, "PROOF")),
        }
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        let request = Request::Stat { name: name.clone() };
        match Call::begin(&self.inner, self.object(name), &request).await? {
            (mut call, Answer::Meta(length)) => {
                call.end();
                Ok(ObjectMeta { length })
            }
            (call, answer) => Err(call.out_of_place(&answer, "META")),
        }
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        ObjectName::check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        let request = Request::List { prefix: prefix.clone() };
        let (call, first) = Call::begin(&self.inner, self.store(), &request).await?;
        let batches = stream::try_unfold((call, Some(first), 0), move |(mut call, first, listed)| {
            let prefix = prefix.clone();
            async move {
                let answer = match first {
                    Some(answer) => answer,
                    None => call.answer().await?,
                };
                match answer {
                    Answer::End => {
                        call.end();
                        Ok(None)
                    }
                    Answer::Names(names) => {
                        let listed = listed + names.len();
                        check_names(&call, &names, &prefix, listed)?;
                        Ok(Some((stream::iter(names.into_iter().map(Ok)), (call, None, listed))))
                    }
                    answer => Err(call.out_of_place(&answer, "NAMES or END")),
                }
            }
        });
        Ok(batches.try_flatten().boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let (at, name) = (self.object(name), name.clone());
        let (token, missing) = match self.delete_token(&at).await? {
            Ok(token) => (token, None),
            Err(missing) => (None, Some(missing)),
        };
        let request = Request::Delete { name, token };
        match (Call::begin_ok(&self.inner, at, &request).await, missing) {
            (Err(TransportError::Refused { at, .. }), Some(missing)) => Err(no_token(at, missing)),
            (call, _) => call.map(|mut call| call.end()),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.inner.url)
    }
}

fn no_token(at: Target, error: TokenError) -> TransportError {
    TransportError::Refused { at, source: io::Error::new(io::ErrorKind::PermissionDenied, error) }
}

fn check_names(call: &Call, names: &[ObjectName], prefix: &str, listed: usize) -> Result<()> {
    if listed > NAMES_MAX {
        return Err(call.broken("more names than a store may have"));
    }
    if !prefix.is_empty() && names.iter().any(|name| name.prefix() != Some(prefix)) {
        return Err(call.broken("a name that was not asked for"));
    }
    Ok(())
}

/// A range costs its 16 bytes in the request and a seek on the server; what is read for nothing costs the net.
const RANGE_GAP_BYTES: u64 = 4 * 1024;
/// Names of one list: an endless one must not fill the memory of whoever collects it, at about 100 bytes each.
const NAMES_MAX: usize = 1 << 20;
