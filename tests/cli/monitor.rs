//! Others that are told of a run: Prometheus by a file, a service by pings, and hooks. None of them changes what comes of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use prometheus_parse::{Scrape, Value};

use crate::harness::{Place, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up};

/// What measures say, by name and labels, after checks that hold for every text of them.
#[track_caller]
pub(crate) fn measures(text: &str) -> BTreeMap<String, f64> {
    let lines = || text.lines().filter(|line| !line.starts_with("# EOF"));
    let told = |kind: &str, name: &str| lines().any(|line| line.starts_with(&format!("# {kind} {name} ")));
    let scrape = Scrape::parse(lines().map(|line| Ok(line.to_owned()))).unwrap();
    let samples = scrape.samples.into_iter().map(|sample| {
        let family = sample.metric.strip_suffix("_total").unwrap_or(&sample.metric);
        assert!(sample.metric.starts_with("tanner_") && told("HELP", family), "{}", sample.metric);
        assert!(told("TYPE", family), "{}: {text}", sample.metric);
        let value = match sample.value {
            Value::Gauge(value) | Value::Counter(value) | Value::Untyped(value) => value,
            other => panic!("{other:?}"),
        };
        let mut labels: Vec<_> =
            sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.sort();
        (format!("{} {}", sample.metric, labels.join(" ")), value)
    });
    let samples: Vec<_> = samples.collect();
    let values = lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples.len(), values, "{text}");
    let measures: BTreeMap<_, _> = samples.into_iter().collect();
    assert_eq!(measures.len(), values, "one thing has two values: {text}");
    measures
}

fn read(path: &Path) -> BTreeMap<String, f64> {
    measures(&fs::read_to_string(path).unwrap())
}

#[test]
fn every_run_leaves_measures_that_prometheus_reads_and_a_failure_keeps_the_time_of_the_last_success() {
    let place = Place::new();
    fs::create_dir(place.join("prom")).unwrap();
    let file = place.join("prom/nightly.prom");
    let source = place.file("a.bin", &[7; 100_000]);
    let stores = place.stores(3);
    let told = |run: Tanner| run.words("--json --job nightly --metrics-file").arg(&file);
    let run = told(back_up(&source, "-k 4 -m 2", &stores));
    // As in a unit.
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(run.0.get_program()).args(run.0.get_args());
    for (name, value) in run.0.get_envs() {
        match value {
            Some(value) => masked.env(name, value),
            None => masked.env_remove(name),
        };
    }
    let run = Tanner(masked).run().expect(0);
    let json = objects(&run);
    let (id, sent) = (summary(&json)["id"].as_str().unwrap(), summary(&json)["sent_bytes"].as_f64().unwrap());
    let good = read(&file);
    let success = good["tanner_last_success_timestamp_seconds job=nightly"];
    assert!(success > 1.7e9 && success == good["tanner_last_run_timestamp_seconds job=nightly"]);
    assert_eq!(good["tanner_last_exit_code job=nightly"], 0.0);
    assert_eq!(good["tanner_source_bytes job=nightly"], 100_000.0);
    let store = format!("file://{}", stores[0].display());
    let sent_to: f64 =
        good.iter().filter(|(name, _)| name.starts_with("tanner_dest_bytes ")).map(|(_, n)| n).sum();
    assert!(
        sent_to == sent && good.contains_key(&format!("tanner_dest_bytes dest={store} job=nightly op=put"))
    );
    assert_eq!(good[&format!("tanner_blocks backup={id} job=nightly state=ok")], 6.0);
    assert_eq!(good[&format!("tanner_margin_blocks backup={id} job=nightly")], 2.0);
    // The collector runs as another user, and reads whatever ends in .prom.
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o444, 0o444);
    assert_eq!(files_below(&place.join("prom")), ["nightly.prom"]);

    told(back_up(&place.join("nowhere"), "", &stores)).run().expect(1);
    let bad = read(&file);
    assert_eq!(bad["tanner_last_exit_code job=nightly"], 1.0);
    assert_eq!(bad["tanner_last_success_timestamp_seconds job=nightly"], success);
    assert!(bad["tanner_last_run_timestamp_seconds job=nightly"] >= success);

    fs::remove_file(stores[0].join(id).join("0")).unwrap();
    let on = |command: &str| told(tanner(command).arg(id).stores("--from", &stores));
    on("verify").run().expect(4);
    assert_eq!(read(&file)[&format!("tanner_blocks backup={id} job=nightly state=missing")], 1.0);
    on("restore").arg("-o").arg(place.output()).run().expect(0);
    assert!(
        read(&file).keys().any(|name| name.starts_with("tanner_dest_bytes ") && name.ends_with("op=get"))
    );
    on("repair").run().expect(0);
    assert_eq!(read(&file)[&format!("tanner_blocks backup={id} job=nightly state=ok")], 6.0);
}

#[test]
fn measures_that_cannot_be_written_are_a_warning() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    for file in ["/dev/null", "/proc/nowhere/x.prom", stored.stores[0].to_str().unwrap()] {
        let run = stored.on("verify").env("TANNER_METRICS_FILE", file).run().expect(0);
        run.err_has("warning: ").err_has(file);
    }
    for job in ["", "a\"b", "a b", &"a".repeat(65)] {
        stored.on("verify --job").arg(job).run().expect(2).err_has("--job");
    }
}

