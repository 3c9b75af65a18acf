//! The code that makes the parity, when the user names it.

use crate::harness::{Place, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up};

#[test]
fn a_backup_by_rfc5170_says_so_and_survives_what_it_promises() {
    let stored = Stored::new(2_000_003, "-k 10 -m 6 --code rfc5170", 4);
    let run = back_up(&stored.source, "-k 10 -m 6 --code rfc5170", &stored.stores).run().expect(0);
    run.err_has("10+6 blocks by the rfc5170 code, any 12 of 16 restore (an estimate").err_has("by estimate");
    stored.on("show").run().expect(0).out_has("rfc5170");
    let shown = objects(&stored.on("show --json").run().expect(0));
    assert_eq!((&summary(&shown)["code"], &summary(&shown)["threshold"]), (&"rfc5170".into(), &12.into()));
    tanner("ls").stores("", &stored.stores).run().expect(0).out_has("10+6 rfc5170");
    stored.on("verify").run().expect(0).out_has("16 of 16 blocks good");
    stored.restores().err_has("none had to be computed");
    for lost in [[0, 1, 2, 3], [6, 7, 8, 9], [0, 9, 10, 15], [4, 12, 13, 14]] {
        stored.without(&lost, || _ = stored.restores());
    }
    stored.without(&[0, 1, 2, 3, 4, 5, 6], || _ = stored.does_not_restore());
    stored.flip([2, 5, 11]);
    stored.on("verify").run().expect(4).err_has("block 11 in ");
    stored.restores().err_has("block 2 in ");
}

#[test]
fn small_and_empty_files_are_backed_up_by_every_code() {
    for code in ["auto", "shift", "coupled", "rfc5170"] {
        for bytes in [0, 1, 69, 1535, 1537, 40_000] {
            let stored = Stored::new(bytes, &format!("-k 4 -m 4 --code {code}"), 4);
            stored.on("verify").run().expect(0);
            // Two blocks of eight, whatever the code.
            std::fs::remove_dir_all(&stored.stores[1]).unwrap();
            stored.restores();
        }
    }
}

#[test]
fn nobody_gets_rfc5170_without_asking() {
    for shape in ["", "-k 24 -m 26", "--code auto -k 30 -m 30", "--code coupled", "-k 24 -m 26 --code shift"]
    {
        let stored = Stored::new(100_000, shape, 5);
        let shown = objects(&stored.on("show --json").run().expect(0));
        let wanted = shape.split_once("--code ").map_or("auto", |(_, rest)| rest.split(' ').next().unwrap());
        let code = summary(&shown)["code"].as_str().unwrap().to_owned();
        assert!(code == wanted || (wanted == "auto" && code != "rfc5170"), "{shape}: {code}");
    }
}

#[test]
fn codes_that_are_none_or_promise_nothing_are_refused_before_anything_is_written() {
    let place = Place::new();
    let (source, stores) = (place.file("a", b"abc"), place.stores(3));
    for words in ["--code rfc6330", "--code RFC5170", "--code 3", "--code="] {
        let run = back_up(&source, words, &stores).run().expect(2);
        run.err_has("--code").err_has("rfc5170");
        nothing_is_left_in(&stores);
    }
    for (words, named) in [
        ("-k 10 -m 2 --code rfc5170", "rfc5170"),
        ("-k 10 -m 90 --code rfc5170", "rfc5170"),
        ("-k 10 -m 2 --code coupled", "coupled"),
        ("-k 1000 -m 1000 --code shift", "delays"),
    ] {
        back_up(&source, words, &stores).run().expect(2).is_one_line_of_error().err_has(named);
        nothing_is_left_in(&stores);
    }
}
