//! `tanner store`: names for stores, so that nobody types a pin twice.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use tanner_transports::net::{Identity, Patience, shown_pin};
use tanner_transports::{Timetable, TransportError};

use super::config::{Config, NamedStore};
use super::facts::{Size, parse_cost, parse_label, parse_size};
use super::node::{check_store_name, key_file};
use super::{Context, Outcome};
use crate::error::Error;

#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    what: StoreCommand,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    /// Reach a store, and remember it: from then on store:NAME is its URL
    Add {
        /// The name
        name: String,
        /// A directory, or a URL such as tcp://host:7000#PIN; without the pin, prints the one that the server shows
        url: String,
        #[command(flatten)]
        facts: NamedFacts,
    },
    /// List the stores that have a name
    Ls,
    /// Forget a name; the store itself stays as it is
    Rm {
        /// The name
        name: String,
    },
}

/// What placing blocks goes by, wherever the store is used.
#[derive(Args, Debug)]
struct NamedFacts {
    /// What it shares with stores that are lost together with it, such as host=a or zone=eu; repeat for more
    #[arg(long = "label", value_parser = parse_label, value_name = "LABEL=VALUE")]
    labels: Vec<(String, String)>,

    /// The most bytes that it is to get of one backup
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    capacity: Option<Size>,

    /// The most bytes a second that it is used with: 5MB, or by the time of day "08:00,5MB 19:00,off"
    #[arg(long, value_name = "RATE")]
    limit: Option<Timetable>,

    /// The cost of each GB stored there, in any unit
    #[arg(long, value_parser = parse_cost, value_name = "NUMBER")]
    cost: Option<f64>,

    /// Of stores that cost the same, those with the highest priority come first
    #[arg(long, allow_negative_numbers = true, value_name = "NUMBER")]
    priority: Option<i64>,

    /// The file with the token that its server wants before it deletes anything of a finished backup; read only then.
    /// Without it, the one in TANNER_DELETE_TOKEN_FILE
    #[arg(long, value_name = "FILE")]
    delete_token_file: Option<PathBuf>,
}

pub(super) async fn store(context: &Context, args: StoreArgs) -> Result<Outcome, Error> {
    match args.what {
        StoreCommand::Add { name, url, facts } => add(context, &name, &url, facts).await,
        StoreCommand::Ls => list(context),
        StoreCommand::Rm { name } => remove(context, &name),
    }
}

async fn add(context: &Context, name: &str, url: &str, facts: NamedFacts) -> Result<Outcome, Error> {
    check_store_name(name)?;
    if Config::read()?.store.contains_key(name) {
        return Err(Error::StoreNamed { name: name.to_owned() });
    }
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if matches!(scheme.as_str(), "tcp" | "quic") && !url.contains('#') {
        let identity = Arc::new(Identity::load(&key_file(None))?);
        let pin = shown_pin(url, &identity, Patience::default()).await?.to_string();
        return Err(Error::Unpinned {
            name: name.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
            pin,
        });
    }
    let transport = context.registry.open(url)?;
    match transport.list("").await {
        // A store that nobody has put anything into is a store all the same.
        Ok(_) | Err(TransportError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let url = transport.url().to_owned();
    context.output.say(&format!("store:{name} is {url}"));
    let summary = json!({ "name": name, "url": url });
    let NamedFacts { labels, capacity, limit, cost, priority, delete_token_file } = facts;
    // The list is used from wherever tanner runs.
    let delete_token_file = delete_token_file.map(|path| std::path::absolute(&path).unwrap_or(path));
    let labels = labels.into_iter().collect();
    let facts = NamedStore::new(url);
    Config::add(name, &NamedStore { labels, capacity, limit, cost, priority, delete_token_file, ..facts })?;
    Ok(Outcome { code: 0, summary })
}

fn list(context: &Context) -> Result<Outcome, Error> {
    let stores = Config::read()?;
    for (name, store) in &stores.store {
        let facts = store.words();
        let line = format!("{name:<16} {}  {}", store.url, facts.join(" "));
        context.output.result(line.trim_end());
        context.output.message("event", store.event(name));
    }
    Ok(Outcome { code: 0, summary: json!({ "stores": stores.store.len() }) })
}

fn remove(context: &Context, name: &str) -> Result<Outcome, Error> {
    let removed = Config::read()?.store.remove(name);
    let removed = removed.ok_or_else(|| Error::NoSuchStore { name: name.to_owned() })?;
    Config::remove(name)?;
    context.output.say(&format!("forgot {name}, which was {}", removed.url));
    Ok(Outcome { code: 0, summary: json!({ "name": name, "url": removed.url }) })
}
