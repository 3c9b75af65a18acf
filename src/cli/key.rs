//! `tanner key`: the node's own key, by which servers and clients know it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tanner_transports::net::{Identity, IdentityError};

use super::node::{key_file, make_directory};
use super::{Context, Outcome};
use crate::error::Error;

#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    what: KeyCommand,
}

#[derive(Subcommand, Debug)]
enum KeyCommand {
    /// Make this node's key if it has none, and print its pin: what servers allow and URLs end in
    Node {
        /// The file with the key; the default is $TANNER_NODE_KEY or tanner/node.pem in the directory for settings
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) fn key(context: &Context, args: &KeyArgs) -> Result<Outcome, Error> {
    let KeyCommand::Node { file } = &args.what;
    let path = key_file(file.as_deref());
    let (identity, made) = match Identity::load(&path) {
        Err(IdentityError::NoKey { .. }) => {
            make_directory(&path).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
            let identity = Identity::generate();
            identity.save(&path)?;
            (identity, true)
        }
        found => (found?, false),
    };
    let pin = identity.pin().to_string();
    context.output.result(&pin);
    if made {
        context.output.say(&format!(
            "made a key for this node in {}: keep it, and keep it to yourself",
            path.display()
        ));
    }
    Ok(Outcome { code: 0, summary: json!({ "pin": pin, "file": path.to_string_lossy(), "made": made }) })
}
