//! Who may delete what on a server, as its user and those of its clients see it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Place, tanner};
use crate::serve::{Node, Serving};
use crate::stored::content;

/// A server with one client in a directory of its own, for which `rights` are written down.
struct Kept {
    place: Place,
    server: Node,
    client: Node,
    clients: PathBuf,
    root: PathBuf,
}

impl Kept {
    fn new(rights: &str) -> Self {
        let place = Place::new();
        let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
        let text = format!("[client.laptop]\npin = \"{}\"\n{rights}\n", client.pin);
        let (clients, root) = (place.file("clients.toml", text.as_bytes()), place.join("blocks"));
        Self { place, server, client, clients, root }
    }

    fn serve(&self, words: &str) -> Serving {
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
    fn objects(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
    }
}

fn token(place: &Place, name: &str) -> (PathBuf, String) {
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

/// Raw, and in each way in which somebody would write it down.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = text.trim().rsplit_once('1').unwrap().1;
    // The last six characters are a checksum.
    let values = data.bytes().take(52).map(|byte| ALPHABET.iter().position(|one| *one == byte).unwrap());
    let bits: Vec<usize> = values.flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1)).collect();
    let number = |bits: &[usize]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let raw: Vec<u8> = bits[..256].chunks(8).map(|bits| number(bits) as u8).collect();
    let base64 = |alphabet: &[u8; 2]| {
        let digits = [
            &(b'A'..=b'Z').collect::<Vec<_>>()[..],
            &(b'a'..=b'z').collect::<Vec<_>>(),
            b"0123456789",
            alphabet,
        ];
        let digits = digits.concat();
        bits[..252].chunks(6).map(|bits| digits[number(bits)]).collect::<Vec<u8>>()
    };
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let upper = hex.to_uppercase();
    vec![raw, hex.into(), upper.into(), base64(b"+/"), base64(b"-_"), data.into(), data.to_uppercase().into()]
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
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
        said.push((file, fs::read(process.join(file)).unwrap()));
    }
    let mut files = Vec::new();
    files_below(kept.place.path(), &mut files);
    assert!(files.iter().any(|file| file.to_str().unwrap().contains(".tanner-trash")), "{files:?}");
    files.iter().for_each(|file| said.push(("a file", fs::read(file).unwrap())));
    said.push(("what the server said", serving.end()));

    for file in [&path, &wrong] {
        let text = fs::read_to_string(file).unwrap();
        let spellings = spellings(&text);
        // The scan finds what is there: the hash is that of these bytes.
        let hashed = blake3::derive_key("tanner 2026-11 delete token, as servers store it", &spellings[0]);
        assert!(file == &wrong || blake3::Hash::from_bytes(hashed).to_string() == hash);
        for (place, bytes) in &said {
            for spelling in &spellings {
                let found = bytes.windows(spelling.len()).any(|window| window == &spelling[..]);
                assert!(!found, "a token is in {place}");
            }
        }
    }
}
