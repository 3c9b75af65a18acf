//! Backups to a bucket: a real server in the test, the real binary outside of it.

use std::fs;
use std::path::Path;

use crate::harness::{Place, Tanner, tanner};
use crate::stored::content;

#[path = "../../transports/tests/common/s3_server.rs"]
pub(crate) mod s3_server;

use s3_server::{BUCKET, KEY, KEY_ID};

/// A server that runs as long as this does, and the URL of a store in it.
struct Server {
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Server {
    fn new(root: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let address = runtime.block_on(s3_server::serve(root));
        Self { runtime, url: format!("s3://{BUCKET}/some/prefix?endpoint=http://{address}&region=eu-1") }
    }
}

fn with_keys(words: &str) -> Tanner {
    tanner(words).env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", KEY)
}

#[test]
fn a_backup_to_a_bucket_and_directories_survives_the_loss_of_any_of_them() {
    let place = Place::new();
    let root = place.join("server");
    let server = Server::new(&root);
    // Blocks of more than one part.
    let bytes = content(36 << 20, 1);
    let source = place.file("source.bin", &bytes);
    let stores =
        [server.url.clone(), place.join("a").display().to_string(), place.join("b").display().to_string()];
    let run = with_keys("backup -k 4 -m 2").arg(&source).stores("--to", &stores).run().expect(0);
    assert!(!run.err.contains(KEY), "{run:#?}");
    let id = run.out.trim();
    assert_eq!(fs::read_dir(root.join(BUCKET).join("some/prefix").join(id)).unwrap().count(), 3);
    let uploads = fs::read_dir(&root)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("upload"));
    assert_eq!(uploads.count(), 0, "an upload is not over");

    let restores = || {
        let out = place.output();
        with_keys("restore").arg(id).stores("--from", &stores).arg("-fo").arg(&out).run().expect(0);
        assert!(fs::read(&out).unwrap() == bytes);
    };
    restores();
    for lost in [place.join("a"), place.join("b"), root.join(BUCKET)] {
        let away = lost.with_extension("away");
        fs::rename(&lost, &away).unwrap();
        restores();
        fs::rename(&away, &lost).unwrap();
    }
    with_keys("verify").arg(id).stores("--from", &stores).run().expect(0);
    // A server that is gone with all it had.
    server.runtime.shutdown_background();
    restores();
}

#[test]
fn a_bucket_without_keys_is_refused_with_the_way_out() {
    let place = Place::new();
    let source = place.file("source.bin", b"x");
    let mut run = tanner("backup").arg(source).stores("--to", &["s3://bucket?endpoint=https://localhost:1"]);
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
    ] {
        run.0.env_remove(name);
    }
    let run = run.run();
    assert_ne!(run.code, 0);
    run.is_one_line_of_error().err_has("AWS_ACCESS_KEY_ID");
}

#[test]
fn a_key_in_a_url_is_refused_and_not_repeated() {
    let place = Place::new();
    let source = place.file("source.bin", b"x");
    for url in ["s3://AK:hunter2@bucket", "s3://bucket?secret=hunter2"] {
        let run = with_keys("backup").arg(&source).stores("--to", &[url]).run().expect(2);
        assert!(!run.err.contains("hunter2"), "{run:#?}");
    }
}
