//! Where blocks go: facts, demands, refusals, and what `show` says of it later.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Place, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{array, objects, summary};
use crate::stored::{Stored, back_up, content};

/// `--fact STORE KEY=VALUE` for each store.
fn facts(mut run: Tanner, stores: &[PathBuf], key: &str, values: &[&str]) -> Tanner {
    for (store, value) in stores.iter().zip(values) {
        run = run.arg("--fact").arg(store).arg(format!("{key}={value}"));
    }
    run
}

fn blocks_in(stores: &[PathBuf], id: &str) -> Vec<usize> {
    stores.iter().map(|store| files_below(&store.join(id)).len() - 1).collect()
}

#[test]
fn a_host_that_may_be_lost_has_no_more_than_can_be_missed() {
    let place = Place::new();
    let (bytes, stores) = (content(300_000, 1), place.stores(4));
    let source = place.file("a.bin", &bytes);
    let hosts = ["a", "a", "b", "c"];
    let run = facts(
        back_up(&source, "-k 10 -m 5", &stores).arg("--survive").arg("1 host"),
        &stores,
        "host",
        &hosts,
    );
    let run = run.run().expect(0);
    run.err_has("the loss of 1 host is survived (all of 3 losses were tried)")
        .err_has("any 1 of 3 hosts may be lost");
    let id = run.out.trim().to_owned();
    let blocks = blocks_in(&stores, &id);
    assert_eq!((blocks[0] + blocks[1], blocks[2], blocks[3]), (5, 5, 5));
    let stored = Stored { place, source, bytes, stores, id };
    for lost in [vec![0, 1], vec![2], vec![3]] {
        let away: Vec<PathBuf> =
            lost.iter().map(|&store: &usize| stored.stores[store].with_extension("away")).collect();
        lost.iter().zip(&away).for_each(|(&store, away)| fs::rename(&stored.stores[store], away).unwrap());
        stored.restores();
        lost.iter().zip(&away).for_each(|(&store, away)| fs::rename(away, &stored.stores[store]).unwrap());
    }
    // Whoever has the manifest needs to be told nothing.
    let show = stored.on("show").run().expect(0);
    show.out_has("any 1 of 3 hosts may be lost").out_has("as placed").out_has("all is on one disk");
    let json = objects(&stored.on("show --json").run().expect(0));
    let placed = &summary(&json)["placed"];
    assert_eq!((&placed["stores"], &placed["stores_survivable"]), (&4.into(), &1.into()), "{placed}");
    // What is lost by now is told apart from what it was.
    stored.lose(
        (0..15).filter(|&block| stored.block(block).starts_with(&stored.stores[2])).collect::<Vec<_>>(),
    );
    let show = stored.on("show").run().expect(0);
    show.out_has("none of 3 hosts may be lost").out_has("any 1 of 3 hosts may be lost");
    // Who knows better may say so.
    let show = facts(stored.on("show --json"), &stored.stores, "host", &["a", "b", "c", "d"]).run().expect(0);
    let labels = summary(&objects(&show))["labels"].clone();
    assert_eq!((&labels[1]["label"], &labels[1]["domains"]), (&"host".into(), &4.into()), "{labels}");
}

#[test]
fn what_cannot_be_survived_is_refused_with_what_would_be_enough_before_anything_is_read() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(300_000, 1)), place.stores(3));
    let survive = |words: &str, loss: &str, hosts: &[&str]| {
        facts(back_up(&source, words, &stores).arg("--survive").arg(loss), &stores, "host", hosts).run()
    };
    let run = survive("-k 10 -m 5", "1 host", &["a", "a", "b"]).expect(6);
    run.is_one_line_of_error().err_has("by 10+5 blocks on 2 hosts: needs 3 hosts, or --parity 10");
    nothing_is_left_in(&stores);
    // What it says is enough is.
    survive("-k 10 -m 10", "1 host", &["a", "a", "b"]).expect(0);
    survive("-k 10 -m 5", "1 host", &["a", "c", "b"]).expect(0);
    // All directories here are on one disk, whatever they are called.
    let run = back_up(&source, "", &stores).arg("--survive").arg("1 disk").run().expect(6);
    run.is_one_line_of_error().err_has("on 1 disk: needs 3 disks");
    let run = back_up(&source, "--json", &stores).arg("--survive").arg("5 stores").run().expect(6);
    assert!(summary(&objects(&run))["error"].as_str().unwrap().contains("on 3 stores: needs "), "{run:#?}");
}

