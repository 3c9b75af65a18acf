//! Places without io_uring, or with little of what it needs: same bytes, one notice, no failure.
//!
//! What needs a tool or a right that is missing here is skipped by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use serde_json::Value;

use crate::few_tasks::few_tasks;
use crate::harness::{Place, Run, Tanner, tanner};
use crate::json::{objects, summary};
use crate::stored::{back_up, content};

#[path = "../../transports/tests/common/filter.rs"]
mod filter;

/// The run below another program, which ends with its exit code.
pub(crate) fn below(wrapper: &str, run: &Tanner) -> Tanner {
    let mut words = wrapper.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(run.0.get_program()).args(run.0.get_args()).stdin(Stdio::null());
    for (name, value) in run.0.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Tanner(command)
}

/// Whether programs run below it here.
pub(crate) fn works(wrapper: &str) -> bool {
    let mut words = wrapper.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let status = command.args(words).arg("true").stdin(Stdio::null()).output().map(|output| output.status);
    let works = status.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `{wrapper}` does not work here");
    }
    works
}

/// Backs up, verifies and restores below the wrapper. What the program says of the ring there: `None` if it has one.
#[track_caller]
fn same_bytes_below(wrapper: &str) -> Option<String> {
    let place = Place::new();
    // Some wrappers take rights away, and with them the keys.
    for path in [place.path().to_owned(), place.join("out")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let bytes = content(3_000_001, 11);
    let (source, stores) = (place.file("source", &bytes), [place.join("a"), place.join("b")]);
    let version = objects(&below(wrapper, &tanner("version --json")).run().expect(0));
    let refusal = summary(&version)["io_uring_refusal"].as_str().map(str::to_owned);
    assert_eq!(summary(&version)["disk_io"], if refusal.is_none() { "io_uring" } else { "positioned" });

    let back_up = |words: &str| back_up(&source, "-k 3 -m 1 --no-encrypt", &stores).words(words);
    let backup = back_up("--io uring");
    let run = below(wrapper, &backup).run().expect(0);
    said(&run, refusal.as_deref());
    let id = run.out.trim();
    let restore = tanner("restore --force").arg(id).stores("--from", &stores).arg("-o").arg(place.output());
    // One data block is computed, from blocks that were read.
    fs::remove_file(stores[0].join(id).join("0")).unwrap();
    said(&below(wrapper, &restore).run().expect(0), refusal.as_deref());
    assert!(fs::read(place.output()).unwrap() == bytes, "{wrapper}: other bytes came back");
    // Whoever reads them elsewhere gets them, too.
    tanner("restore --force --disk-io positioned")
        .arg(id)
        .stores("--from", &stores)
        .arg("-o")
        .arg(place.output())
        .run()
        .expect(0);
    assert!(fs::read(place.output()).unwrap() == bytes, "{wrapper}: other bytes were stored");

    let json = objects(&below(wrapper, &back_up("--io uring --json")).run().expect(0));
    let notices: Vec<&Value> = json.iter().filter(|object| object["event"] == "io_fallback").collect();
    assert_eq!(notices.len(), usize::from(refusal.is_some()), "{json:?}");
    assert_eq!(summary(&json)["reader"], if refusal.is_none() { "uring" } else { "pread" });
    let quiet = below(wrapper, &back_up("--quiet")).run().expect(0);
    assert_eq!(quiet.err, "");
    refusal
}

/// One notice if there is something to notice.
#[track_caller]
fn said(run: &Run, refusal: Option<&str>) {
    let notices: Vec<&str> = run.err.lines().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(notices.len(), usize::from(refusal.is_some()), "{run:#?}");
    assert!(notices.iter().all(|line| line.contains(refusal.unwrap())), "{run:#?}");
}

/// A container's filter, a hardened system, an old kernel, no memory for a ring; and filters that forget a part.
#[test]
fn where_io_uring_is_forbidden_backups_are_the_same_and_the_user_is_told_once() {
    for (call, error, words) in [
        ("io_uring_setup", "EPERM", "not permitted"),
        ("io_uring_setup", "ENOSYS", "not implemented"),
        ("io_uring_setup", "ENOMEM", "memory"),
        ("io_uring_setup", "EMFILE", "open files"),
        ("io_uring_register", "EINVAL", "argument"),
        ("io_uring_enter", "EPERM", "not permitted"),
    ] {
        let wrapper = format!("strace -f -qq -o /dev/null -e trace={call} -e inject={call}:error={error}");
        if !works(&wrapper) {
            return;
        }
        let refusal = same_bytes_below(&wrapper).expect("there is no ring");
        assert!(refusal.contains(words), "{call} {error}: {refusal}");
    }
}

/// What containers do: a filter that answers in the place of the kernel.
#[test]
fn behind_a_containers_filter_backups_are_the_same_and_the_user_is_told_once() {
    for (errno, words) in [(Errno::PERM, "not permitted"), (Errno::NOSYS, "not implemented")] {
        let refusal = behind_a_filter(errno, || same_bytes_below("env")).expect("there is no ring");
        assert!(refusal.contains(words), "{errno}: {refusal}");
    }
}

/// Runs `work`, and the programs that it starts, without `io_uring_setup`.
fn behind_a_filter<T: Send>(errno: Errno, work: impl FnOnce() -> T + Send) -> T {
    filter::where_fails(nix::libc::SYS_io_uring_setup, errno, work)
}

/// The threads of the kernel that work for a ring count as the user's tasks.
#[test]
fn a_limit_of_tasks_that_leaves_the_ring_few_threads_stops_no_backup() {
    // Enough for the threads of tanner itself; with fewer it may have to give up.
    let tasks = 24 + 8 * std::thread::available_parallelism().unwrap().get();
    let wrapper = few_tasks(1_000_000_000, tasks);
    if works(&wrapper) {
        same_bytes_below(&wrapper);
    }
}

/// The ring answers at first, and then no more.
#[test]
fn a_ring_that_breaks_in_the_middle_of_a_backup_is_replaced_and_the_user_is_told_once() {
    let wrapper =
        "strace -f -qq -o /dev/null -e trace=io_uring_enter -e inject=io_uring_enter:error=EBADF:when=4+";
    if !works(wrapper) || !has_ring() {
        return;
    }
    let (place, bytes) = (Place::new(), content(3_000_001, 11));
    let (source, stores) = (place.file("source", &bytes), place.stores(2));
    let run = below(wrapper, &back_up(&source, "-k 3 -m 1", &stores)).run().expect(0);
    said(&run, Some("it stopped working"));
    let restore =
        tanner("restore").arg(run.out.trim()).stores("--from", &stores).arg("-o").arg(place.output());
    said(&below(wrapper, &restore).run().expect(0), Some("it stopped working"));
    assert!(fs::read(place.output()).unwrap() == bytes);
}

fn has_ring() -> bool {
    let version = objects(&tanner("version --json").run().expect(0));
    let has = summary(&version)["io_uring_refusal"].is_null();
    if !has {
        eprintln!("skipped: there is no ring here");
    }
    has
}

/// What was not asked for is not measured.
#[test]
fn a_measurement_of_disks_is_of_the_way_that_was_asked_for() {
    let place = Place::new();
    let bench = |io: &str| tanner("bench disk --size 1MiB --rounds 1 --disk-io").arg(io).arg(place.path());
    bench("positioned").run().expect(0);
    behind_a_filter(Errno::PERM, || {
        bench("ring").run().expect(1).is_one_line_of_error().err_has("io_uring cannot be used");
        let notices = |run: Run| run.out.matches("io_uring").count() + run.err.matches("io_uring").count();
        assert_eq!(notices(bench("auto").run().expect(0)), 1);
        assert_eq!(notices(bench("positioned").run().expect(0)), 0, "that was no fallback");
    });
}

#[test]
fn little_memory_to_lock_and_few_descriptors_stop_no_backup() {
    for wrapper in [
        "setpriv --reuid 65534 --clear-groups prlimit --memlock=65536:65536",
        "setpriv --reuid 65534 --clear-groups prlimit --memlock=8388608:8388608",
        "prlimit --nofile=32:32",
    ] {
        if works(wrapper) {
            same_bytes_below(wrapper);
        }
    }
}

/// Asked for, it is there or it is an error: whoever measures it must not measure something else.
#[test]
fn a_ring_that_is_asked_for_and_cannot_be_had_is_an_error() {
    let place = Place::new();
    let (source, stores) = (place.file("a", b"abc"), place.stores(3));
    let wrapper = "strace -f -qq -o /dev/null -e trace=io_uring_setup -e inject=io_uring_setup:error=EPERM";
    if !works(wrapper) {
        return;
    }
    let backup = back_up(&source, "--disk-io ring", &stores);
    let run = below(wrapper, &backup).run().expect(1);
    run.is_one_line_of_error().err_has("io_uring cannot be used").err_has("not permitted");
    assert!(stores.iter().all(|store| !store.exists()));
    let run = below(wrapper, &back_up(&source, "--disk-io positioned", &stores)).run().expect(0);
    assert!(!run.err.contains("io_uring"), "that was no fallback: {run:#?}");
}

/// The switches of the system itself. They are everybody's: only where this machine is the test's own.
#[test]
fn where_the_system_forbids_io_uring_backups_are_the_same_and_the_user_is_told_once() {
    const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";
    struct PutBack(String);
    impl Drop for PutBack {
        fn drop(&mut self) {
            fs::write(SWITCH, &self.0).unwrap();
        }
    }
    let unprivileged = "setpriv --reuid 65534 --clear-groups --bounding-set=-all --inh-caps=-all";
    if std::env::var_os("TANNER_TEST_SYSCTL").is_none() || !works(unprivileged) {
        eprintln!("skipped: TANNER_TEST_SYSCTL is not set, so kernel.io_uring_disabled is left alone");
        return;
    }
    let _put_back = PutBack(fs::read_to_string(SWITCH).unwrap().trim().to_owned());
    fs::write(SWITCH, "1").unwrap();
    same_bytes_below(unprivileged).expect("forbidden to the unprivileged");
    fs::write(SWITCH, "2").unwrap();
    same_bytes_below("env").expect("forbidden to all");
}

#[test]
fn both_ways_to_disks_make_the_same_blocks_and_say_which_they_are() {
    let place = Place::new();
    let (source, bytes) = (place.join("source"), content(5_000_001, 5));
    fs::write(&source, &bytes).unwrap();
    let made = |io: &str, stores: &[std::path::PathBuf]| {
        let run = back_up(&source, "-k 6 -m 3 --no-encrypt --json --disk-io", stores).arg(io).run().expect(0);
        let json = objects(&run);
        let id = summary(&json)["id"].as_str().unwrap();
        let blocks: Vec<Vec<u8>> = (0..9)
            .map(|block| fs::read(stores[block % 3].join(id).join(block.to_string())).unwrap())
            .collect();
        (blocks, summary(&json)["disk_io"].clone())
    };
    let stores = place.stores(3);
    let (auto, positioned) = (made("auto", &stores), made("positioned", &stores));
    assert!(auto.0 == positioned.0, "other blocks");
    assert_eq!(positioned.1, "positioned");
    let version = objects(&tanner("version --json").run().expect(0));
    assert_eq!(auto.1, summary(&version)["disk_io"]);
}

#[test]
fn version_says_what_of_the_machine_is_used() {
    let short = tanner("version").run().expect(0);
    assert_eq!(short.out, tanner("--version").run().expect(0).out);
    let run = tanner("version --verbose").env("TANNER_SIMD", "portable").run().expect(0);
    run.out_has("simd       portable").out_has("disk I/O ").out_has("readers    auto, mmap, pread, uring");
    let run = tanner("version --verbose").env("TANNER_DISK_IO", "positioned").run().expect(0);
    run.out_has("disk I/O   positioned I/O, as was asked for");
    tanner("version").env("TANNER_DISK_IO", "nonsense").run().expect(2).err_has("nonsense");
}
