//! The command `ls`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::args::LsArgs;
use super::commands::ENCRYPTED;
use super::keyring::{Keyring, unless_closed};
use super::output::{Output, size, time};
use super::{Context, Outcome};
use crate::error::Error;
use crate::fetch::{chain, list_backups, read_manifest};
use crate::id::BackupId;
use crate::manifest::{Manifest, SealedManifest};
use crate::store::Store;

pub(super) async fn ls(context: &Context, args: LsArgs) -> Result<Outcome, Error> {
    let stores = Store::open_all(&context.registry, &args.stores, "ls")?;
    let mut manifests = BTreeMap::<BackupId, SealedManifest>::new();
    let (mut unreadable, mut dead) = (BTreeSet::new(), None);
    for store in &stores {
        let ids = match list_backups(store).await {
            Ok(ids) => ids,
            Err(error) => {
                // The others may have what is looked for.
                let error = Error::from(error);
                context.output.error(&chain(&error));
                dead.get_or_insert((error.exit_code(), chain(&error)));
                continue;
            }
        };
        for id in ids {
            let read = read_manifest(store, id).await.map_err(|error| chain(&error));
            let read = read
                .and_then(|bytes| SealedManifest::from_bytes_of(id, &bytes).map_err(|error| chain(&error)));
            match read {
                Ok(manifest) => {
                    let known = manifests.entry(id).or_insert_with(|| manifest.clone());
                    if manifest.generation() >= known.generation() {
                        *known = manifest;
                    }
                }
                Err(error) => {
                    unreadable.insert(id);
                    context.output.error(&format!("backup {id} in {}: {error}", store.url()));
                }
            }
        }
    }
    let any_closed = manifests.values().any(|manifest| manifest.signer().is_some());
    let keyring = if any_closed { open_keyring(context, &args)? } else { None };
    let mut listed: Vec<_> =
        manifests.values().map(|sealed| (open(sealed, keyring.as_ref()), sealed)).collect();
    listed.sort_by_key(|(opened, sealed)| (opened.as_ref().map(|opened| opened.created), sealed.id));
    context
        .output
        .result(&format!("{:<32}  {:<20}  {:>10}  {:<18}  NAME", "ID", "CREATED", "SIZE", "BLOCKS"));
    listed.iter().for_each(|(opened, sealed)| list_one(context.output, sealed, opened.as_ref()));
    if manifests.is_empty() && dead.is_none() {
        context.output.say("no backups here: a store is the directory that --to named, not one above it");
    }
    // A manifest that cannot be read in one store is damage that others may repair.
    let mut summary = json!({ "backups": manifests.len(), "manifests_unreadable": unreadable.len() });
    let mut code = if unreadable.is_empty() { 0 } else { 4 };
    if let Some((exit_code, error)) = dead {
        code = exit_code;
        summary["error"] = json!(error);
    }
    Ok(Outcome { code, summary })
}

/// The keys at hand; none if they are locked.
fn open_keyring(context: &Context, args: &LsArgs) -> Result<Option<Keyring>, Error> {
    let mut keyring = None;
    let read = Keyring::read(&args.identity).map(|read| keyring = Some(read));
    unless_closed(read)?.iter().for_each(|why| context.output.say(why));
    Ok(keyring)
}

/// All that is recorded, if a key opens it.
fn open(sealed: &SealedManifest, keyring: Option<&Keyring>) -> Option<Manifest> {
    let key = || keyring?.key_of(sealed).ok();
    sealed.plain().cloned().or_else(|| sealed.open(&key()?).ok())
}

fn list_one(output: Output, sealed: &SealedManifest, opened: Option<&Manifest>) {
    let (geometry, profile) = (&sealed.geometry, sealed.geometry.profile());
    let blocks = format!("{}+{} {}", profile.data(), profile.parity(), profile.code_name());
    let bytes = geometry.source_bytes();
    let created = opened.map(|manifest| time(manifest.created));
    output.result(&format!(
        "{}  {:<20}  {:>10}  {blocks:<18}  {}",
        sealed.id,
        created.as_deref().unwrap_or(ENCRYPTED),
        size(bytes),
        opened.map_or(ENCRYPTED, |manifest| &manifest.name),
    ));
    output.message(
        "event",
        json!({
            "event": "backup",
            "id": sealed.id.to_string(),
            "name": opened.map(|manifest| &manifest.name),
            "created": created,
            "bytes": bytes,
            "data": profile.data(),
            "parity": profile.parity(),
            "code": profile.code_name(),
            "encrypted": sealed.signer().is_some(),
        }),
    );
}