#[test]
fn a_store_gets_no_more_than_fits_and_too_little_room_is_refused() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(1_000_000, 1)), place.stores(3));
    let with =
        |capacity: &[&str]| facts(back_up(&source, "-k 10 -m 5", &stores), &stores, "capacity", capacity);
    let run = with(&["250KB", "10MB"]).run().expect(0);
    let blocks = blocks_in(&stores, run.out.trim());
    assert!(blocks[0] == 2 && blocks.iter().sum::<usize>() == 15, "{blocks:?}");
    let before = files_below(&stores[0]);
    with(&["250KB", "250KB", "250KB"])
        .run()
        .expect(6)
        .is_one_line_of_error()
        .err_has("room for 6 of 15 blocks");
    assert_eq!(files_below(&stores[0]), before);
}

/// A promise that a failed store broke must not pass for kept.
#[test]
fn a_demand_that_is_broken_by_a_failed_store_is_exit_code_3_and_said() {
    let place = Place::new();
    let mut stores = place.stores(2);
    stores.push(place.file("not-a-directory", b"").join("dead"));
    let source = place.file("a.bin", &content(300_000, 1));
    let run = back_up(&source, "-k 10 -m 5", &stores).arg("--survive").arg("1 store").run().expect(3);
    run.err_has("by what is stored now the loss of 1 store is NOT survived");
    let run = back_up(&source, "--json -k 10 -m 10", &stores).arg("--survive").arg("1 store").run().expect(3);
    let objects = objects(&run);
    let survive = &summary(&objects)["survive"];
    assert_eq!((&survive[0]["loss"], &survive[0]["kept"]), (&"1 store".into(), &true.into()), "{survive}");
}

#[test]
fn every_block_is_explained() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(100_000, 1)), place.stores(3));
    let run = |words: &str| {
        let run = back_up(&source, words, &stores).words("--policy cheapest --survive").arg("1 store");
        facts(run, &stores, "cost", &["3", "1", "2"]).run().expect(0)
    };
    let said = run("-k 4 -m 3 --explain");
    assert_eq!(said.err.lines().filter(|line| line.starts_with("block ")).count(), 7, "{said:#?}");
    said.err_has("costs 1 a GB").err_has("store1 has as many as the loss of 1 store allows");
    let json = objects(&run("-k 4 -m 3 --explain --json"));
    let placed: Vec<_> = json.iter().filter(|object| object["event"] == "placed").collect();
    assert_eq!(placed.len(), 7);
    assert!(placed.iter().all(|event| event["labels"]["disk"].is_string()), "{placed:?}");
    assert_eq!(summary(&json)["policy"], "cheapest");
}

#[test]
fn a_dry_run_says_where_blocks_would_go_and_writes_nothing() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(100_000, 1)), place.stores(3));
    let run = back_up(&source, "-k 4 -m 2 --dry-run --explain", &stores).run().expect(0);
    run.out_has("store2: 2 blocks").out_has("any 1 of 3 stores may be lost").err_has("block 5 to ");
    let json = objects(&back_up(&source, "-k 4 -m 2 -n --json", &stores).run().expect(0));
    assert_eq!(array(summary(&json), "places"), [0, 1, 2, 0, 1, 2]);
    nothing_is_left_in(&stores);
    assert!(stores.iter().all(|store| !store.exists()));
    back_up(&source, "-n --survive", &stores).arg("2 disks").run().expect(6);
}

