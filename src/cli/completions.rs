//! `tanner completions` and `tanner man`: what packages install beside the program.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::args::Cli;
use super::{Context, Outcome};
use crate::error::Error;

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// A directory for a page of each command; without it, that of the program is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn completions(context: &Context, args: &CompletionsArgs) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tanner", &mut script);
    print(context, &script)
}

pub(super) fn man(context: &Context, args: &ManArgs) -> Result<Outcome, Error> {
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        // A vector takes everything.
        let _ = clap_mangen::Man::new(Cli::command()).render(&mut page);
        return print(context, &page);
    };
    let failed = |source| Error::Output { path: directory.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)?;
    Ok(Outcome { code: 0, summary: json!({ "directory": directory }) })
}

/// As it is, for a file or a pager.
fn print(context: &Context, text: &[u8]) -> Result<Outcome, Error> {
    if !context.output.json {
        match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Error::Output { path: "/dev/stdout".into(), source: error });
            }
            _ => {}
        }
    }
    Ok(Outcome { code: 0, summary: json!({ "text": String::from_utf8_lossy(text) }) })
}
