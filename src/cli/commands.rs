//! The commands: arguments to options, one library call, outcome to words.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tanner_kernels::{Evidence, Profile};

use super::args::{BackupArgs, FindArgs, PolicyName, ResourceArgs, RestoreArgs, ShowArgs, VerifyArgs};
use super::facts::{FactArgs, LimitArgs};
use super::keyring::{encryption, remember, unless_closed, unlock};
use super::memory::Memory;
use super::node::make_directory;
use super::output::{Output, count, rate, size, time};
use super::protect::named;
use super::salvage::salvage;
use super::state::{State, state_file};
use super::{Context, Outcome, clock, placing, version};
use crate::archive::Unpacked;
use crate::backup::{Backup, Shape};
use crate::crypto::Encryption;
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found, chain};
use crate::guarantee::Guarantee;
use crate::id::BackupId;
use crate::manifest::{Manifest, SealedManifest};
use crate::margins::Margins;
use crate::questions::Questions;
use crate::report::BackupReport;
use crate::resources::Resources;
use crate::restore::{ReadFrom, RestoreTo, restore_spooled};
use crate::scheduler::{Facts, Policy};
use crate::store::Store;
use crate::unfinished::{Resumable, unfinished};
use crate::verify::{Checked, Extent, Health, check};

pub(super) async fn backup(context: &Context, args: BackupArgs) -> Result<Outcome, Error> {
    args.source.check(args.resume, args.dry_run)?;
    let mut stores = Store::open_all(&context.registry, &args.to, "--to")?;
    args.facts.apply(&args.to, &mut stores)?;
    args.limit.apply(&mut stores);
    let resumable = if args.dry_run || args.source.is_stream() { None } else { resumable(context, &args)? };
    resumable.iter().for_each(|resumable| resumable.arrange(&mut stores));
    let state_file = State::file(args.state.as_deref());
    let known = state_file.as_deref().map(State::read).unwrap_or_default();
    stores.iter_mut().for_each(|store| store.facts.measured = known.of(&store.facts.url));
    let default = if args.survive.is_empty() { PolicyName::Even } else { PolicyName::Survive };
    let policy: &dyn Policy = args.policy.unwrap_or(default).into();
    let resources = resources(context, &args.resources)?;
    let now = clock::now();
    let found = resumable.as_ref().and_then(Resumable::found);
    let encryption = match args.dry_run {
        true => None,
        false => encryption(context, &args.encrypt, resumable.as_ref())?,
    };
    let is_encrypted = encryption.is_some();
    let id = encryption.as_ref().map(Encryption::id);
    let (id, created) = found.unwrap_or_else(|| (id.unwrap_or_else(BackupId::random), now));
    let count_stores = stores.len();
    let disks = version::Disks::of(context, &stores);
    let facts: Vec<Facts> = stores.iter().map(|store| store.facts.clone()).collect();
    let backup = Backup {
        source: args.source.path(),
        io: args.io,
        shape: Shape::Blocks { code: args.code.into(), data: args.data, parity: args.parity },
        stores,
        policy,
        survive: &args.survive,
        quorum: args.quorum,
        encryption,
        id,
        created,
    };
    if args.dry_run {
        return placing::dry_run(context.output, &backup, &facts, args.explain);
    }
    let (stop, progress) = (&context.stop, &context.progress);
    let report = match (args.source.stream()?, resumable) {
        (Some(stream), _) => backup.run_stream(stream, &resources, stop, progress).await?,
        (None, Some(resumable)) => backup.run_resumable(resumable, &resources, stop, progress).await?,
        (None, None) => backup.run(&resources, stop, progress).await?,
    };
    if let Some(path) = state_file {
        // Other runs may have written to it meanwhile.
        let mut state = State::read(&path);
        let behaved = facts.iter().zip(&report.behaviour);
        behaved.for_each(|(facts, behaviour)| state.observe(&facts.url, now as f64, behaviour));
        // The next run does without.
        let _ = state.write(&path);
    }
    if let Ok(sealed) = SealedManifest::from_bytes(&report.manifest_bytes) {
        Memory::read()?.observe(&sealed);
    }
    let (manifest, seconds) = (&report.manifest, context.seconds());
    let (geometry, profile) = (&manifest.geometry, manifest.geometry.profile());
    let code = if report.is_complete() && report.left_out.is_empty() { 0 } else { 3 };

    if args.explain {
        placing::explain(context.output, &report.placed, &facts);
    }
    context.output.result(&manifest.id.to_string());
    describe_backup(context.output, &report, count_stores, is_encrypted, seconds);
    placing::describe(context.output, &report.placed, &report.margins, &report.broken, &facts);
    disks.say_fallback(context.output, report.reader_refusal.as_deref());
    let failed = report.failed.iter().map(|(store, error)| json!({ "store": store, "error": chain(error) }));
    let sent = facts.iter().zip(&report.behaviour);
    let sent = sent.map(|(facts, store)| json!({ "store": facts.url, "bytes": store.bytes }));
    let summary = json!({
        "id": manifest.id.to_string(),
        "name": manifest.name,
        "bytes": geometry.source_bytes(),
        "stored_bytes": report.stored_bytes(),
        "sent_bytes": report.behaviour.iter().map(|store| store.bytes).sum::<u64>(),
        "sent": sent.collect::<Vec<_>>(),
        "resumed_bytes": report.resumed_bytes,
        "bytes_per_second": geometry.source_bytes() as f64 / seconds,
        "blocks": profile.blocks(),
        "blocks_stored": report.live.len(),
        "data": profile.data(),
        "parity": profile.parity(),
        "code": profile.code_name(),
        "threshold": profile.threshold(),
        "evidence": profile.evidence().name(),
        "stores": count_stores,
        "stores_survivable": report.stores_survivable,
        "blocks_survivable": report.blocks_survivable,
        "source_blake3": manifest.source_hash.to_string(),
        "encrypted": is_encrypted,
        "reader": report.reader,
        "disk_io": disks.in_use(),
        "simd": resources.level().name(),
        "failed_stores": failed.collect::<Vec<_>>(),
        "slow_stores": report.slow,
        "archive": manifest.is_archive,
        "left_out": report.left_out.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "blocks_moved": report.blocks_moved,
        "stores_survivable_planned": report.stores_survivable_planned,
        "policy": policy.name(),
        "survive": placing::demands(&report.placed, &report.broken),
        "labels": placing::margins(&report.margins, &facts),
    });
    Ok(Outcome { code, summary })
}

