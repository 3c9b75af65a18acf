//! `tanner restore --range` and `--partial`: some of a backup.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use serde_json::json;

use super::commands::{blocks_of, report_damages};
use super::output::{count, rate, size};
use super::{Context, Outcome};
use crate::error::Error;
use crate::fetch::Found;
use crate::resources::Resources;
use crate::salvage::{Salvage, Salvaged};

#[derive(Args, Debug, Default)]
pub(super) struct SalvageArgs {
    /// Restore the bytes from A up to, but not including, B, such as 10GiB-11GiB or 4096-; reads the data blocks that they
    /// are in, and no others if these are good
    #[arg(long, value_parser = parse_range, value_name = "A-B")]
    range: Option<Bounds>,

    /// If the backup cannot be restored, write what can be had of it, with holes elsewhere, to FILE.partial, and say which
    /// bytes are missing; the exit code is 5 all the same
    #[arg(long)]
    partial: bool,

    /// With --partial, give the file its name even if bytes are missing
    #[arg(long, requires = "partial")]
    keep_name: bool,
}

/// A range whose end may be that of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bounds {
    start: u64,
    end: Option<u64>,
}

fn parse_range(text: &str) -> Result<Bounds, String> {
    let bytes = |text: &str| text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64());
    let wanted = "wanted A-B with A below B, such as 0-4096 or 10GiB-11GiB, or A- for all behind A";
    let bounds = text.split_once('-').and_then(|(start, end)| {
        let end = if end.trim().is_empty() { None } else { Some(bytes(end)?) };
        Some(Bounds { start: bytes(start)?, end })
    });
    bounds.filter(|bounds| bounds.end.is_none_or(|end| bounds.start < end)).ok_or_else(|| wanted.into())
}

impl SalvageArgs {
    /// Refuses what is no file to write some of a backup to.
    pub(super) fn check(&self, output: &Path) -> Result<(), Error> {
        let is_file = output.as_os_str() != "-" && !output.as_os_str().as_encoded_bytes().ends_with(b"/");
        let flag = match () {
            () if is_file => return Ok(()),
            () if self.is_range() => "--range",
            () if self.partial => "--partial",
            () => return Ok(()),
        };
        Err(Error::OfStream { flag, why: "it takes the name of a file to write" })
    }

    /// Whether less than all is wanted from the begin.
    pub(super) fn is_range(&self) -> bool {
        self.range.is_some()
    }

    /// Whether to write what can be had of a backup that cannot be restored, because of this.
    pub(super) fn goes_on_after(&self, error: &Error) -> bool {
        self.partial && matches!(error, Error::NotRecoverable { .. })
    }

    fn range(&self, bytes: u64) -> Result<Range<u64>, Error> {
        let Some(Bounds { start, end }) = self.range else { return Ok(0..bytes) };
        let end = end.unwrap_or(bytes);
        if start <= end && end <= bytes { Ok(start..end) } else { Err(Error::Range { start, end, bytes }) }
    }
}

/// Restores some of a backup.
pub(super) async fn salvage(
    context: &Context,
    args: &SalvageArgs,
    found: Found,
    path: PathBuf,
    replace: bool,
    resources: &Arc<Resources>,
) -> Result<Outcome, Error> {
    let (output, id, all) = (context.output, found.manifest.id, found.manifest.geometry.source_bytes());
    let range = args.range(all)?;
    let partial_path = args.partial.then(|| match args.keep_name {
        true => path.clone(),
        false => {
            let mut name = path.clone().into_os_string();
            name.push(".partial");
            name.into()
        }
    });
    let wanted = Salvage { range: range.clone(), path, partial_path, replace };
    let salvaged =
        crate::salvage::salvage(found, wanted, resources, &context.stop, &context.progress).await?;
    let Salvaged { path, missing, computed, damages, bytes_read } = salvaged;
    report_damages(output, &damages);
    let missing_bytes: u64 = missing.iter().map(|range| range.end - range.start).sum();
    let (bytes, seconds) = (range.end - range.start - missing_bytes, context.seconds());
    output.say(&format!(
        "restored {} of {} ({} of {}) in {seconds:.2} s, {}",
        size(bytes),
        path.display(),
        size(range.end - range.start),
        size(all),
        rate(bytes, seconds)
    ));
    output.say(&format!(
        "  {} read, {} computed; each block matches its hash",
        size(bytes_read),
        count(computed.len(), "data block")
    ));
    for Range { start, end } in &missing {
        output.result(&format!("missing {start}-{end}"));
        output.message("event", json!({ "event": "missing", "start": start, "end": end }));
    }
    if !missing.is_empty() {
        let error = format!(
            "{} of backup {id} cannot be restored with the blocks at hand: they are holes in {}",
            size(missing_bytes),
            path.display()
        );
        output.error(&error);
    }
    let mut summary = json!({
        "id": id.to_string(),
        "path": path,
        "bytes": bytes,
        "range": [range.start, range.end],
        "bytes_missing": missing_bytes,
        "missing": missing.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
        "bytes_per_second": bytes as f64 / seconds,
        "bytes_read": bytes_read,
        "blocks_decoded": computed,
        "blocks_damaged": blocks_of(&damages),
    });
    if !missing.is_empty() {
        summary["error"] = json!(format!("{missing_bytes} bytes are missing"));
    }
    Ok(Outcome { code: if missing.is_empty() { 0 } else { 5 }, summary })
}