#[test]
fn facts_that_go_with_a_name_are_used_wherever_the_store_is() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(100_000, 1)), place.stores(3));
    let config = place.join("stores.toml");
    let run = |words: &str| tanner(words).env("TANNER_CONFIG", config.to_str().unwrap());
    for (name, store, host) in [("a", &stores[0], "x"), ("b", &stores[1], "x"), ("c", &stores[2], "y")] {
        fs::create_dir(store).unwrap();
        let add = run(&format!("store add {name}")).arg(store).words("--label").arg(format!("host={host}"));
        add.words("--capacity 2TB --limit 50MB/s --cost 0.02 --priority -1").run().expect(0);
    }
    run("store ls").run().expect(0).out_has("host=x capacity=2TB limit=50MB/s cost=0.02 priority=-1");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("[store.a.labels]") && text.contains("capacity = \"2TB\""), "{text}");
    // By name, and by where it is.
    let named = run("backup --survive").arg("1 host").arg(&source).words("--to store:a --to store:b --to");
    let refused = named.arg(&stores[2]).run().expect(6);
    refused.err_has("on 2 hosts");
    let told =
        run("backup --survive").arg("1 host").arg(&source).words("--to store:a --to store:b --to store:c");
    told.words("--fact store:b host=z").run().expect(0).err_has("any 1 of 3 hosts may be lost");
}

#[test]
fn facts_that_are_none_are_refused_where_they_are() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", b"abc"), place.stores(2));
    let fact = |store: &str, fact: &str| {
        back_up(&source, "-k 1 -m 1 --fact", &stores).arg(store).arg(fact).run().expect(2)
    };
    let store = stores[0].to_str().unwrap();
    fact("elsewhere", "host=a").is_one_line_of_error().err_has("no store was given by that name");
    for (wrong, named) in [
        ("host", "LABEL=VALUE"),
        ("host=", "1 to 64 bytes"),
        ("store=a", "every store's own"),
        ("cost=-1", "0 or more"),
        ("cost=nan", "0 or more"),
        ("capacity=much", "a size such as"),
        ("limit=fast", "a rate is bytes a second"),
        ("priority=1.5", "a whole number"),
    ] {
        fact(store, wrong).is_one_line_of_error().err_has(named).err_has(wrong);
    }
    back_up(&source, "--survive", &stores).arg("host").run().expect(2).err_has("1 host");
    back_up(&source, "--survive", &stores).arg("1 moon").run().expect(2).err_has("--fact STORE moon=");
    nothing_is_left_in(&stores);

    let config = place.join("stores.toml");
    for (text, named) in [
        (
            "[store.a]\nurl = \"/a\"\ncapacity = \"lots\"\n",
            "stores.toml: line 3, column 12: \"lots\": wanted a size",
        ),
        ("[store.a]\nurl = \"/a\"\nlabels = { store = \"x\" }\n", "line 3, column 10: the label `store`"),
        ("[store.a]\nurl = \"/a\"\ncost = -1\n", "line 3, column 8: wanted a number"),
        ("[store.a]\nurl = \"/a\"\n  colour = 1\n", "line 3, column 3: unknown field `colour`"),
    ] {
        fs::write(&config, text).unwrap();
        let run = back_up(&source, "-k 1 -m 1", &stores).env("TANNER_CONFIG", config.to_str().unwrap()).run();
        run.expect(2).is_one_line_of_error().err_has(named);
    }
}

/// What was measured is there for the next run, and never a reason to fail.
#[test]
fn what_was_measured_is_kept_from_run_to_run() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(8 << 20, 1)), place.stores(2));
    let state = place.join("state/measured.json");
    let run = |words: &str, state: &str| {
        back_up(&source, words, &stores).env("TANNER_STATE", state).run().expect(0)
    };
    let first = run("-k 2 -m 2 --policy fastest --explain", state.to_str().unwrap());
    first.err_has("of unknown speed");
    let second = run("-k 2 -m 2 --policy fastest --explain", state.to_str().unwrap());
    second.err_has(" MB/s");
    assert!(!second.err.contains("unknown"), "{second:#?}");
    // A state that cannot be read or written is none.
    run("-k 2 -m 2", source.join("below-a-file").to_str().unwrap());
    fs::write(&state, "not a state").unwrap();
    run("-k 2 -m 2 --policy fastest --explain", state.to_str().unwrap()).err_has("of unknown speed");
}

/// Backups from before placements were recorded: what can be said is said by what is known of the stores now.
#[test]
fn a_manifest_without_places_is_shown_by_where_its_stores_are() {
    let stored = Stored::new(1000, "-k 2 -m 1", 1);
    let json = objects(&stored.on("show --json").run().expect(0));
    assert!(summary(&json)["placed"].is_null());
    assert_eq!(summary(&json)["labels"][0]["label"], "disk");
    stored.on("show").run().expect(0).out_has("all is on one host");
}
