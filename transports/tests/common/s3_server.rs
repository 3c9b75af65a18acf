//! A real S3 server in the process of the test: objects are files below its root, `BUCKET/KEY`.

use std::net::SocketAddr;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

pub(crate) const BUCKET: &str = "backups";
pub(crate) const KEY_ID: &str = "TESTKEY";
pub(crate) const KEY: &str = "a-secret-that-is-never-printed";

/// Serves `root` until the runtime ends. Its one bucket is there and empty.
pub(crate) async fn serve(root: &Path) -> SocketAddr {
    std::fs::create_dir_all(root.join(BUCKET)).expect("a bucket");
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).expect("a root"));
    service.set_auth(SimpleAuth::from_single(KEY_ID, KEY));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let http = auto::Builder::new(TokioExecutor::new());
        while let Ok((socket, _)) = listener.accept().await {
            let connection = http.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
            tokio::spawn(async move {
                // A client that goes away is its own business.
                let _ = connection.await;
            });
        }
    });
    address
}
