//! What the file may say, what it may not, and what that comes to.

use std::path::Path;

use clap::CommandFactory;
use clap::parser::ValueSource;

use super::settings::{KEYS, find};
use super::{Config, layers};
use crate::cli::args::Cli;
use crate::crypto::DeviceKey;
use crate::fetch::chain;

fn parse(text: &str) -> Result<Config, String> {
    let config = Config::parse(Path::new("config.toml"), text).map_err(|error| chain(&error))?;
    let wrong =
        |(at, what): (usize, String)| chain(&super::wrong_at(Path::new("config.toml"), text, at, &what));
    config.check_names().map_err(wrong).map(|()| config)
}

/// Each key, what the file says, how that stands for the flag, and a flag that says otherwise.
const ROWS: [(&str, &str, &str, &[&str], &str); 24] = [
    ("to", "[\"/file\"]", "/file", &["--to", "/flag"], "/flag"),
    ("data", "7", "7", &["-k", "8"], "8"),
    ("parity", "3", "3", &["--parity", "4"], "4"),
    ("code", "\"shift\"", "shift", &["--code", "auto"], "auto"),
    ("io", "\"pread\"", "pread", &["--io", "auto"], "auto"),
    ("survive", "\"1 host\"", "1 host", &["--survive", "2 disks"], "2 disks"),
    ("policy", "\"cheapest\"", "cheapest", &["--policy", "even"], "even"),
    ("quorum", "2", "2", &["--quorum", "1"], "1"),
    ("recipient", "[\"age1x\"]", "age1x", &["--recipient", "age1y"], "age1y"),
    ("recipients_file", "\"/r\"", "/r", &["--recipients-file", "/s"], "/s"),
    ("no_encrypt", "true", "true", &["--no-encrypt"], "true"),
    ("passphrase", "{ file = \"/p\" }", "/p", &["--passphrase-file", "/q"], "/q"),
    ("passphrase", "{ command = [\"pass\", \"a b\"] }", "pass 'a b'", &["--passphrase-command", "x"], "x"),
    ("identity", "[\"/i\", \"/j\"]", "/i", &["--identity", "/k"], "/k"),
    ("trust", "\"DEVICE\"", "DEVICE", &["--trust", "OTHER"], "OTHER"),
    ("limit", "\"5MB\"", "5MB", &["--limit", "off"], "off"),
    ("memory", "\"1GiB\"", "1GiB", &["--memory", "2GiB"], "2GiB"),
    ("threads", "3", "3", &["--threads", "0"], "0"),
    ("state", "\"/state\"", "/state", &["--state", "none"], "none"),
    ("journal", "\"none\"", "none", &["--journal", "/j"], "/j"),
    ("checkpoint", "\"1s\"", "1s", &["--checkpoint", "2s"], "2s"),
    ("progress", "\"plain\"", "plain", &["--progress", "auto"], "auto"),
    ("progress_interval", "\"1m\"", "1m", &["--progress-interval", "2m"], "2m"),
    ("disk_io", "\"positioned\"", "positioned", &["--disk-io", "auto"], "auto"),
];

/// A flag that the file silently wins over is a backup to the wrong place.
#[test]
fn a_flag_comes_before_the_file_and_the_file_before_what_is_built_in_for_every_key() {
    for key in KEYS {
        assert!(ROWS.iter().any(|row| row.0 == key), "{key} has no row");
    }
    let devices = [(); 2].map(|()| DeviceKey::generate().0.device().to_string());
    for (key, text, by_file, flags, by_flag) in ROWS {
        // Devices are long, and checked.
        let known = |text: &str| text.replace("DEVICE", &devices[0]).replace("OTHER", &devices[1]);
        let settings =
            parse(&format!("[defaults]\n{key} = {}", known(text))).unwrap().settings(None).unwrap();
        let flag = settings.flags().next().unwrap().to_owned();
        let name = if matches!(key, "identity" | "trust") { "restore" } else { "backup" };
        let base: &[&str] = if name == "backup" { &["x"] } else { &["x", "-o", "x"] };
        let value = |more: &[&str]| {
            let words = [&["tanner", name][..], base, more].concat();
            let typed = Cli::command().try_get_matches_from(&words).unwrap();
            let matches = layers::layered(Cli::command(), &typed, &settings);
            let matches = matches.try_get_matches_from(&words).unwrap();
            let level = matches.subcommand_matches(name).unwrap();
            let command = Cli::command();
            let id = find(&command, &flag).unwrap().get_id().to_string();
            let first = level.get_raw(&id).unwrap().next().unwrap().to_string_lossy().into_owned();
            (first, level.value_source(&id).unwrap())
        };
        assert_eq!(value(&[]), (known(by_file), ValueSource::DefaultValue), "{key}");
        let flags: Vec<String> = flags.iter().map(|word| known(word)).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_eq!(value(&flags), (known(by_flag), ValueSource::CommandLine), "{key}");
    }
}

