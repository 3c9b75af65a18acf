//! `tanner bench`: small runs of everything. No test looks at how fast anything was.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Place, Run, files_below, tanner};
use crate::json::{objects, summary};

pub(crate) const CODEC: &str = "bench codec --json --shapes 4+2,12+12 --size 1MiB --rounds 2 --threads 2";

/// The report of a run with `--json`.
#[track_caller]
pub(crate) fn report(run: &Run) -> Value {
    let json = objects(run);
    assert_eq!(summary(&json)["bench_version"], 1);
    summary(&json)["report"].clone()
}

#[track_caller]
fn names(report: &Value, kind: &str) -> Vec<String> {
    let all = report["measurements"].as_array().unwrap().iter().filter(|m| m["kind"] == kind);
    all.map(|m| {
        assert_eq!(m["seconds"].as_array().unwrap().len(), m["rounds"].as_array().unwrap().len());
        m["name"].as_str().unwrap().to_owned()
    })
    .collect()
}

#[test]
fn codec_measures_every_level_beside_its_ceilings() {
    let report = report(&tanner(CODEC).run().expect(0));
    let ceilings = names(&report, "ceiling");
    for name in ["memory read", "copy", "hash (BLAKE3)", "cipher (AES-256-CTR)"] {
        assert_eq!(ceilings.iter().filter(|ceiling| *ceiling == name).count(), 2, "1 and 2 threads");
    }
    let levels = report["machine"]["levels"].as_array().unwrap();
    for level in levels {
        let measured = report["measurements"].as_array().unwrap().iter();
        let own = measured.filter(|m| m["level"] == *level && m["threads"] == 1 && m["kind"] == "encode");
        assert_eq!(own.count(), 2, "{level} at both shapes");
    }
    assert!(names(&report, "decode").contains(&"12+12, 11 lost".into()));
    let profile = &report["profiles"][1];
    assert_eq!((&profile["shape"], &profile["threshold"]), (&"12+12".into(), &13.into()));
    assert_eq!(profile["losses"], serde_json::json!([1, 5, 11]));
    // Any four blocks of the shift code, and 13 of the other; but where parity abounds less than all of twelve.
    assert_eq!(report["profiles"][0]["losses_read_per_mille"], serde_json::json!([1000, 1000]));
    let read: Vec<u64> = serde_json::from_value(profile["losses_read_per_mille"].clone()).unwrap();
    assert!(read[0] < 1000 && read[2] <= 1083, "{read:?}");
}

#[test]
fn codec_says_in_words_what_binds() {
    let run = tanner("bench codec --shapes 4+2 --size 256KiB --rounds 1 --threads 1").run().expect(0);
    run.out_has("memory read").out_has("4+2: shift code").out_has("binds").out_has("is bound by");
    run.out_has("note: 256.0 KiB is not much more than the largest cache");
}

#[test]
fn codec_refuses_what_cannot_be_meant() {
    for words in ["--shapes 10", "--shapes 0+5", "--shapes 4000+97", "--size 0", "--rounds 0", "--size 1PiB"]
    {
        let run = tanner("bench codec").words(words).run().expect(2);
        assert_eq!(run.out, "", "{words}: {run:#?}");
    }
    let run = tanner("bench codec --size 1TiB --shapes 10+5").run().expect(2);
    run.is_one_line_of_error().err_has("memory").err_has("--size");
    tanner("bench codec --help").run().expect(0).out_has("no parity is lost");
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    tanner(CODEC).env("TANNER_SIMD", foreign).run().expect(2);
}

#[test]
fn disks_are_measured_alone_and_together_and_left_as_they_were() {
    let place = Place::new();
    let directories = [place.join("a"), place.join("b")];
    directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
    let run = tanner("bench disk --size 1MiB --rounds 2 --json").stores("", &directories).run().expect(0);
    let report = report(&run);
    assert_eq!(names(&report, "disk").len(), 6);
    assert!(report["directories"][1]["direct"].is_boolean());
    assert_eq!(files_below(place.path()), ["a/", "b/", "out/"]);
    let run = tanner("bench disk --size 1MiB --rounds 1").stores("", &directories).run().expect(0);
    run.out_has("all at a time");
}