/// How the backup is made so that another run can go on with it; none without journals.
fn resumable(context: &Context, args: &BackupArgs) -> Result<Option<Resumable>, Error> {
    let Some(journals) = args.journal.journals() else { return Ok(None) };
    if args.resume {
        let newest = Resumable::newest(journals, args.checkpoint, args.source.path())?;
        return Ok(Some(if args.journal.is_given() { newest } else { newest.optional() }));
    }
    // Whoever named no directory does without if there can be none.
    let unfinished = match unfinished(&journals, args.source.path()) {
        Err(Error::Journal { .. }) if !args.journal.is_given() => return Ok(None),
        unfinished => unfinished?,
    };
    if let Some(id) = unfinished.last() {
        context.output.message("event", json!({ "event": "unfinished", "id": id.to_string() }));
        context.output.say(&format!(
            "backup {id} of this file is unfinished: --resume goes on with it, `tanner sweep {id}` takes it back"
        ));
    }
    let new = Resumable::new(journals, args.checkpoint);
    Ok(Some(if args.journal.is_given() { new } else { new.optional() }))
}

fn describe_backup(output: Output, report: &BackupReport, stores: usize, is_encrypted: bool, seconds: f64) {
    let geometry = &report.manifest.geometry;
    let (bytes, stored) = (geometry.source_bytes(), report.stored_bytes());
    output.say(&format!(
        "backed up {} ({}) in {seconds:.2} s, {}",
        report.manifest.name,
        size(bytes),
        rate(bytes, seconds)
    ));
    let overhead = if bytes == 0 { 0.0 } else { (stored as f64 / bytes as f64 - 1.0) * 100.0 };
    let stores_word = count(stores, "store");
    output.say(&format!(
        "  {}; on {stores_word}: {} stored (+{overhead:.1} %)",
        shape(geometry.profile()),
        size(stored)
    ));
    output.say(&format!(
        "  {}",
        promise(Some(report.stores_survivable), Some(report.blocks_survivable), stores, geometry.profile())
    ));
    if !is_encrypted {
        output.say("  not encrypted: whoever can read a store can read the file");
    }
    for (store, error) in &report.failed {
        output.say(&format!("  FAILED {store}: {}", chain(error)));
    }
    for store in &report.slow {
        output.say(&format!("  slow {store}: it would have held up the others"));
    }
    if report.resumed_bytes > 0 {
        output.say(&format!("  resumed: {} were stored before", size(report.resumed_bytes)));
    }
    report.troubles.iter().for_each(|what| output.say(&format!("  {what}")));
    if report.blocks_moved > 0 {
        let blocks = count(report.blocks_moved, "block");
        let how = if report.passes > 1 { ", by another reading of the file" } else { "" };
        output.say(&format!("  {blocks} went to other stores{how}"));
    }
    for path in &report.left_out {
        output.say(&format!("  left out: {} is neither file nor directory nor link", path.display()));
    }
    let lost = report.live.blocks() - report.live.len();
    if lost > 0 {
        output.say(&format!("  below target: {lost} of {} not stored", count(report.live.blocks(), "block")));
        if report.is_stream {
            output.say(&format!(
                "  a stream is read but once: `tanner repair {}` rebuilds them",
                report.manifest.id
            ));
        }
    } else if report.stores_survivable < report.stores_survivable_planned {
        let planned = count(report.stores_survivable_planned, "store");
        output.say(&format!("  below target: the loss of any {planned} was to be survived"));
    } else if !report.failed.is_empty() {
        output.say("  below target: the manifest is not on every store");
    }
}

pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Result<Outcome, Error> {
    args.some.check(&args.to.output)?;
    let (id, from) = named(context, &args.id, &args.from).await?;
    let mut stores = Store::open_all(&context.registry, &from, "--from")?;
    args.facts.apply(&from, &mut stores)?;
    args.limit.apply(&mut stores);
    let state_file = State::file(args.state.as_deref());
    let known = state_file.as_deref().map(State::read).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    for Facts { url, measured, .. } in stores.iter_mut().map(|store| &mut store.facts) {
        *measured = known.of_reads(url, now);
    }
    let mut found = Found::open_soon(stores, id).await?;
    tell_troubles(context, &found);
    remember(&found)?;
    unlock(&mut found, &args.identity)?;
    let opened = found.check_opened()?;
    let (source_hash, target) =
        (opened.source_hash, args.to.target(opened, context.output.json, args.resume)?);
    let resources = resources(context, &args.resources)?;
    let (manifest, output) = (found.manifest.clone(), context.output);
    let disks = version::Disks::of(context, &found.stores);
    let to = RestoreTo { path: args.to.output.clone(), replace: args.to.force, resume: args.resume };
    let (stop, progress) = (&context.stop, &context.progress);
    let of_some =
        |found| salvage(context, &args.some, found, args.to.output.clone(), args.to.force, &resources);
    if args.some.is_range() {
        return of_some(found).await;
    }
    let (report, unpacked) = match target {
        None => {
            let restored = crate::restore::restore(found.clone(), to, &resources, stop, progress).await;
            match restored {
                Err(error) if args.some.goes_on_after(&error) => return of_some(found).await,
                restored => (restored?, None),
            }
        }
        Some(target) => {
            let spooled = restore_spooled(found, args.to.spool(), &resources, stop, progress);
            let (restored, report) = spooled.await?;
            (report, target.take(restored, stop).await?)
        }
    };
    if let Some(path) = state_file {
        let mut state = State::read(&path);
        let asked = report.stores.iter().filter(|from| from.bytes > 0 || from.is_failing);
        asked.for_each(|from| state.observe_reads(&from.store, now, &from.behaviour));
        // The next run does without.
        let _ = state.write(&path);
    }
    let (bytes, seconds) = (manifest.geometry.source_bytes(), context.seconds());
    report_damages(output, &report.damages);
    output.say(&format!(
        "restored {} ({}) in {seconds:.2} s, {}",
        args.to.output.display(),
        size(bytes),
        rate(bytes, seconds)
    ));
    let decoded = match report.decoded.len() {
        0 => "none had to be computed".into(),
        blocks => format!("{} computed", count(blocks, "data block")),
    };
    output.say(&format!(
        "  {} read and verified, {decoded}; the whole matches its hash",
        count(report.verified, "block")
    ));
    if let Some(Unpacked { files, directories, links }) = unpacked {
        output.say(&format!("  unpacked: {files} files, {directories} directories, {links} links"));
    }
    match report.left_bytes {
        0 => {}
        bytes => output.say(&format!("  {} of it were there from an earlier restore", size(bytes))),
    }
    if report.has_swept {
        output.say("  what an earlier restore had left was removed: --resume would have gone on with it");
    }
    for ReadFrom { store, is_slow, .. } in report.stores.iter().filter(|from| from.is_slow || from.is_failing)
    {
        let what = if *is_slow { "kept the other stores waiting" } else { "could not be read" };
        output.say(&format!("  {store} {what}: others were asked first"));
    }
    disks.say_fallback(output, None);
    let urls = |is: fn(&ReadFrom) -> bool| -> Vec<&str> {
        report.stores.iter().filter(|from| is(from)).map(|from| from.store.as_str()).collect()
    };
    let read = report.stores.iter();
    let read = read.map(|from| json!({ "store": from.store, "blocks": from.blocks, "bytes": from.bytes }));
    let summary = json!({
        "id": manifest.id.to_string(),
        "slow_stores": urls(|from| from.is_slow),
        "failed_stores": urls(|from| from.is_failing),
        "read": read.collect::<Vec<_>>(),
        "bytes_resumed": report.left_bytes,
        "files": unpacked.map(|unpacked| unpacked.files),
        "swept": report.has_swept,
        "bytes": bytes,
        "bytes_per_second": bytes as f64 / seconds,
        "blocks": manifest.hashes.len(),
        "blocks_verified": report.verified,
        "blocks_decoded": report.decoded,
        "blocks_damaged": blocks_of(&report.damages),
        "source_blake3": source_hash.to_string(),
        "encrypted": manifest.signer().is_some(),
        "disk_io": disks.in_use(),
        "simd": resources.level().name(),
    });
    Ok(Outcome { code: 0, summary })
}

