//! Runs the conformance suite and prints a table of what came of it:
//! `cargo run --example conformance -p tanner-transports --features conformance -- [[TITLE=]URL…]`.
//!
//! Without a URL, on all transports of this crate: with a block server, a bucket and a program of its own. With URLs, on
//! the stores that they name. Each trial has a place of its own: `{}` in the URL is replaced by what no other trial has;
//! without one it goes to the end, and in a bucket before the `?`. So `disk=/tmp/suite`, `memory:`,
//! `fault:seed=7,delay=1ms+file:///tmp/suite/{}` and `s3://BUCKET?endpoint=https://HOST` (with keys in `AWS_*`) are stores to
//! try, and what the trials leave is below the path that is named. Exits with 1 when a trial fails; why stands on stderr.

#[path = "../tests/common/columns.rs"]
mod columns;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/s3_place.rs"]
mod s3_place;
#[path = "../tests/common/s3_server.rs"]
mod s3_server;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use tanner_transports::conformance::{Place, Verdict, run, trials};
use tanner_transports::{Registry, Transport};

#[tokio::main]
async fn main() -> ExitCode {
    let named: Vec<_> = std::env::args().skip(1).map(|argument| Store::named(&argument)).collect();
    let own = || columns::COLUMNS.map(|title| Store { title: title.into(), url: None }).into();
    let stores = if named.is_empty() { own() } else { named };
    let mut registry = Registry::default();
    // It is always Monday, 0:00: no trial lasts until a timetable switches.
    registry.register_limit(Arc::new(|| 0));
    let titles: Vec<_> = stores.iter().map(|store| store.title.as_str()).collect();
    println!("| trial | {} |", titles.join(" | "));
    println!("| --- |{}", " --- |".repeat(stores.len()));
    let mut failed = 0;
    for trial in trials() {
        let mut row = Vec::new();
        for store in &stores {
            let word = match store.place(&registry).await {
                Ok(place) => word(trial, store, place).await,
                // That is no failure of a trial.
                Err(why) => {
                    eprintln!("{}: {why}", store.title);
                    return ExitCode::from(2);
                }
            };
            failed += usize::from(word == FAIL);
            row.push(word);
        }
        println!("| {trial} | {} |", row.join(" | "));
    }
    eprintln!("{} trials, {} stores, {failed} failed", trials().count(), stores.len());
    ExitCode::from(u8::from(failed > 0))
}

/// A column of the table.
struct Store {
    title: String,
    /// With a `{}`; `None` for a transport of this crate.
    url: Option<String>,
}

impl Store {
    fn named(argument: &str) -> Self {
        let is_title =
            |title: &str| title.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte));
        let titled = argument.split_once('=').filter(|(title, _)| is_title(title));
        let (title, url) = titled.unwrap_or((argument, argument));
        if url.contains(HOLE) {
            return Self { title: title.into(), url: Some(url.into()) };
        }
        let end = url.find('?').filter(|_| url.starts_with("s3:")).unwrap_or(url.len());
        let (path, query) = url.split_at(end);
        let separator = if path.ends_with([':', '/']) { "" } else { "/" };
        Self { title: title.into(), url: Some(format!("{path}{separator}{HOLE}{query}")) }
    }

    /// A place that is empty.
    async fn place(&self, registry: &Registry) -> Result<Box<Place>, String> {
        let Some(url) = &self.url else { return columns::place(&self.title).await };
        let (registry, url) = (registry.clone(), url.replace(HOLE, &nobody_elses()));
        registry.open(&url).map_err(|error| error.to_string())?;
        Ok(Box::new(move || -> Arc<dyn Transport> { registry.open(&url).expect("it was opened before") }))
    }
}

async fn word(trial: &'static str, store: &Store, place: Box<Place>) -> &'static str {
    let url = place().url().to_owned();
    match tokio::spawn(async move { run(trial, &*place).await }).await {
        Ok(Verdict::Passed) => "pass",
        Ok(Verdict::Skipped(_)) => "skip",
        Err(_) => {
            eprintln!("failed: {trial} on {}, in {url}", store.title);
            FAIL
        }
    }
}

fn nobody_elses() -> String {
    format!("{:016x}", RandomState::new().hash_one(0))
}

const HOLE: &str = "{}";
const FAIL: &str = "FAIL";