/// A backup encrypted for one more than was asked for, or not at all, is no backup as it was asked for.
#[test]
fn who_says_on_the_command_line_for_whom_to_encrypt_says_all_of_it() {
    let readers = ["recipient", "recipients-file", "no-encrypt", "passphrase-file"];
    let applied = |text: &str, flags: &[&str]| -> Vec<String> {
        let settings = parse(text).unwrap().settings(None).unwrap();
        let words = [&["tanner", "backup", "x"][..], flags].concat();
        let command = Cli::command();
        let typed = command.clone().try_get_matches_from(words).unwrap();
        let (backup, typed) = (command.find_subcommand("backup").unwrap(), typed.subcommand().unwrap().1);
        let ids = layers::applied(backup, typed, &settings).map(|(id, _)| id.to_string());
        ids.filter(|id| id != "data").collect()
    };
    let by_file = "[defaults]\ndata = 7\nrecipients_file = \"/r\"\npassphrase = { file = \"/p\" }";
    assert_eq!(applied(by_file, &[]).len(), 2);
    for flags in
        [&["--no-encrypt"][..], &["--encrypt"], &["--recipient", "age1x"], &["--passphrase-command", "x"]]
    {
        assert_eq!(applied(by_file, flags), [""; 0], "{flags:?}");
        assert_eq!(applied("[defaults]\nno_encrypt = true", flags), [""; 0], "{flags:?}");
    }
    assert_eq!(applied("[defaults]\nsurvive = \"1 host\"", &["--no-survive"]), [""; 0]);
    // One layer of the file before the other.
    for key in readers {
        let value = if key == "no-encrypt" { "true" } else { "\"/x\"" };
        let value = if key == "passphrase-file" { "{ file = \"/x\" }" } else { value };
        let key = if key == "passphrase-file" { "passphrase".into() } else { key.replace('-', "_") };
        let text = format!("{by_file}\n[job.a]\nsource = \"/s\"\n{key} = {value}");
        let settings = parse(&text).unwrap().settings(Some("a")).unwrap();
        let flags: Vec<&str> = settings.flags().filter(|flag| *flag != "data").collect();
        assert_eq!(flags.len(), 1, "{key}: {flags:?}");
    }
}

#[test]
fn a_job_comes_before_the_defaults_and_keeps_what_it_does_not_say() {
    let text = "[defaults]\ndata = 7\nparity = 3\nto = [\"/d\"]\n[store.nas]\nurl = \"/mnt/nas\"\n\
                [job.vm]\nsource = { path = \"/vm.img\" }\nto = [\"nas\", \"/mnt/b\"]\ndata = 9\n\
                keep = { last = 3, weekly = 4 }";
    let config = parse(text).unwrap();
    let settings = config.settings(Some("vm")).unwrap();
    let values = |flag: &str| settings.get(flag).map(|setting| setting.values.join(" "));
    assert_eq!(values("data").as_deref(), Some("9"));
    assert_eq!(values("parity").as_deref(), Some("3"));
    assert_eq!(values("to").as_deref(), Some("store:nas /mnt/b"));
    assert_eq!(values("keep-last").as_deref(), Some("3"));
    assert_eq!(values("keep-weekly").as_deref(), Some("4"));
    assert_eq!(values("keep-daily"), None);
    assert_eq!(config.settings(None).unwrap().get("to").unwrap().values, ["/d"]);
    let unknown = config.settings(Some("db")).unwrap_err().to_string();
    assert!(unknown.contains("db") && unknown.contains("there are vm"), "{unknown}");
}

