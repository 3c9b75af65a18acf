//! Where a restore goes: a file, standard output, or a directory.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::archive::{Unpack, Unpacked};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::parallel::blocking;
use crate::resources::Stop;

#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// The file to write; - for standard output; or, with a slash behind it, a directory to unpack an archive into
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Replace the file if it exists; write to a terminal
    #[arg(short, long)]
    pub(super) force: bool,

    /// The directory for what is restored to standard output or unpacked, until all of it is known to be right: it needs
    /// room for the whole. The default is that of temporary files, or the one in which the archive is unpacked
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Unpack files that run with the rights of their owner or group, whoever starts them
    #[arg(long)]
    setid: bool,
}

/// Where it goes, but for a plain file.
pub(super) enum Target {
    Stdout,
    Directory(Unpack),
}

impl TargetArgs {
    /// Where it goes; none if that is a file.
    pub(super) fn target(
        &self,
        manifest: &Manifest,
        is_json: bool,
        is_resumed: bool,
    ) -> Result<Option<Target>, Error> {
        let refused = |flag, why| Err(Error::OfStream { flag, why });
        let is_stdout = self.output.as_os_str() == "-";
        let target = match () {
            () if is_stdout => Target::Stdout,
            () if self.output.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                let unpack = Unpack { directory: self.output.clone(), allow_setid: self.setid };
                unpack.check()?;
                Target::Directory(unpack)
            }
            () => return Ok(None),
        };
        match () {
            () if is_stdout && is_json => refused("--json", "standard output is the restored file"),
            () if is_stdout && io::stdout().is_terminal() && !self.force => {
                refused("--output -", "standard output is a terminal: --force writes to it")
            }
            () if !is_stdout && !manifest.is_archive => {
                refused("--output DIR/", "the backup is one file: name the file to write")
            }
            () if is_resumed => refused("--resume", "only what is restored to a file is kept to go on with"),
            () => Ok(Some(target)),
        }
    }

    /// Where to keep what is not known to be right.
    pub(super) fn spool(&self) -> PathBuf {
        let parent = || match self.output.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // What is large is not for a directory that may be in memory.
        let temporary = || std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let default = || if self.output.as_os_str() == "-" { temporary() } else { parent() };
        self.spool.clone().unwrap_or_else(default)
    }
}

impl Target {
    /// Passes on what was restored; what was unpacked, if anything was.
    pub(super) async fn take(self, restored: File, stop: &Stop) -> Result<Option<Unpacked>, Error> {
        let stop = stop.clone();
        blocking(move || match self {
            Self::Stdout => copy_out(&restored, &stop).map(|()| None),
            Self::Directory(unpack) => unpack.run(&restored, &stop).map(Some),
        })
        .await
    }
}

/// Copies a file to standard output. Who reads there may have seen enough before its end.
fn copy_out(restored: &File, stop: &Stop) -> Result<(), Error> {
    let failed = |source| Error::Output { path: "-".into(), source };
    let mut to = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    loop {
        stop.check()?;
        match io::copy(&mut restored.take(COPY_BYTES), &mut to) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Between two looks at whether to stop.
const COPY_BYTES: u64 = 16 << 20;
