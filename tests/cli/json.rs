//! The JSON contract: one object a line, `v`, `ts` and `message_type` in each, a summary at the end whatever happens.

use std::fs;

use serde_json::Value;

use crate::harness::{Place, Run, tanner};
use crate::schema::SCHEMA;
use crate::stored::{Stored, back_up};

/// The objects of a run, after checks that hold for every run with `--json`.
#[track_caller]
pub(crate) fn objects(run: &Run) -> Vec<Value> {
    assert_eq!(run.err, "", "words for people: {run:#?}");
    let parse = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let objects: Vec<Value> = run.out.lines().map(parse).collect();
    for object in &objects {
        humantime::parse_rfc3339(object["ts"].as_str().unwrap()).unwrap();
        if let Err(error) = SCHEMA.validate(object) {
            panic!("{error} at {}: {object}", error.instance_path());
        }
        object.as_object().unwrap().iter().for_each(|(name, value)| numbers_are_as_promised(name, value));
    }
    let summaries = objects.iter().filter(|object| object["message_type"] == "summary").count();
    assert_eq!(summaries, 1, "{run:#?}");
    let summary = summary(&objects);
    assert_eq!(summary["exit_code"], run.code, "{run:#?}");
    assert_eq!(summary.get("error").is_some(), has_error(&objects), "{run:#?}");
    objects
}

#[track_caller]
pub(crate) fn summary(objects: &[Value]) -> &Value {
    let last = objects.last().expect("at least a summary");
    assert_eq!(last["message_type"], "summary", "{last}");
    last
}

#[track_caller]
pub(crate) fn array(object: &Value, name: &str) -> Vec<usize> {
    object[name].as_array().unwrap().iter().map(|item| item.as_u64().unwrap() as usize).collect()
}

fn has_error(objects: &[Value]) -> bool {
    objects.iter().any(|object| object["message_type"] == "error" && object["error"].is_string())
}

/// Seconds, rates and ratios are floats, every other number counts something.
fn numbers_are_as_promised(name: &str, value: &Value) {
    match value {
        Value::Number(number) if ["second", "ratio"].iter().any(|float| name.contains(float)) => {
            assert!(number.is_f64(), "{name}: {number}");
        }
        Value::Number(number) => assert!(number.is_u64(), "{name}: {number}"),
        Value::Array(items) => items.iter().for_each(|item| numbers_are_as_promised(name, item)),
        _ => {}
    }
}

#[test]
fn every_command_speaks_json_and_ends_with_a_summary() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &[7; 100_000]), place.stores(5));
    let run = back_up(&source, "--json -k 10 -m 5", &stores).run().expect(0);
    let json = objects(&run);
    let done = summary(&json);
    let id = done["id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!((&done["command"], &done["bytes"]), (&"backup".into(), &100_000.into()));
    assert_eq!((&done["blocks"], &done["stores_survivable"]), (&15.into(), &1.into()));
    assert!(done["seconds"].as_f64().unwrap() > 0.0);

    let from = |words: &str| tanner(words).arg(id).stores("--from", &stores).arg("--json");
    let show = objects(&from("show").run().expect(0));
    assert_eq!((&summary(&show)["command"], &summary(&show)["id"]), (&"show".into(), &id.into()));
    let verify = objects(&from("verify").run().expect(0));
    assert_eq!((&summary(&verify)["blocks_good"], &summary(&verify)["bytes"]), (&15.into(), &100_000.into()));
    let restore = objects(&from("restore").arg("-o").arg(place.output()).run().expect(0));
    assert_eq!((&summary(&restore)["bytes"], &summary(&restore)["blocks"]), (&100_000.into(), &15.into()));
    let ls = objects(&tanner("ls --json").stores("", &stores).run().expect(0));
    assert_eq!(summary(&ls)["backups"], 1);
    let listed = ls.iter().find(|object| object["event"] == "backup").unwrap();
    assert_eq!(
        (&listed["id"], &listed["name"], &listed["bytes"]),
        (&id.into(), &"a.bin".into(), &100_000.into())
    );
}