/// A typing error that is not told is a setting that is not there.
#[test]
fn what_is_wrong_is_told_with_line_and_column_and_what_would_be_right() {
    let mut missed = Vec::new();
    for (text, wanted) in [
        ("[defaults]\nmemroy = \"1GiB\"", "line 2, column 1: unknown key `memroy`: wanted one of to, data"),
        ("[defaults]\nmemory = \"lots\"", "line 2, column 10: invalid value 'lots' for '--memory"),
        ("[defaults]\ncode = \"best\"", "line 2, column 8: invalid value 'best'"),
        ("[defaults]\ndata = [\"7\"]", "line 2, column 8: wanted one value, not a list"),
        ("[defaults]\n  data = true", "line 2, column 10: wanted a text or a number"),
        ("[defaults]\nno_encrypt = 1", "line 2, column 14: wanted true or false"),
        ("[defaults]\nsurvive = []", "line 2, column 11: an empty list"),
        ("[defaults]\nsurvive = \"one host\"", "line 2, column 11: invalid value 'one host'"),
        ("[defaults]\nrecipients_file = \"r.txt\"", "line 2, column 19: \"r.txt\" is relative"),
        ("[defaults]\nto = [\"/a\", \"nas\"]", "line 2, column 13: no store is called \"nas\" (none is)"),
        (
            "[store.a]\nurl = \"/a\"\n[defaults]\nto = [\"b\"]",
            "line 4, column 7: no store is called \"b\" (a is)",
        ),
        ("[job.a]\nto = [\"/a\"]", "line 1, column 1: missing field `source`"),
        ("[job.a]\nsource = \"a.img\"", "line 2, column 10: a.img is relative"),
        ("[job.a]\nsource = { command = [] }", "line 2, column 22: a command begins with a program"),
        ("[job.a]\nsource = \"/a\"\nprogress = \"plain\"", "line 3, column 1: unknown key `progress`"),
        ("[job.a]\nsource = \"/a\"\nkeep = { lats = 3 }", "line 3, column 10: unknown field `lats`"),
        ("[store.a]\nurl = \"/a\"\ncolour = 1", "line 3, column 1: unknown field `colour`"),
        (
            "[monitor]\nping = \"x\"",
            "line 2, column 1: unknown field `ping`, expected `textfile` or `ping_url`",
        ),
        ("[hooks]\nafter_failed = \"x\"", "line 2, column 16: invalid type"),
        ("[hook]", "line 1, column 2: unknown field `hook`, expected one of `defaults`"),
        ("[store.a]\ncredentials = \"AK:hunter2\"", "line 2, column 1: a secret does not stand in this file"),
        (
            "[store.a]\nurl = \"s3://b\"\ncredentials = { env = \"x\" }",
            "line 3, column 17: unknown variant `env`",
        ),
        ("[defaults\n", "line 1, column 10: "),
    ] {
        let error = parse(text).unwrap_err();
        if !error.starts_with("config.toml: ") || !error.contains(wanted) {
            missed.push((text, wanted, error.clone()));
        }
        assert!(!error.contains('\n') && !error.contains("hunter2"), "{error}");
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn the_example_that_is_installed_says_all_keys_and_can_be_read() {
    let text = include_str!("../../package/config.example.toml");
    let config = parse(text).unwrap();
    assert!(config.store.len() >= 3 && config.job.len() >= 2, "{config:?}");
    for name in config.job.keys() {
        config.settings(Some(name)).unwrap();
    }
    // What it only mentions can be said, too.
    let lines = text.lines().map(|line| line.strip_prefix("#!").unwrap_or(line));
    let whole: String = lines.map(|line| format!("{line}\n")).collect();
    parse(&whole).unwrap();
    for key in KEYS.iter().chain(&["source", "keep", "textfile", "ping_url", "before", "after_success"]) {
        assert!(whole.lines().any(|line| line.trim_start().starts_with(&format!("{key} = "))), "no {key}");
    }
}
