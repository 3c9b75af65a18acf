//! The file of settings: where it is found, what it stands for, and what is told of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Place, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::stored::content;

/// A run with this file of settings.
fn with(config: &Path, words: &str) -> Tanner {
    tanner(words).env("TANNER_CONFIG", config.to_str().unwrap())
}

/// What `config show` says of a key: its value, and who set it.
#[track_caller]
fn shown(run: Tanner, key: &str) -> (Value, String) {
    let objects = objects(&run.words("--json config show --origin").run().expect(0));
    let setting = objects.iter().find(|object| object["event"] == "setting" && object["key"] == key);
    let setting = setting.unwrap_or_else(|| panic!("{key} is not shown in {objects:#?}"));
    (setting["value"].clone(), setting["origin"].as_str().unwrap().to_owned())
}

#[test]
fn the_environment_comes_before_the_file_for_every_key_that_it_knows() {
    let place = Place::new();
    let config = place.file(
        "config.toml",
        b"[defaults]\nmemory = \"600MiB\"\nthreads = 3\nlimit = \"5MB\"\nstate = \"/s\"\njournal = \"/j\"\n\
          checkpoint = \"1s\"\nprogress = \"plain\"\nprogress_interval = \"1m\"\ndisk_io = \"positioned\"\n\
          recipients_file = \"/r\"\nidentity = [\"/i\"]\n[job.vm]\nsource = \"/vm\"\nto = [\"/a\"]\nthreads = 4\n",
    );
    for (key, file, variable, env) in [
        ("memory", "600MiB", "TANNER_MEMORY", "700MiB"),
        ("threads", "3", "TANNER_THREADS", "5"),
        ("limit", "5MB", "TANNER_LIMIT", "off"),
        ("state", "/s", "TANNER_STATE", "none"),
        ("journal", "/j", "TANNER_JOURNAL", "none"),
        ("checkpoint", "1s", "TANNER_CHECKPOINT", "2s"),
        ("progress", "plain", "TANNER_PROGRESS", "none"),
        ("progress_interval", "1m", "TANNER_PROGRESS_INTERVAL", "2m"),
        ("disk_io", "positioned", "TANNER_DISK_IO", "auto"),
        ("recipients_file", "/r", "TANNER_RECIPIENTS_FILE", "/s"),
        ("identity", "/i", "TANNER_IDENTITY_FILE", "/k"),
    ] {
        let run = || with(&config, "").without_env(variable);
        let (value, origin) = shown(run(), key);
        assert_eq!(value, file, "{key}");
        assert!(origin.ends_with("config.toml [defaults]"), "{key}: {origin}");
        let by_env = (env.into(), format!("environment {variable}"));
        assert_eq!(shown(run().env(variable, env), key), by_env);
    }
    let (value, origin) = shown(with(&config, "--for vm"), "threads");
    assert!(value == "4" && origin.ends_with("config.toml [job.vm]"), "{value} {origin}");
    assert_eq!(shown(with(&config, ""), "data"), ("10".into(), "built in".into()));
}