#[test]
fn directories_that_cannot_be_measured_are_refused() {
    let place = Place::new();
    let (file, nowhere) = (place.file("file", b""), place.join("nowhere"));
    for directory in [&file, &nowhere] {
        let run = tanner("bench disk").arg(directory).run().expect(10);
        run.is_one_line_of_error().err_has(&directory.display().to_string());
        tanner("bench e2e --to").arg(directory).run().expect(10).is_one_line_of_error();
    }
    tanner("bench disk").run().expect(2);
    let full = tanner("bench disk --size 1PiB").arg(place.path()).run().expect(2);
    full.is_one_line_of_error().err_has("free").err_has("--size");
    tanner("bench e2e --size 1PiB --to").arg(place.path()).run().expect(2).is_one_line_of_error();
    assert_eq!(files_below(place.path()), ["file", "out/"]);
}

#[test]
fn whole_backups_are_measured_beside_a_copy_and_nothing_is_left() {
    let place = Place::new();
    let words = "bench e2e --size 1MiB --rounds 2 -k 4 -m 2 --json --to";
    let report = report(&tanner(words).arg(place.path()).run().expect(0));
    let wanted = ["copy and sync", "hash", "backup 4+2", "restore 4+2", "restore 4+2, 2 lost"];
    assert_eq!(names(&report, "e2e"), wanted);
    assert_eq!(files_below(place.path()), ["out/"]);
    let run = tanner("bench e2e --size 100KiB --rounds 1 -k 4 -m 2")
        .env("TMPDIR", &place.path().display().to_string());
    run.run().expect(0).out_has("× its time").out_has("backup 4+2, ");
    assert_eq!(files_below(place.path()), ["out/"]);
}

