//! What of this machine is used: the version, the SIMD level, and how bytes get onto disks and off them.

use clap::ValueEnum;
use serde_json::json;
use tanner_kernels::Level;
use tanner_transports::{DiskIo, ring};

use super::args::VersionArgs;
use super::output::Output;
use super::{Context, Outcome};
use crate::error::Error;
use crate::source::IoMode;
use crate::store::Store;

pub(super) fn version(context: &Context, args: &VersionArgs) -> Result<Outcome, Error> {
    let (version, level) = (env!("CARGO_PKG_VERSION"), Level::from_env()?);
    let values = IoMode::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let readers: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    let status = match context.disk_io {
        DiskIo::Positioned => "positioned I/O, as was asked for".into(),
        _ => ring::status(),
    };
    let schemes: Vec<&str> = context.registry.schemes().collect();
    context.output.result(&format!("tanner {version}"));
    if args.verbose {
        context.output.result(&format!(
            "{:<10} {} {}",
            "built for",
            std::env::consts::ARCH,
            std::env::consts::OS
        ));
        context.output.result(&format!("{:<10} {}", "stores", schemes.join(", ")));
        context.output.result(&format!("{:<10} {}", "simd", level.name()));
        context.output.result(&format!("{:<10} {status}", "disk I/O"));
        context.output.result(&format!("{:<10} {}", "readers", readers.join(", ")));
    }
    let in_use = in_use(context.disk_io);
    let summary = json!({
        "version": version,
        "stores": schemes,
        "simd": level.name(),
        "disk_io": in_use,
        "io_uring_refusal": ring::refusal(),
        "readers": readers,
    });
    Ok(Outcome { code: 0, summary })
}

/// The stores of a run that are directories.
pub(super) struct Disks {
    io: Option<DiskIo>,
}

impl Disks {
    pub(super) fn of(context: &Context, stores: &[Store]) -> Self {
        let any = stores.iter().any(|store| store.url().starts_with("file:"));
        Self { io: any.then_some(context.disk_io) }
    }

    /// How they are read and written, if there are any.
    pub(super) fn in_use(&self) -> Option<&'static str> {
        self.io.map(in_use)
    }

    /// Says once that something was slower than it could be: these disks, or a source whose reader was refused its own
    /// ring.
    pub(super) fn say_fallback(&self, output: Output, reader_refusal: Option<&str>) {
        let disks_refusal = ring::refusal().filter(|_| self.io == Some(DiskIo::Auto));
        let (whose, why) = match (disks_refusal, reader_refusal) {
            (Some(why), _) => ("", why),
            (None, Some(why)) => (" for the source", why),
            (None, None) => return,
        };
        output.say(&format!("  positioned I/O was used{whose}, as io_uring cannot be: {why}"));
        output.message("event", json!({ "event": "io_fallback", "why": why }));
    }
}

fn in_use(io: DiskIo) -> &'static str {
    match io {
        DiskIo::Auto | DiskIo::Ring if ring::refusal().is_none() => "io_uring",
        _ => "positioned",
    }
}
