//! Jobs: `tanner run` does what a backup by hand would, and goes on where that would.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Place, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::stored::content;

/// A place with a source, three stores and a file of settings with a job for them.
struct Jobs {
    place: Place,
    source: PathBuf,
    stores: Vec<PathBuf>,
}

impl Jobs {
    fn new(bytes: &[u8], more: &str) -> Self {
        let place = Place::new();
        let (source, stores) = (place.file("vm.img", bytes), place.stores(3));
        let named = |store: usize| format!("[store.s{store}]\nurl = \"{}\"\n", stores[store].display());
        let text = format!(
            "{}{}{}[defaults]\nparity = 2\n[job.vm]\nsource = \"{}\"\nto = [\"s0\", \"s1\", \"s2\"]\ndata = 4\n{more}",
            named(0),
            named(1),
            named(2),
            source.display()
        );
        place.file("config.toml", text.as_bytes());
        Self { place, source, stores }
    }

    fn tanner(&self, words: &str) -> Tanner {
        tanner(words).env("TANNER_CONFIG", self.place.join("config.toml").to_str().unwrap())
    }

    #[track_caller]
    fn restores(&self, id: &str, bytes: &[u8]) {
        let restore = self.tanner("restore --force --for vm -o").arg(self.place.output()).arg(id);
        restore.run().expect(0);
        assert!(fs::read(self.place.output()).unwrap() == bytes);
    }
}

#[test]
fn a_job_prints_what_its_backup_prints_and_ends_as_it_ends() {
    let bytes = content(100_000, 1);
    let jobs = Jobs::new(&bytes, "");
    let run = jobs.tanner("run vm").run().expect(0);
    run.err_has("4+2 blocks").err_has("on 3 stores");
    let id = run.out.trim().to_owned();
    jobs.restores(&id, &bytes);
    let json = objects(&jobs.tanner("--json run vm").run().expect(0));
    let told = summary(&json);
    assert_eq!((&told["command"], &told["job"], &told["data"]), (&"run".into(), &"vm".into(), &4.into()));
    // Flags come before the file, and are checked as `backup` checks them.
    let more = objects(&jobs.tanner("--json run vm -- -k 5 --no-encrypt").run().expect(0));
    assert_eq!((&summary(&more)["data"], &summary(&more)["encrypted"]), (&5.into(), &false.into()));
    jobs.tanner("run vm -- --frobnicate").run().expect(2).err_has("job vm: unexpected argument");
    jobs.tanner("run db").run().expect(10).is_one_line_of_error().err_has("no job is called db");
    jobs.tanner("run").run().expect(2);
    // A store that is dead is exit code 3, a source that is none is what it is for a backup.
    fs::remove_dir_all(&jobs.stores[2]).unwrap();
    fs::write(&jobs.stores[2], b"in the way").unwrap();
    jobs.tanner("run vm").run().expect(3).err_has("below target");
    fs::remove_file(&jobs.source).unwrap();
    jobs.tanner("run vm").run().expect(1).err_has("vm.img");
}

#[test]
fn the_command_that_a_job_stands_for_does_the_same_by_hand() {
    let bytes = content(50_000, 2);
    let jobs = Jobs::new(&bytes, "survive = [\"1 store\"]\nkeep = { last = 3 }\n");
    let run = jobs.tanner("run --dry-run vm -- --checkpoint 2s").run().expect(0);
    assert!(jobs.stores.iter().all(|store| files_below(store).is_empty()));
    let line = run.out.trim();
    assert!(
        line.starts_with("tanner backup --to store:s0 --to store:s1 --to store:s2 --data 4 --parity 2"),
        "{line}"
    );
    assert!(line.contains("--survive '1 store'") && line.contains("--resume --checkpoint 2s -- "), "{line}");
    let shell = line.replacen("tanner", "exec \"$0\"", 1);
    let mut by_hand = jobs.tanner("");
    let mut sh = std::process::Command::new("sh");
    sh.arg("-c").arg(shell).arg(by_hand.0.get_program());
    for (name, value) in by_hand.0.get_envs() {
        match value {
            Some(value) => sh.env(name, value),
            None => sh.env_remove(name),
        };
    }
    by_hand.0 = sh;
    let done = by_hand.run().expect(0);
    jobs.restores(done.out.trim(), &bytes);
}

