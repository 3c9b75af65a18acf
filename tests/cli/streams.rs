//! Streams and archives on the command line: what comes through a pipe, and what goes into one.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Place, Run, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::stored::content;

impl Tanner {
    /// With these bytes at standard input.
    fn fed(mut self, place: &Place, bytes: &[u8]) -> Run {
        let file = place.file("fed", bytes);
        self.0.stdin(fs::File::open(file).unwrap());
        self.run()
    }

    /// What comes out, byte for byte.
    #[track_caller]
    fn bytes(mut self) -> Vec<u8> {
        let output = self.0.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

fn backup(stores: &[PathBuf], shape: &str) -> Tanner {
    tanner("backup").words(shape).stores("--to", stores)
}

fn restore(id: &str, stores: &[PathBuf]) -> Tanner {
    tanner("restore").arg(id.trim()).stores("--from", stores)
}

/// Encrypted, as whoever types no more gets it.
#[test]
fn what_comes_in_through_a_pipe_goes_out_through_one() {
    let place = Place::new();
    let stores = place.stores(3);
    for (seed, size) in [0, 1, 1000, 300_000, 5_000_000].into_iter().enumerate() {
        let bytes = content(size, seed as u64);
        let id = backup(&stores, "- -k 4 -m 2 --name db").fed(&place, &bytes).expect(0).out;
        for lost in 0..3 {
            let mut left = stores.clone();
            left.remove(lost);
            let spool = place.join("spool");
            fs::create_dir_all(&spool).unwrap();
            let out = restore(&id, &left).words("-o - --spool").arg(&spool).bytes();
            assert!(out == bytes, "{size} bytes without store {lost}");
            assert_eq!(files_below(&spool), [""; 0]);
        }
        restore(&id, &stores).arg("-o").arg(place.output()).run().expect(0);
        assert!(fs::read(place.output()).unwrap() == bytes);
        fs::remove_file(place.output()).unwrap();
        let show = tanner("show").arg(id.trim()).stores("--from", &stores).run().expect(0);
        show.out_has("db").out_has(&format!("({size} bytes)"));
        tanner("verify").arg(id.trim()).stores("--from", &stores).run().expect(0);
    }
}

#[test]
fn the_output_of_a_command_is_a_source_and_no_shell_is_asked() {
    let place = Place::new();
    let stores = place.stores(2);
    let run = backup(&stores, "-k 2 -m 1")
        .words("--command")
        .arg(r#"printf '%s|%s' "a  b" '$HOME'"#)
        .run()
        .expect(0);
    assert_eq!(restore(&run.out, &stores).words("-o -").bytes(), b"a  b|$HOME");
    tanner("show").arg(run.out.trim()).stores("--from", &stores).run().expect(0).out_has("printf");
    // Between two rows nothing comes for a while.
    let slow = "sh -c 'head -c 3000000 /dev/zero; sleep 1; head -c 3000000 /dev/zero'";
    let run = backup(&stores, "-k 2 -m 1").words("--command").arg(slow).run().expect(0);
    assert!(restore(&run.out, &stores).words("-o -").bytes() == vec![0; 6_000_000]);
}

/// A dump that is cut off looks like a good one: only its program knows.
#[test]
fn a_command_that_fails_leaves_nothing_and_is_named() {
    for (command, words) in [
        ("sh -c 'exit 3'", "exit status: 3"),
        ("sh -c 'echo some; exit 3'", "exit status: 3"),
        ("sh -c 'head -c 9000000 /dev/zero; exit 3'", "exit status: 3"),
        ("sh -c 'head -c 9000000 /dev/zero; kill -KILL $$'", "signal: 9"),
        ("sh -c 'exec >&-; sleep 0.2; exit 3'", "exit status: 3"),
        ("/no/such/program --flag", "cannot start `/no/such/program --flag`"),
    ] {
        let place = Place::new();
        let stores = place.stores(3);
        let run = backup(&stores, "-k 2 -m 1").words("--command").arg(command).run().expect(1);
        run.is_one_line_of_error().err_has(words).err_has(command.split(' ').next().unwrap());
        nothing_is_left_in(&stores);
    }
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_what_feeds_it() {
    // Less than a row, and many. More than a pipe holds: so it is being read when all of it is written.
    for size in [200_000, 9_000_000] {
        let place = Place::new();
        let stores = place.stores(2);
        let mut run = backup(&stores, "- -k 2 -m 1 --progress none");
        let mut child =
            run.0.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&vec![0; size]).unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let mut words = String::new();
        child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{words}");
        assert!(words.contains("nothing was stored"), "{words}");
        nothing_is_left_in(&stores);
        drop(stdin);
    }
}

#[test]
fn what_a_stream_cannot_do_is_refused_with_the_reason() {
    let place = Place::new();
    let (stores, file) = (place.stores(2), place.file("a", b"a"));
    let refused = |run: Tanner, words: &str| {
        run.run().expect(2).is_one_line_of_error().err_has(words);
        nothing_is_left_in(&stores);
    };
    for source in ["-", "--command true", "out"] {
        let source = || backup(&stores, source).within(place.path());
        refused(source().words("--resume"), "cannot be read again");
        refused(source().words("--dry-run"), "nobody knows how long");
    }
    refused(backup(&stores, "").words("--command").arg(""), "--command is empty");
    refused(backup(&stores, "").words("--command").arg("echo 'a"), "a quote is not closed");
    refused(backup(&stores, "--command true").arg(&file), "cannot be used with");
    refused(backup(&stores, "- --name a/b"), "wanted a file's name");
    refused(backup(&stores, ""), "required");
    let id = backup(&stores, "-k 2 -m 1").arg(&file).run().expect(0).out;
    backup(&stores, "-k 2 -m 1 --name b").arg(&file).run().expect(2).err_has("a name of its own");
    restore(&id, &stores)
        .words("-o - --json")
        .run()
        .expect(2)
        .out_has("standard output is the restored file");
    restore(&id, &stores).words("-o - --resume").run().expect(2).err_has("--resume");
    restore(&id, &stores).arg("-o").arg(place.join("new/")).run().expect(2).err_has("the backup is one file");
}

/// What a store loses on the way cannot be read again, and is rebuilt from the others.
#[test]
fn blocks_of_a_stream_that_got_lost_are_rebuilt_by_a_repair() {
    let place = Place::new();
    let (stores, bytes) = (place.stores(4), content(3_000_000, 1));
    let full = format!("fault:room=100k+{}", stores[3].display());
    let run = backup(&stores[..3], "- -k 4 -m 4").words("--to").arg(&full).fed(&place, &bytes).expect(3);
    run.err_has("below target: 2 of 8 blocks").err_has("`tanner repair");
    tanner("repair --quick")
        .arg(run.out.trim())
        .stores("--from", &stores[..3])
        .run()
        .expect(3)
        .err_has("any 2 stores");
    assert!(restore(&run.out, &stores[1..3]).words("-o -").bytes() == bytes);
}

/// `restore … -o - | head` is no failure.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    let stores = place.stores(2);
    let id = backup(&stores, "- -k 2 -m 1").fed(&place, &content(9_000_000, 1)).expect(0).out;
    let mut run = restore(&id, &stores).words("-q -o -");
    let mut child = run.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = vec![0; 1000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!((child.wait().unwrap().code(), words.as_str()), (Some(0), ""));
    assert!(some == content(9_000_000, 1)[..1000]);
}

/// Its blocks lie in many places of the file.
#[test]
fn a_restore_of_a_stream_that_was_killed_goes_on_and_is_exact() {
    let place = Place::new();
    let (stores, bytes) = (place.stores(1), content(6_000_000, 1));
    let id = backup(&stores, "- -k 4 -m 2").fed(&place, &bytes).expect(0).out;
    let slowly = || {
        let from = format!("limit:rate=6M+{}", stores[0].display());
        tanner("restore").arg(id.trim()).words("--from").arg(from).arg("-o").arg(place.output())
    };
    let run = slowly().run_until_bytes_are_done().expect("it takes a second");
    std::thread::sleep(std::time::Duration::from_millis(300));
    run.signal(Signal::KILL);
    run.finish();
    slowly().words("--resume --force").run().expect(0);
    assert!(fs::read(place.output()).unwrap() == bytes);
}

/// Not a byte of what is not right may be taken for good by whatever reads on.
#[test]
fn of_what_cannot_be_restored_not_a_byte_goes_out() {
    let place = Place::new();
    let stores = place.stores(3);
    let id = backup(&stores, "- -k 4 -m 2").fed(&place, &content(3_000_000, 1)).expect(0).out;
    fs::remove_dir_all(&stores[0]).unwrap();
    for block in fs::read_dir(stores[1].join(id.trim())).unwrap().map(Result::unwrap) {
        if block.file_name() != "manifest" {
            let mut bytes = fs::read(block.path()).unwrap();
            bytes[1000] ^= 1;
            fs::remove_file(block.path()).unwrap();
            fs::write(block.path(), bytes).unwrap();
        }
    }
    let run = restore(&id, &stores).words("-o -").run().expect(5);
    assert_eq!(run.out, "");
}

/// Files, directories, links and modes, as one backup.
#[test]
fn several_files_and_directories_are_one_backup() {
    let place = Place::new();
    let stores = place.stores(3);
    fs::create_dir_all(place.join("dir/deep")).unwrap();
    place.file("a", &content(100_000, 1));
    place.file("dir/deep/b", &content(5_000_000, 2));
    place.file("dir/empty", b"");
    fs::set_permissions(place.join("dir/empty"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("deep/b", place.join("dir/link")).unwrap();
    let run = backup(&stores, "a dir/ -k 4 -m 2 --json").within(place.path()).run().expect(0);
    let json = objects(&run);
    assert_eq!(summary(&json)["archive"], true);
    let id = summary(&json)["id"].as_str().unwrap().to_owned();
    let out = place.join("out/unpacked/");
    let run = restore(&id, &stores[1..]).arg("-o").arg(&out).run().expect(0);
    run.err_has("unpacked: 3 files, 2 directories, 1 links");
    assert_eq!(
        files_below(&place.join("out")),
        ["unpacked/a", "unpacked/dir/deep/b", "unpacked/dir/empty", "unpacked/dir/link"]
    );
    for file in ["a", "dir/deep/b", "dir/empty", "dir/link"] {
        assert!(fs::read(out.join(file)).unwrap() == fs::read(place.join(file)).unwrap(), "{file}");
    }
    assert_eq!(fs::read_link(out.join("dir/link")).unwrap(), PathBuf::from("deep/b"));
    assert_eq!(out.join("dir/empty").metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    // What is there stays.
    restore(&id, &stores).arg("-o").arg(&out).run().expect(2).err_has("not empty");
    // The archive itself.
    let tar = place.join("out/archive.tar");
    restore(&id, &stores).arg("-o").arg(&tar).run().expect(0);
    assert!(fs::read(&tar).unwrap() == restore(&id, &stores).words("-o -").bytes());
    tanner("show").arg(&id).stores("--from", &stores).run().expect(0).out_has("archive");
}

#[test]
fn a_directory_with_what_changes_under_the_reader_is_no_backup() {
    let place = Place::new();
    let stores = place.stores(2);
    let run = backup(&stores, "a /proc/version -k 2 -m 1").within(place.path());
    place.file("a", b"a");
    run.run().expect(7).is_one_line_of_error().err_has("/proc/version changed").err_has("nothing was stored");
    nothing_is_left_in(&stores);
}

/// Part of what was asked for is not in it: that is not success.
#[test]
fn what_a_backup_of_a_directory_leaves_out_is_said() {
    let place = Place::new();
    let stores = place.stores(2);
    fs::create_dir(place.join("dir")).unwrap();
    place.file("dir/a", b"a");
    let _socket = std::os::unix::net::UnixListener::bind(place.join("dir/socket")).unwrap();
    let run = backup(&stores, "dir -k 2 -m 1").within(place.path()).run().expect(3);
    run.err_has("left out").err_has("dir/socket");
    restore(&run.out, &stores).arg("-o").arg(place.join("out/new/")).run().expect(0);
    assert_eq!(files_below(&place.join("out")), ["new/dir/a"]);
}
