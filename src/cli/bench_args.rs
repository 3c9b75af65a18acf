//! The command line of `tanner bench`, as typed.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::args::ResourceArgs;
use crate::bench::{Blocks, EncryptionModes};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_long_help = AFTER)]
pub(super) struct BenchArgs {
    /// What to measure; without it, a quick look at codec and e2e
    #[command(subcommand)]
    pub(super) what: Option<BenchCommand>,

    /// Compare two saved outputs of --json
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["show", "report"])]
    pub(super) compare: Option<Vec<PathBuf>>,

    /// Print a saved output of --json again, for people or as a page
    #[arg(long, value_name = "FILE")]
    pub(super) show: Option<PathBuf>,

    #[command(flatten)]
    pub(super) page: PageArgs,
}

#[derive(Args, Debug)]
pub(super) struct PageArgs {
    /// Write a page with plots and tables that needs no other file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Replace the page if it exists
    #[arg(short, long, global = true)]
    pub(super) force: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum BenchCommand {
    /// Encode and decode in memory, beside what memory, hash and cipher allow
    ///
    /// Decoding restores one data block, half as many as may always be lost, and all of these, from all other blocks:
    /// no parity is lost.
    Codec(CodecArgs),
    /// Write, sync and read back in directories, alone and all at a time
    Disk(DiskArgs),
    /// TCP: both directions, one stream and several, round trips
    Net(NetArgs),
    /// Whole backups and restores beside a plain copy and a plain hash
    E2e(E2eArgs),
}

#[derive(Args, Debug)]
pub(super) struct CodecArgs {
    /// Shapes, data+parity
    #[arg(long, value_delimiter = ',', default_value = "10+5,17+3,24+26,50+50,100+30", value_name = "K+M,…")]
    pub(super) shapes: Vec<Blocks>,

    /// Source bytes of each measurement; far more than the caches hold
    #[arg(long, default_value = "256MiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) size: ByteSize,

    #[command(flatten)]
    pub(super) rounds: RoundsArgs,

    /// The most threads; 0 means one for each core
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024), env = "TANNER_THREADS", value_name = "N")]
    pub(super) threads: u16,
}

#[derive(Args, Debug)]
pub(super) struct DiskArgs {
    /// Directories that exist; nothing is left in them
    #[arg(required = true, value_name = "DIR")]
    pub(super) directories: Vec<PathBuf>,

    /// Bytes written to each
    #[arg(long, default_value = "1GiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) size: ByteSize,

    #[command(flatten)]
    pub(super) rounds: RoundsArgs,
}

#[derive(Args, Debug)]
pub(super) struct NetArgs {
    /// Serve a peer that measures, until stopped; anybody who reaches the port may send and receive
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "connect")]
    pub(super) listen: Option<String>,

    /// Measure against a peer that listens; without it, over loopback
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect: Option<String>,

    /// Bytes sent in each direction, all streams together
    #[arg(long, default_value = "512MiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) size: ByteSize,

    /// Streams at a time, beside one alone
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32), value_name = "N")]
    pub(super) streams: u16,

    #[command(flatten)]
    pub(super) rounds: RoundsArgs,
}

#[derive(Args, Debug)]
pub(super) struct E2eArgs {
    /// A directory for stores; repeat for more. The source and its copies are in the first
    #[arg(long = "to", value_name = "DIR")]
    pub(super) to: Vec<PathBuf>,

    /// Bytes of the source
    #[arg(long, default_value = "1GiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) size: ByteSize,

    /// Data blocks
    #[arg(short = 'k', long, default_value_t = 10, value_name = "K")]
    pub(super) data: u64,

    /// Parity blocks
    #[arg(short = 'm', long, default_value_t = 5, value_name = "M")]
    pub(super) parity: u64,

    /// Whether the backups are encrypted; both: each in every round, and what encryption costs
    #[arg(long, value_enum, default_value_t, value_name = "WHETHER")]
    pub(super) encryption: EncryptionModes,

    #[command(flatten)]
    pub(super) rounds: RoundsArgs,

    #[command(flatten)]
    pub(super) resources: ResourceArgs,
}

#[derive(Args, Debug)]
pub(super) struct RoundsArgs {
    /// Times that everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    pub(super) rounds: u16,
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("wanted more than 0".into()),
        size => size,
    }
}

const AFTER: &str = "\
Speeds are medians of source bytes a second (1 GB/s = 10^9 bytes/s), ± half of what lies between the slowest
and the fastest round. With --json, the summary holds every raw time: save it for --compare and --show.";