#[test]
fn all_jobs_are_done_and_one_that_fails_does_not_stop_the_others() {
    let jobs = Jobs::new(
        &content(20_000, 3),
        "[job.gone]\nsource = \"/nowhere/at/all\"\nto = [\"s0\"]\n[job.zoo]\nsource = \"/etc/passwd\"\nto = [\"s1\"]\n",
    );
    let json = objects(&jobs.tanner("--json run --all").run().expect(1));
    let told = &summary(&json)["jobs"];
    assert_eq!((&told["gone"], &told["vm"], &told["zoo"]), (&1.into(), &0.into(), &0.into()), "{told}");
    let ids = json.iter().filter(|object| object["event"] == "job" && object["id"].is_string()).count();
    assert_eq!(ids, 2);
}

/// What a killed run left is gone on with by the next one, which nobody tells to.
#[test]
fn a_job_that_was_cut_off_is_gone_on_with_and_one_whose_source_changed_is_begun_anew() {
    let bytes = content(24 << 20, 4);
    let jobs = Jobs::new(&bytes, "limit = \"20MB\"\ncheckpoint = \"20ms\"\n");
    let journal = jobs.place.join("journal");
    let run = |words: &str| jobs.tanner(words).env("TANNER_JOURNAL", journal.to_str().unwrap());
    let cut_off = || {
        let running = run("run vm").run_until_bytes_are_done().expect("the limit makes it last for a second");
        running.signal(Signal::TERM);
        running.finish().expect(143);
        let left = files_below(&journal);
        assert!(left.len() == 2 && left[1] == format!("{}.tags", left[0]), "{left:?}");
    };
    cut_off();
    let resumed = run("run vm -- --limit off").run().expect(0);
    jobs.restores(resumed.out.trim(), &bytes);
    assert_eq!(files_below(&journal), [""; 0]);
    // Another source by the same name: nothing of the old one may get into its backup, or stay behind.
    cut_off();
    let changed = content(3 << 20, 5);
    fs::write(&jobs.source, &changed).unwrap();
    let anew = run("run vm -- --limit off").run().expect(0);
    anew.err_has("begun anew");
    jobs.restores(anew.out.trim(), &changed);
    assert_eq!(files_below(&journal), [""; 0]);
    let backups = jobs.tanner("ls").arg(&jobs.stores[0]).run().expect(0);
    assert_eq!(backups.out.lines().count(), 3, "{backups:#?}");
    assert_eq!(
        fs::read_dir(&jobs.stores[0])
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().len() == 32 })
            .count(),
        2
    );
}

/// Another job's backups lie in the same stores, and have rules of their own, or none.
#[test]
fn the_rules_of_a_job_are_for_its_own_backups() {
    let jobs = Jobs::new(
        &content(100_000, 1),
        "keep = { last = 1 }\n[job.db]\nsource = { command = [\"date\"] }\n\
         to = [\"s0\", \"s1\", \"s2\"]\n",
    );
    for job in ["vm", "db", "vm", "db", "vm"] {
        jobs.tanner("run").arg(job).run().expect(0);
    }
    let listed = || {
        let out = jobs.tanner("ls store:s0").run().expect(0).out;
        ["vm.img", "db"].map(|name| out.lines().filter(|line| line.ends_with(&format!(" {name}"))).count())
    };
    assert_eq!(listed(), [3, 2]);
    jobs.tanner("forget --for vm").run().expect(0).err_has("2 backups forgotten, 1 kept");
    assert_eq!(listed(), [1, 2]);
    jobs.tanner("forget --for db").run().expect(2);
    jobs.tanner("forget --for db --keep-last 1").run().expect(0);
    assert_eq!(listed(), [1, 1]);
}
