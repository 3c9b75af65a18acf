//! The command line, as typed.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use tanner_kernels::CodeChoice;
use tanner_transports::DiskIo;

use super::bench_args::BenchArgs;
use super::certify::CertifyArgs;
use super::completions::{CompletionsArgs, ManArgs};
use super::config::{ConfigArgs, LayerArgs};
use super::encryption::{EncryptArgs, IdentityArgs};
use super::evacuate::EvacuateArgs;
use super::facts::{FactArgs, LimitArgs};
use super::forget::ForgetArgs;
use super::key::KeyArgs;
use super::monitor::MonitorArgs;
use super::plan::PlanArgs;
use super::protect::ProtectArgs;
use super::run::RunArgs;
use super::salvage::SalvageArgs;
use super::scrub::ScrubArgs;
use super::serve::ServeArgs;
use super::sources::SourceArgs;
use super::state::state_directory;
use super::store_cmd::StoreArgs;
use super::sweep::SweepArgs;
use super::target::TargetArgs;
use super::undelete::UndeleteArgs;
use crate::journal::Journals;
use crate::resources::MEMORY_BYTES_DEFAULT;
use crate::scheduler::{Cheapest, Demand, Even, Fastest, Policy, Survive};
use crate::source::IoMode;

/// Back up very large files as LDPC blocks over places that may fail or lie.
#[derive(Parser, Debug)]
#[command(name = "tanner", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Print JSON objects, one a line, on standard output; the last one is a summary
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Print errors only
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// How to show progress: auto is a bar on a terminal and a line now and then elsewhere
    #[arg(long, global = true, value_enum, default_value_t, env = "TANNER_PROGRESS", value_name = "HOW")]
    pub(super) progress: ProgressMode,

    /// Time between two lines of progress
    #[arg(long, global = true, default_value = "10s", value_parser = parse_interval, env = "TANNER_PROGRESS_INTERVAL", value_name = "TIME")]
    pub(super) progress_interval: Duration,

    /// How to read and write stores in directories: auto is the ring, io_uring, wherever it can be had
    #[arg(long, global = true, value_enum, default_value_t, env = "TANNER_DISK_IO", value_name = "HOW")]
    pub(super) disk_io: DiskIoMode,

    /// Colours: auto has them on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: ColorChoice,

    #[command(flatten)]
    pub(super) monitor: MonitorArgs,

    #[command(flatten)]
    pub(super) layers: LayerArgs,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Say what a shape costs and what it survives, or choose one, before anything is stored
    Plan(PlanArgs),
    /// Back up a file, a stream or several files to several stores in one pass; prints the backup's id
    Backup(BackupArgs),
    /// Do what jobs of the file of settings say: back up each one's source, going on with what is unfinished
    Run(RunArgs),
    /// Put parity beside a file, from which what gets damaged of it is rebuilt
    Protect(ProtectArgs),
    /// Restore a backup to a file, to standard output or into a directory
    Restore(RestoreArgs),
    /// List the backups in stores
    Ls(LsArgs),
    /// Show what a backup is made of and what it survives, without reading its blocks
    Show(ShowArgs),
    /// Read and check every block of a backup; changes nothing
    Verify(VerifyArgs),
    /// Rebuild what is lost or damaged of a backup, and put it in its place
    Repair(RepairArgs),
    /// Go over all that is stored: read what was not read for long, and with --repair mend it
    Scrub(ScrubArgs),
    /// Move all blocks out of a store into others
    Evacuate(EvacuateArgs),
    /// Delete backups by their ids, or all but those that rules keep
    Forget(ForgetArgs),
    /// Take back what unfinished backups left in stores, that nobody goes on with
    Sweep(SweepArgs),
    /// Try what codes survive, and write down what came of it: the certificates that promises rest on
    Certify(CertifyArgs),
    /// Keep blocks for other nodes, over TCP and QUIC
    Serve(ServeArgs),
    /// List what clients of a server deleted, or bring it back
    Undelete(UndeleteArgs),
    /// Make and show keys
    Key(KeyArgs),
    /// Give names to stores
    Store(StoreArgs),
    /// Check the file of settings, or show what it comes to
    Config(ConfigArgs),
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
    /// Measure what this machine can do, and what tanner makes of it
    Bench(BenchArgs),
    /// Print the JSON Schema of what --json prints
    Schema,
    /// Print the version, and with --verbose what of this machine is used and why
    Version(VersionArgs),
}

