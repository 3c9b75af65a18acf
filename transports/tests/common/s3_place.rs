//! A bucket for one trial: of a server in this process, or of the one that the environment names.

use std::hash::{BuildHasher, RandomState};

use futures_util::TryStreamExt;
use tanner_transports::{Patience, S3, S3Keys, Transport, TransportError};

use crate::s3_server;

/// A server of its own, or, where the environment names another one, a prefix of its own there.
pub(crate) struct S3Place {
    url: String,
    keys: S3Keys,
    /// The root of the server in this process.
    _root: Option<tempfile::TempDir>,
}

impl S3Place {
    pub(crate) async fn new() -> Self {
        let Ok(endpoint) = std::env::var("TANNER_TEST_S3_ENDPOINT") else {
            let root = tempfile::tempdir().expect("a temporary directory");
            let address = s3_server::serve(root.path()).await;
            let url = format!("s3://{}/a/prefix?endpoint=http://{address}&region=eu-1", s3_server::BUCKET);
            let keys = S3Keys::Key { id: s3_server::KEY_ID.into(), secret: s3_server::KEY.into() };
            return Self { url, keys, _root: Some(root) };
        };
        let bucket = std::env::var("TANNER_TEST_S3_BUCKET").expect("TANNER_TEST_S3_BUCKET names a bucket");
        let nobody_elses = RandomState::new().hash_one(0);
        let url =
            format!("s3://{bucket}/tanner-test-{nobody_elses:016x}?endpoint={endpoint}&allow_http=true");
        Self { url, keys: S3Keys::Environment, _root: None }
    }

    pub(crate) fn open(&self) -> S3 {
        S3::open(&self.url, &self.keys, Patience::default()).expect("a URL and keys")
    }
}

impl Drop for S3Place {
    fn drop(&mut self) {
        if self._root.is_some() {
            return;
        }
        // A prefix on a server that outlives the test is emptied, also after a failure.
        let store = self.open();
        let clean = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let names: Vec<_> = store.list("").await?.try_collect().await?;
                for name in names {
                    store.delete(&name).await?;
                }
                Ok::<_, TransportError>(())
            })
        });
        if !matches!(clean.join(), Ok(Ok(()))) {
            eprintln!("objects are left at {}", self.url);
        }
    }
}
