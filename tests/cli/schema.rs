//! The JSON Schema that `tanner schema` prints, held against what every command writes with `--json`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::LazyLock;

use jsonschema::Validator;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Place, Run, Tanner, tanner};
use crate::json::{objects, summary};
use crate::serve::{Node, Serving};
use crate::signals::interrupt;
use crate::stored::{Stored, back_up};

/// The schema as it ships.
pub(crate) static SCHEMA: LazyLock<Validator> = LazyLock::new(|| validator(&shipped()));

/// The same, and nothing may be said that is not in it.
static STRICT: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = shipped();
    schema["unevaluatedProperties"] = json!(false);
    close(&mut schema, false);
    validator(&schema)
});

fn shipped() -> Value {
    let run = tanner("schema").run().expect(0);
    serde_json::from_str(&run.out).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// Closes the objects that are values of others.
fn close(schema: &mut Value, is_value: bool) {
    match schema {
        Value::Object(fields) => {
            if is_value && fields.contains_key("properties") {
                fields.insert("additionalProperties".into(), json!(false));
            }
            for (name, below) in fields {
                match (name.as_str(), below) {
                    ("properties", Value::Object(named)) => {
                        named.values_mut().for_each(|value| close(value, true));
                    }
                    ("items", below) => close(below, true),
                    (_, below) => close(below, false),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, false)),
        _ => {}
    }
}

/// What a run said, after each line was held against the schema.
#[track_caller]
fn said(run: &Run) -> Vec<Value> {
    let objects = objects(run);
    for object in &objects {
        if let Err(error) = STRICT.validate(object) {
            panic!("{error} at {}: {object}", error.instance_path());
        }
    }
    objects
}

/// Which commands and events were seen, and with what exit codes.
#[derive(Default)]
struct Seen {
    commands: BTreeSet<(String, i32)>,
    events: BTreeSet<String>,
}

impl Seen {
    #[track_caller]
    fn run(&mut self, code: i32, tanner: Tanner) -> Value {
        self.ran(&tanner.arg("--json").run().expect(code))
    }

    #[track_caller]
    fn ran(&mut self, run: &Run) -> Value {
        let objects = said(run);
        let events = objects.iter().filter_map(|object| object["event"].as_str());
        self.events.extend(events.map(str::to_owned));
        let last = summary(&objects);
        self.commands.insert((last["command"].as_str().unwrap_or("").to_owned(), run.code));
        last.clone()
    }
}

#[test]
fn every_command_says_what_the_schema_says_with_every_exit_code() {
    let mut seen = Seen::default();
    let whole = Stored::new(100_000, "-k 4 -m 2", 3);
    backups(&mut seen, &whole);
    damage(&mut seen);
    keys_and_stores(&mut seen, &whole);
    machines(&mut seen, &whole.place);
    care(&mut seen);
    jobs(&mut seen);
    signals(&mut seen);
    seen.run(2, tanner("frobnicate"));
    seen.run(2, tanner("backup"));

    let codes: BTreeSet<i32> = seen.commands.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, BTreeSet::from([0, 1, 2, 3, 4, 5, 6, 7, 10, 12, 130, 143]));
    let help = tanner("--help").run().expect(0).out;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        let known = ["", "help"].contains(&command) || seen.commands.contains(&(command.to_owned(), 0));
        assert!(known, "nobody tried `tanner {command} --json`");
    }
    let schema = shipped();
    for of_event in schema["$defs"]["event"]["allOf"].as_array().unwrap() {
        let event = of_event["if"]["properties"]["event"]["const"].as_str().unwrap();
        // They need a system without io_uring, and two repairs at a time.
        let is_rare = ["io_fallback", "sound"].contains(&event);
        assert!(is_rare || seen.events.contains(event), "nobody saw the event {event}");
    }
}

fn backups(seen: &mut Seen, whole: &Stored) {
    let place = &whole.place;
    seen.run(0, back_up(&whole.source, "-k 4 -m 2 --explain --survive", &whole.stores).arg("1 store"));
    seen.run(0, back_up(&whole.source, "-k 4 -m 2 --dry-run --explain", &whole.stores));
    seen.run(0, back_up(&whole.source, "-k 4 -m 2 --hook-before false", &whole.stores));
    seen.run(1, back_up(&place.join("nowhere"), "", &whole.stores));
    let mut stores = whole.stores.clone();
    stores.push(whole.source.join("below-a-file"));
    seen.run(3, back_up(&whole.source, "-k 4 -m 2", &stores));
    seen.run(6, back_up(&whole.source, "--quorum 4", &stores[3..]));
    seen.run(0, whole.restore());
    seen.run(2, whole.restore());
    seen.run(1, whole.on("restore -o").arg(place.join("no/such/directory")));
    for command in ["show", "verify", "repair", "repair --dry-run"] {
        seen.run(0, whole.on(command));
    }
    seen.run(0, tanner("protect").arg(&whole.source));
    seen.run(2, tanner("protect").arg(&whole.source));
    seen.run(0, tanner("ls").stores("", &whole.stores));
    seen.run(10, tanner("ls").arg(place.join("nowhere")));
    seen.run(10, tanner("verify").arg("0".repeat(32)).stores("--from", &whole.stores));
    let other = place.join("other.txt");
    tanner("key new --file").arg(&other).run().expect(0);
    seen.run(12, whole.restore().arg("--force").env("TANNER_IDENTITY_FILE", other.to_str().unwrap()));
}