#[derive(Args, Debug)]
pub(super) struct VersionArgs {
    /// Also the SIMD level, and how disks and files are read and written
    #[arg(short, long)]
    pub(super) verbose: bool,
}

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// A store: a directory, or a URL such as file:///mnt/a; repeat for more
    #[arg(long = "to", value_name = "URL")]
    pub(super) to: Vec<String>,

    /// Keep the backup only if so many stores did their part; what fails below that leaves nothing
    #[arg(long, default_value_t = 1, value_name = "STORES")]
    pub(super) quorum: usize,

    /// Data blocks: the file is split into this many
    #[arg(short = 'k', long, default_value_t = 10, value_name = "K")]
    pub(super) data: u64,

    /// Parity blocks: about this many blocks may be lost
    #[arg(short = 'm', long, default_value_t = 5, value_name = "M")]
    pub(super) parity: u64,

    /// The code that makes the parity: auto is shift or coupled, whichever suits the numbers; rfc5170 is for
    /// whoever wants to read the blocks with another decoder, and promises less
    #[arg(long, value_enum, default_value_t, value_name = "CODE")]
    pub(super) code: Code,

    /// How to read the file
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(super) io: IoMode,

    /// A loss that the backup must survive, such as "1 host" or "2 stores": place the blocks so that it does, or refuse
    /// before anything is written; repeat for more
    #[arg(long, value_name = "LOSS")]
    pub(super) survive: Vec<Demand>,

    /// Survive what the stores allow, whatever the file of settings demands
    #[arg(long, conflicts_with = "survive")]
    no_survive: bool,

    /// Which of the stores that may have a block gets it; the default is survive with --survive, else even
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(super) policy: Option<PolicyName>,

    /// Say of each block where it goes, and why
    #[arg(long)]
    pub(super) explain: bool,

    /// Say where the blocks would go and what that would survive, and write nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,

    /// The file for what was measured of stores, or none; the default is below the user's directory for state
    #[arg(long, env = "TANNER_STATE", value_name = "FILE")]
    pub(super) state: Option<String>,

    /// Go on with the newest unfinished backup of this file, if there is one: with the same stores and the same shape
    #[arg(long)]
    pub(super) resume: bool,

    #[command(flatten)]
    pub(super) encrypt: EncryptArgs,

    #[command(flatten)]
    pub(super) journal: JournalArgs,

    /// Time between two checkpoints: what was sent after the last one is sent again when a backup is resumed
    #[arg(long, default_value = "5s", value_parser = parse_interval, env = "TANNER_CHECKPOINT", value_name = "TIME")]
    pub(super) checkpoint: Duration,

    #[command(flatten)]
    pub(super) facts: FactArgs,

    #[command(flatten)]
    pub(super) limit: LimitArgs,

    #[command(flatten)]
    pub(super) resources: ResourceArgs,
}

#[derive(Args, Debug)]
pub(super) struct JournalArgs {
    /// The directory for what is known of unfinished backups, or none: then a backup that is cut off leaves nothing to go
    /// on with; the default is below the user's directory for state
    #[arg(long, env = "TANNER_JOURNAL", value_name = "DIR")]
    journal: Option<String>,
}

impl JournalArgs {
    /// The journals; none if there are to be none, or nobody knows where.
    pub(super) fn journals(&self) -> Option<Journals> {
        match self.journal.as_deref() {
            Some("none") => None,
            Some(directory) => Some(Journals::within(directory.into())),
            None => Some(Journals::within(state_directory()?.join("unfinished"))),
        }
    }

