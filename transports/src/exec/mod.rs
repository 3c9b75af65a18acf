//! A store that somebody else wrote, in any language.

mod lane;
mod pool;
mod put;
mod url;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use self::lane::{Answer, broken};
use self::pool::{Hired, Pool};
use self::put::ExecPut;
use self::url::Command;
use crate::transport::{check_range, whole};
use crate::{
    ByteStream, Capabilities, Hash, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Target,
    Transport, TransportError,
};

#[doc = include_str!("protocol.md")]
#[derive(Clone, Debug)]
pub struct Exec {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: Arc<str>,
    command: Command,
    pool: Pool,
}

impl Exec {
    /// The store of an `exec:PROGRAM?arg=TEXT` URL. Starts nothing yet.
    ///
    /// # Errors
    /// `BadUrl`.
    pub fn from_url(url: &str) -> Result<Self> {
        Self::open(url, DEADLINE)
    }

    /// As [`from_url`](Self::from_url); `deadline` is for each line and each piece of bytes.
    ///
    /// # Errors
    /// `BadUrl`.
    pub fn open(url: &str, deadline: Duration) -> Result<Self> {
        let command = Command::parse(url)?;
        let (url, pool) = (command.url().into(), Pool::new(command.clone(), deadline));
        Ok(Self { inner: Arc::new(Inner { url, command, pool }) })
    }
}

#[async_trait]
impl Transport for Exec {
    fn url(&self) -> &str {
        &self.inner.url
    }

    fn capabilities(&self) -> Capabilities {
        let command = &self.inner.command;
        Capabilities {
            durable: command.expects("durable"),
            exclusive_create: command.expects("exclusive-create"),
            ranges: command.expects("ranges"),
            list: command.expects("list"),
            keep: false,
            prove: false,
            range_gap_bytes: RANGE_GAP_BYTES,
            object_bytes_max: None,
        }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        Ok(Box::new(ExecPut::begin(self.inner.clone(), name, length).await?))
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let (inner, at) = (self.inner.clone(), self.inner.at(name));
        if range.is_empty() || !inner.command.expects("ranges") {
            let length = inner.length(name).await?;
            check_range(&at, &range, length)?;
            if range.is_empty() {
                return Ok(stream::empty().boxed());
            }
            if range != (0..length) {
                return Err(refused(at, "the program reads whole objects only"));
            }
        }
        let line = format!("GET {name} {} {}\n", range.start, range.end);
        let (hired, first) = inner.ask(&at, Some(&range), &line).await?;
        let wanted = range.end - range.start;
        let pieces = stream::try_unfold((hired, Some(first), 0), move |(mut hired, first, got)| {
            let (inner, at) = (inner.clone(), at.clone());
            async move {
                let answer = match first {
                    Some(answer) => Ok(answer),
                    None => hired.lane.answer(&at).await,
                };
                match answer {
                    Ok(Answer::Data(bytes)) if bytes.len() as u64 <= wanted - got => {
                        let got = got + bytes.len() as u64;
                        Ok(Some((bytes, (hired, None, got))))
                    }
                    Ok(Answer::End) => {
                        inner.pool.give_back(hired);
                        if got == wanted {
                            Ok(None)
                        } else {
                            Err(TransportError::Truncated { at, wanted, got })
                        }
                    }
                    Ok(_) => Err(out_of_turn(&at)),
                    Err(failure) => Err(inner.pool.failed(hired, &at, None, failure)),
                }
            }
        });
        Ok(pieces.boxed())
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return self.inner.length(name).await.map(|_| Vec::new());
        }
        let one = async |range: Range<u64>| whole(self.get(name, range).await?).await;
        stream::iter(ranges.to_vec()).map(one).buffered(RANGES_AT_A_TIME).try_collect().await
    }

    async fn prove(&self, name: &ObjectName, _: Range<u64>, _: &Nonce) -> Result<Hash> {
        Err(refused(self.inner.at(name), "the protocol has no proofs"))
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        Ok(ObjectMeta { length: self.inner.length(name).await? })
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        ObjectName::check_prefix(prefix)?;
        let (inner, at) = (self.inner.clone(), Target::store(self.inner.url.clone()));
        if !inner.command.expects("list") {
            return Err(refused(at, "the program lists nothing"));
        }
        let wanted = if prefix.is_empty() { "-" } else { prefix };
        let (hired, first) = inner.ask(&at, None, &format!("LIST {wanted}\n")).await?;
        let prefix = prefix.to_owned();
        let names = stream::try_unfold((hired, Some(first), 0), move |(mut hired, first, count)| {
            let (inner, at, prefix) = (inner.clone(), at.clone(), prefix.clone());
            async move {
                let answer = match first {
                    Some(answer) => Ok(answer),
                    None => hired.lane.answer(&at).await,
                };
                match answer {
                    Ok(Answer::Name(_)) if count == NAMES_MAX => Err(broken(&at, "its list does not end")),
                    Ok(Answer::Name(name)) if prefix.is_empty() || name.prefix() == Some(&prefix) => {
                        Ok(Some((name, (hired, None, count + 1))))
                    }
                    Ok(Answer::End) => {
                        inner.pool.give_back(hired);
                        Ok(None)
                    }
                    Ok(_) => Err(out_of_turn(&at)),
                    Err(failure) => Err(inner.pool.failed(hired, &at, None, failure)),
                }
            }
        });
        Ok(names.boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        let at = self.inner.at(name);
        match self.inner.ask(&at, None, &format!("DELETE {name}\n")).await {
            Ok((hired, Answer::Ok)) => {
                self.inner.pool.give_back(hired);
                Ok(())
            }
            Ok(_) => Err(out_of_turn(&at)),
            Err(TransportError::Missing { at }) if at.name.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.url.clone(), name)
    }

    /// Sends a line and reads the first answer.
    async fn ask(&self, at: &Target, range: Option<&Range<u64>>, line: &str) -> Result<(Hired, Answer)> {
        let mut hired = self.pool.hire(at).await?;
        let answer = match hired.lane.send(at, line).await {
            Ok(()) => hired.lane.answer(at).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(answer) => Ok((hired, answer)),
            Err(failure) => Err(self.pool.failed(hired, at, range, failure)),
        }
    }

    /// Bytes of an object.
    async fn length(&self, name: &ObjectName) -> Result<u64> {
        let at = self.at(name);
        match self.ask(&at, None, &format!("STAT {name}\n")).await? {
            (hired, Answer::Length(length)) => {
                self.pool.give_back(hired);
                Ok(length)
            }
            _ => Err(out_of_turn(&at)),
        }
    }
}

/// What a process says that is no answer to what it was asked. It is killed.
fn out_of_turn(at: &Target) -> TransportError {
    broken(at, "its answer is not one to what it was asked")
}

fn refused(at: Target, why: &'static str) -> TransportError {
    TransportError::Refused { at, source: io::Error::other(why) }
}

/// How long a program may be silent: longer than a disk takes to make a block durable.
const DEADLINE: Duration = Duration::from_secs(120);
/// A request and its answer through two pipes take as long as reading some hundred KiB.
const RANGE_GAP_BYTES: u64 = 256 * 1024;
/// Requests of one `get_ranges` that are under way, each with a process.
const RANGES_AT_A_TIME: usize = 4;
/// Names of the longest list: those of ten million blocks.
const NAMES_MAX: u64 = 10_000_000;
