//! `tanner backup` and `tanner restore` against `cp` of the same file, in turn, in one run.
//!
//! `cargo bench --bench copy -- FILE DIR`: the file is backed up 10+5 to five directories below DIR, restored from
//! them, and copied to DIR. Each round times all three; the ratios are taken round by round, because the speed of
//! a machine drifts. Everything ends on stable storage (`sync` is part of each). The restored file is compared.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [file, directory] = args.as_slice() else {
        eprintln!("usage: cargo bench --bench copy -- FILE DIR");
        return ExitCode::from(2);
    };
    let directory = Path::new(directory).join("tanner-bench-copy");
    let bytes = std::fs::metadata(file).expect("the file exists").len();
    println!(
        "| round | cp | backup 10+5 | restore | backup : cp | restore : cp |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut ratios: Vec<(f64, f64)> = Vec::new();
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        std::fs::create_dir_all(&directory).expect("DIR can be written");
        let copied = directory.join("copied");
        let copy = timed(|| drop(run(Command::new("cp").arg(file).arg(&copied))), &directory);
        std::fs::remove_file(&copied).expect("just copied");
        let stores: Vec<String> =
            (0..5).map(|store| directory.join(store.to_string()).display().to_string()).collect();
        let mut id = String::new();
        let backup = timed(|| id = run(tanner("backup", "--to", &stores).arg(file)), &directory);
        let restored = directory.join("restored");
        let restore = timed(
            || drop(run(tanner("restore", "--from", &stores).arg(id.trim()).arg("-o").arg(&restored))),
            &directory,
        );
        run(Command::new("cmp").arg(file).arg(&restored));
        std::fs::remove_dir_all(&directory).expect("ours");
        if round > 0 {
            println!(
                "| {round} | {} | {} | {} | {:.2} | {:.2} |",
                rate(bytes, copy),
                rate(bytes, backup),
                rate(bytes, restore),
                backup / copy,
                restore / copy
            );
            ratios.push((backup / copy, restore / copy));
        }
    }
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = ratios.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "\nmedian of {ROUNDS}: backup takes {:.2} × the time of cp, restore {:.2} ×",
        median(|r| r.0),
        median(|r| r.1)
    );
    ExitCode::SUCCESS
}

fn tanner(command: &str, flag: &str, stores: &[String]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tanner"));
    program.arg(command).arg("--quiet").args(stores.iter().flat_map(|store| [flag, store]));
    program
}

fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?} failed");
    String::from_utf8(output.stdout).expect("text")
}

/// Seconds until the work is done and on stable storage.
fn timed(work: impl FnOnce(), directory: &Path) -> f64 {
    let began = Instant::now();
    work();
    run(Command::new("sync").arg("-f").arg(directory));
    began.elapsed().as_secs_f64()
}

fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.2} GB/s", bytes as f64 / seconds / 1e9)
}
