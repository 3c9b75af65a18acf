//! Exit code 7: sources that change under the reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::harness::{Place, Run, nothing_is_left_in, tanner};
use crate::stored::back_up;

const BYTES: u64 = 96 << 20;

#[test]
fn a_source_that_shrinks_is_never_stored_and_never_a_signal_when_mapped() {
    changed("mmap", &|file| file.set_len(BYTES / 2).unwrap()).err_says("shorter");
    changed("mmap", &|file| file.set_len(0).unwrap()).err_says("shorter");
}

#[test]
fn a_source_that_shrinks_is_never_stored_when_read() {
    for io in ["pread", "uring"] {
        changed(io, &|file| file.set_len(BYTES / 2).unwrap()).err_says("shorter");
        changed(io, &|file| file.set_len(0).unwrap()).err_says("shorter");
    }
}

#[test]
fn a_source_that_grows_is_never_stored() {
    for io in ["mmap", "pread", "uring"] {
        changed(io, &|file| file.set_len(BYTES + 1).unwrap()).err_says("longer");
    }
}

#[test]
fn a_source_that_is_overwritten_is_never_stored() {
    for io in ["mmap", "pread", "uring"] {
        for at in [0, BYTES - 1] {
            changed(io, &|file| file.write_all_at(b"x", at).unwrap()).err_says("written to");
        }
    }
}

/// Shrunk and grown again, the length is what it was; the bytes are not.
#[test]
fn a_source_that_shrinks_and_grows_back_is_never_stored() {
    for io in ["mmap", "pread", "uring"] {
        changed(io, &|file| {
            file.set_len(1).unwrap();
            file.set_len(BYTES).unwrap();
        });
    }
}

/// Changes the source in the middle of a backup. A run that ended before the change is tried again.
#[track_caller]
fn changed(io: &str, change: &dyn Fn(&File)) -> Run {
    for _ in 0..ATTEMPTS_MAX {
        let place = Place::new();
        let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
        let file = File::options().write(true).open(&source).unwrap();
        let run = back_up(&source, "-k 4 -m 2 --threads 1 --memory 64MiB --io", &stores).arg(io);
        let Some(running) = run.run_until_bytes_are_done() else { continue };
        running.hold();
        change(&file);
        running.go_on();
        let run = running.finish();
        if run.code == 0 {
            eprintln!("the backup was over before the source changed; again");
            continue;
        }
        let run = run.expect(7);
        nothing_is_left_in(&stores);
        let ls = tanner("ls").stores("", &stores).run().expect(0);
        assert_eq!(ls.out.lines().count(), 1, "only a header: {ls:#?}");
        return run;
    }
    panic!("in {ATTEMPTS_MAX} runs, the source never changed in time or nobody noticed");
}

impl Run {
    /// The error in JSON says this.
    #[track_caller]
    fn err_says(&self, words: &str) {
        self.out_has(words).out_has(r#""exit_code":7"#);
    }
}

/// Few: a change that goes unnoticed now and then must not hide behind the runs that were too fast.
const ATTEMPTS_MAX: usize = 4;