/// A service that answers each request with the next status, and hands on what it was asked.
fn service(statuses: &'static [u16]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/uuid-that-is-secret", listener.local_addr().unwrap());
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                match line.trim() {
                    "" => break,
                    line if head.is_empty() => head = line.to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
            asked.send(format!("{head} {}", String::from_utf8(body).unwrap())).unwrap();
        }
    });
    (url, requests)
}

#[test]
fn a_service_is_pinged_at_the_start_and_at_the_end_with_what_went_wrong() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let (url, requests) = service(&[200, 200]);
    let unwatched = stored.on("verify").run().expect(0);
    let run = stored.on("verify").env("TANNER_PING", &url).run().expect(0);
    assert_eq!(run.err, unwatched.err, "a ping that went well is not worth a word");
    let asked: Vec<String> = requests.iter().collect();
    assert_eq!(asked, ["GET /uuid-that-is-secret/start HTTP/1.1 ", "GET /uuid-that-is-secret HTTP/1.1 "]);

    let (url, requests) = service(&[200, 200]);
    tanner("verify --ping").arg(&url).arg("0".repeat(32)).stores("--from", &stored.stores).run().expect(10);
    let asked: Vec<String> = requests.iter().collect();
    assert!(asked[0].starts_with("GET /uuid-that-is-secret/start "), "{asked:?}");
    assert!(asked[1].starts_with("POST /uuid-that-is-secret/fail HTTP/1.1 exit code 10: "), "{asked:?}");
    assert!(asked[1].contains(&"0".repeat(32)), "{asked:?}");
}

/// The path of the URL is all that a stranger needs to say that all is well.
#[test]
fn a_service_that_does_not_answer_well_changes_nothing_and_its_url_is_not_shown() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let (url, _requests) = service(&[500, 404, 500, 500, 500, 500]);
    let run = stored.on("verify --ping").arg(&url).run().expect(0);
    run.err_has("warning: no ping to 127.0.0.1: it answers 500");
    assert!(!run.err.contains("secret"), "{run:#?}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = stored.on("verify --json --ping").arg(format!("http://{nobody}/secret")).run().expect(0);
    let warnings = objects(&run).into_iter().filter(|object| object["event"] == "warning").count();
    assert_eq!(warnings, 2, "{run:#?}");
    assert!(!run.out.contains("secret"), "{run:#?}");
    let run = stored.on("verify --ping ftp://host/secret").run().expect(2);
    run.err_has("--ping");
    let help = tanner("verify --help").env("TANNER_PING", &url).run().expect(0);
    assert!(!help.out.contains("secret"), "{help:#?}");
}

#[test]
fn hooks_run_before_and_after_and_are_told_what_came_of_it() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let log = stored.place.join("log");
    let say = |when: &str| {
        let words = "$TANNER_COMMAND $TANNER_JOB $TANNER_EXIT_CODE $TANNER_ID $TANNER_ERROR";
        format!("echo {when} {words} >> {}; echo on stdout", log.display())
    };
    let hooked = |run: Tanner| {
        let _ = fs::remove_file(&log);
        let hooks = ["before", "success", "failure"].map(|when| (format!("--hook-{when}"), say(when)));
        let run = hooks.into_iter().fold(run, |run, (flag, hook)| run.arg(flag).arg(hook)).run();
        assert!(!run.out.contains("on stdout"), "a hook wrote where the result goes: {run:#?}");
        (run.code, fs::read_to_string(&log).unwrap())
    };
    let id = &stored.id;
    let (code, said) = hooked(stored.on("verify --job check"));
    assert_eq!(
        (code, said.as_str()),
        (0, format!("before verify check\nsuccess verify check 0 {id}\n").as_str())
    );
    stored.lose([0]);
    let (code, said) = hooked(stored.on("verify"));
    assert_eq!(
        (code, said.as_str()),
        (4, format!("before verify verify\nfailure verify verify 4 {id}\n").as_str())
    );
    let (code, said) = hooked(stored.on("restore -o").arg(stored.place.join("no/directory")));
    assert!(
        code == 1 && said.contains("failure restore restore 1 ") && said.contains("no/directory"),
        "{said}"
    );
}

#[test]
fn hooks_that_fail_hang_or_are_none_change_nothing() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let mark = stored.place.join("mark");
    for (hook, warning) in [
        ("exit 3".to_owned(), "exit status: 3"),
        ("no-such-program".into(), "exit status: 127"),
        // What it started is killed as well.
        (format!("(sleep 1000; touch {}) & wait", mark.display()), "it took longer than 100ms"),
    ] {
        let run =
            stored.on("verify --hook-time 100ms --hook-before").arg(&hook).arg("--hook-success").arg(&hook);
        let run = run.run().expect(0);
        run.err_has("warning: the hook before: ")
            .err_has("warning: the hook after_success: ")
            .err_has(warning);
    }
    assert!(!mark.exists());
}

/// Whoever knows it can say that all is well.
#[test]
fn the_path_of_a_ping_url_is_shown_to_nobody() {
    let place = Place::new();
    let text = "[monitor]\nping_url = \"https://watch.example/3fd1-secret\"\n[job.x]\nsource = \"/etc/hostname\"\nto = [\"/mnt/a\"]\n\
                monitor = { ping_url = \"https://watch.example/other-secret\" }\n";
    let config = place.file("config.toml", text.as_bytes());
    for words in ["config show", "config show --json", "config show --origin --for x", "run x --dry-run"] {
        let run = tanner(words).env("TANNER_CONFIG", config.to_str().unwrap()).run().expect(0);
        assert!(!run.out.contains("secret") && !run.err.contains("secret"), "{words}: {run:#?}");
    }
}
