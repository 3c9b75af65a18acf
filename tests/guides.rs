//! The guides in `src/docs/guides`: every command in them is run, from top to bottom, in a world of its own.
//!
//! What stands in `sh` blocks of a page is one shell script. Directories below `/mnt`, `/srv` and `/etc` are those of that
//! world, and so are the machines that a page names. The script ends with the first command that fails.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[path = "../transports/tests/common/s3_server.rs"]
mod s3_server;

use tempfile::TempDir;

struct World {
    place: TempDir,
    /// Words of a page, and what they are here.
    names: Vec<(&'static str, String)>,
}

/// A program that runs as long as this does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    fn new() -> Self {
        let world = Self { place: tempfile::tempdir().unwrap(), names: Vec::new() };
        for directory in
            ["home/safe", "work", "mnt/a", "mnt/b", "mnt/c", "mnt/usb", "srv/images", "etc/tanner"]
        {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        std::os::unix::fs::symlink(root().join("transports"), world.path("work/transports")).unwrap();
        let image: Vec<u8> =
            (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(world.path("srv/images/vm.img"), image).unwrap();
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    fn named(mut self, word: &'static str, here: impl Into<String>) -> Self {
        self.names.push((word, here.into()));
        self
    }

    /// The words of a page as they are here.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for directory in ["/mnt/", "/srv/", "/etc/"] {
            text = text.replace(directory, &format!("{}{directory}", self.place.path().display()));
        }
        self.names.iter().fold(text, |text, (word, here)| text.replace(word, here))
    }

    fn command(&self, program: &str, home: &str) -> Command {
        let mut command = Command::new(program);
        let variables = std::env::vars_os().map(|(name, _)| name);
        let is_ours = |name: &std::ffi::OsString| {
            ["TANNER_", "XDG_", "AWS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        };
        variables.filter(is_ours).for_each(|name| _ = command.env_remove(name));
        let path = std::env::var("PATH").unwrap();
        let ours = Path::new(env!("CARGO_BIN_EXE_tanner")).parent().unwrap();
        command
            .env("HOME", self.path(home))
            .env("PATH", format!("{}:{}:{path}", ours.display(), self.path("work").display()));
        command.env("AWS_ACCESS_KEY_ID", s3_server::KEY_ID).env("AWS_SECRET_ACCESS_KEY", s3_server::KEY);
        command.current_dir(self.path("work")).stdin(Stdio::null());
        command
    }

    /// What a run of tanner prints.
    fn tanner(&self, home: &str, words: &str) -> String {
        let output = self.command("tanner", home).args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the page.
    #[track_caller]
    fn follow(&self, page: &str) {
        let script = format!("set -euxo pipefail\n{}", self.here(&blocks(page, "sh").concat()));
        let output = self.command("bash", "home").arg("-c").arg(script).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{page}: {}\n{out}\n{err}", output.status);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in a page's blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("src/docs/guides").join(page)).unwrap();
    let begins = format!("\n```{language}\n");
    let blocks: Vec<String> = text
        .split(&begins)
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0.to_owned())
        .collect();
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks
}

#[test]
fn a_backup_to_a_nas_and_a_bucket_comes_back_when_the_cellar_burns_down() {
    let world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    fs::create_dir_all(world.path("s3/blocks")).unwrap();
    let bucket = runtime.block_on(s3_server::serve(&world.path("s3")));
    let world = world.named("https://s3.example.net", format!("http://{bucket}"));

    let host = world.tanner("home", "key node");
    let clients = blocks("vm-images.md", "toml").concat().replace("PIN_OF_THE_HOST", &host);
    fs::write(world.path("etc/tanner/clients.toml"), clients).unwrap();
    let nas = world.tanner("nas", "key node");
    let serve =
        world.here("serve --listen tcp://127.0.0.1:0 --root /srv/blocks --clients /etc/tanner/clients.toml");
    let mut serve =
        world.command("tanner", "nas").args(serve.split_whitespace()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let _serve = Running(serve);
    let (address, _) = url.trim().strip_prefix("tcp://").unwrap().split_once('#').unwrap();
    world.named("nas:7000", address).named("PIN_OF_THE_NAS", nas).follow("vm-images.md");
}

#[test]
fn a_bare_machine_restores_from_the_identity_and_the_stores() {
    World::new().follow("bare-machine.md");
}

/// What a database would print is the image here.
#[test]
fn a_dump_of_every_night_is_stored_looked_after_and_read_back() {
    let world = World::new();
    let (dump, image) = (world.path("work/pg_dump"), world.path("srv/images/vm.img"));
    fs::write(&dump, format!("#!/bin/sh\nexec cat {}\n", image.display())).unwrap();
    fs::set_permissions(&dump, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = world.path("home/.config/tanner");
    fs::create_dir_all(&settings).unwrap();
    fs::create_dir(world.path("srv/metrics")).unwrap();
    let text = world.here(&blocks("nightly-database.md", "toml").concat());
    fs::write(settings.join("config.toml"), text).unwrap();
    world.follow("nightly-database.md");
    assert!(
        fs::read_to_string(world.path("srv/metrics/tanner.prom")).unwrap().contains("tanner_last_exit_code")
    );
}

#[test]
fn a_program_of_ones_own_is_a_store_like_any() {
    World::new().follow("own-transport.md");
}

#[test]
fn hardware_is_measured_as_the_page_says() {
    World::new().follow("measure-hardware.md");
}

/// A page that nobody follows is one that nobody knows to be right.
#[test]
fn every_guide_is_followed() {
    let source = include_str!("guides.rs");
    let pages = fs::read_dir(root().join("src/docs/guides")).unwrap();
    for page in pages.map(|page| page.unwrap().file_name().into_string().unwrap()) {
        assert!(source.contains(&format!("follow(\"{page}\")")), "{page}");
    }
}
