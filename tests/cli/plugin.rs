//! A transport that somebody else wrote, plugged into the command line: `tests/plugin`, built here as an example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Place, Tanner};
use crate::stored::content;

/// The program, which a run of all tests has built already.
fn tape() -> Tanner {
    let built = Path::new(env!("CARGO_BIN_EXE_tanner")).parent().unwrap();
    let program: PathBuf = built.join("examples/tape");
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--example", "tape", "--locked", "--target-dir"]).arg(built.parent().unwrap());
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    }
    let mut command = Command::new(program);
    command.env("TANNER_STATE", "none").env("TANNER_JOURNAL", "none").stdin(Stdio::null());
    Tanner(command)
}

#[test]
fn a_scheme_of_somebody_elses_is_used_like_our_own() {
    let place = Place::new();
    let bytes = content(1 << 20, 1);
    let source = place.file("source.bin", &bytes);
    let stores = ["a", "b", "c"].map(|reel| format!("tape:{}", place.join(reel).display()));
    let run =
        tape().words("backup -k 4 -m 2 --no-encrypt").arg(&source).stores("--to", &stores).run().expect(0);
    let id = run.out.trim();
    // It is really the plug-in that writes: a tape holds every bit the other way round.
    let block = fs::read(place.join("a").join(id).join("0"))
        .or_else(|_| fs::read(place.join("b").join(id).join("0")));
    let block: Vec<u8> = block.or_else(|_| fs::read(place.join("c").join(id).join("0"))).unwrap();
    assert!(block.iter().zip(&bytes).take(1000).all(|(taped, byte)| *taped == !byte));

    fs::remove_dir_all(place.join("b")).unwrap();
    let out = place.output();
    tape().words("restore").arg(id).stores("--from", &stores).arg("-o").arg(&out).run().expect(0);
    assert!(fs::read(out).unwrap() == bytes);
}

#[test]
fn an_unknown_scheme_is_told_the_plugged_in_one_too() {
    let run = tape().words("ls nowhere:x").run().expect(2);
    run.is_one_line_of_error().err_has("tape");
}
