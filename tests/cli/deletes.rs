//! Who may delete what on a server, as its user and those of its clients see it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Place, files_below, tanner};
use crate::scan::Scanner;
use crate::serve::{Node, Serving};
use crate::stored::content;

/// A server with one client in a directory of its own, for which `rights` are written down.
pub(crate) struct Kept {
    pub(crate) place: Place,
    server: Node,
    pub(crate) client: Node,
    clients: PathBuf,
    root: PathBuf,
}

impl Kept {
    pub(crate) fn new(rights: &str) -> Self {
        let place = Place::new();
        let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
        let text = format!("[client.laptop]\npin = \"{}\"\n{rights}\n", client.pin);
        let (clients, root) = (place.file("clients.toml", text.as_bytes()), place.join("blocks"));
        Self { place, server, client, clients, root }
    }

    pub(crate) fn serve(&self, words: &str) -> Serving {
        let serve = self.server.tanner("serve --listen tcp://127.0.0.1:0 --root").arg(&self.root);
        let serve = serve.words("--clients").arg(&self.clients).words(words).env("RUST_LOG", "trace");
        Serving::start(serve, 1)
    }

    /// Where the server keeps what its client puts.
    fn directory(&self) -> PathBuf {
        self.root.join(".clients/laptop")
    }

    /// A backup on the server, of which a block is damaged there.
    fn damaged(&self, url: &str) -> String {
        let source = self.place.file("a.bin", &content(100_000, 1));
        let id =
            self.client.tanner("backup --to").arg(url).arg(&source).run().expect(0).out.trim().to_owned();
        fs::write(self.directory().join(&id).join("3"), "damage").unwrap();
        id
    }

    /// What is in the client's directory, besides what is staged or deleted.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
    }
}

pub(crate) fn token(place: &Place, name: &str) -> (PathBuf, String) {
    let path = place.join(name);
    let run = tanner("key token -o").arg(&path).run().expect(0);
    run.err_has("all backups");
    (path, run.out.trim().to_owned())
}

#[test]
fn a_token_is_made_once_for_its_owner_alone_and_only_its_hash_is_shown() {
    let place = Place::new();
    let (path, hash) = token(&place, "secrets/token");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("tanner-token1"), "another text");
    tanner("key token -o").arg(&path).run().expect(1).is_one_line_of_error().err_has("secrets/token");
    assert!(fs::read_to_string(&path).unwrap() == text, "the token was overwritten");
    let json = tanner("--json key token -o").arg(place.join("other")).run().expect(0);
    let summary: Value = serde_json::from_str(json.out.lines().last().unwrap()).unwrap();
    assert_eq!(summary["hash"].as_str().unwrap().len(), 64);
    assert!(!json.out.contains("tanner-token1"), "the token is shown");
}

#[test]
fn a_server_does_not_start_with_a_token_that_is_garbage_and_names_the_line() {
    let (token, server) = ("a".repeat(64), "serve --listen tcp://127.0.0.1:0 --root");
    let long = format!("\"{token}a\"");
    let list = format!("[\"{token}\", \"short\"]");
    for garbage in ["\"\"", "\"short\"", &long, &list, "[]", "7", "\"tanner-token1qqqq\""] {
        let kept = Kept::new(&format!("delete_token = {garbage}"));
        let serve = kept.server.tanner(server).arg(&kept.root).words("--clients").arg(&kept.clients);
        serve.run().expect(2).err_has("clients.toml: line 3").err_has("token");
    }
    let kept = Kept::new("delete_delay = \"soon\"");
    let serve = kept.server.tanner(server).arg(&kept.root).words("--clients").arg(&kept.clients);
    serve.run().expect(2).err_has("clients.toml: line 3");
}

#[test]
fn a_client_repairs_in_place_with_its_token_and_not_without() {
    let secrets = Place::new();
    let (path, hash) = token(&secrets, "token");
    let (wrong, _) = token(&secrets, "wrong");
    let kept = Kept::new(&format!("delete_token = [\"{hash}\"]"));
    let serving = kept.serve("");
    let id = kept.damaged(serving.url());
    let damaged = kept.directory().join(&id).join("3");
    let repair = |store: &str| kept.client.tanner("repair").arg(&id).words("--from").arg(store);
    let with = |file: &Path| repair(serving.url()).env("TANNER_DELETE_TOKEN_FILE", file.to_str().unwrap());
    for (run, words) in [
        (repair(serving.url()).run(), "tanner key token"),
        (with(&wrong).run(), "none of those"),
        (with(&secrets.join("nowhere")).run(), "there is no delete token at"),
    ] {
        assert!(run.code == 3 && run.err.contains(words), "no `{words}` in {run:#?}");
        assert_eq!(fs::read(&damaged).unwrap(), b"damage");
    }
    with(&path).run().expect(0);
    assert_ne!(fs::read(&damaged).unwrap(), b"damage");

    // A store of that name has a token of its own, which goes before the one for all.
    fs::write(&damaged, "damage").unwrap();
    let add = kept.client.tanner("store add attic").arg(serving.url()).words("--delete-token-file");
    add.arg(&path).run().expect(0);
    kept.client.tanner("store ls").run().expect(0).out_has("delete_token_file=");
    repair("store:attic").env("TANNER_DELETE_TOKEN_FILE", wrong.to_str().unwrap()).run().expect(0);
    assert_ne!(fs::read(&damaged).unwrap(), b"damage");
}