fn damage(seen: &mut Seen) {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    stored.flip([1]);
    stored.lose([4]);
    std::fs::remove_file(stored.manifest(2)).unwrap();
    seen.run(4, stored.on("verify"));
    seen.run(4, stored.on("repair --dry-run"));
    seen.run(0, stored.restore());
    seen.run(0, stored.on("repair"));
    stored.lose(0..3);
    for command in ["verify", "repair", "restore -o out"] {
        seen.run(5, stored.on(command));
    }
    seen.run(0, stored.on("show"));
    seen.run(5, stored.restore().words("--force --partial"));
}

/// What is done for what is stored: scrubs, moves and rules.
fn care(seen: &mut Seen) {
    let stored = Stored::new(100_000, "-k 4 -m 4", 3);
    let scrub = |words: &str| tanner("scrub --cursor none").words(words).stores("--from", &stored.stores);
    seen.run(0, scrub(""));
    stored.flip([1]);
    seen.run(4, scrub("--all"));
    seen.run(0, scrub("--all --repair"));
    seen.run(0, stored.restore().words("--range 10-20"));
    let spare = stored.place.join("spare");
    let evacuate = || tanner("evacuate").arg(&stored.stores[0]).stores("--to", &stored.stores[1..]);
    seen.run(0, evacuate().arg("--to").arg(&spare).arg("--dry-run"));
    seen.run(0, evacuate().arg("--to").arg(&spare));
    let left = [&stored.stores[1], &stored.stores[2], &spare];
    let forget = |words: &str| tanner("forget").words(words).stores("--from", &left);
    seen.run(0, forget("--keep-last 1 --dry-run"));
    seen.run(2, forget(""));
    seen.run(0, forget("").arg(&stored.id));
}

/// What the file of settings says, and runs that go by it.
fn jobs(seen: &mut Seen) {
    let place = Place::new();
    let (source, stores) = (place.file("source", &[7; 100_000]), place.stores(2));
    let text = format!(
        "[store.a]\nurl = {:?}\n[defaults]\nto = [\"a\", {:?}]\ndata = 2\nparity = 2\n[job.x]\nsource = {source:?}\n\
         keep = {{ last = 1 }}\nlimit = \"20MB\"\ncheckpoint = \"20ms\"\n[job.y]\nsource = {source:?}\n",
        stores[0], stores[1]
    );
    let config = place.file("config.toml", text.as_bytes());
    let with = |words: &str| tanner(words).env("TANNER_CONFIG", config.to_str().unwrap());
    for words in ["config check", "config show --origin", "run x --dry-run", "run x", "run --all"] {
        seen.run(0, with(words));
    }
    seen.run(0, with("forget --for x"));
    seen.run(10, with("run nothing"));
    seen.run(2, with("config check --config").arg(&source));
    for words in ["completions bash", "man", "man out"] {
        seen.run(0, with(words).within(place.path()));
    }
    // A job that was cut off, and whose source is another one now.
    let journal = place.join("journal");
    let journaled = |words: &str| with(words).env("TANNER_JOURNAL", journal.to_str().unwrap());
    std::fs::write(&source, vec![7; 24 << 20]).unwrap();
    seen.ran(&interrupt(Signal::TERM, || journaled("run x")).expect(143));
    std::fs::write(&source, [8; 1000]).unwrap();
    seen.run(0, journaled("run x"));
}

