//! `tanner serve`: keeps blocks for others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use sd_notify::NotifyState;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tanner_transports::net::{Identity, Pin, TokenHash};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{Disk, Trash};

use super::node::{check_store_name, config_error, key_file, parse};
use super::{Context, Outcome, watchdog};
use crate::error::Error;
use crate::resources::Stop;
use crate::status::http::Http;
use crate::status::{Board, Root};
use crate::store::Store;

#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Where to listen: tcp://ADDRESS:PORT or quic://ADDRESS:PORT; repeat for more
    #[arg(long, required = true, value_name = "URL")]
    listen: Vec<String>,

    /// The directory to keep the blocks in
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// Bytes of blocks in the root, each rounded up to 4 KiB, and in the directory of each client that has no quota of its own
    #[arg(long, value_name = "SIZE")]
    quota: Option<ByteSize>,

    /// Keep what is deleted for this long, such as 7d, where `tanner undelete` brings it back from; it counts until then, and
    /// time in which the server does not run is added. Also for each client that has no delete_delay of its own
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    delete_delay: Option<Duration>,

    /// Let the node with this pin in; these nodes share the root. Repeat for more
    #[arg(long, required_unless_present = "clients", value_name = "PIN")]
    allow: Vec<Pin>,

    /// A file that says who else may come in: [client.NAME] with pin, and optionally directory, quota, delete_delay,
    /// append_only = true (it may delete nothing of a finished backup), and delete_token = "HASH" or a list of them, as
    /// `tanner key token` prints it (nor may it, unless it gives such a token)
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,

    /// The file with this node's key; the default is that of `tanner key node`
    #[arg(long, value_name = "FILE")]
    node_key: Option<PathBuf>,

    /// Show a page of what is kept at / and measures for Prometheus at /metrics, and say at /healthz whether all is well; a
    /// port alone is one of 127.0.0.1. Whoever reaches it can read ids and sizes of backups, and nothing more of them
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    http: Option<String>,
}

pub(super) async fn serve(context: &Context, args: ServeArgs) -> Result<Outcome, Error> {
    let identity = Arc::new(Identity::load(&key_file(args.node_key.as_deref()))?);
    let limits = Limits::default();
    let (clients, roots) = clients(&args, &limits)?;
    let listening = Server::bind(&args.listen, identity, clients, limits).await;
    let server = listening.map_err(|source| Error::NetListen { address: args.listen.join(", "), source })?;
    let (urls, pin) = (server.urls(), server.pin().to_string());
    let (http, address) = http(args.http.as_deref()).await?.unzip();
    urls.iter().chain(&address).for_each(|url| context.output.result(url));
    let event = json!({ "event": "listening", "pin": pin, "urls": urls, "http": address });
    context.output.message("event", event);
    // What is shown ends with the program, and holds nothing up.
    let board = Board::new(roots, server.traffic());
    let _shown = http.map(|http| tokio::spawn(http.run(board)));
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    watchdog::start();
    server.run(until_requested(&context.stop)).await;
    Ok(Outcome { code: 0, summary: json!({ "pin": pin }) })
}

