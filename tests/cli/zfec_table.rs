//! What zfec's tools were seen to do wrong with their shares, one test a row: here each comes out right.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::harness::{Place, files_below, tanner};
use crate::stored::{Stored, back_up, content};

/// zfec: exit 0 and a wrong file.
#[test]
fn a_flipped_byte_never_becomes_a_wrong_file() {
    for block in [0, 9, 10, 14] {
        let stored = Stored::new(300_001, "-k 10 -m 5", 5);
        let path = stored.block(block);
        let mut bytes = fs::read(&path).unwrap();
        for at in [0, bytes.len() - 1] {
            bytes[at] ^= 0xff;
            fs::write(&path, &bytes).unwrap();
            stored.on("verify").run().expect(4).err_has(&format!("block {block} in "));
            stored.restores();
            bytes[at] ^= 0xff;
        }
    }
}

/// zfec: a traceback, and a partial output file.
#[test]
fn a_truncated_block_is_named_and_leaves_no_partial_file() {
    let stored = Stored::new(300_001, "-k 10 -m 5", 5);
    let cut = |block: usize, by: u64| {
        let file = fs::File::options().write(true).open(stored.block(block)).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    };
    cut(3, 1);
    cut(4, 10_000);
    fs::write(stored.block(5), b"").unwrap();
    fs::OpenOptions::new().append(true).open(stored.block(6)).unwrap().write_all(b"x").unwrap();
    let run = stored.restores();
    let verify = stored.on("verify").run().expect(4);
    for block in 3..7 {
        run.err_has(&format!("block {block} in "));
        verify.err_has(&format!("block {block} in "));
    }
    cut(7, 1);
    cut(8, 1);
    stored.does_not_restore().err_has("1 more");
}

/// zfec: this one it does well, one line and an exit code.
#[test]
fn too_few_blocks_end_with_one_line_that_says_how_many_more() {
    let stored = Stored::new(300_001, "-k 10 -m 5", 5);
    stored.lose(2..15);
    let run = stored.does_not_restore();
    let last = run.err.lines().last().unwrap();
    assert!(last.starts_with("tanner: ") && last.contains("8 more"), "{run:#?}");
    assert_eq!(run.out, "");
}

/// zunfec: a file called `-`.
#[test]
fn standard_output_gets_the_file_and_no_file_called_dash_appears() {
    let place = Place::new();
    let (text, stores) = ("of many lines\n".repeat(100), place.stores(3));
    let stored = Stored::within(place, "text", text.clone().into(), "-k 2 -m 1", stores);
    let out = stored.place.join("out");
    assert_eq!(stored.on("restore -o -").within(&out).run().expect(0).out, text);
    assert_eq!(files_below(&out), [""; 0]);
    stored.on("restore -o ./-").within(&out).run().expect(0);
    assert_eq!(fs::read(out.join("-")).unwrap(), stored.bytes);
}

/// zfec: exit 0, hidden two-byte shares, and no byte of the data.
#[test]
fn standard_input_is_a_source_of_its_own_and_a_file_called_dash_another() {
    let place = Place::new();
    let (stores, input) = (place.stores(3), place.file("input", &content(10_000, 1)));
    let out = place.join("out");
    let mut run = tanner("backup - -k 2 -m 1").stores("--to", &stores).within(&out);
    run.0.stdin(Stdio::from(fs::File::open(&input).unwrap()));
    let piped = run.run().expect(0);
    assert_eq!(files_below(&out), [""; 0]);
    fs::copy(&input, out.join("-")).unwrap();
    let file = tanner("backup ./- -k 2 -m 1").stores("--to", &stores).within(&out).run().expect(0);
    fs::remove_file(out.join("-")).unwrap();
    for id in [piped.out.trim(), file.out.trim()] {
        tanner("restore -o").arg(place.output()).arg(id).stores("--from", &stores).run().expect(0);
        assert!(fs::read(place.output()).unwrap() == content(10_000, 1));
        fs::remove_file(place.output()).unwrap();
    }
}

/// zfec: exit 0 and a wrong file.
#[test]
fn blocks_of_two_backups_of_one_size_that_were_mixed_up_are_told_apart() {
    let a = Stored::new(400_000, "-k 10 -m 5", 5);
    let b = Stored::within(Place::new(), "b.bin", content(400_000, 2), "-k 10 -m 5", a.stores.clone());
    for block in [3, 12] {
        let (of_a, of_b) = (fs::read(a.block(block)).unwrap(), fs::read(b.block(block)).unwrap());
        assert!(of_a.len() == of_b.len() && of_a != of_b);
        fs::write(a.block(block), of_b).unwrap();
        fs::write(b.block(block), of_a).unwrap();
    }
    for stored in [&a, &b] {
        stored.on("verify").run().expect(4).err_has("block 3 in ").err_has("block 12 in ");
        stored.restores().err_has("block 3 in ");
    }
}

/// The same within one backup: no hash, no number in the block, and 3 and 4 would be swapped in the file.
#[test]
fn blocks_that_traded_places_are_told_apart() {
    let stored = Stored::new(400_000, "-k 10 -m 5", 5);
    let (three, four) = (fs::read(stored.block(3)).unwrap(), fs::read(stored.block(4)).unwrap());
    fs::write(stored.block(3), four).unwrap();
    fs::write(stored.block(4), three).unwrap();
    stored.restores().err_has("block 3 in ").err_has("block 4 in ");
}

/// zfec: mode 0755.
#[test]
fn neither_stored_nor_restored_files_are_executable() {
    let stored = Stored::new(10_000, "-k 10 -m 5", 2);
    fs::set_permissions(&stored.source, fs::Permissions::from_mode(0o755)).unwrap();
    back_up(&stored.source, "-k 10 -m 5", &stored.stores).run().expect(0);
    stored.restore().run().expect(0);
    for directory in [&stored.place.join("out"), &stored.stores[0], &stored.stores[1]] {
        for file in files_below(directory) {
            let mode = directory.join(&file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0, "{file} has mode {mode:o}");
        }
    }
}
