//! The client, and a guard between it and the network: whatever a server does, a call ends in bounded time and
//! memory, and what went wrong is typed.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::header::RANGE;
use hyper::{Method, StatusCode};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};
use reqwest::redirect::Policy;
use tokio::time::{Instant, timeout};

use super::credentials::Credentials;
use super::url::Address;
use crate::{Result, Target, TransportError};

/// The keys that sign requests.
#[derive(Clone)]
pub enum S3Keys {
    /// What the variables `AWS_*` of the process say: a key, a file of keys, a token, a role.
    Environment,
    /// One key.
    Key {
        /// The name of the key, which is no secret.
        id: String,
        /// The key.
        secret: String,
    },
    /// One key that ends with a session.
    Session {
        /// The name of the key, which is no secret.
        id: String,
        /// The key.
        secret: String,
        /// What says of which session it is.
        token: String,
    },
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Key { id, .. } => write!(f, "Key({id})"),
            Self::Session { id, .. } => write!(f, "Session({id})"),
        }
    }
}

/// How long a store behind HTTP is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the start of an answer, for the whole of one that is not an object, and for the next 64 KiB of an
    /// object. An upload is given a second more for each 64 KiB, and joining its parts three times as long.
    pub answer: Duration,
    /// How often a request is made, at most, when it fails in a way that may pass.
    pub tries: usize,
    /// Before the second try; each further pause is up to twice as long.
    pub pause: Duration,
    /// After which no further try begins.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_millis(100),
            total: Duration::from_secs(120),
        }
    }
}

/// Makes a client; nothing is sent yet.
pub(super) fn connect(
    address: &Address,
    keys: &S3Keys,
    patience: Patience,
) -> Result<(AmazonS3, HttpClient)> {
    let retry = RetryConfig {
        max_retries: patience.tries.saturating_sub(1),
        retry_timeout: patience.total,
        backoff: BackoffConfig { init_backoff: patience.pause, ..BackoffConfig::default() },
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_virtual_hosted_style_request(!address.path_style)
        .with_allow_http(address.is_http())
        .with_retry(retry)
        // The one request for deleting that every server knows.
        .with_disable_bulk_delete(true)
        .with_http_connector(Connector { patience });
    match keys {
        S3Keys::Environment => builder = from_environment(builder, address)?,
        S3Keys::Key { id, secret } => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        S3Keys::Session { id, secret, token } => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret).with_token(token);
        }
    }
    if let Some(region) = &address.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &address.endpoint {
        // A bucket before the host is the caller's to put there.
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if !address.path_style => format!("{scheme}://{}.{host}", address.bucket),
            _ => endpoint.clone(),
        };
        builder = builder.with_endpoint(endpoint);
    }
    let options = ClientOptions::new().with_allow_http(address.is_http());
    let http = Connector { patience }.connect(&options);
    let failed = |error| super::error::convert(Target::store(address.url()), &error);
    Ok((builder.build().map_err(failed)?, http.map_err(failed)?))
}

