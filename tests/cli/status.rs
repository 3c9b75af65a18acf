//! What a server shows of itself over HTTP, also in a browser: `chromium` has to be there.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::bench_page::{DARK, LIGHT, measured, pixels, shot};
use crate::harness::{Place, tanner};
use crate::monitor::measures;
use crate::serve::{Node, Serving};
use crate::stored::content;

/// A server with what it shows, and a client of it.
struct Shown {
    place: Place,
    serving: Serving,
    client: Node,
    root: PathBuf,
}

impl Shown {
    fn new() -> Self {
        let place = Place::new();
        let (server, client) = (Node::new(&place, "server"), Node::new(&place, "client"));
        let root =
            place.join("blocks-of-a-server-with-a-rather-long-name-<b>&amp;-that-no-telephone-has-room-for");
        let serve =
            server.tanner("serve --listen tcp://127.0.0.1:0 --http 0 --quota 100MB --root").arg(&root);
        let serving = Serving::start(serve.words("--allow").arg(&client.pin), 2);
        Self { place, serving, client, root }
    }

    /// Backs up to the server and, if it is not to have all, to a disk.
    fn back_up(&self, name: &str, words: &str, disk: bool) -> String {
        let source = self.place.file(name, &content(300_000, 1));
        let backup =
            self.client.tanner("backup").arg(source).arg("--to").arg(self.serving.url()).words(words);
        let disk = disk.then(|| self.place.join("disk"));
        backup.stores("--to", disk.as_slice()).run().expect(0).out.trim().to_owned()
    }

    fn address(&self) -> &str {
        self.serving.urls()[1].strip_prefix("http://").unwrap().trim_end_matches('/')
    }

    /// The status and the head of an answer, and its body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        socket.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    #[track_caller]
    fn get(&self, path: &str) -> String {
        let (status, _, body) = self.ask(&format!("GET {path}"));
        assert_eq!(status, 200, "{body}");
        body
    }
}

#[test]
fn the_page_tells_what_is_kept_and_nothing_that_only_readers_know() {
    let shown = Shown::new();
    let plain = shown.back_up("the-name-of-a-source", "-k 4 -m 2 --no-encrypt", false);
    let part = shown.back_up("another-source", "-k 4 -m 2", true);
    fs::create_dir(shown.root.join("0".repeat(32))).unwrap();
    fs::write(shown.root.join("0".repeat(32)).join("3"), b"unfinished").unwrap();
    let page = shown.get("/");
    assert!(
        page.contains(&plain) && page.contains("6 of 6") && page.contains("restores, with 2 blocks to spare")
    );
    assert!(
        page.contains(&part)
            && page.contains("3 of 6")
            && page.contains("restores with 1 block from elsewhere")
    );
    assert!(
        page.contains("not finished")
            && page.contains("free on the disk")
            && page.contains("95.4 MiB allowed")
    );
    let pin = shown.serving.url().split_once('#').unwrap().1;
    for secret in ["the-name-of-a-source", "another-source", pin, &shown.client.pin, "<script", "<b>", "http"]
    {
        assert!(!page.contains(secret), "{secret} is on the page");
    }
    let (status, head, body) = shown.ask("HEAD /");
    assert!(status == 200 && body.is_empty(), "{head}");
    for header in ["content-security-policy: default-src 'none'", "cache-control: no-store", "nosniff"] {
        assert!(head.contains(header), "{head}");
    }
}

