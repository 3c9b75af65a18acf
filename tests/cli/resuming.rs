//! Restores that were killed, stopped or swept, and those that go on with what they left.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Place, Running, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, content};

/// One store, so that nothing else is read in the stead of what is slow: about a second's reading.
fn one_store() -> Stored {
    Stored::new(3_000_000, "-k 4 -m 2", 1)
}

impl Stored {
    /// A restore that takes its time.
    fn slowly(&self) -> Tanner {
        let mut run = tanner("restore").arg(&self.id).arg("-o").arg(self.place.output());
        for store in &self.stores {
            run = run.words("--from").arg(format!("limit:rate=3M+{}", store.display()));
        }
        run
    }

    /// The names beside the output, after a restore that was killed.
    #[track_caller]
    fn killed(&self) -> Vec<String> {
        for _ in 0..10 {
            let _ = fs::remove_file(self.place.output());
            let Some(run) = self.slowly().run_until_bytes_are_done() else { continue };
            run.signal(Signal::KILL);
            run.finish();
            let left = files_below(&self.place.join("out"));
            if left.iter().any(|name| name.starts_with(".tanner-restore-")) {
                return left;
            }
        }
        panic!("no restore was killed in time");
    }

    #[track_caller]
    fn is_exact_and_alone(&self) {
        assert!(fs::read(self.place.output()).unwrap() == self.bytes, "other bytes");
        assert_eq!(files_below(&self.place.join("out")), ["restored"]);
    }
}

/// Kills restores, of which two blocks have to be computed, at random moments, and lets them go on.
#[track_caller]
fn kill_and_resume(moments: u64) {
    let stored = Stored::new(2_000_000, "-k 4 -m 4", 4);
    fs::remove_dir_all(&stored.stores[0]).unwrap();
    let began = Instant::now();
    stored.slowly().run().expect(0);
    let (unharmed, mut killed) = (began.elapsed(), 0);
    for seed in 0..10 * moments {
        let _ = fs::remove_file(stored.place.output());
        let share = content(1, 1000 + seed)[0];
        let mut child = stored.slowly().words("-q").0.spawn().unwrap();
        std::thread::sleep(unharmed * u32::from(share) / 256);
        child.kill().unwrap();
        child.wait().unwrap();
        if !stored.place.output().exists() {
            stored.slowly().words("--resume").run().expect(0);
            killed += 1;
        }
        stored.is_exact_and_alone();
        if killed == moments {
            return;
        }
    }
    panic!("only {killed} restores were killed before their end");
}

#[test]
fn a_restore_that_is_killed_at_any_of_twenty_moments_goes_on_and_is_exact() {
    kill_and_resume(20);
}

/// `cargo test --test cli hundred_moments -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn a_restore_that_is_killed_at_any_of_a_hundred_moments_goes_on_and_is_exact() {
    kill_and_resume(100);
}

/// Hours of reading would be lost with the process.
#[test]
fn what_was_read_before_a_kill_is_not_read_again() {
    let stored = one_store();
    let last = |out: &str| {
        let done = out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        done.filter_map(|line| line["bytes_done"].as_u64()).next_back().unwrap()
    };
    let run = stored.slowly().run_until_bytes_are_done().expect("it takes a second");
    std::thread::sleep(Duration::from_millis(300));
    run.signal(Signal::KILL);
    let done = last(&run.finish().expect(-9).out);
    let json = objects(&stored.slowly().words("--resume --json").run().expect(0));
    let (resumed, read) = (&summary(&json)["bytes_resumed"], &summary(&json)["read"][0]["bytes"]);
    let (resumed, read) = (resumed.as_u64().unwrap(), read.as_u64().unwrap());
    assert!(resumed + 4 * CUT_BYTES >= done && resumed > 0, "{resumed} of {done} bytes were used");
    assert_eq!(resumed + read, 3_000_000);
    stored.is_exact_and_alone();
}

/// The disk is no more trusted than a store.
#[test]
fn what_changed_on_the_disk_since_a_kill_is_read_again() {
    let stored = one_store();
    for name in stored.killed() {
        let file = fs::File::options().write(true).open(stored.place.join("out").join(name)).unwrap();
        (0..3_000_000).step_by(60_000).for_each(|at| file.write_all_at(b"tanner", at).unwrap());
    }
    stored.slowly().words("--resume").run().expect(0);
    stored.is_exact_and_alone();
}

#[test]
fn without_resume_what_was_left_is_removed_and_that_is_said() {
    let stored = one_store();
    stored.killed();
    stored.restore().run().expect(0).err_has("--resume would have gone on with it");
    stored.is_exact_and_alone();
    // What is left of another backup's restore to the same file, too.
    stored.killed();
    let other = tanner("backup").arg(&stored.source).words("-k 2 -m 1 --to").arg(&stored.stores[0]);
    let other = other.run().expect(0).out.trim().to_owned();
    let restore = tanner("restore --resume").arg(other).words("--from").arg(&stored.stores[0]);
    let run = restore.arg("-o").arg(stored.place.output()).run().expect(0);
    run.err_has("what an earlier restore had left was removed");
    stored.is_exact_and_alone();
    // With nothing to go on with it begins.
    let run = stored.restore().words("--resume --force").run().expect(0);
    assert!(!run.err.contains("earlier restore"), "{run:#?}");
}

/// Two would write to one file.
#[test]
fn a_restore_to_a_file_that_another_one_writes_is_refused() {
    let stored = one_store();
    let slow: Running = stored.slowly().run_until_bytes_are_done().expect("it takes a second");
    slow.hold();
    let runs = ["", "--resume"].map(|flag| stored.restore().words(flag).run());
    slow.go_on();
    for run in runs {
        run.expect(1).is_one_line_of_error().err_has(".tanner-restore-").err_has("wait for it");
    }
    slow.finish().expect(0);
    stored.is_exact_and_alone();
}

#[test]
fn a_second_signal_ends_a_restore_at_once_and_it_can_still_go_on() {
    let stored = one_store();
    let run = stored.slowly().run_until_bytes_are_done().expect("it takes a second");
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    run.finish().expect(130);
    stored.slowly().words("--resume").run().expect(0);
    stored.is_exact_and_alone();
}

/// Directories such as /tmp are everybody's, and the name can be foretold.
#[test]
fn a_link_in_the_place_of_the_staged_output_is_not_followed() {
    let stored = one_store();
    let staged = stored.place.join("out").join(stored.killed().swap_remove(0));
    let victim = Place::file(&stored.place, "victim", b"precious");
    fs::remove_file(&staged).unwrap();
    symlink(&victim, &staged).unwrap();
    for flag in ["", "--resume"] {
        stored.restore().words(flag).run().expect(1).is_one_line_of_error();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
    fs::remove_file(&staged).unwrap();
    fs::hard_link(&victim, &staged).unwrap();
    stored.restore().words("--resume").run().expect(1).err_has("somebody else's");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

/// Ranges begin at multiples of so many bytes.
const CUT_BYTES: u64 = 64 << 10;
