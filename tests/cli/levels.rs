//! The bytes of a backup do not depend on the machine, nor on how the file was read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Place, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up, content};

const SHAPES: [(&str, usize, usize); 2] = [("-k 10 -m 5", 15, 5), ("-k 24 -m 26", 50, 25)];

#[test]
fn a_backup_made_on_one_machine_restores_on_any_other() {
    let levels = levels();
    for (shape, blocks, lost) in SHAPES {
        let stored = Stored::new(0, shape, 5);
        let bytes = content(3_300_001, 7);
        let source = stored.place.file("odd", &bytes);
        let mut first: Option<Vec<Vec<u8>>> = None;
        for level in &levels {
            let run = back_up(&source, shape, &stored.stores)
                .words("--no-encrypt --json")
                .env("TANNER_SIMD", level)
                .run();
            let json = objects(&run.expect(0));
            assert_eq!(summary(&json)["simd"], *level);
            let id = summary(&json)["id"].as_str().unwrap().to_owned();
            let made = all_blocks(&stored.stores, &id, blocks);
            assert!(first.as_ref().is_none_or(|first| *first == made), "{shape}: {level} made other blocks");
            first = Some(made);
            (0..lost).for_each(|block| fs::remove_file(block_path(&stored.stores, &id, block)).unwrap());
            for other in &levels {
                let run = tanner("restore --force").arg(&id).stores("--from", &stored.stores);
                run.arg("-o").arg(stored.place.output()).env("TANNER_SIMD", other).run().expect(0);
                assert!(fs::read(stored.place.output()).unwrap() == bytes, "{shape}: {level} to {other}");
            }
        }
    }
}

#[test]
fn every_way_of_reading_gives_the_same_blocks() {
    for bytes in [0, 1, 4097, 2_200_001] {
        let place = Place::new();
        let (source, stores) = (place.file("source", &content(bytes, 3)), place.stores(3));
        let made = |io: &str| {
            let json = objects(
                &back_up(&source, "-k 10 -m 5 --no-encrypt --json --io", &stores).arg(io).run().expect(0),
            );
            let reader = summary(&json)["reader"].as_str().unwrap().to_owned();
            (all_blocks(&stores, summary(&json)["id"].as_str().unwrap(), 15), reader)
        };
        let (pread, auto, mmap, uring) = (made("pread"), made("auto"), made("mmap"), made("uring"));
        assert!([auto.0, mmap.0, uring.0].iter().all(|blocks| *blocks == pread.0), "{bytes} bytes");
        assert_eq!(pread.1, "pread");
        assert_eq!(mmap.1, if bytes > 0 { "mmap" } else { "pread" });
    }
}

#[test]
fn threads_and_memory_do_not_change_the_blocks() {
    let place = Place::new();
    let (source, stores) = (place.file("source", &content(5_000_001, 3)), place.stores(3));
    let made = |words: &str| {
        let id = back_up(&source, "-k 12 -m 12 --no-encrypt", &stores).words(words).run().expect(0).out;
        all_blocks(&stores, id.trim(), 24)
    };
    let first = made("");
    for words in ["--threads 1", "--threads 3", "--memory 56MiB", "--memory 4GiB"] {
        assert!(made(words) == first, "{words}");
    }
}

/// The levels to try; says which are missing here.
fn levels() -> Vec<&'static str> {
    let place = Place::new();
    let (source, stores) = (place.file("small", b"abc"), place.stores(1));
    let has = |level: &&str| {
        let run = back_up(&source, "", &stores).env("TANNER_SIMD", level).run();
        if run.code != 0 {
            run.expect(2).err_has("this machine has no SIMD level");
            eprintln!("skipped: this machine has no {level}");
            return false;
        }
        true
    };
    let levels: Vec<_> = ["portable", "avx2", "avx512", "neon"].into_iter().filter(has).collect();
    assert!(levels.contains(&"portable"));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(levels.contains(&"avx2"), is_x86_feature_detected!("avx2"));
    levels
}

fn all_blocks(stores: &[PathBuf], id: &str, blocks: usize) -> Vec<Vec<u8>> {
    (0..blocks).map(|block| fs::read(block_path(stores, id, block)).unwrap()).collect()
}

fn block_path(stores: &[PathBuf], id: &str, block: usize) -> PathBuf {
    let store: &Path = &stores[block % stores.len()];
    store.join(id).join(block.to_string())
}