#[test]
fn a_refused_backup_of_an_append_only_client_leaves_nothing() {
    // Room for some blocks, and too few.
    let kept = Kept::new("append_only = true\nquota = \"64KiB\"");
    let serving = kept.serve("");
    let source = kept.place.file("a.bin", &content(100_000, 1));
    let run = kept.client.tanner("backup --to").arg(serving.url()).arg(&source).run().expect(6);
    assert!(kept.objects().is_empty(), "{:?} is left: {run:#?}", kept.objects());
}

#[test]
fn what_was_deleted_is_listed_and_comes_back_while_the_server_runs() {
    let secrets = Place::new();
    let (path, hash) = token(&secrets, "token");
    let kept = Kept::new(&format!("delete_token = \"{hash}\"\ndelete_delay = \"7d\"\nquota = \"240KiB\""));
    let serving = kept.serve("--delete-delay 1h");
    let undelete = || tanner("undelete --root").arg(&kept.root);
    assert_eq!(undelete().run().expect(0).out, "");
    let id = kept.damaged(serving.url());
    let block = kept.directory().join(&id).join("3");
    let repair = kept.client.tanner("repair").arg(&id).words("--from").arg(serving.url());
    repair.env("TANNER_DELETE_TOKEN_FILE", path.to_str().unwrap()).run().expect(0);
    let repaired = fs::read(&block).unwrap();

    let listed = undelete().run().expect(0);
    listed.out_has(&format!("{id}/3")).out_has("6 B");
    assert_eq!(listed.out.lines().count(), 1);
    undelete().arg(&id).run().expect(1).err_has("exists already");
    assert!(fs::read(&block).unwrap() == repaired, "an object was overwritten");
    fs::remove_file(&block).unwrap();
    let number = listed.out.split_whitespace().nth(1).unwrap();
    undelete().arg(number).run().expect(0).err_has("brought back 1 object");
    assert_eq!(fs::read(&block).unwrap(), b"damage");
    undelete().arg(&id).run().expect(10).is_one_line_of_error().err_has("undelete --root");

    // There is room for some blocks only, and those are taken back.
    let source = kept.place.file("b.bin", &content(100_000, 2));
    kept.client.tanner("backup --to").arg(serving.url()).arg(&source).run().expect(6);
    let listed = tanner("--json undelete --root").arg(&kept.root).run().expect(0);
    let first: Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
    let taken_back = first["name"].as_str().unwrap().split_once('/').unwrap().0.to_owned();
    undelete().arg(&taken_back).run().expect(0);
    assert!(kept.directory().join(taken_back).is_dir());
    tanner("undelete --root").arg(kept.place.join("nowhere")).run().expect(10);
}

#[test]
fn a_token_is_nowhere_but_in_its_file() {
    let secrets = Place::new();
    let (path, hash) = token(&secrets, "token");
    let (wrong, _) = token(&secrets, "wrong");
    let kept = Kept::new(&format!("delete_token = \"{hash}\"\ndelete_delay = \"7d\""));
    let mut serving = kept.serve("");
    let id = kept.damaged(serving.url());
    let mut said = Vec::new();
    for (file, code) in [(&wrong, 3), (&path, 0)] {
        let repair = kept.client.tanner("--json repair").arg(&id).words("--from").arg(serving.url());
        let repair = repair.env("TANNER_DELETE_TOKEN_FILE", file.to_str().unwrap()).env("RUST_LOG", "trace");
        let run = repair.run().expect(code);
        said.push(("standard output", run.out.into_bytes()));
        said.push(("standard error", run.err.into_bytes()));
    }
    let process = PathBuf::from(format!("/proc/{}", serving.id()));
    for file in ["cmdline", "environ"] {
        // Of its environment the system tells nobody but root.
        said.push((file, fs::read(process.join(file)).unwrap_or_default()));
    }
    let files = files_below(kept.place.path());
    assert!(files.iter().any(|file| file.contains(".tanner-trash")), "{files:?}");
    said.push(("what the server said", serving.end()));

    let bytes = |file: &Path| bech32::decode(fs::read_to_string(file).unwrap().trim()).unwrap().1;
    // What is looked for is what is there: the hash is that of these bytes.
    let hashed = blake3::derive_key("tanner 2026-11 delete token, as servers store it", &bytes(&path));
    assert_eq!(blake3::Hash::from_bytes(hashed).to_string(), hash);
    let tokens = BTreeMap::from([("right".into(), bytes(&path)), ("wrong".into(), bytes(&wrong))]);
    let scanner = Scanner::new(&tokens);
    for (place, bytes) in &said {
        assert_eq!(scanner.find(bytes), [""; 0].into(), "a token is in {place}");
    }
    assert_eq!(scanner.find_below(kept.place.path()), BTreeMap::new());
    assert_eq!(scanner.find_below(secrets.path()).len(), 2);
}