    /// Whether somebody said where.
    pub(super) fn is_given(&self) -> bool {
        self.journal.is_some()
    }
}

/// Which store is the best.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum PolicyName {
    /// Each store in its turn.
    Even,
    /// In proportion to the rates that were measured.
    Fastest,
    /// The cheapest first.
    Cheapest,
    /// So that as many losses as possible are survived.
    Survive,
}

impl From<PolicyName> for &'static dyn Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Even => &Even,
            PolicyName::Fastest => &Fastest,
            PolicyName::Cheapest => &Cheapest,
            PolicyName::Survive => &Survive,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) find: FindArgs,

    #[command(flatten)]
    pub(super) identity: IdentityArgs,

    #[command(flatten)]
    pub(super) facts: FactArgs,
}

#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    /// The backup's id, or a protected file: the store is its own then
    pub(super) id: String,

    /// A store; repeat for more
    #[arg(long = "from", value_name = "URL")]
    pub(super) from: Vec<String>,

    #[command(flatten)]
    pub(super) to: TargetArgs,

    /// Go on with what a restore of this backup to this file left when it was stopped or killed; else that is removed
    #[arg(long)]
    pub(super) resume: bool,

    #[command(flatten)]
    pub(super) some: SalvageArgs,

    #[command(flatten)]
    pub(super) identity: IdentityArgs,

    /// The file for what was measured of stores, or none; the default is below the user's directory for state
    #[arg(long, env = "TANNER_STATE", value_name = "FILE")]
    pub(super) state: Option<String>,

    #[command(flatten)]
    pub(super) facts: FactArgs,

    #[command(flatten)]
    pub(super) limit: LimitArgs,

    #[command(flatten)]
    pub(super) resources: ResourceArgs,
}

#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// The stores to look into
    #[arg(value_name = "URL")]
    pub(super) stores: Vec<String>,

    #[command(flatten)]
    pub(super) identity: IdentityArgs,
}

#[derive(Args, Debug)]
pub(super) struct FindArgs {
    /// The backup's id, or a protected file: the store is its own then
    pub(super) id: String,

    /// A store; repeat for more
    #[arg(long = "from", value_name = "URL")]
    pub(super) from: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) find: FindArgs,

    /// Read nothing: ask the stores what they have and how long it is. Finds what is lost or cut off, and a wrong byte only
    /// where an earlier verification left a question to a server
    #[arg(long, conflicts_with = "sample")]
    pub(super) quick: bool,

    /// Read a share of the blocks only, drawn at random, such as 5%; one at least. Of the others as --quick
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    pub(super) sample: Option<f64>,

    /// The file for questions to servers, or none: what is read leaves one for each block, and --quick has the server prove with
    /// it that it still has the block; the default is below the user's directory for state
    #[arg(long, env = "TANNER_QUESTIONS", value_name = "FILE")]
    pub(super) questions: Option<String>,

    #[command(flatten)]
    pub(super) limit: LimitArgs,
}

#[derive(Args, Debug)]
pub(super) struct RepairArgs {
    /// The backup's id, or a protected file: the store is its own then
    pub(super) id: String,

    /// A store; repeat for more
    #[arg(long = "from", value_name = "URL")]
    pub(super) from: Vec<String>,

    /// A store for the rebuilt blocks; repeat for more. Without it a damaged block is replaced where it is, and a
    /// lost one goes back to its store, or where fewest blocks are lost together
    #[arg(long = "to", value_name = "URL")]
    pub(super) to: Vec<String>,

    /// A loss that must be survived in the end, such as "1 host"; repeat for more. Without it what was survived as the blocks
    /// were placed, if a key shows that
    #[arg(long, value_name = "LOSS")]
    pub(super) survive: Vec<Demand>,

