//! Some of a backup: a range, or what is left of it.

use std::fs;

use crate::harness::{Tanner, files_below};
use crate::json::{objects, summary};
use crate::stored::Stored;

impl Stored {
    fn range(&self, range: &str) -> Tanner {
        self.restore().words("--force --range").arg(range)
    }

    #[track_caller]
    fn gives(&self, range: &str, bytes: &[u8]) {
        self.range(range).run().expect(0);
        assert!(fs::read(self.place.output()).unwrap() == bytes, "other bytes for {range}");
        assert_eq!(files_below(&self.place.join("out")), ["restored"]);
    }
}

#[test]
fn a_range_is_restored_exactly_and_only_its_blocks_are_read() {
    for (shape, k) in [("-k 10 -m 5", 10), ("-k 10 -m 5 --no-encrypt", 10), ("-k 24 -m 26", 24)] {
        let stored = Stored::new(1_000_003, shape, 5);
        let bytes = &stored.bytes;
        stored.gives("0-1", &bytes[..1]);
        stored.gives("123457-654321", &bytes[123_457..654_321]);
        stored.gives("1000002-", &bytes[1_000_002..]);
        stored.gives("0-", bytes);
        stored.gives("1000003-", b"");
        let json = objects(&stored.range("10-20").words("--json").run().expect(0));
        let read = summary(&json)["bytes_read"].as_u64().unwrap();
        assert!(read <= 1_000_003 / k + 64 * 64, "{read} bytes for ten");
        // Blocks that are lost or damaged are computed, or read where there is another copy.
        stored.lose([0, 5]);
        stored.flip([6, 12]);
        stored.gives("3-654321", &bytes[3..654_321]);
        stored.gives("0-", bytes);
    }
}

#[test]
fn ranges_that_are_none_are_refused() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    for wrong in ["5", "7-3", "3-3", "a-b", "-5", "1-2-3"] {
        stored.restore().arg(format!("--range={wrong}")).run().expect(2);
    }
    stored.range("0-1001").run().expect(2).is_one_line_of_error().err_has("the source has 1000 bytes");
    stored.lose([0, 1]);
    stored.range("0-10").run().expect(5).err_has("block");
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
}

/// `-` would be the name of a file.
#[test]
fn some_of_a_backup_goes_to_a_file() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    for words in ["--range 0-16 -o -", "--partial -o -", "--range 0-16 -o dir/"] {
        let run = stored.on("restore").words(words).within(stored.place.path()).run().expect(2);
        run.is_one_line_of_error().err_has("the name of a file");
    }
    assert!(!stored.place.join("-").exists());
}

#[test]
fn what_can_be_had_of_a_lost_backup_is_written_and_the_rest_is_named() {
    for words in ["", "--no-encrypt"] {
        let stored = Stored::new(1_000_000, &format!("-k 10 -m 2 {words}"), 3);
        let data = |block: usize| fs::metadata(stored.block(block)).unwrap().len() as usize;
        let starts: Vec<usize> = (0..=10).map(|block| (0..block).map(data).sum()).collect();
        stored.lose([2, 3]);
        stored.flip([7]);
        stored.does_not_restore();
        let json = objects(&stored.restore().words("--partial --json").run().expect(5));
        let missing = [[starts[2], starts[4]], [starts[7], starts[8]]];
        assert_eq!(summary(&json)["missing"], serde_json::json!(missing));
        assert_eq!(files_below(&stored.place.join("out")), ["restored.partial"]);
        let got = fs::read(stored.place.join("out/restored.partial")).unwrap();
        let mut expected = stored.bytes.clone();
        missing.iter().for_each(|&[start, end]| expected[start..end].fill(0));
        assert!(got == expected, "other bytes, and not zeros, for what is missing");

        stored.restore().words("--partial").run().expect(2).err_has("restored.partial");
        let run = stored.restore().words("--partial --keep-name --force").run().expect(5);
        run.out_has(&format!("missing {}-{}", starts[2], starts[4])).err_has("holes");
        assert!(fs::read(stored.place.output()).unwrap() == expected);
        fs::remove_file(stored.place.output()).unwrap();

        // A range that is all there is whole.
        let range = format!("{}-{}", starts[4], starts[6]);
        stored.restore().words("--partial --force --range").arg(&range).run().expect(0);
        assert!(fs::read(stored.place.output()).unwrap() == stored.bytes[starts[4]..starts[6]]);
    }
}

#[test]
fn a_backup_that_can_be_restored_is_restored_whole_with_partial_too() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    stored.lose([1]);
    stored.restore().words("--partial").run().expect(0).err_has("the whole matches its hash");
    assert!(fs::read(stored.place.output()).unwrap() == stored.bytes);
    assert_eq!(files_below(&stored.place.join("out")), ["restored"]);
}