pub(super) async fn show(context: &Context, args: ShowArgs) -> Result<Outcome, Error> {
    let ShowArgs { find: FindArgs { id, from }, identity, facts } = args;
    let (id, from) = named(context, &id, &from).await?;
    let mut stores = Store::open_all(&context.registry, &from, "--from")?;
    facts.apply(&from, &mut stores)?;
    let mut found = find_in(context, id, stores).await?;
    let closed = unless_closed(unlock(&mut found, &identity))?;
    let (manifest, output) = (&found.manifest, context.output);
    let (geometry, profile) = (&manifest.geometry, manifest.geometry.profile());
    let health = Health::as_listed(&found);
    let opened = found.opened();
    let encrypted = match (manifest.signer(), &closed) {
        (None, _) => "no: whoever can read a store can read the file".into(),
        (Some(signer), None) => format!("yes, signed by {signer}"),
        (Some(signer), Some(why)) => format!("yes, signed by {signer}; not opened: {why}"),
    };
    let told = |what: fn(&Manifest) -> String| opened.map_or_else(|| ENCRYPTED.into(), what);
    let modified = |manifest: &Manifest| manifest.modified.map_or_else(|| "unknown".into(), time);
    for (label, value) in [
        ("id", manifest.id.to_string()),
        ("name", told(|manifest| manifest.name.clone())),
        ("form", told(|manifest| if manifest.is_archive { "archive of files" } else { "one file" }.into())),
        ("size", format!("{} ({} bytes)", size(geometry.source_bytes()), geometry.source_bytes())),
        ("created", told(|manifest| time(manifest.created))),
        ("modified", told(modified)),
        ("blake3", told(|manifest| manifest.source_hash.to_string())),
        ("code", shape(profile)),
        ("stored", format!("{} in {}", size(geometry.stored_bytes()), count(profile.blocks(), "block"))),
        ("encrypted", encrypted),
    ] {
        output.result(&format!("{label:<10} {value}"));
    }
    for (store, blocks) in found.stores.iter().zip(&found.listed) {
        output.result(&format!("{:<10} {}: {}", "store", store.url(), count(blocks.len(), "block")));
        let blocks: Vec<usize> = blocks.iter().collect();
        output.message("event", json!({ "event": "store", "store": store.url(), "blocks": blocks }));
    }
    let promise = promise(
        health.stores_survivable,
        health.blocks_survivable,
        found.stores.len(),
        found.manifest.geometry.profile(),
    );
    output.result(&format!("{:<10} {promise} (as listed; `tanner verify` reads the blocks)", "survives"));
    let margins = Margins::of(&found);
    placing::show(output, &margins);
    if let Some(beyond) = &health.beyond {
        let names = beyond.example.iter().map(|&store| found.stores[store].url());
        let such_as = match beyond.fatal {
            0 => String::new(),
            _ => format!(", such as {}", names.collect::<Vec<_>>().join(" and ")),
        };
        let (fatal, losses) = (beyond.fatal, beyond.losses);
        let of = count(beyond.domains, "store");
        output
            .result(&format!("{:<10} {fatal} of {losses} losses of {of} would be fatal{such_as}", "beyond"));
    }
    if !health.damages.is_empty() {
        let blocks: Vec<String> = blocks_of(&health.damages).iter().map(ToString::to_string).collect();
        output.result(&format!("{:<10} not in the stores named: {}", "blocks", blocks.join(" ")));
    }
    let mut summary = health_summary(&found, &health);
    summary["labels"] = placing::margins(&margins.now, &placing::facts(&found));
    summary["placed"] = placing::placed(&margins);
    summary["name"] = json!(opened.map(|manifest| &manifest.name));
    summary["archive"] = json!(opened.map(|manifest| manifest.is_archive));
    summary["created"] = json!(opened.map(|manifest| time(manifest.created)));
    summary["source_blake3"] = json!(opened.map(|manifest| manifest.source_hash.to_string()));
    summary["encrypted"] = json!(manifest.signer().is_some());
    summary["device"] = json!(manifest.signer().map(|device| device.to_string()));
    Ok(Outcome { code: 0, summary })
}

