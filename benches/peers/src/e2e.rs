//! Whole programs on a file, in turn: what a user waits for. Everything ends on stable storage; in the round that warms
//! up, what they wrote is turned back into the file and compared.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::record::{self, Row};
use crate::table::{distinct, spread};

#[derive(clap::Args)]
pub struct E2eArgs {
    /// The file to protect
    file: PathBuf,
    /// Where the programs write; all of it is removed again
    dir: PathBuf,
    /// Counted rounds; one more warms up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The tanner to run, built with --release
    #[arg(long, default_value = "tanner")]
    tanner: String,
    /// Threads of b3sum, tanner and par2; all cores unless given
    #[arg(long)]
    threads: Option<usize>,
    /// Keep the rows and the machine's facts in this directory, as e2e.csv and e2e.machine.txt
    #[arg(long)]
    record: Option<PathBuf>,
}

/// A program, and how to see that it did its work; `check` is given what it printed.
struct Program {
    name: &'static str,
    command: Vec<String>,
    version: &'static str,
    check: fn(&Place, &str) -> Result<(), String>,
}

/// The file and a directory of ours.
struct Place {
    file: PathBuf,
    dir: PathBuf,
    tanner: String,
}

pub fn run(args: &E2eArgs) -> Result<(), String> {
    let absolute = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    fs::create_dir_all(&args.dir).map_err(|error| format!("{}: {error}", args.dir.display()))?;
    let dir = absolute(&args.dir)?.join("tanner-e2e");
    let place = Place { file: absolute(&args.file)?, dir, tanner: args.tanner.clone() };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or_else(cores);
    let bytes = fs::metadata(&place.file).map_err(|error| error.to_string())?.len();

    let mut rows = Vec::new();
    let mut programs = programs(&place, threads);
    let template = |program: &Program| Row {
        contestant: program.name.to_owned(),
        version: program.version(),
        operation: OPERATION.to_owned(),
        bytes: usize::try_from(bytes).expect("64 bits"),
        threads,
        ..Row::default()
    };
    programs.retain(|program| {
        let missing = program.is_missing();
        if missing {
            rows.push(Row { note: format!("{} is not installed", program.command[0]), ..template(program) });
        }
        !missing
    });
    for round in 0..=args.rounds {
        for program in &programs {
            let seconds = program.timed(&place, round == 0)?;
            eprintln!("round {round}: {} {seconds:.2} s", program.name);
            if round > 0 {
                rows.push(Row { round, seconds, ..template(program) });
            }
        }
    }
    if let Some(directory) = &args.record {
        let versions: Vec<_> = programs.iter().map(|program| (program.name, program.version())).collect();
        record::write(&directory.join("e2e.csv"), &rows)
            .and_then(|()| fs::write(directory.join("e2e.machine.txt"), record::machine_facts(&versions)))
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    print(&rows);
    Ok(())
}

pub fn print(rows: &[Row]) {
    println!("| program | seconds: median (least–most) | GB/s | time : {BACKUP} | time : (cp + b3sum) |");
    println!("| --- | --- | --- | --- | --- |");
    for name in distinct(rows.iter().map(|row| row.contestant.as_str())) {
        // Rounds are paired: the speed of a machine drifts.
        let ours =
            spread(of(rows, name).zip(of(rows, BACKUP)).map(|(row, backup)| row.seconds / backup.seconds));
        let plain = of(rows, "cp").zip(of(rows, "b3sum")).map(|(cp, hash)| cp.seconds + hash.seconds);
        let plain = spread(of(rows, name).zip(plain).map(|(row, plain)| row.seconds / plain));
        let (seconds, rate) =
            (spread(of(rows, name).map(|row| row.seconds)), spread(of(rows, name).map(Row::rate)));
        println!("| {name} | {seconds} | {rate} | {ours} | {plain} |");
    }
    let notes = rows.iter().filter(|row| !row.note.is_empty());
    notes.for_each(|row| println!("\n* {}: {}", row.contestant, row.note));
}

/// A program's rows, in the order of their rounds.
fn of<'a>(rows: &'a [Row], name: &str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.contestant == name && row.seconds > 0.0)
}