async fn until_requested(stop: &Stop) {
    while !stop.is_requested() {
        tokio::time::sleep(STOP_PAUSE).await;
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// Where to show what is kept, and that as a URL.
async fn http(place: Option<&str>) -> Result<Option<(Http, String)>, Error> {
    let Some(place) = place else { return Ok(None) };
    let failed = |source| Error::NetListen { address: format!("http://{place}"), source };
    let http = Http::bind(place).await.map_err(failed)?;
    let url = format!("http://{}/", http.address().map_err(failed)?);
    Ok(Some((http, url)))
}

fn clients(args: &ServeArgs, limits: &Limits) -> Result<(Clients, Vec<Root>), Error> {
    let mut clients = Clients::default();
    let quota = args.quota.map(|quota| quota.0);
    let (root, shown) = area("root", &args.root, Keeping { quota, delay: args.delete_delay })?;
    let mut roots = vec![shown];
    for pin in &args.allow {
        clients.allow(*pin, Client::new(root.clone(), limits));
    }
    let Some(file) = &args.clients else { return Ok((clients, roots)) };
    let mut pins = BTreeSet::new();
    let mut areas: HashMap<String, (Keeping, Arc<Area>)> = HashMap::new();
    for (name, client) in read_clients(file)?.client {
        let directory = client.directory.unwrap_or(name);
        check_store_name(&directory)?;
        let keeping = Keeping {
            quota: client.quota.map(|quota| quota.0).or(quota),
            delay: client.delete_delay.map(|delay| delay.0).or(args.delete_delay),
        };
        let (agreed, area) = match areas.get(&directory) {
            Some(area) => area.clone(),
            None => {
                // No object has a name with a dot in front: what the root's clients put cannot get in here.
                let path = args.root.join(CLIENTS_DIRECTORY).join(&directory);
                let (area, shown) = area(&format!("clients/{directory}"), &path, keeping)?;
                roots.push(shown);
                areas.entry(directory.clone()).or_insert((keeping, area)).clone()
            }
        };
        if agreed != keeping {
            let what =
                format!("clients that share the directory {directory:?} have different quotas or delays");
            return Err(config_error(file, std::io::Error::other(what)));
        }
        if args.allow.contains(&client.pin.0) || !pins.insert(client.pin.0) {
            let what = format!("the pin {} stands for two clients", client.pin.0);
            return Err(config_error(file, std::io::Error::other(what)));
        }
        let known = Client::new(area, limits).delete_tokens(client.delete_token.0);
        clients.allow(client.pin.0, if client.append_only { known.append_only() } else { known });
    }
    Ok((clients, roots))
}

/// A directory for clients, and how it is shown. It is made now, so that to whoever has put nothing yet it is empty and
/// not missing.
fn area(name: &str, directory: &Path, keeping: Keeping) -> Result<(Arc<Area>, Root), Error> {
    let failed = |source| Error::Output { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let disk = Disk::open(directory)?;
    let area = Area::new(Arc::new(disk.clone()), keeping.quota);
    let delay = keeping.delay.filter(|delay| !delay.is_zero());
    let store = Store::new(Arc::new(disk.clone()));
    let (name, path) = (name.to_owned(), directory.to_owned());
    let root = Root { name, path, store, quota_bytes: keeping.quota };
    let area = match delay {
        Some(delay) => area.with_trash(Trash::new(disk, delay)),
        None => area,
    };
    Ok((Arc::new(area), root))
}

/// How much a directory holds, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Keeping {
    quota: Option<u64>,
    delay: Option<Duration>,
}

fn read_clients(file: &Path) -> Result<ClientsFile, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| config_error(file, error))?;
    parse(file, &text)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsFile {
    #[serde(default)]
    client: BTreeMap<String, ClientEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientEntry {
    pin: PinText,
    directory: Option<String>,
    quota: Option<Size>,
    #[serde(default)]
    append_only: bool,
    #[serde(default)]
    delete_token: Tokens,
    delete_delay: Option<Delay>,
}

/// The hash of a token, or a list of them.
#[derive(Debug, Default)]
struct Tokens(Vec<TokenHash>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Tokens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the hash of a delete token, or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Tokens, E> {
                Ok(Tokens(vec![text.parse().map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = list.next_element::<String>()? {
                    tokens.push(token.parse().map_err(A::Error::custom)?);
                }
                // No token is not any token, and would allow everything.
                if tokens.is_empty() {
                    Err(A::Error::custom("an empty list of tokens"))
                } else {
                    Ok(Tokens(tokens))
                }
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Delay(Duration);

impl TryFrom<String> for Delay {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct PinText(Pin);

impl TryFrom<String> for PinText {
    type Error = tanner_transports::net::IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<ByteSize>().map(|size| Self(size.0))
    }
}

/// Where clients have directories of their own, below the root.
pub(super) const CLIENTS_DIRECTORY: &str = ".clients";
/// How soon a signal is noticed.
const STOP_PAUSE: Duration = Duration::from_millis(50);