pub(super) async fn verify(context: &Context, args: VerifyArgs) -> Result<Outcome, Error> {
    let VerifyArgs { find: FindArgs { id, from }, quick, sample, questions, limit } = args;
    let found = find(context, &id, &from, &limit).await?;
    let extent = match sample {
        _ if quick => Extent::Quick,
        Some(share) => Extent::Sample(share),
        None => Extent::Full,
    };
    let questions = state_file(questions.as_deref(), "questions.json");
    // Where the directory cannot be made, nothing is kept.
    questions.iter().for_each(|path| _ = make_directory(path));
    let questions = questions.map(Questions::read);
    let checked = check(found.clone(), extent, questions, &context.stop, &context.progress).await?;
    let Checked { health, copies, copies_read, bytes_read, copies_proved } = checked;
    report_damages(context.output, &health.damages);
    context.output.result(&health_line(&found, &health));
    let (of, read) = (count(copies, "block"), size(bytes_read));
    context.output.say(&match extent {
        Extent::Full => format!("  all of {of} read ({read})"),
        Extent::Sample(_) => format!("  {copies_read} of {of} read ({read}); the others may be damaged"),
        Extent::Quick if copies_proved > 0 => format!(
            "  none of {of} read: they are there in their lengths, and {copies_proved} were proved to be as they were when they \
             were read; the others may be damaged"
        ),
        Extent::Quick => format!("  none of {of} read: they are there in their lengths, and may be damaged"),
    });
    let code = match health.blocks_survivable {
        None => 5,
        Some(_) if health.damages.is_empty() && found.troubles.is_empty() => 0,
        Some(_) => 4,
    };
    let mut summary = health_summary(&found, &health);
    summary["blocks_read"] = json!(copies_read);
    summary["blocks_proved"] = json!(copies_proved);
    summary["bytes_read"] = json!(bytes_read);
    Ok(Outcome { code, summary })
}

/// What is good and what it is good for.
pub(super) fn health_line(found: &Found, health: &Health) -> String {
    let promise = promise(
        health.stores_survivable,
        health.blocks_survivable,
        found.stores.len(),
        found.manifest.geometry.profile(),
    );
    format!("{} of {} good; {promise}", health.good.len(), count(health.good.blocks(), "block"))
}

pub(super) fn health_summary(found: &Found, health: &Health) -> serde_json::Value {
    let profile = found.manifest.geometry.profile();
    let mut missing = health.damages.clone();
    missing.retain(|damage| matches!(damage.kind, DamageKind::Missing));
    json!({
        "id": found.manifest.id.to_string(),
        "bytes": found.manifest.geometry.source_bytes(),
        "stored_bytes": found.manifest.geometry.stored_bytes(),
        "blocks": profile.blocks(),
        "blocks_good": health.good.len(),
        "blocks_damaged": blocks_of(&health.damages),
        "blocks_missing": blocks_of(&missing),
        "data": profile.data(),
        "parity": profile.parity(),
        "code": profile.code_name(),
        "threshold": profile.threshold(),
        "evidence": profile.evidence().name(),
        "stores": found.stores.len(),
        "restorable": health.blocks_survivable.is_some(),
        "blocks_survivable": health.blocks_survivable,
        "stores_survivable": health.stores_survivable,
        "beyond": health.beyond.as_ref().map(|beyond| json!({
            "stores": beyond.domains,
            "losses": beyond.losses,
            "fatal": beyond.fatal,
            "example": beyond.example.iter().map(|&store| found.stores[store].url()).collect::<Vec<_>>(),
        })),
    })
}

