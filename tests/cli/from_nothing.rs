//! A restore on a machine that never saw the backup, with nothing but what the threat model says to keep in the safe.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Place, files_below};
use crate::keys::User;
use crate::s3::s3_server::{self, BUCKET, KEY, KEY_ID};
use crate::stored::content;

/// The commands as they are documented.
fn documented() -> String {
    let page = include_str!("../../src/security.md");
    let chapter = page.split_once("## What to keep in the safe").unwrap().1;
    let block = chapter.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    assert!(block.lines().count() <= 5, "{block}");
    block.to_owned()
}

/// Runs commands where nobody ever ran tanner.
fn shell(home: &Path, commands: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_tanner")).parent().unwrap().display();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(commands).env_clear().env("PATH", path).env("HOME", home).current_dir(home);
    shell.output().unwrap()
}

#[test]
fn the_identity_and_the_list_of_stores_are_enough_when_all_else_is_lost_but_one_manifest() {
    let (user, place) = (User::new(), Place::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bucket = place.join("bucket");
    let address = runtime.block_on(s3_server::serve(&bucket));
    let mut stores: Vec<String> = place.stores(4).iter().map(|store| store.display().to_string()).collect();
    stores.push(format!("s3://{BUCKET}/some?endpoint=http://{address}&region=eu-1"));
    let bytes = content(1_000_000, 7);
    let source = user.0.file("source", &bytes);
    let backup = user.tanner("backup -k 3 -m 2").arg(&source).stores("--to", &stores);
    let backup = backup.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", KEY);
    let id = backup.run().expect(0).out.trim().to_owned();

    // The safe.
    let safe = place.join("home/safe");
    fs::create_dir_all(&safe).unwrap();
    fs::copy(user.config("identity.txt"), safe.join("identity.txt")).unwrap();
    fs::write(safe.join("stores.txt"), stores.join("\n")).unwrap();
    let keys = format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {KEY}\n");
    fs::write(safe.join("credentials"), keys).unwrap();
    fs::set_permissions(safe.join("credentials"), Permissions::from_mode(0o600)).unwrap();

    // The disaster: the machine, all manifests but that in the bucket, and as many blocks as may be lost.
    drop(user);
    for (number, store) in stores[..4].iter().enumerate() {
        let of_backup = Path::new(store).join(&id);
        match number % 2 {
            0 => fs::write(of_backup.join("manifest"), b"what is left of it").unwrap(),
            _ => fs::remove_file(of_backup.join("manifest")).unwrap(),
        }
        let blocks = files_below(&of_backup).into_iter().filter(|file| file != "manifest");
        blocks.filter(|_| number < 2).for_each(|block| fs::remove_file(of_backup.join(block)).unwrap());
    }
    assert!(bucket.join(BUCKET).join("some").join(&id).join("manifest").is_file());

    let home = place.join("home");
    let commands = documented();
    let mut lines = commands.lines();
    let first = [lines.next().unwrap(), lines.next().unwrap()].join("\n");
    let listed = shell(&home, &first);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let found = listed.lines().find(|line| line.starts_with(&id)).unwrap_or_else(|| panic!("{listed}"));
    let done = shell(&home, &commands.replace("ID ", &format!("{} ", &found[..32])));
    assert!(done.status.success(), "{done:?}");
    assert!(fs::read(home.join("restored")).unwrap() == bytes);
    for store in &stores[..4] {
        let files = files_below(&Path::new(store).join(&id));
        assert!(files.len() == 2 && files.contains(&"manifest".into()), "{files:?}");
    }
    runtime.shutdown_background();
}
