//! The command `protect`, and protected files where other commands want a backup.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::args::{Code, ResourceArgs};
use super::commands::{resources, shape};
use super::output::{rate, size};
use super::{Context, Outcome, clock};
use crate::backup::Shape;
use crate::beside::{Protect, Protected, protection};
use crate::error::Error;
use crate::fetch::chain;
use crate::id::BackupId;
use crate::source::IoMode;

#[derive(Args, Debug)]
pub(super) struct ProtectArgs {
    /// The file; it is read, and stays as it is. What protects it goes into FILE.tanner
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Data blocks that the file is taken for: what is damaged is rebuilt by blocks
    #[arg(short = 'k', long, default_value_t = 100, value_name = "K")]
    data: u64,

    /// Parity blocks: about as many damaged blocks are rebuilt
    #[arg(short = 'm', long, default_value_t = 30, value_name = "M")]
    parity: u64,

    /// The code that makes the parity, as with backup
    #[arg(long, value_enum, default_value_t, value_name = "CODE")]
    code: Code,

    /// How to read the file
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    io: IoMode,

    /// Protect the file as it is now, and then delete what protected it before
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    resources: ResourceArgs,
}

pub(super) async fn protect(context: &Context, args: ProtectArgs) -> Result<Outcome, Error> {
    let resources = resources(context, &args.resources)?;
    let protect = Protect {
        path: &args.file,
        io: args.io,
        shape: Shape::Blocks { code: args.code.into(), data: args.data, parity: args.parity },
        replace: args.force,
        created: clock::now(),
    };
    let report = protect.run(&resources, &context.stop, &context.progress).await?;
    let (manifest, output, seconds) = (&report.manifest, context.output, context.seconds());
    let (geometry, profile) = (&manifest.geometry, manifest.geometry.profile());
    let (bytes, file) = (geometry.source_bytes(), args.file.display());
    let parity_bytes = geometry.stored_bytes() - bytes;
    output.result(&manifest.id.to_string());
    output.say(&format!("protected {file} ({}) in {seconds:.2} s, {}", size(bytes), rate(bytes, seconds)));
    let overhead = if bytes == 0 { 0.0 } else { parity_bytes as f64 / bytes as f64 * 100.0 };
    output.say(&format!("  {}; {} (+{overhead:.1} %) in {file}.tanner", shape(profile), size(parity_bytes)));
    output.say(&format!(
        "  any {} may be damaged: `tanner verify {file}` checks, `tanner repair {file}` mends",
        super::output::count(report.blocks_survivable, "block")
    ));
    for (store, error) in &report.failed {
        output.say(&format!("  FAILED {store}: {}", chain(error)));
    }
    let summary = json!({
        "id": manifest.id.to_string(),
        "name": manifest.name,
        "bytes": bytes,
        "parity_bytes": parity_bytes,
        "bytes_per_second": bytes as f64 / seconds,
        "data": profile.data(),
        "parity": profile.parity(),
        "code": profile.code_name(),
        "threshold": profile.threshold(),
        "evidence": profile.evidence().name(),
        "blocks_survivable": report.blocks_survivable,
        "source_blake3": manifest.source_hash.to_string(),
        "reader": report.reader,
        "simd": resources.level().name(),
    });
    Ok(Outcome { code: if report.is_complete() { 0 } else { 3 }, summary })
}

/// The backup that is meant by an id or by the path of a protected file, and the stores to look for it in: those named, or
/// the file's own.
pub(super) async fn named(
    context: &Context,
    what: &str,
    from: &[String],
) -> Result<(BackupId, Vec<String>), Error> {
    let no_id = match what.parse() {
        Ok(id) => return Ok((id, from.to_vec())),
        Err(no_id) => no_id,
    };
    let path = Path::new(what);
    let protection = if what.is_empty() { None } else { protection(path).await? };
    let Some(Protected { id, store, unprotected_bytes }) = protection else {
        return Err(if path.is_file() {
            Error::NotProtected { path: path.to_owned() }
        } else {
            no_id.into()
        });
    };
    if unprotected_bytes > 0 {
        let more = size(unprotected_bytes);
        context
            .output
            .say(&format!("{what} is longer than it was when it was protected: {more} at its end are not"));
    }
    Ok((id, vec![store]))
}
