//! `tanner key`: keys of every kind, the node's own, by which servers and clients know it, and tokens to delete with.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use tanner_transports::net::{DeleteToken, Identity, IdentityError, TokenError};

use super::identity::{self, ExportArgs, InspectArgs, NewArgs, RecipientsArgs};
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
    /// Make this device's key if it has none, and print by what others know its signature
    Device,
    /// Make an age identity: whoever has it can read what is backed up for it
    New(NewArgs),
    /// Print for whom an identity reads, or for whom a backup would be encrypted
    Recipients(RecipientsArgs),
    /// Say what a file of keys is and for whom, without any secret
    Inspect(InspectArgs),
    /// Write the key of one backup to a file, for somebody who is to read that and no other
    Export(ExportArgs),
    /// Make a token that lets a client delete on servers, and print its hash: delete_token in their files of clients
    Token {
        /// The new file for the token: on a machine that makes no backups, or on none
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

pub(super) async fn key(context: &Context, args: &KeyArgs) -> Result<Outcome, Error> {
    match &args.what {
        KeyCommand::Node { file } => node(context, file.as_deref()),
        KeyCommand::Device => identity::device(context),
        KeyCommand::New(args) => identity::new(context, args),
        KeyCommand::Recipients(args) => identity::recipients(context, args),
        KeyCommand::Inspect(args) => identity::inspect(context, args),
        KeyCommand::Export(args) => identity::export(context, args).await,
        KeyCommand::Token { output } => token(context, output),
    }
}

fn token(context: &Context, path: &Path) -> Result<Outcome, Error> {
    make_directory(path).map_err(|source| TokenError::Io { path: path.to_owned(), source })?;
    let token = DeleteToken::generate();
    token.save(path)?;
    let hash = token.hash().to_string();
    context.output.result(&hash);
    context.output.say(&format!(
        "made a delete token in {}: with it and a client's key all backups of that client can be destroyed",
        path.display()
    ));
    Ok(Outcome { code: 0, summary: json!({ "hash": hash, "file": path.to_string_lossy() }) })
}

fn node(context: &Context, file: Option<&Path>) -> Result<Outcome, Error> {
    let path = key_file(file);
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