fn keys_and_stores(seen: &mut Seen, whole: &Stored) {
    let place = &whole.place;
    let at = |name: &str| place.join(name);
    let key = |words: &str| tanner(words).env("TANNER_NODE_KEY", at("node.pem").to_str().unwrap());
    seen.run(0, key("key node"));
    seen.run(0, key("key device"));
    seen.run(0, key("key new --file").arg(at("identity.txt")));
    seen.run(0, key("key recipients"));
    seen.run(0, key("key recipients --no-encrypt"));
    seen.run(0, key("key inspect").arg(at("identity.txt")));
    seen.run(0, key("key token --output").arg(at("token")));
    seen.run(0, whole.on("key export").arg("--output").arg(at("read.key")));
    seen.run(0, key("key inspect").arg(at("read.key")));
    seen.run(2, key("key inspect").arg(&whole.source));
    let named = |words: &str| tanner(words).env("TANNER_CONFIG", at("stores.toml").to_str().unwrap());
    seen.run(0, named("store add attic --label host=a --cost 2").arg(&whole.stores[0]));
    seen.run(0, named("store ls"));
    seen.run(0, named("store rm attic"));
    seen.run(10, named("store rm attic"));

    let (server, client) = (Node::new(place, "server"), Node::new(place, "client"));
    let root = place.join("blocks");
    let serve = |flags: &str| {
        let serve = server.tanner("serve --listen tcp://127.0.0.1:0 --delete-delay 1d --http 0 --root");
        serve.arg(&root).words("--allow").arg(&client.pin).words(flags)
    };
    seen.ran(&until_it_listens(serve("--json")).expect(0));
    let serving = Serving::start(serve(""), 2);
    let url = serving.url().to_owned();
    let id =
        seen.ran(&client.tanner("backup -k 2 -m 1 --json --to").arg(&url).arg(&whole.source).run())["id"]
            .clone();
    let undelete = |what: &str| tanner("undelete --root").arg(&root).words(what);
    seen.run(0, client.tanner("forget --from").arg(&url).arg(id.as_str().unwrap()));
    seen.run(0, undelete(""));
    seen.run(0, undelete(id.as_str().unwrap()));
    let manifest = root.join(id.as_str().unwrap()).join("manifest");
    std::fs::write(&manifest, b"damaged").unwrap();
    let repair = client.tanner("repair --from").arg(&url).arg("--from").arg(&whole.stores[0]);
    seen.run(5, repair.arg(id.as_str().unwrap()));
    drop(serving);
    seen.run(10, undelete("nothing"));
    seen.run(10, client.tanner("ls").arg(&url));
}

/// Stopped as soon as it says something.
fn until_it_listens(mut serve: Tanner) -> Run {
    let mut child = serve.0.stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut out) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    stdout.read_line(&mut out).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    stdout.read_to_string(&mut out).unwrap();
    Run { code: child.wait().unwrap().code().unwrap(), out, err: String::new() }
}

fn machines(seen: &mut Seen, place: &Place) {
    for words in [
        "plan",
        "plan 1TB --stores 5 --survive 2 --disk-afr 1.5%",
        "schema",
        "version",
        "sweep",
        "bench codec --size 64KiB --rounds 2 --shapes 4+2",
        "bench net --size 64KiB --rounds 1",
    ] {
        seen.run(0, tanner(words));
    }
    seen.run(0, tanner("certify 2+1 --samples 10 --climbs 1 --file").arg(place.join("certificates.csv")));
    seen.run(10, tanner("bench disk --rounds 1 --size 64KiB").arg(place.join("nowhere")));
    let e2e = tanner("bench e2e --size 1MiB --rounds 1 --encryption both --to").arg(place.path());
    seen.run(0, e2e);
    let saved = tanner("bench net --json --size 64KiB --rounds 2").run().expect(0);
    let saved = place.file("saved.json", saved.out.as_bytes());
    seen.run(0, tanner("bench --compare").arg(&saved).arg(&saved));
}

fn signals(seen: &mut Seen) {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", 96 << 20), place.stores(3));
    let words = "-k 4 -m 2 --threads 1 --memory 64MiB";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        seen.ran(&interrupt(signal, || back_up(&source, words, &stores)).expect(code));
    }
    let journal = place.join("journal");
    let with_journal = || back_up(&source, words, &stores).words("--journal").arg(&journal);
    seen.ran(&interrupt(Signal::TERM, with_journal).expect(143));
    std::fs::write(&source, b"other").unwrap();
    seen.run(7, with_journal().arg("--resume"));
    seen.run(0, tanner("sweep --older-than 0s --journal").arg(&journal));
}

/// A schema that takes everything would find nothing.
#[test]
fn the_schema_refuses_what_is_no_line_of_tanner() {
    let good = json!({ "v": 1, "ts": "2026-01-02T03:04:05.678Z", "message_type": "summary", "exit_code": 2, "error": "x" });
    SCHEMA.validate(&good).unwrap();
    let with = |name: &str, value: Value| {
        let mut other = good.clone();
        other[name] = value;
        other
    };
    for wrong in [
        json!({}),
        with("v", json!(2)),
        with("ts", json!("yesterday")),
        with("message_type", json!("exit_error")),
        with("exit_code", json!("2")),
        with("error", json!(null)),
        json!({ "v": 1, "ts": good["ts"], "message_type": "event", "event": "damage", "block": 3.5, "store": null, "what": "" }),
        json!({ "v": 1, "ts": good["ts"], "message_type": "event", "event": "damage", "block": 3 }),
        json!({ "v": 1, "ts": good["ts"], "message_type": "summary", "command": "ls", "exit_code": 0 }),
        json!({ "v": 1, "ts": good["ts"], "message_type": "status" }),
    ] {
        assert!(!SCHEMA.is_valid(&wrong), "{wrong}");
    }
    // What a later version adds is no reason to stop.
    SCHEMA.validate(&with("more", json!(1))).unwrap();
    assert!(!STRICT.is_valid(&with("more", json!(1))));
}