    /// Say what is wrong and what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,

    /// Trust the blocks that are there instead of reading them all first; what is rebuilt is checked all the same
    #[arg(long)]
    pub(super) quick: bool,

    #[command(flatten)]
    pub(super) identity: IdentityArgs,

    #[command(flatten)]
    pub(super) facts: FactArgs,

    #[command(flatten)]
    pub(super) limit: LimitArgs,

    #[command(flatten)]
    pub(super) resources: ResourceArgs,
}

#[derive(Args, Debug)]
pub(super) struct ResourceArgs {
    /// Threads of computation; 0 means one for each core
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024), env = "TANNER_THREADS", value_name = "N")]
    pub(super) threads: u16,

    /// Memory to stay within, whatever the size of the file
    #[arg(long, default_value_t = ByteSize(MEMORY_BYTES_DEFAULT), env = "TANNER_MEMORY", value_name = "SIZE")]
    pub(super) memory: ByteSize,
}

/// Which code makes the parity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Code {
    /// Shift or coupled, whichever suits the numbers of blocks.
    #[default]
    Auto,
    /// Any k blocks restore; slow with many parity blocks.
    Shift,
    /// For many parity blocks.
    Coupled,
    /// LDPC-Staircase as other decoders know it.
    Rfc5170,
}

impl From<Code> for CodeChoice {
    fn from(code: Code) -> Self {
        match code {
            Code::Auto => Self::Auto,
            Code::Shift => Self::Shift,
            Code::Coupled => Self::Coupled,
            Code::Rfc5170 => Self::Rfc5170,
        }
    }
}

/// How stores in directories are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum DiskIoMode {
    /// The ring, or positioned calls and a word why.
    #[default]
    Auto,
    /// io_uring, or an error.
    Ring,
    /// Positioned calls on threads.
    Positioned,
}

impl From<DiskIoMode> for DiskIo {
    fn from(mode: DiskIoMode) -> Self {
        match mode {
            DiskIoMode::Auto => Self::Auto,
            DiskIoMode::Ring => Self::Ring,
            DiskIoMode::Positioned => Self::Positioned,
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum ProgressMode {
    /// A bar on a terminal, plain lines elsewhere, JSON with --json.
    #[default]
    Auto,
    /// A bar.
    Bar,
    /// A line now and then.
    Plain,
    /// A JSON object now and then.
    Json,
    /// Nothing.
    None,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval.is_zero() => Err("wanted more than 0".into()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}

/// A share of some things: `5%`, or `0.05`.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    share.filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "wanted a share such as 5%".into())
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done: a backup is at full redundancy, a check found nothing wrong, a restored file is right
    1  failed for another reason than those below
    2  wrong usage, or a file of settings that cannot be used
    3  done and restorable, but below target: some blocks or manifests were not stored or not
       repaired, or a loss that was to be survived would not be
    4  damage found that the rest can repair; nothing changed
    5  cannot be restored with the blocks at hand
    6  too few blocks could be stored, too little room, or stores on which the losses named cannot
       be survived; nothing is kept, but for what --resume goes on with if stores were out of reach
    7  the source changed while it was read, and nothing was stored; or since the backup began
       that is to be resumed
   10  the store, directory, backup, job or journal does not exist, or a peer cannot be reached
    12  the backup is encrypted, and no key at hand opens it; or nothing trusts who signed it
   130  stopped by SIGINT, 143 by SIGTERM; nothing was stored or written but what --resume goes on
        with, of a restore or of a backup with a journal; a second signal ends the run at once, which
        leaves what --resume goes on with, or sweep takes back

A restore succeeds if it can, whatever damage it meets and names; to check all that is stored,
use verify.

SIGUSR1 makes any command say on standard error how far it is, whatever --progress says; with --json
it prints a status object.

The environment variable TANNER_SIMD forces a SIMD level: auto, portable, neon, avx2, avx512.";
