//! Blocks on other machines, here all of them this one: real servers, real keys, real signals.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Place, Tanner, tanner};
use crate::stored::content;

/// `tanner serve` under way, killed when dropped.
pub(crate) struct Serving {
    child: Child,
    urls: Vec<String>,
}

impl Serving {
    #[track_caller]
    pub(crate) fn start(mut serve: Tanner, urls: usize) -> Self {
        let mut child = serve.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let urls: Vec<_> = lines.take(urls).map(Result::unwrap).collect();
        let mut serving = Self { child, urls };
        if serving.urls.is_empty() {
            let mut words = String::new();
            serving.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!("the server does not start: {words}");
        }
        serving
    }

    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it; what it had to say.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.signal(Signal::TERM);
        let mut words = Vec::new();
        self.child.stderr.take().unwrap().read_to_end(&mut words).unwrap();
        words
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node: where its key and its settings are.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) key: PathBuf,
    settings: PathBuf,
    pub(crate) pin: String,
}

impl Node {
    #[track_caller]
    pub(crate) fn new(place: &Place, name: &str) -> Self {
        let (key, settings) =
            (place.join(&format!("{name}/node.pem")), place.join(&format!("{name}/stores.toml")));
        let pin = tanner("key node --file").arg(&key).run().expect(0).out.trim().to_owned();
        assert_eq!(pin.len(), 64, "{pin}");
        Self { key, settings, pin }
    }

    pub(crate) fn tanner(&self, words: &str) -> Tanner {
        let tanner = tanner(words).env("TANNER_NODE_KEY", self.key.to_str().unwrap());
        tanner.env("TANNER_CONFIG", self.settings.to_str().unwrap())
    }

    /// A server of this node which lets another in.
    #[track_caller]
    fn serve(&self, root: &Path, scheme: &str, allowed: &Self) -> Serving {
        let serve = self.tanner("serve --listen").arg(format!("{scheme}://127.0.0.1:0")).words("--root");
        Serving::start(serve.arg(root).words("--allow").arg(&allowed.pin), 1)
    }
}

#[test]
fn a_backup_on_a_disk_a_tcp_and_a_quic_server_survives_the_death_of_any_one() {
    let place = Place::new();
    let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
    let bytes = content(5_000_000, 3);
    let source = place.file("a.bin", &bytes);
    let disk = place.join("disk");
    let mut tcp = server.serve(&place.join("tcp"), "tcp", &client);
    let mut quic = server.serve(&place.join("quic"), "quic", &client);
    let stores = [disk.to_str().unwrap(), tcp.url(), quic.url()].map(str::to_owned);
    let run = client.tanner("backup -k 10 -m 5").arg(&source).stores("--to", &stores).run().expect(0);
    let id = run.out.trim().to_owned();
    let restore = |from: &[String]| {
        let out = place.output();
        let run =
            client.tanner("restore").arg(&id).stores("--from", from).arg("-o").arg(&out).run().expect(0);
        assert!(fs::read(&out).unwrap() == bytes, "other bytes came back: {run:#?}");
        fs::remove_file(out).unwrap();
    };
    restore(&stores);
    client.tanner("verify").arg(&id).stores("--from", &stores).run().expect(0);

    // Each store is lost in another way: a directory that is gone, a server killed, one that was stopped.
    fs::rename(&disk, place.join("away")).unwrap();
    restore(&stores);
    fs::rename(place.join("away"), &disk).unwrap();
    tcp.signal(Signal::KILL);
    tcp.wait();
    restore(&stores);
    drop(tcp);
    quic.signal(Signal::TERM);
    assert_eq!(quic.wait(), Some(0), "a server that is told to stop has done well");
    let mut again = server.serve(&place.join("tcp"), "tcp", &client);
    restore(&[stores[0].clone(), again.url().to_owned()]);
    again.signal(Signal::INT);
    assert_eq!(again.wait(), Some(0));
}