/// What is on by default has a price, which nobody should have to take on trust.
#[test]
fn encrypted_backups_are_measured_beside_plain_ones_in_the_same_rounds() {
    let place = Place::new();
    let words = "bench e2e --encryption both --size 1MiB --rounds 2 -k 4 -m 2 --threads 2 --to";
    let run = tanner(words).arg(place.path()).words("--json").run().expect(0);
    let measured = names(&report(&run), "e2e");
    for job in ["backup 4+2", "restore 4+2", "restore 4+2, 2 lost"] {
        assert!([job, &format!("encrypted {job}")].iter().all(|job| measured.iter().any(|name| name == job)));
        let costs =
            objects(&run).into_iter().find(|o| o["event"] == "encryption" && o["what"] == *job).unwrap();
        let of = |name: &str| costs[name].as_f64().unwrap();
        assert!(
            of("least_ratio") > 0.0 && of("least_ratio") <= of("ratio") && of("ratio") <= of("most_ratio")
        );
    }
    assert_eq!(
        names(&report(&run), "ceiling").iter().filter(|name| *name == "cipher (AES-256-CTR)").count(),
        2
    );
    let run = tanner(words).arg(place.path()).run().expect(0);
    run.out_has("encrypted GB/s").out_has("cipher (AES-256-CTR)").out_has("encrypted backup 4+2, 2 threads");
    let only = tanner("bench e2e --encryption on --size 1MiB --rounds 1 -k 4 -m 2 --json --to");
    let measured = names(&report(&only.arg(place.path()).run().expect(0)), "e2e");
    assert!(measured.iter().all(|name| !name.starts_with("backup")), "{measured:?}");
    assert_eq!(files_below(place.path()), ["out/"]);
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing() {
    for words in ["bench disk --size 64MiB --rounds 1000", "bench e2e --size 64MiB --rounds 1000 --to"] {
        let place = Place::new();
        let run =
            tanner(words).arg(place.path()).run_until_bytes_are_done().expect("a thousand rounds take long");
        run.signal(Signal::INT);
        run.finish().expect(130);
        assert_eq!(files_below(place.path()), ["out/"], "{words}");
    }
}

#[test]
fn loopback_is_measured_both_ways_and_said_to_be_no_network() {
    let run = tanner("bench net --size 1MiB --rounds 2 --streams 3 --json").run().expect(0);
    let report = report(&run);
    assert_eq!(names(&report, "net"), ["round trip", "upload", "download", "upload", "download"]);
    assert!(report["notes"].to_string().contains("loopback"));
}

#[test]
fn two_processes_measure_their_connection() {
    let mut command = tanner("bench net --listen 127.0.0.1:0").0;
    let mut listener = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    // Peers that talk nonsense or ask for too much are hung up on, and disturb nobody.
    for request in [[0; 24], *b"tannerb1\x02\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&request).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let run = tanner("bench net --size 1MiB --rounds 1 --connect").arg(&address).run();
    kill_process(Pid::from_child(&listener), Signal::INT).unwrap();
    assert_eq!(listener.wait().unwrap().code(), Some(130));
    let run = run.expect(0);
    run.out_has("upload").out_has("download").out_has("round trip").out_has("µs");
    assert!(!run.out.contains("loopback"));
}

#[test]
fn peers_that_cannot_be_reached_are_exit_code_10_and_other_peers_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    tanner("bench net --listen").arg(&address).run().expect(1).is_one_line_of_error().err_has(&address);
    // Somebody else's server: it hangs up.
    let server = std::thread::spawn(move || drop(taken.accept().unwrap()));
    tanner("bench net --connect").arg(&address).run().expect(1).is_one_line_of_error().err_has(&address);
    server.join().unwrap();
    let refused = tanner("bench net --connect").arg(&address).run().expect(10);
    refused.is_one_line_of_error().err_has("refused");
    tanner("bench net --connect nowhere.invalid:1").run().expect(10).is_one_line_of_error();
    tanner("bench net --connect a:1 --listen b:2").run().expect(2);
}

fn saved(place: &Place, name: &str, change: impl Fn(&mut Value)) -> PathBuf {
    let run = tanner("bench codec --json --shapes 4+2 --size 64KiB --rounds 2 --threads 1").run().expect(0);
    let mut last: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
    change(&mut last);
    place.file(name, format!("{last}\n").as_bytes())
}

/// Multiplies all times.
fn slower(last: &mut Value, times: f64) {
    for measurement in last["report"]["measurements"].as_array_mut().unwrap() {
        measurement["seconds"] = serde_json::json!([times, times * 1.01]);
    }
}

#[test]
fn two_saved_outputs_are_compared() {
    let place = Place::new();
    let a = saved(&place, "a.json", |last| slower(last, 1.0));
    let b = saved(&place, "b.json", |last| slower(last, 2.0));
    let run = tanner("bench --compare").arg(&a).arg(&b).run().expect(0);
    run.out_has("0.500").out_has("SLOWER").out_has("a.json");
    tanner("bench --compare").arg(&b).arg(&a).run().expect(0).out_has("FASTER");
    tanner("bench --compare").arg(&a).arg(&a).run().expect(0).out_has("within the spread");
    let json = objects(&tanner("bench --json --compare").arg(&a).arg(&b).run().expect(0));
    assert_eq!(summary(&json)["compared"], summary(&json)["exceeding"]);
    assert_eq!(json[0]["event"], "comparison");
    tanner("bench --show").arg(&a).run().expect(0).out_has("memory read");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let place = Place::new();
    let good = saved(&place, "good.json", |_| {});
    let refused = |bad: &PathBuf, words: &str| {
        let run = tanner("bench --compare").arg(&good).arg(bad).run().expect(2);
        run.is_one_line_of_error().err_has(words);
        tanner("bench --show").arg(bad).run();
    };
    refused(&place.file("empty", b""), "no summary");
    refused(&place.file("words", b"hello\n"), "line 1");
    refused(&place.file("bytes", &[0xff; 10]), "no text");
    refused(&place.file("other", b"{\"message_type\":\"summary\"}\n"), "bench_version");
    refused(&saved(&place, "version", |last| last["bench_version"] = 2.into()), "version 2");
    refused(&saved(&place, "report", |last| last["report"] = 1.into()), "report");
    let no_times = |last: &mut Value| last["report"]["measurements"][0]["seconds"] = serde_json::json!([]);
    refused(&saved(&place, "times", no_times), "no times");
    let other = |last: &mut Value| last["report"]["measurements"].as_array_mut().unwrap().clear();
    refused(&saved(&place, "nothing", other), "nothing in common");
    tanner("bench --compare").arg(&good).arg(place.join("nowhere")).run().expect(1).err_has("nowhere");
    tanner("bench --compare").arg(&good).run().expect(2);
}
