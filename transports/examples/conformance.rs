//! Runs the conformance suite on stores that URLs name, and prints a table of what came of it:
//! `cargo run --example conformance -p tanner-transports --features conformance -- [TITLE=]URL…`.
//!
//! Each trial has a place of its own: `{}` in the URL is replaced by what no other trial has; without one it goes to the
//! end. So `disk=/tmp/suite`, `memory:` and `fault:seed=7,delay=1ms+file:///tmp/suite/{}` are stores to try, and what
//! the trials leave is below the path that is named. Exits with 1 when a trial fails; why stands on stderr.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use tanner_transports::conformance::{Verdict, run, trials};
use tanner_transports::{Registry, Result, Transport};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let stores: Vec<_> = std::env::args().skip(1).map(|argument| titled(&argument)).collect();
    if stores.is_empty() {
        eprintln!("usage: conformance [TITLE=]URL...");
        return Ok(ExitCode::from(2));
    }
    let mut registry = Registry::default();
    // It is always Monday, 0:00: no trial lasts until a timetable switches.
    registry.register_limit(Arc::new(|| 0));
    let titles: Vec<_> = stores.iter().map(|(title, _)| title.as_str()).collect();
    println!("| trial | {} |", titles.join(" | "));
    println!("| --- |{}", " --- |".repeat(stores.len()));
    let mut failed = 0;
    for trial in trials() {
        let mut row = Vec::new();
        for (title, template) in &stores {
            let word = word(&registry, trial, title, template).await?;
            failed += usize::from(word == FAIL);
            row.push(word);
        }
        println!("| {trial} | {} |", row.join(" | "));
    }
    eprintln!("{} trials, {} stores, {failed} failed", trials().count(), stores.len());
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// A title, and a URL with a `{}`.
fn titled(argument: &str) -> (String, String) {
    let is_title =
        |title: &str| title.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte));
    let titled = argument.split_once('=').filter(|(title, _)| is_title(title));
    let (title, url) = titled.unwrap_or((argument, argument));
    let separator = if url.ends_with([':', '/']) { "" } else { "/" };
    let template = if url.contains(HOLE) { url.to_owned() } else { format!("{url}{separator}{HOLE}") };
    (title.to_owned(), template)
}

async fn word(registry: &Registry, trial: &'static str, title: &str, template: &str) -> Result<&'static str> {
    let url = template.replace(HOLE, &format!("{:016x}", RandomState::new().hash_one(trial)));
    // A URL that does not open is no failure of a trial.
    registry.open(&url)?;
    let (registry, opened) = (registry.clone(), url.clone());
    let place = move || -> Arc<dyn Transport> { registry.open(&opened).expect("it was opened before") };
    match tokio::spawn(async move { run(trial, &place).await }).await {
        Ok(Verdict::Passed) => Ok("pass"),
        Ok(Verdict::Skipped(_)) => Ok("skip"),
        Err(_) => {
            eprintln!("failed: {trial} on {title}, in {url}");
            Ok(FAIL)
        }
    }
}

const HOLE: &str = "{}";
const FAIL: &str = "FAIL";