/// A wrong byte in a server is found without sending the block, and a question that a server has seen proves nothing.
#[test]
fn a_server_proves_that_it_has_its_blocks_once_for_each_time_they_were_read() {
    let place = Place::new();
    let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
    let source = place.file("a.bin", &content(3_000_000, 3));
    let tcp = server.serve(&place.join("tcp"), "tcp", &client);
    let quic = server.serve(&place.join("quic"), "quic", &client);
    let stores = [place.join("disk").to_str().unwrap(), tcp.url(), quic.url()].map(str::to_owned);
    let run = client.tanner("backup -k 4 -m 2").arg(&source).stores("--to", &stores).run().expect(0);
    let id = run.out.trim();
    let questions = place.join("state/questions.json");
    let verify = |words: &str, code: i32| {
        let verify = client.tanner("verify --json").arg(id).stores("--from", &stores).words(words);
        let run = verify.env("TANNER_QUESTIONS", questions.to_str().unwrap()).run().expect(code);
        let told = crate::json::summary(&crate::json::objects(&run)).clone();
        (told["blocks_proved"].as_u64().unwrap(), told["blocks_read"].as_u64().unwrap())
    };
    assert_eq!(verify("--quick", 0), (0, 0), "nobody read anything yet");
    assert_eq!(verify("", 0), (0, 6));
    assert_eq!(fs::metadata(&questions).unwrap().permissions().mode() & 0o077, 0);
    // The disk is here: reading it is as fast.
    assert_eq!(verify("--quick", 0), (4, 0));
    assert_eq!(verify("--quick", 0), (0, 0), "each question is asked once");

    assert_eq!(verify("", 0), (0, 6));
    let rots = crate::harness::files_below(&place.join("tcp"));
    let rots = rots.iter().find(|path| path.contains(id) && path.ends_with(|end: char| end.is_ascii_digit()));
    let rots = place.join("tcp").join(rots.unwrap());
    let mut bytes = fs::read(&rots).unwrap();
    bytes[1000] ^= 4;
    fs::write(&rots, bytes).unwrap();
    assert_eq!(verify("--quick", 4), (3, 0));
}

#[test]
fn a_node_without_a_key_is_told_how_to_make_one() {
    let place = Place::new();
    let source = place.file("a.bin", b"abc");
    let url = format!("tcp://127.0.0.1:1#{}", "a".repeat(64));
    for missing in ["TANNER_NODE_KEY", "XDG_CONFIG_HOME"] {
        let run =
            tanner("backup --to").arg(&url).arg(&source).env(missing, place.join("none").to_str().unwrap());
        let run = run.run().expect(1);
        run.is_one_line_of_error().err_has("tanner key node");
    }
    let serve = tanner("serve --listen tcp://127.0.0.1:0 --root x --allow").arg("a".repeat(64));
    serve.env("XDG_CONFIG_HOME", place.path().to_str().unwrap()).run().expect(1).err_has("tanner key node");
}

#[test]
fn a_key_is_made_once_and_never_used_when_others_can_read_it() {
    let place = Place::new();
    let node = Node::new(&place, "node");
    let again = node.tanner("key node").run().expect(0);
    assert_eq!(again.out.trim(), node.pin);
    let run = node.tanner("key node --json").run().expect(0);
    let summary: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
    assert_eq!((summary["pin"].as_str(), summary["made"].as_bool()), (Some(&*node.pin), Some(false)));
    fs::set_permissions(&node.key, fs::Permissions::from_mode(0o644)).unwrap();
    node.tanner("key node").run().expect(1).is_one_line_of_error().err_has("chmod 600");
}

#[test]
fn a_named_store_is_typed_once_and_its_pin_is_never_guessed() {
    let place = Place::new();
    let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
    let serving = server.serve(&place.join("blocks"), "tcp", &client);
    let unpinned = serving.url().split_once('#').unwrap().0;
    let run = client.tanner("store add attic").arg(unpinned).run().expect(2);
    run.is_one_line_of_error().err_has(&format!("tanner store add attic {}", serving.url()));
    client.tanner("store ls").run().expect(0);
    let wrong = format!("{unpinned}#{}", client.pin);
    client.tanner("store add attic").arg(&wrong).run().expect(1).err_has(&server.pin).err_has(&client.pin);

    client.tanner("store add attic").arg(serving.url()).run().expect(0);
    client.tanner("store ls").run().expect(0).out_has("attic").out_has(serving.url());
    client.tanner("store add attic").arg(serving.url()).run().expect(2).err_has("store rm attic");
    let source = place.file("a.bin", &content(100_000, 1));
    let id = client.tanner("backup --to store:attic").arg(&source).run().expect(0).out;
    client.tanner("ls store:attic").run().expect(0).out_has(id.trim());
    // One store under two names is one store.
    client.tanner("backup --to store:attic --to").arg(serving.url()).arg(&source).run().expect(2);

    client.tanner("store rm attic").run().expect(0);
    client.tanner("store rm attic").run().expect(10).is_one_line_of_error();
    client.tanner("ls store:attic").run().expect(2).err_has("store ls");
}

