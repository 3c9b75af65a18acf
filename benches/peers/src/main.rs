//! tanner's codec beside other erasure codes and the machine's own ceilings, over the same bytes in one run.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --record benches/record`. See `README.md` beside
//! this crate for what the peers need and how they are driven.

mod ceilings;
mod contestant;
mod e2e;
mod memory;
mod peers;
mod record;
mod rounds;
mod table;
mod tanner;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use contestant::{Entry, Shape};
use memory::Bytes;
use peers::{isal, raptorq, rs_erasure, rs_simd, zfec};
use record::{Row, locked};
use rounds::Race;

#[derive(Parser)]
#[command(
    about = "tanner beside other erasure codes and the machine's ceilings",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    race: RaceArgs,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Print the tables of a recorded run again
    Table { csv: PathBuf },
    /// Time whole programs on a file: cp, b3sum, tanner, zfec and par2
    E2e(e2e::E2eArgs),
}

#[derive(Args)]
struct RaceArgs {
    /// Shapes, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "3+7,10+4,17+3,20+4,20+20,24+26,25+25,50+50,100+30,1000+200"
    )]
    shapes: Vec<Shape>,
    /// Source in MiB
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// Counted rounds of each operation; one more warms up
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that one run may take before a contestant gets less of the source
    #[arg(long, default_value_t = 2.0)]
    seconds_max: f64,
    /// Adds rows of tanner and the ceilings with this many threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Only the contestants whose names contain one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keep the rows and the machine's facts in this directory
    #[arg(long)]
    record: Option<PathBuf>,
    /// The record's name
    #[arg(long, default_value = "peers")]
    name: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Subcommands::Table { csv }) => record::read(&csv).map(|rows| table(&rows)),
        Some(Subcommands::E2e(args)) => e2e::run(&args),
        None => memory::ensure_huge_pages().and_then(|()| race(&cli.race)).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn race(args: &RaceArgs) -> std::io::Result<()> {
    let entries = entries(args);
    let path = args.record.as_ref().map(|directory| directory.join(&args.name));
    if let Some(path) = &path {
        std::fs::create_dir_all(path.parent().expect("a directory and a name"))?;
        let versions: Vec<_> = entries.iter().map(|entry| (entry.name, entry.version.clone())).collect();
        std::fs::write(path.with_extension("machine.txt"), record::machine_facts(&versions))?;
    }
    let bytes = args.mib << 20;
    let source = Bytes::random(bytes);
    let mut race = Race {
        rounds: args.rounds,
        seconds_max: args.seconds_max,
        work: Bytes::random(bytes),
        target: Bytes::random(bytes),
        source,
        threads: if args.threads > 1 { vec![1, args.threads] } else { vec![1] },
    };
    let mut rows = Vec::new();
    for &shape in &args.shapes {
        rows.extend(race.shape(shape, &entries));
        // After every shape: a long run may be stopped.
        path.iter().try_for_each(|path| record::write(&path.with_extension("csv"), &rows))?;
    }
    table::print(&rows);
    Ok(())
}

fn table(rows: &[Row]) {
    match rows.iter().any(|row| row.operation == e2e::OPERATION) {
        true => e2e::print(rows),
        false => table::print(rows),
    }
}

fn entries(args: &RaceArgs) -> Vec<Entry> {
    let entry = |name, version, enter| Entry { name, version, threads: 1, enter };
    let mut all = vec![
        entry(table::OURS, locked("tanner-kernels"), tanner::enter),
        entry("ISA-L", format!("isal-sys {}", locked("isal-sys")), isal::enter),
        entry("reed-solomon-simd", locked("reed-solomon-simd"), rs_simd::enter),
        entry("reed-solomon-erasure", locked("reed-solomon-erasure"), rs_erasure::enter),
        entry("raptorq", locked("raptorq"), raptorq::enter),
        entry("zfec", zfec::version().unwrap_or_default(), zfec::enter),
    ];
    if args.threads > 1 {
        all.insert(1, Entry { threads: args.threads, ..all[0].clone() });
    }
    all.retain(|entry| args.only.is_empty() || args.only.iter().any(|name| entry.name.contains(name)));
    all
}
