//! `tanner undelete`: what clients of a server deleted, as long as its trash has it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tanner_transports::{Disk, Target, TransportError, Trash, Trashed};

use super::output::{count, size, time};
use super::serve::CLIENTS_DIRECTORY;
use super::{Context, Outcome};
use crate::error::Error;

#[derive(Args, Debug)]
pub(super) struct UndeleteArgs {
    /// The root of a server, which may be running. Do this as the user that it runs as
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// What to bring back: all of a backup, by its id, or one object, by its name or by the number in the list, which
    /// tells apart what had one name. Without it, lists what can be brought back
    #[arg(value_name = "ID")]
    what: Option<String>,
}

pub(super) async fn undelete(context: &Context, args: UndeleteArgs) -> Result<Outcome, Error> {
    let mut found = Vec::new();
    for directory in directories(&args.root)? {
        // Nothing is purged here, so no delay matters.
        let trash = Trash::new(Disk::open(&directory)?, Duration::MAX);
        found
            .extend(trash.list().await?.into_iter().map(|object| (trash.clone(), directory.clone(), object)));
    }
    let Some(what) = args.what else {
        found.iter().for_each(|(_, directory, object)| list(context, directory, object));
        return Ok(Outcome { code: 0, summary: json!({ "deleted": found.len() }) });
    };
    let is_meant = |object: &Trashed| {
        object.id == what || object.name.as_str() == what || object.name.prefix() == Some(what.as_str())
    };
    found.retain(|(_, _, object)| is_meant(object));
    if found.is_empty() {
        return Err(Error::NotInTrash { what, root: args.root });
    }
    // Of several with one name that which was deleted last, and a manifest behind what it is of.
    let mut names = BTreeSet::new();
    let mut newest: Vec<_> = found.iter().rev().collect();
    newest.retain(|(_, directory, object)| names.insert((directory, &object.name)));
    newest.sort_by_key(|(_, _, object)| object.name.part() == "manifest");
    let (mut restored, mut failed) = (0, None);
    for (trash, directory, object) in newest {
        match trash.restore(object).await {
            Ok(()) => {
                restored += 1;
                context.output.message("event", fields("undeleted", directory, object));
            }
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    context.output.say(&format!("brought back {}", count(restored, "object")));
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Outcome { code: 0, summary: json!({ "restored": restored }) }),
    }
}

/// The root, and below it the directories of clients.
fn directories(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| TransportError::from_io(Target::store(root.to_string_lossy()), error);
    fs::read_dir(root).map_err(failed)?;
    let mut directories = vec![root.to_owned()];
    // A server without such clients has none.
    if let Ok(clients) = fs::read_dir(root.join(CLIENTS_DIRECTORY)) {
        directories.extend(clients.filter_map(|entry| Some(entry.ok()?.path())));
        directories[1..].sort();
    }
    Ok(directories)
}

fn list(context: &Context, directory: &Path, object: &Trashed) {
    let (bytes, deleted) = (size(object.bytes), time(seconds(object)));
    let line = format!("{deleted}  {}  {bytes:>10}  {}  {}", object.id, object.name, directory.display());
    context.output.result(&line);
    context.output.message("event", fields("deleted", directory, object));
}

fn fields(event: &str, directory: &Path, object: &Trashed) -> serde_json::Value {
    json!({
        "event": event,
        "id": object.id, "name": object.name.as_str(), "bytes": object.bytes,
        "deleted_at": time(seconds(object)), "directory": directory.to_string_lossy(),
    })
}

fn seconds(object: &Trashed) -> u64 {
    object.deleted.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