#[test]
fn failures_of_every_kind_end_with_a_summary_too() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let nowhere = stored.place.join("nowhere");
    let failing = |code: i32, run: Run| {
        let run = run.expect(code);
        assert!(has_error(&objects(&run)), "{run:#?}");
    };
    let source_is_missing = back_up(&nowhere, "--json", &stored.stores).run();
    failing(1, source_is_missing);
    failing(2, tanner("backup --json").arg(&stored.source).run());
    failing(2, tanner("restore --json xyz -o out").stores("--from", &stored.stores).run());
    failing(10, tanner("ls --json").arg(&nowhere).run());
    for command in ["show", "verify"] {
        failing(10, tanner(command).arg(&stored.id).stores("--from", &[&nowhere]).arg("--json").run());
    }
    let below_a_file = stored.source.join("store");
    failing(6, back_up(&stored.source, "--json", &[below_a_file]).run());
    stored.lose(0..6);
    failing(5, stored.restore().arg("--json").run());
    let verify = objects(&stored.on("verify --json").run().expect(5));
    assert_eq!(summary(&verify)["restorable"], false);
    fs::write(stored.place.output(), b"old").unwrap();
    failing(2, stored.restore().arg("--json").run());
}

#[test]
fn wrong_usage_is_json_once_json_was_asked_for() {
    for words in [
        "--json frobnicate",
        "frobnicate --json",
        "backup --json",
        "backup x --to y --no-such-flag --json",
        "backup x --to y --data many --json",
        "backup x --to y --memory lots --json",
        "backup x --to y --progress-interval 0s --json",
        "ls --json",
    ] {
        let run = tanner(words).run().expect(2);
        let json = objects(&run);
        assert!(has_error(&json), "{run:#?}");
        assert!(!summary(&json)["error"].as_str().unwrap().is_empty(), "{run:#?}");
    }
}

#[test]
fn wrong_usage_in_json_names_what_is_missing() {
    for (words, missing) in
        [("backup --json", "FILE"), ("ls --json", "no store"), ("restore --json", "--output")]
    {
        let json = objects(&tanner(words).run().expect(2));
        let error = summary(&json)["error"].as_str().unwrap();
        assert!(error.contains(missing), "{words}: {error}");
    }
}

#[test]
fn json_without_a_command_says_that_the_command_is_missing() {
    let json = objects(&tanner("--json").run().expect(2));
    let error = summary(&json)["error"].as_str().unwrap();
    assert!(error.contains("command"), "{error}");
}

#[test]
fn a_file_called_json_does_not_turn_words_into_json() {
    let run = tanner("frobnicate -- --json").run().expect(2);
    assert_eq!(run.out, "", "--json behind -- is a file: {run:#?}");
    run.err_has("frobnicate");
}

#[test]
fn damage_is_an_event_that_names_block_and_store() {
    let stored = Stored::new(500_000, "-k 10 -m 5", 5);
    stored.flip([3]);
    stored.lose([12]);
    let json = objects(&stored.on("verify --json").run().expect(4));
    let damages: Vec<&Value> = json.iter().filter(|object| object["event"] == "damage").collect();
    let blocks: Vec<u64> = damages.iter().map(|damage| damage["block"].as_u64().unwrap()).collect();
    assert_eq!(blocks, [3, 12]);
    assert!(damages[0]["store"].as_str().unwrap().ends_with("store3"), "{}", damages[0]);
    assert!(damages[1]["store"].is_null(), "{}", damages[1]);
    assert_eq!(array(summary(&json), "blocks_damaged"), [3, 12]);
}

#[test]
fn a_store_that_failed_is_in_the_summary_of_the_backup() {
    let place = Place::new();
    let source = place.file("a.bin", &[7; 100_000]);
    let mut stores = place.stores(4);
    stores.push(source.join("below-a-file"));
    let json = objects(&back_up(&source, "--json -k 10 -m 5", &stores).run().expect(3));
    let failed = summary(&json)["failed_stores"].as_array().unwrap();
    assert_eq!(failed.len(), 1);
    assert!(failed[0]["store"].as_str().unwrap().ends_with("below-a-file"));
    assert_eq!(summary(&json)["blocks_stored"], 15);
    assert_eq!(summary(&json)["blocks_moved"], 3);
}
