//! A bucket to try things with, in a directory: `cargo run --example s3_server -p tanner-transports -- DIR`.
//!
//! Prints its URL and the keys. It is the server that the tests run against, and no more than that.
#![allow(clippy::unwrap_used, reason = "what fails here ends the program")]

#[path = "../tests/common/s3_server.rs"]
mod s3_server;

#[tokio::main]
async fn main() {
    let root = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: s3_server DIR");
        std::process::exit(2)
    });
    let address = s3_server::serve(root.as_ref()).await;
    println!("export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}", s3_server::KEY_ID, s3_server::KEY);
    println!("s3://{}?endpoint=http://{address}&region=eu-1", s3_server::BUCKET);
    std::future::pending::<()>().await;
}