#[test]
fn clients_of_a_file_keep_out_of_each_others_blocks_and_within_their_rights() {
    let place = Place::new();
    let nodes = ["server", "adder", "owner", "other", "stranger"].map(|name| Node::new(&place, name));
    let [server, adder, owner, other, stranger] = &nodes;
    let clients = format!(
        "[client.adder]\npin = \"{}\"\ndirectory = \"laptop\"\nappend_only = true\n\
         [client.owner]\npin = \"{}\"\ndirectory = \"laptop\"\n\
         [client.other]\npin = \"{}\"\nquota = \"10KiB\"\n",
        adder.pin, owner.pin, other.pin
    );
    let clients = place.file("clients.toml", clients.as_bytes());
    let root = place.join("blocks");
    let serve = |clients: &Path| {
        let serve =
            server.tanner("--json serve --listen tcp://127.0.0.1:0 --listen quic://127.0.0.1:0 --root");
        serve.arg(&root).words("--clients").arg(clients)
    };
    let serving = Serving::start(serve(&clients), 1);
    let listening: Value = serde_json::from_str(serving.url()).unwrap();
    assert_eq!(listening["pin"].as_str(), Some(&*server.pin));
    assert_eq!(listening["urls"].as_array().unwrap().len(), 2);
    let url = listening["urls"][0].as_str().unwrap();

    let source = place.file("a.bin", &content(100_000, 1));
    let backup = |node: &Node| node.tanner("backup --to").arg(url).arg(&source).run();
    let id = backup(adder).expect(0).out.trim().to_owned();
    owner.tanner("ls").arg(url).run().expect(0).out_has(&id);
    assert!(!other.tanner("ls").arg(url).run().expect(0).out.contains(&id), "another's backup is shown");
    assert!(root.join(".clients/laptop").join(&id).is_dir());
    backup(other).expect(6).err_has("no room");
    let denied = backup(stranger);
    assert!(denied.code != 0 && denied.err.contains(&stranger.pin), "{denied:#?}");

    let broken = place.file("broken.toml", b"[client.x]\npin = \"short\"\n");
    serve(&broken).run().expect(2).out_has("broken.toml: line 2, column 7: a pin is 64 hexadecimal digits");
}

#[test]
fn a_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let place = Place::new();
    let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
    let socket = UnixDatagram::bind(place.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut bytes = [0; 100];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let serve = server.tanner("serve --listen quic://127.0.0.1:0 --root").arg(place.join("blocks"));
    let serve = serve.env("NOTIFY_SOCKET", place.join("notify").to_str().unwrap()).words("--allow");
    let mut serving = Serving::start(serve.arg(&client.pin), 1);
    assert!(heard().contains("READY=1"));
    serving.signal(Signal::TERM);
    assert!(heard().contains("STOPPING=1"));
    assert_eq!(serving.wait(), Some(0));
}

#[test]
fn a_place_that_is_taken_or_is_none_is_named() {
    let place = Place::new();
    let node = Node::new(&place, "node");
    let serving = node.serve(&place.join("blocks"), "tcp", &node);
    let taken = serving.url().split_once('#').unwrap().0;
    for listen in [taken, "http://127.0.0.1:0", "tcp://nowhere.invalid:1"] {
        let serve = node.tanner("serve --root x --listen").arg(listen).words("--allow").arg(&node.pin);
        serve.run().expect(1).is_one_line_of_error().err_has(listen);
    }
    node.tanner("serve --root x --listen tcp://127.0.0.1:0").run().expect(2);
    node.tanner("serve --root x --listen tcp://127.0.0.1:0 --allow short")
        .run()
        .expect(2)
        .err_has("64 hexadecimal");
}