/// The file is used, and not only shown: by backups, and by what looks for them.
#[test]
fn what_the_file_says_is_done_and_a_flag_undoes_it() {
    let place = Place::new();
    let source = place.file("a.bin", &content(50_000, 1));
    let stores: Vec<String> = place.stores(3).iter().map(|store| store.display().to_string()).collect();
    let config = place.file(
        "config.toml",
        format!(
            "[store.x]\nurl = {:?}\nlabels = {{ host = \"x\" }}\n[defaults]\nto = [\"x\", {:?}]\ndata = 4\nparity = 2\n\
             no_encrypt = true\nsurvive = \"1 host\"\n",
            stores[0], stores[1]
        )
        .as_bytes(),
    );
    let backup = |words: &str| with(&config, "--json backup").arg(&source).words(words);
    let told = |run: Tanner| summary(&objects(&run.run().expect(0))).clone();
    // Two hosts cannot be told apart where one is not known; with 4+4 blocks no matter.
    let done = told(backup("-m 4"));
    assert_eq!((&done["data"], &done["parity"], &done["encrypted"]), (&4.into(), &4.into(), &false.into()));
    assert_eq!(done["stores"], 2);
    assert_eq!(done["survive"][0]["loss"], "1 host");
    backup("").run().expect(6);
    let done = told(backup("--no-survive --encrypt"));
    assert_eq!((&done["encrypted"], done["survive"].as_array().unwrap().len()), (&true.into(), 0));
    let id = done["id"].as_str().unwrap().to_owned();
    // Stores need not be named again; who names some means those.
    for (command, code) in [("show", 0), ("verify", 0), ("repair", 3)] {
        // Whoever repairs by this file wants what it says survived, whatever the backup was made for.
        with(&config, command).arg(&id).run().expect(code);
        with(&config, command).arg(&id).words("--from").arg(&stores[2]).run().expect(10);
    }
    with(&config, "ls").run().expect(0).out_has(&id);
    with(&config, "ls").arg(&stores[2]).run().expect(10);
    with(&config, "restore -o").arg(place.output()).arg(&id).run().expect(0);
    assert_eq!(fs::read(place.output()).unwrap(), content(50_000, 1));
    // Nothing of it is there without the file.
    with(&config, "--config none ls").run().expect(2).err_has("no store was named");
}

#[test]
fn the_file_is_looked_for_in_four_places_in_their_order() {
    let place = Place::new();
    fs::create_dir_all(place.join("settings/tanner")).unwrap();
    let file = |name: &str, data: u32| {
        place.file(name, format!("[defaults]\ndata = {data}\n").as_bytes());
        place.join(name)
    };
    let (user, env, flag) =
        (file("settings/tanner/config.toml", 21), file("env.toml", 22), file("flag.toml", 23));
    let run = || {
        tanner("")
            .without_env("TANNER_CONFIG")
            .env("XDG_CONFIG_HOME", place.join("settings").to_str().unwrap())
    };
    let data = |run: Tanner| shown(run, "data").0;
    assert_eq!(data(run()), "21");
    assert_eq!(data(run().env("TANNER_CONFIG", env.to_str().unwrap())), "22");
    let flagged = run().env("TANNER_CONFIG", env.to_str().unwrap()).words("--config").arg(&flag);
    assert_eq!(data(flagged), "23");
    assert_eq!(data(run().words("--config none")), "10");
    // One that is named has to be there, one that is looked for need not.
    let missing = run().words("config check --config").arg(place.join("missing.toml")).run().expect(2);
    missing.is_one_line_of_error().err_has("missing.toml");
    fs::remove_file(user).unwrap();
    run().words("config check").run().expect(0).err_has("is not there");
}

/// Names that were given before there was a file of settings are still names.
#[test]
fn the_old_list_of_stores_is_still_read_and_what_is_added_keeps_every_comment() {
    let place = Place::new();
    fs::create_dir_all(place.join("settings/tanner")).unwrap();
    let stores = place.stores(3);
    let url = |store: usize| format!("file://{}", stores[store].display());
    place.file("settings/tanner/stores.toml", format!("[store.old]\nurl = {:?}\n", url(0)).as_bytes());
    let text = format!("# mine\n[store.new] # and this\nurl = {:?}\n\n[defaults]\ndata = 4 # four\n", url(1));
    let config = place.file("settings/tanner/config.toml", text.as_bytes());
    fs::set_permissions(&config, Permissions::from_mode(0o640)).unwrap();
    let run = |words: &str| {
        let settings = place.join("settings");
        tanner(words).without_env("TANNER_CONFIG").env("XDG_CONFIG_HOME", settings.to_str().unwrap())
    };
    run("store ls").run().expect(0).out_has("old").out_has("new");
    run("store add more").arg(&stores[2]).words("--label host=a").run().expect(0);
    let written = fs::read_to_string(&config).unwrap();
    assert!(written.starts_with(&text[..20]) && written.contains("data = 4 # four"), "{written}");
    assert!(written.contains("[store.more.labels]\nhost = \"a\""), "{written}");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
    run("store rm more").run().expect(0);
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    run("store rm old").run().expect(0);
    let left = run("store ls").run().expect(0);
    assert!(left.out.contains("new") && !left.out.contains("old") && !left.out.contains("more"), "{left:#?}");
}

