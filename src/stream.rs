//! Streams: sources that are read once, front to back, and whose end nobody knows before it is there.
//!
//! A stream is what comes through a pipe: from standard input, from a command that is started for it, or from a thread of
//! this program. Its end is good only if whoever made it ended well; of standard input nobody can tell.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::Error;
use crate::resources::Stop;

/// A source that is read once.
#[derive(Debug)]
pub struct Stream {
    name: String,
    from: File,
    /// What was read and not yet handed on.
    ahead: Bytes,
    maker: Maker,
    /// If it is an archive, what is not in it.
    left_out: Option<LeftOut>,
}

/// What was to be in an archive and cannot be. Whoever makes the archive adds to it.
pub(crate) type LeftOut = Arc<Mutex<Vec<PathBuf>>>;

/// Who makes a stream.
#[derive(Debug)]
enum Maker {
    Unknown,
    Command { child: Child, words: String },
    Thread(Option<JoinHandle<Result<(), Error>>>),
}

impl Stream {
    /// What comes through a pipe, a socket or a terminal.
    #[must_use]
    pub fn new(name: String, from: OwnedFd) -> Self {
        Self { name, from: from.into(), ahead: Bytes::new(), maker: Maker::Unknown, left_out: None }
    }

    /// Standard input. If who writes to it dies, that looks like its end.
    ///
    /// # Errors
    /// If it is closed.
    pub fn stdin() -> Result<Self, Error> {
        let name = "stdin".to_owned();
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(from) => Ok(Self::new(name, from)),
            Err(source) => Err(Error::Source { path: name.into(), source }),
        }
    }

    /// The standard output of a program with these arguments, which is started now. Unless it ends with success, the
    /// stream does not either.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn command(words: &[OsString]) -> Result<Self, Error> {
        let joined = words.join(" ".as_ref()).to_string_lossy().into_owned();
        let (program, args) = words.split_first().ok_or(Error::NoCommand)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|source| Error::CommandStart { command: joined.clone(), source })?;
        let from = child.stdout.take().expect("it is a pipe");
        let name = PathBuf::from(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let maker = Maker::Command { child, words: joined };
        Ok(Self { name, from: OwnedFd::from(from).into(), ahead: Bytes::new(), maker, left_out: None })
    }

    /// What `make` writes into the pipe that it is given, on a thread of its own. Unless it ends well, the stream does not
    /// either.
    ///
    /// # Errors
    /// If there can be no pipe or no thread.
    pub(crate) fn made<M>(name: String, make: M) -> Result<Self, Error>
    where
        M: FnOnce(io::PipeWriter) -> Result<(), Error> + Send + 'static,
    {
        let (from, into) =
            io::pipe().map_err(|source| Error::Source { path: name.clone().into(), source })?;
        let thread = std::thread::Builder::new().name("tanner-make".into()).spawn(move || make(into));
        let maker = Maker::Thread(Some(thread.map_err(|source| Error::Threads { source })?));
        Ok(Self { name, from: OwnedFd::from(from).into(), ahead: Bytes::new(), maker, left_out: None })
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// The same, as an archive of files.
    pub(crate) fn archived(mut self, left_out: LeftOut) -> Self {
        self.left_out = Some(left_out);
        self
    }

    /// What is not in it, if it is an archive of files.
    pub(crate) fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads up to `bytes` bytes. Returns all of it if it is no longer than that; else they are kept for later.
    pub(crate) fn whole_within(&mut self, bytes: usize, stop: &Stop) -> Result<Option<Vec<u8>>, Error> {
        let mut head = Vec::new();
        loop {
            let start = head.len();
            // Short streams do not allocate for long ones.
            let wanted = (2 * start).max(HEAD_BYTES_LEAST).min(bytes + 1);
            head.reserve_exact(wanted - start);
            head.resize(wanted, 0);
            let read = self.fill(&mut head[start..], stop)?;
            head.truncate(start + read);
            if head.len() < wanted {
                self.end(stop)?;
                return Ok(Some(head));
            }
            if wanted > bytes {
                self.ahead = head.into();
                return Ok(None);
            }
        }
    }

    /// Fills `into` as far as there are bytes; how far that is.
    pub(crate) fn fill(&mut self, into: &mut [u8], stop: &Stop) -> Result<usize, Error> {
        let from_ahead = self.ahead.split_to(self.ahead.len().min(into.len()));
        into[..from_ahead.len()].copy_from_slice(&from_ahead);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        let mut done = from_ahead.len();
        while done < into.len() {
            self.wait(stop)?;
            match self.from.read(&mut into[done..]) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(done)
    }

    /// Waits until something comes, or nothing can come any more; whether the latter.
    pub(crate) fn is_at_end(&mut self, stop: &Stop) -> Result<bool, Error> {
        if self.ahead.is_empty() {
            let mut next = [0];
            let read = self.fill(&mut next, stop)?;
            self.ahead = Bytes::copy_from_slice(&next[..read]);
        }
        Ok(self.ahead.is_empty())
    }

    /// Waits until whoever made it has ended, too.
    ///
    /// # Errors
    /// If that did not end well.
    pub(crate) fn end(&mut self, stop: &Stop) -> Result<(), Error> {
        match &mut self.maker {
            Maker::Unknown => Ok(()),
            Maker::Command { child, words } => loop {
                let ended = child.try_wait();
                let failed = |source| Error::Source { path: words.clone().into(), source };
                match ended.map_err(failed)? {
                    Some(status) if status.success() => return Ok(()),
                    Some(status) => return Err(Error::Command { command: words.clone(), status }),
                    None => stop.check()?,
                }
                std::thread::sleep(END_WAIT);
            },
            Maker::Thread(thread) => match thread.take().map(JoinHandle::join) {
                Some(made) => made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => Ok(()),
            },
        }
    }

    /// Whoever makes it may be slow; whoever stops the run is not to wait for that.
    fn wait(&self, stop: &Stop) -> Result<(), Error> {
        loop {
            stop.check()?;
            let mut polled = [PollFd::new(&self.from, PollFlags::IN)];
            match poll(&mut polled, Some(&POLL_WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(self.failed(error.into())),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Source { path: self.name.clone().into(), source }
    }
}

impl Drop for Stream {
    /// Nobody reads any more what a command writes.
    fn drop(&mut self) {
        if let Maker::Command { child, .. } = &mut self.maker {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How often a stop is looked for while nothing comes.
const POLL_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How often it is looked whether a command has ended that writes nothing more.
const END_WAIT: Duration = Duration::from_millis(5);
/// What is read of a stream before it is known to be longer.
const HEAD_BYTES_LEAST: usize = 64 << 10;