/// All of them add half of the file's bytes, or nothing.
fn programs(place: &Place, threads: usize) -> Vec<Program> {
    let in_dir = |name: &str| place.dir.join(name).display().to_string();
    let file = || place.file.display().to_string();
    let base = || place.file.parent().unwrap_or(Path::new("/")).display().to_string();
    let par2 = |blocks: &str| format!("par2 create -q -q -t{threads} {blocks} -r50 -B");
    let program = |name, words: &str, rest: Vec<String>, version, check| Program {
        name,
        command: words.split_whitespace().map(str::to_owned).chain(rest).collect(),
        version,
        check,
    };
    let stores = (0..5).flat_map(|store| ["--to".to_owned(), in_dir(&store.to_string())]);
    let backup = format!("backup --quiet --threads {threads} --data 10 --parity 5");
    let mut ours = program(BACKUP, &backup, stores.chain([file()]).collect(), "--version", check_backup);
    // Its path may hold spaces.
    ours.command.insert(0, place.tanner.clone());
    // Without a prefix it would write beside the file, not to the directory.
    let zfec = vec![place.dir.display().to_string(), file()];
    let to_par2 = || vec![base(), in_dir("file.par2"), file()];
    vec![
        program("cp", "cp", vec![file(), in_dir("copy")], "--version", check_copy),
        program("b3sum", &format!("b3sum --num-threads {threads}"), vec![file()], "--version", check_none),
        ours,
        program("zfec", "zfec -q -f -k 10 -m 15 -p share -d", zfec, "-V", check_zfec),
        program("par2 (2000 blocks)", &par2("-b2000"), to_par2(), "-V", check_par2),
        program("par2 (10 blocks)", &par2("-b10"), to_par2(), "-V", check_par2),
    ]
}

impl Program {
    fn is_missing(&self) -> bool {
        let started = Command::new(&self.command[0]).arg(self.version).output();
        started.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// The first line that has a number in it; a wrapper of par2 prints a path before.
    fn version(&self) -> String {
        let output = Command::new(&self.command[0]).arg(self.version).output();
        let text = output
            .map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
        let is_version = |line: &&str| line.contains(|c: char| c.is_ascii_digit()) && !line.contains('/');
        text.lines().find(is_version).unwrap_or_default().to_owned()
    }

    /// Seconds until its results are on stable storage, from an empty directory.
    fn timed(&self, place: &Place, check: bool) -> Result<f64, String> {
        fs::create_dir_all(&place.dir).map_err(|error| format!("{}: {error}", place.dir.display()))?;
        let began = Instant::now();
        let output = run_command(Command::new(&self.command[0]).args(&self.command[1..]))?;
        run_command(Command::new("sync").arg("-f").arg(&place.dir))?;
        let seconds = began.elapsed().as_secs_f64();
        let checked = if check { (self.check)(place, &output) } else { Ok(()) };
        fs::remove_dir_all(&place.dir).map_err(|error| format!("{}: {error}", place.dir.display()))?;
        checked.map(|()| seconds)
    }
}

fn check_none(_: &Place, _: &str) -> Result<(), String> {
    Ok(())
}

fn check_copy(place: &Place, _: &str) -> Result<(), String> {
    same(place, "copy")
}

/// Restores without the first of five stores.
fn check_backup(place: &Place, id: &str) -> Result<(), String> {
    let stores = (1..5).flat_map(|store| ["--from".into(), place.dir.join(store.to_string())]);
    let mut restore = Command::new(&place.tanner);
    restore.args(["restore", "--quiet", id.trim()]).args(stores).arg("-o").arg(place.dir.join("restored"));
    run_command(&mut restore)?;
    same(place, "restored")
}

/// Restores from the last ten shares: five of them are parity.
fn check_zfec(place: &Place, _: &str) -> Result<(), String> {
    let entries = fs::read_dir(&place.dir).map_err(|error| error.to_string())?;
    let mut shares: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    shares.sort();
    let last = &shares[shares.len().saturating_sub(10)..];
    run_command(Command::new("zunfec").arg("-o").arg(place.dir.join("restored")).args(last))?;
    same(place, "restored")
}

fn check_par2(place: &Place, _: &str) -> Result<(), String> {
    let base = place.file.parent().unwrap_or(Path::new("/"));
    let mut verify = Command::new("par2");
    verify.args(["verify", "-q", "-q", "-B"]).arg(base).arg(place.dir.join("file.par2")).arg(&place.file);
    run_command(&mut verify).map(drop)
}

fn same(place: &Place, name: &str) -> Result<(), String> {
    run_command(Command::new("cmp").arg(&place.file).arg(place.dir.join(name))).map(drop)
}

/// Runs to the end; what it printed.
fn run_command(command: &mut Command) -> Result<String, String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?} failed")),
    }
}

/// The operation of these rows in a record.
pub const OPERATION: &str = "whole program";

const BACKUP: &str = "tanner backup";