#[test]
fn a_check_tells_what_is_wrong_and_where_in_words_and_in_json() {
    let place = Place::new();
    let check = |text: &str, words: &str| {
        let config = place.file("config.toml", text.as_bytes());
        with(&config, "config check").words(words).run()
    };
    let good = "[store.a]\nurl = \"/mnt/a\"\n[job.vm]\nsource = \"/nowhere/vm.img\"\nto = [\"a\"]\n";
    check(good, "").expect(0).out_has("1 store, 1 job").err_has("/nowhere/vm.img is not there");
    check("[defaults]\ndata = \"x\"", "").expect(2).is_one_line_of_error().err_has("line 2, column 8");
    for (text, wanted) in [
        ("[defaults]\ndata = \"x\"", "config.toml: line 2, column 8: invalid value 'x'"),
        ("[store.a]\nurl = \"s4://x\"", "[store.a]: "),
        ("[store.a]\nurl = \"tcp://host:7000\"", "#PIN"),
        ("[job.a]\nsource = \"/x\"", "[job.a] has no stores"),
        ("[store.a]\nurl = \"s3://bucket\"\ncredentials = { file = \"/nowhere/keys\" }", "/nowhere/keys"),
        (
            "[store.a]\nurl = \"s3://bucket\"\ncredentials = { command = [\"false\"] }",
            "`false`, which should",
        ),
        (
            "[store.a]\nurl = \"s3://bucket\"\ncredentials = { command = [\"echo\", \"x\"] }",
            "aws_access_key_id",
        ),
    ] {
        let objects = objects(&check(text, "--json").expect(2));
        let told = summary(&objects);
        let told = told["error"].as_str().unwrap();
        assert!(told.contains(wanted), "{text}: {told}");
    }
    // A command that is broken off is mended by hand: those that help are not stopped by it.
    let config = place.file("config.toml", b"[defaults");
    with(&config, "version").run().expect(0);
    with(&config, "ls /mnt").run().expect(2).is_one_line_of_error().err_has("line 1, column 10");
    // Whoever may write to it may have any command run.
    let config = place.file("open.toml", b"[defaults]\ndata = 4\n");
    fs::set_permissions(&config, Permissions::from_mode(0o666)).unwrap();
    with(&config, "config check").run().expect(2).err_has("chmod o-w");
}

/// A store whose keys are in the file of settings needs nothing of the environment.
#[test]
fn the_keys_of_a_bucket_come_from_files_commands_and_systemd_and_loose_files_are_refused() {
    let place = Place::new();
    let keys = place.file("s3a", b"aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hunter2\n");
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    let check = |credentials: &str| {
        let text = format!("[store.a]\nurl = \"s3://bucket/x?region=eu-1\"\ncredentials = {credentials}\n");
        let config = place.file("config.toml", text.as_bytes());
        with(&config, "config check").without_env("CREDENTIALS_DIRECTORY").without_env("AWS_ACCESS_KEY_ID")
    };
    let file = format!("{{ file = {:?} }}", keys.to_str().unwrap());
    check(&file).run().expect(0);
    check(&format!("{{ command = [\"cat\", {:?}] }}", keys.to_str().unwrap())).run().expect(0);
    let systemd = "{ systemd = \"s3a\" }";
    check(systemd).run().expect(0).err_has("was not tried");
    let directory = place.path().to_str().unwrap();
    check(systemd).env("CREDENTIALS_DIRECTORY", directory).run().expect(0);
    // systemd lets the unit's own user read by the group's bits.
    fs::set_permissions(&keys, Permissions::from_mode(0o440)).unwrap();
    check(systemd).env("CREDENTIALS_DIRECTORY", directory).run().expect(0);
    let loose = check(&file).run().expect(2);
    loose.err_has("mode 440").err_has("chmod 600");
    assert!(!loose.err.contains("hunter2"), "{loose:#?}");
    check("\"AKIDEXAMPLE:hunter2\"").run().expect(2).err_has("a secret does not stand in this file");
    assert_eq!(files_below(&place.join("out")), [""; 0]);
}