#[test]
fn prometheus_reads_the_same_of_the_server() {
    let shown = Shown::new();
    let id = shown.back_up("a.bin", "-k 4 -m 2", true);
    let (status, head, text) = shown.ask("GET /metrics");
    assert!(
        status == 200 && head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    let measures = measures(&text);
    let of = |name: &str| measures[&format!("tanner_{name}")];
    assert_eq!(of(&format!("blocks backup={id} root=root state=unchecked")), 3.0, "{text}");
    assert_eq!((of("store_objects root=root"), of("store_backups root=root")), (4.0, 1.0));
    assert_eq!((of("store_ok root=root"), of("store_quota_bytes root=root")), (1.0, 1e8));
    assert!(of("served_bytes_total op=put") >= of("store_bytes root=root"), "{text}");
    assert!(of("served_bytes_total op=get") > 0.0, "the manifest is read back: {text}");
    assert!(of("store_free_bytes root=root") > 0.0 && of("start_time_seconds ") > 1.7e9);
}

#[test]
fn health_is_bad_when_the_blocks_are_out_of_reach() {
    let shown = Shown::new();
    assert_eq!(shown.get("/healthz"), "ok\n");
    fs::rename(&shown.root, shown.place.join("away")).unwrap();
    let (status, _, body) = shown.ask("GET /healthz");
    assert!(status == 503 && body.starts_with("root: "), "{body}");
    fs::rename(shown.place.join("away"), &shown.root).unwrap();
    assert_eq!(shown.get("/healthz"), "ok\n");
}

#[test]
fn what_is_not_there_cannot_be_had_and_nothing_can_be_done_over_http() {
    let shown = Shown::new();
    let id = shown.back_up("a.bin", "-k 1 -m 1", false);
    for path in [format!("/{id}/0"), format!("/../{id}/manifest"), "/metrics/".into(), "//".into()] {
        assert_eq!(shown.ask(&format!("GET {path}")).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "FROB"] {
        let (status, head, _) = shown.ask(&format!("{method} /"));
        assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    }
    // Whoever says nothing, or too much, keeps nobody else out.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(shown.address()).unwrap()).collect();
    assert_eq!(shown.ask(&format!("GET /{}", "a".repeat(20_000))).0, 431);
    assert_eq!(shown.get("/healthz"), "ok\n");
    drop(silent);
    let taken = shown.address().to_owned();
    let serve =
        shown.client.tanner("serve --listen tcp://127.0.0.1:0 --root x --allow").arg(&shown.client.pin);
    let serve = serve.within(shown.place.path()).words("--http");
    serve.arg(&taken).run().expect(1).is_one_line_of_error().err_has(&taken);
}

/// Whoever asks for a port alone means this machine.
#[test]
fn a_port_alone_is_not_open_to_others() {
    let shown = Shown::new();
    assert!(shown.address().starts_with("127.0.0.1:"), "{}", shown.address());
    let again = tanner("serve --help").run().expect(0);
    again.out_has("127.0.0.1");
}

#[test]
fn the_page_fits_every_screen_and_can_be_read_by_day_and_by_night() {
    let shown = Shown::new();
    shown.back_up("a", "-k 4 -m 2", false);
    shown.back_up("b", "-k 10 -m 5", true);
    let page = shown.place.file("page.html", shown.get("/").as_bytes());
    for (width, scheme) in [(1100, LIGHT), (400, LIGHT), (400, DARK), (320, LIGHT)] {
        let seen = measured(&shown.place, &page, width, scheme, MEASURE);
        assert_eq!(seen["troubles"], serde_json::json!([]), "at {width} pixels");
        assert_eq!(seen["rows"], 3, "at {width} pixels: {seen}");
        assert!(seen["scroll"].as_u64().unwrap() <= u64::from(width), "scrolls sideways at {width}: {seen}");
        assert_eq!((&seen["scripts"], &seen["links"]), (&0.into(), &0.into()), "needs nothing");
        assert!(seen["letters"].as_f64().unwrap() >= 12.0, "{seen}");
        assert!(seen["contrast"].as_f64().unwrap() >= 4.5, "in scheme {scheme}: {seen}");
    }
    for (name, scheme, back) in [("light", LIGHT, [0xf6, 0xf7, 0xf9]), ("dark", DARK, [0x12, 0x16, 0x1b])] {
        let picture = shot(&shown.place, &page, name, scheme, "--window-size=400,800");
        assert_eq!(pixels(&picture)[0], back, "the background in {name}");
    }
}

/// What is looked for in the page.
const MEASURE: &str = r"
  for (const e of page.querySelectorAll('h1, h2, p, th, td')) {
    const back = styled(e.closest('.scroll, .note') || page.body).backgroundColor;
    least = Math.min(least, contrast(styled(e).color, back));
    letters = Math.min(letters, parseFloat(styled(e).fontSize));
    if (!e.closest('.scroll') && e.scrollWidth > e.clientWidth + 1) troubles.push('overflows: ' + e.textContent.slice(0, 40));
    if (e.closest('table') && e.scrollWidth > e.clientWidth + 1) troubles.push('cut off: ' + e.textContent.slice(0, 40));
  }
  document.getElementById('result').textContent = JSON.stringify({
    troubles, letters, contrast: least, rows: page.querySelectorAll('tr').length,
    scroll: page.documentElement.scrollWidth, scripts: page.scripts.length,
    links: page.querySelectorAll('link, img, iframe, [src], [href]').length,
  });
";
