//! Users and containers that may have few tasks: the run goes on with fewer threads, or says what it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Place, Run, Tanner, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::ring::{below, works};
use crate::stored::{back_up, content};

/// What runs a program as a user who may have so many tasks, and who is nobody else's: from `user` on, one for each
/// process of tests.
pub(crate) fn few_tasks(user: u32, tasks: usize) -> String {
    let user = user + std::process::id();
    format!("setpriv --reuid {user} --clear-groups prlimit --nproc={tasks}:{tasks}")
}

/// Calls `work` with a way to run commands below each limit. What does not do its work says why, and gives `None`; from
/// `enough` tasks on, everything does.
fn under_each_limit(user: u32, enough: usize, mut work: impl FnMut(&dyn Fn(&Tanner) -> Option<Run>)) {
    for tasks in (1..=12).chain([14, 17, 20, 25, 30, 40]) {
        let wrapper = few_tasks(user, tasks);
        if !works(&wrapper) {
            return;
        }
        work(&|run: &Tanner| {
            let run = below(&wrapper, run).run();
            if run.code == 0 {
                return Some(run);
            }
            assert!(tasks < enough, "{tasks} tasks are enough: {run:#?}");
            run.expect(1).is_one_line_of_error().err_has("`ulimit -u`").err_has("--threads");
            None
        });
    }
}

/// A place in which others may write.
fn open_place() -> Place {
    let place = Place::new();
    for path in [place.path().to_owned(), place.join("out")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    place
}

#[test]
fn under_any_limit_of_tasks_a_backup_is_made_and_restored_or_nothing_is_left_behind() {
    // The threads of the kernel that work for a ring take from the same tasks.
    for (disk_io, io, enough) in [("positioned", "pread", 6), ("auto", "auto", 40), ("auto", "uring", 40)] {
        let flags = format!("--disk-io {disk_io}");
        under_each_limit(1_100_000_000, enough, |run| {
            let (place, bytes) = (open_place(), content(3_000_001, 11));
            let (source, stores) = (place.file("source", &bytes), place.stores(3));
            let Some(backup) =
                run(&back_up(&source, "-k 6 -m 3 --no-encrypt --io", &stores).arg(io).words(&flags))
            else {
                return nothing_is_left_in(&stores);
            };
            let id = backup.out.trim();
            let with = |words: &str| tanner(words).words(&flags).arg(id);
            run(&with("verify").stores("--from", &stores));
            fs::remove_file(stores[0].join(id).join("0")).unwrap();
            let restore = with("restore").stores("--from", &stores).arg("-o").arg(place.output());
            match run(&restore) {
                Some(_) => assert!(fs::read(place.output()).unwrap() == bytes, "other bytes came back"),
                None => nothing_is_left_in(&[place.join("out")]),
            }
            if run(&with("repair").stores("--from", &stores)).is_some() {
                with("verify").stores("--from", &stores).run().expect(0);
            }
        });
    }
}

/// It is known before anything is sent.
#[test]
fn two_tasks_are_too_few_and_that_is_said_at_once() {
    let wrapper = few_tasks(1_200_000_000, 2);
    if !works(&wrapper) {
        return;
    }
    let place = open_place();
    let (source, stores) = (place.file("source", b"abc"), place.stores(3));
    let backup = |flags| below(&wrapper, &back_up(&source, flags, &stores)).run().expect(1);
    backup("").is_one_line_of_error().err_has("`ulimit -u`");
    let json = objects(&backup("--json"));
    assert!(summary(&json)["error"].as_str().unwrap().contains("`ulimit -u`"), "{json:?}");
    assert!(stores.iter().all(|store| !store.exists()));
}
