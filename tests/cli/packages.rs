//! What packages install: units, completions, manual pages, and the example of a file of settings.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Place, tanner};
use crate::json::{objects, summary};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/package");

fn units() -> Vec<PathBuf> {
    let units = fs::read_dir(Path::new(PACKAGE).join("systemd")).unwrap();
    units.map(|entry| entry.unwrap().path()).collect()
}

/// A unit with a flag that the program does not know fails at night, when nobody looks.
#[test]
fn every_command_of_a_unit_is_one_that_the_program_takes() {
    let mut seen = 0;
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap().replace("\\\n", " ");
        for line in text.lines().filter(|line| line.starts_with("ExecStart")) {
            let words = line.split_once("=/usr/bin/tanner ").unwrap().1;
            tanner(words).words("--help").run().expect(0);
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} commands");
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no systemd-analyze");
        return;
    }
    let place = Place::new();
    let mut paths = Vec::new();
    for unit in units() {
        // The program is not installed here; and of a template one is looked at.
        let text =
            fs::read_to_string(&unit).unwrap().replace("/usr/bin/tanner", env!("CARGO_BIN_EXE_tanner"));
        let name = unit.file_name().unwrap().to_str().unwrap();
        place.file(name, text.as_bytes());
        paths.push(place.file(&name.replace("@.", "@vm."), text.as_bytes()));
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--generators=no"]).args(&paths);
    let done = verify.env("SYSTEMD_UNIT_PATH", format!("{}:", place.path().display())).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !told.contains("tanner-"), "{told}");
}

#[test]
fn shells_and_readers_are_told_of_every_command() {
    let help = tanner("--help").run().expect(0).out;
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains("run") && commands.contains("config") && commands.len() > 15, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = tanner("completions").arg(shell).run().expect(0).out;
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
        assert!(script.contains("recipients-file"), "{shell}");
    }
    tanner("completions").arg("cmd.exe").run().expect(2);
    let place = Place::new();
    tanner("man").arg(place.join("man")).run().expect(0);
    for command in commands.iter().filter(|command| **command != "help") {
        let page = fs::read_to_string(place.join(&format!("man/tanner-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{command}");
    }
    let page = tanner("man").run().expect(0).out;
    assert!(page.starts_with(".ie") && page.contains("Exit codes"), "{}", &page[..200]);
    let json = objects(&tanner("--json man").run().expect(0));
    assert_eq!(summary(&json)["text"], page.as_str());
}

/// What the package's list names has to be there, or be made by the script that builds it.
#[test]
fn every_file_of_the_package_is_there_and_the_example_can_be_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    for asset in deb["assets"].as_array().unwrap() {
        let from = asset[0].as_str().unwrap();
        if !from.starts_with("target/") {
            let (directory, name) = from.rsplit_once('/').unwrap_or((".", from));
            let begin = name.split('*').next().unwrap_or(name);
            let mut found = fs::read_dir(root.join(directory)).unwrap();
            assert!(
                found.any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with(begin)),
                "{from}"
            );
        }
    }
    let example = Path::new(PACKAGE).join("config.example.toml");
    let check = tanner("--config").arg(&example).words("config check").run().expect(2);
    check.err_has("/etc/tanner/cloud.keys");
    assert_eq!(check.err.matches("tanner: ").count(), 1, "{check:#?}");
}

#[test]
fn the_version_says_what_of_this_machine_is_used_and_why() {
    let run = tanner("version --verbose").run().expect(0);
    run.out_has("simd")
        .out_has("disk I/O")
        .out_has("stores     ")
        .out_has("s3")
        .out_has(std::env::consts::ARCH);
    let json = objects(&tanner("--json version").run().expect(0));
    let schemes = summary(&json)["stores"].as_array().unwrap();
    assert!(schemes.iter().any(|scheme| scheme == "tcp"), "{schemes:?}");
}