/// Takes keys and region from the environment, or the file that it names, and nothing that would change what is sent where.
fn from_environment(mut builder: AmazonS3Builder, address: &Address) -> Result<AmazonS3Builder> {
    use AmazonS3ConfigKey as Key;
    let set: HashMap<Key, String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("AWS_"))
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
        .collect();
    let ways = [
        Key::AccessKeyId,
        Key::WebIdentityTokenFile,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
        Key::MetadataEndpoint,
        Key::SkipSignature,
    ];
    let refused = |source| TransportError::Refused { at: Target::store(address.url()), source };
    // Without any the client would ask a machine on the network that is there at AWS only.
    let has_way = ways.iter().any(|way| set.contains_key(way));
    match variable("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) if !set.contains_key(&Key::AccessKeyId) => {
            let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".into());
            let keys = Credentials::read(path.as_ref(), &profile);
            let keys = keys.map_err(|error| refused(std::io::Error::other(error)))?;
            builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret.as_str());
            if let Some(token) = &keys.token {
                builder = builder.with_token(token.as_str());
            }
        }
        _ if has_way => {}
        _ => return Err(refused(std::io::Error::other(NO_KEYS))),
    }
    let rest = [
        Key::SecretAccessKey,
        Key::Token,
        Key::Region,
        Key::DefaultRegion,
        Key::RoleArn,
        Key::RoleSessionName,
        Key::StsEndpoint,
        Key::ContainerAuthorizationTokenFile,
    ];
    for key in ways.into_iter().chain(rest) {
        if let Some(value) = set.get(&key) {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the guard saw go wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An answer other than success.
    #[error("the server answered {status} {code}")]
    Answered {
        status: u16,
        /// The word in which S3 says why; empty if there is none.
        code: String,
    },
    #[error("no answer, or too few bytes of one, in the time given")]
    Late,
    #[error("an answer had more than {ANSWER_BYTES_MAX} bytes")]
    Endless,
    #[error("the answer is not one of S3: is this its endpoint?")]
    Foreign,
}

impl Failure {
    /// Every request that is made here may be repeated, so what may pass is said to be of the kind that always is.
    fn into_http(self) -> HttpError {
        let may_pass = match &self {
            Self::Answered { status: 501 | 507, .. } | Self::Endless | Self::Foreign => false,
            Self::Answered { status, code } => {
                matches!(status, 408 | 429 | 500..) || matches!(&**code, "SlowDown" | "InternalError")
            }
            Self::Late => true,
        };
        HttpError::new(if may_pass { HttpErrorKind::Request } else { HttpErrorKind::Unknown }, self)
    }
}

#[derive(Debug)]
struct Connector {
    patience: Patience,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let mut client = reqwest::Client::builder();
        if http {
            // What is said in plain text on this machine must not go to a proxy elsewhere.
            client = client.no_proxy();
        }
        let client = client
            .user_agent(concat!("tanner/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.patience.connect)
            .https_only(!http)
            .http1_only()
            // A server does not choose whom else we talk to, and a signature is for one host anyway.
            .redirect(Policy::none())
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(Guard { client: HttpClient::new(client), patience: self.patience }))
    }
}

#[derive(Debug)]
struct Guard {
    client: HttpClient,
    patience: Patience,
}

#[async_trait]
impl HttpService for Guard {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked_for_part = request.headers().contains_key(RANGE);
        // Joining parts takes the longer the more there are.
        let is_post = request.method() == Method::POST;
        let patience = if is_post { self.patience.answer * POST_FACTOR } else { self.patience.answer };
        let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        let upload = Duration::from_secs((request.body().content_length() / PROGRESS_BYTES) as u64);
        let answer = timeout(patience + upload, self.client.execute(request)).await;
        let (parts, body) = answer.map_err(|_| Failure::Late.into_http())??.into_parts();
        let is_object = asked_for_part && parts.status == StatusCode::PARTIAL_CONTENT;
        let body = guarded(body, patience, (!is_object).then_some(ANSWER_BYTES_MAX));
        if parts.status.is_success() && !is_post && !is_list {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        // A failure, or one of the answers in which S3 says 200 and then that it failed, or a page of a listing, which
        // must not be empty because it is the page of somebody else who answers everything.
        let bytes = body.collect().await?.to_bytes();
        if parts.status.is_success() && is_list && !holds(&bytes, b"<ListBucketResult") {
            return Err(Failure::Foreign.into_http());
        }
        if parts.status.is_success() && !holds(&bytes, b"<Error>") {
            let body =
                HttpResponseBody::new(http_body_util::Full::new(bytes).map_err(|never| match never {}));
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let status = if parts.status.is_success() { 500 } else { parts.status.as_u16() };
        Err(Failure::Answered { status, code: code(&bytes) }.into_http())
    }
}

/// A body that keeps coming: all of it in one `patience` if it has a limit, else each `PROGRESS_BYTES`. Only
/// time spent waiting counts.
fn guarded(body: HttpResponseBody, patience: Duration, bytes_max: Option<usize>) -> HttpResponseBody {
    let frames = stream::try_unfold((body, patience, 0), move |(mut body, left, mut got)| async move {
        let began = Instant::now();
        let next = timeout(left, body.frame()).await.map_err(|_| Failure::Late.into_http())?;
        let Some(frame) = next.transpose()? else { return Ok::<_, HttpError>(None) };
        let mut left = left.saturating_sub(began.elapsed());
        got += frame.data_ref().map_or(0, Bytes::len);
        if bytes_max.is_some_and(|max| got > max) {
            return Err(Failure::Endless.into_http());
        }
        if bytes_max.is_none() && got >= PROGRESS_BYTES {
            (left, got) = (patience, 0);
        }
        Ok(Some((frame, (body, left, got))))
    });
    HttpResponseBody::new(StreamBody::new(frames))
}

/// The error code in an answer: a word, or nothing.
fn code(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(CODE_WITHIN_BYTES)]);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map_or("", |(code, _)| code);
    let is_word = code.len() <= CODE_BYTES_MAX && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { code.to_owned() } else { String::new() }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

const NO_KEYS: &str =
    "name a file of keys in AWS_SHARED_CREDENTIALS_FILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
/// Bytes of the largest answer that is not an object, and so its memory. A page of a listing holds 1000 keys of at
/// most 1024 bytes, each with a few hundred bytes around it.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much longer than for other answers a request is waited for that joins the parts of an object.
const POST_FACTOR: u32 = 3;
/// Bytes that have to move each second up, and in each [`Patience::answer`] down.
const PROGRESS_BYTES: usize = 64 * 1024;
/// Bytes of an answer in which its code is looked for.
const CODE_WITHIN_BYTES: usize = 4096;
/// Bytes of the longest code; the longest that S3 knows has about 50.
const CODE_BYTES_MAX: usize = 64;