/// Finds the backup and tells what is wrong with stores.
async fn find(context: &Context, id: &str, from: &[String], limit: &LimitArgs) -> Result<Found, Error> {
    let (id, from) = named(context, id, from).await?;
    let mut stores = Store::open_all(&context.registry, &from, "--from")?;
    FactArgs::default().apply(&from, &mut stores)?;
    limit.apply(&mut stores);
    find_in(context, id, stores).await
}

pub(super) async fn find_in(context: &Context, id: BackupId, stores: Vec<Store>) -> Result<Found, Error> {
    let found = Found::open(stores, id).await?;
    tell_troubles(context, &found);
    remember(&found)?;
    Ok(found)
}

fn tell_troubles(context: &Context, found: &Found) {
    for trouble in &found.troubles {
        context.output.say(&trouble.what);
        context
            .output
            .message("event", json!({ "event": "trouble", "store": trouble.store, "what": trouble.what }));
    }
}

pub(super) fn report_damages(output: Output, damages: &[Damage]) {
    for damage in damages {
        output.say(&damage.to_string());
        let event = json!({ "event": "damage", "block": damage.block, "store": damage.store, "what": damage.to_string() });
        output.message("event", event);
    }
}

pub(super) fn blocks_of(damages: &[Damage]) -> Vec<usize> {
    let blocks: BTreeSet<usize> = damages.iter().map(|damage| damage.block).collect();
    blocks.into_iter().collect()
}

pub(super) fn resources(context: &Context, args: &ResourceArgs) -> Result<Arc<Resources>, Error> {
    let threads = context.cpu_threads(args.threads.into());
    Ok(Arc::new(Resources::new(threads, args.memory.as_u64())?))
}

pub(super) fn refuse_dash(path: &std::path::Path, what: &'static str) -> Result<(), Error> {
    if path.as_os_str() == "-" { Err(Error::NoStreams { what }) } else { Ok(()) }
}

pub(super) fn shape(profile: &Profile) -> String {
    let (k, m, n, code) = (profile.data(), profile.parity(), profile.blocks(), profile.code_name());
    let evidence = evidence(profile);
    format!("{k}+{m} blocks by the {code} code, any {} of {n} restore ({evidence})", profile.threshold())
}

/// What stands behind the promise.
pub(super) fn evidence(profile: &Profile) -> String {
    match profile.evidence() {
        Evidence::Proved => "proved".into(),
        Evidence::Tried => "every loss was tried".into(),
        Evidence::Bounded => {
            let bound = Guarantee::certified(profile).map_or(1.0, |level| level.worst_stratum);
            format!("but for at most {} of losses, at 95 %", share(bound))
        }
        Evidence::Screened => "screened, not proved".into(),
        Evidence::Estimated => "an estimate for this shape".into(),
    }
}

/// A share, such as 1 in 3 000 000.
pub(super) fn share(share: f64) -> String {
    match share {
        0.0 => "none".into(),
        share if share > 0.01 => format!("{:.0} %", share * 100.0),
        share => format!("{share:.1e}"),
    }
}

fn promise(
    stores_survivable: Option<usize>,
    blocks_survivable: Option<usize>,
    stores: usize,
    profile: &Profile,
) -> String {
    match (stores_survivable, blocks_survivable) {
        (Some(lost_stores), Some(lost_blocks)) => {
            let of_stores = match lost_stores {
                0 => "no store may be lost".into(),
                lost => format!("any {lost} of {} may be lost", count(stores, "store")),
            };
            match lost_blocks {
                0 => format!("{of_stores}; no block may be lost"),
                lost => {
                    let estimate =
                        if profile.evidence() == Evidence::Estimated { ", by estimate" } else { "" };
                    format!("{of_stores}; any {} may be lost{estimate}", count(lost, "block"))
                }
            }
        }
        _ => "NOT RESTORABLE from these stores alone".into(),
    }
}

/// What stands for what only readers know.
pub(super) const ENCRYPTED: &str = "encrypted";
