//! Runs of the binary in a place of their own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A directory of the test's own.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.join("out")).unwrap();
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A file of that many zeros which takes no room.
    pub(crate) fn sparse(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.file(name, b"");
        fs::File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    pub(crate) fn stores(&self, count: usize) -> Vec<PathBuf> {
        (0..count).map(|store| self.join(&format!("store{store}"))).collect()
    }

    /// Where restores go: a directory in which nothing else may ever appear.
    pub(crate) fn output(&self) -> PathBuf {
        self.join("out/restored")
    }
}

/// A run to be: the binary in a clean environment.
pub(crate) struct Tanner(pub(crate) Command);

/// `words` are split at spaces.
pub(crate) fn tanner(words: &str) -> Tanner {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tanner"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TANNER_")) {
        command.env_remove(name);
    }
    // What one test measured or saw is none of another's business, nor of whoever runs the tests.
    command.env("TANNER_STATE", "none").env("TANNER_JOURNAL", "none").env("XDG_STATE_HOME", NOWHERE);
    command.env("TANNER_CONFIG", "none");
    // Each of these makes a choice of colours.
    for name in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    let keys = keys();
    command.env("TANNER_IDENTITY_FILE", keys.join("identity.txt"));
    command.env("TANNER_DEVICE_KEY", keys.join("device.pem")).stdin(Stdio::null());
    Tanner(command).words(words)
}

/// The directory with an identity and a device's key that all runs share, unless they say otherwise.
fn keys() -> PathBuf {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let keys = tests.join("keys");
    if !keys.exists() {
        let fresh = tempfile::tempdir_in(tests).unwrap();
        let mut make = Command::new(env!("CARGO_BIN_EXE_tanner"));
        make.env("TANNER_IDENTITY_FILE", fresh.path().join("identity.txt"));
        make.env("TANNER_DEVICE_KEY", fresh.path().join("device.pem"));
        assert!(make.args(["key", "new", "--quiet"]).stdout(Stdio::null()).status().unwrap().success());
        // Unless another run of tests was faster.
        if fs::rename(fresh.path(), &keys).is_ok() {
            let _ = fresh.keep();
        }
    }
    keys
}

impl Tanner {
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.0.args(words.split_whitespace());
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// `flag` before each of the stores; nothing before them if it is empty.
    pub(crate) fn stores(mut self, flag: &str, stores: &[impl AsRef<OsStr>]) -> Self {
        for store in stores {
            self.0.args(Some(flag).filter(|flag| !flag.is_empty())).arg(store);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.0.current_dir(directory);
        self
    }

    #[track_caller]
    pub(crate) fn run(mut self) -> Run {
        let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        finish(child, stdout, String::new())
    }

    /// Runs, and returns as soon as the run says that bytes are done. `None` if it ended before it said so.
    pub(crate) fn run_until_bytes_are_done(self) -> Option<Running> {
        let mut run = self.words("--json --progress json --progress-interval 1ms");
        let mut child = run.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        while stdout.read_line(&mut seen).unwrap() > 0 {
            let line: Value = serde_json::from_str(seen.lines().last().unwrap()).unwrap();
            if line["bytes_done"].as_u64().is_some_and(|done| done > 0) {
                return Some(Running { child, stdout, seen });
            }
        }
        child.wait().unwrap();
        None
    }
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the run, and returns when no thread of it runs any more, where the system tells.
    pub(crate) fn hold(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/status", self.child.id());
        let runs = |status: &String| !["State:\tT", "State:\tZ"].iter().any(|state| status.contains(state));
        while fs::read_to_string(&status).as_ref().is_ok_and(runs) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    #[track_caller]
    pub(crate) fn finish(self) -> Run {
        finish(self.child, self.stdout, self.seen)
    }
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code, or minus the signal that ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Fails the test, and shows the run, if it ended otherwise.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn err_has(&self, words: &str) -> &Self {
        assert!(self.err.contains(words), "no `{words}` in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn out_has(&self, words: &str) -> &Self {
        assert!(self.out.contains(words), "no `{words}` in {self:#?}");
        self
    }

    /// One line of error and nothing on standard output.
    #[track_caller]
    pub(crate) fn is_one_line_of_error(&self) -> &Self {
        assert!(self.err.starts_with("tanner: ") || self.err.starts_with("error: "), "{self:#?}");
        assert!(self.err.starts_with("error: ") || self.err.lines().count() == 1, "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        self
    }
}

#[track_caller]
fn finish(mut child: Child, mut stdout: impl Read + Send + 'static, seen: String) -> Run {
    let mut stderr = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut out = seen.into_bytes();
        stdout.read_to_end(&mut out).map(|_| out).unwrap()
    });
    let err = std::thread::spawn(move || {
        let mut err = Vec::new();
        stderr.read_to_end(&mut err).map(|_| err).unwrap()
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > HANGS {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the run hung");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
    let run = Run { code, out: text(out.join().unwrap()), err: text(err.join().unwrap()) };
    assert!(!run.err.contains("panicked"), "{run:#?}");
    run
}

/// Everything below a directory but empty stages, relative to it, in order.
pub(crate) fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return files };
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().unwrap().is_dir() {
            files.push(name);
            continue;
        }
        let below = files_below(&entry.path());
        if below.is_empty() && name != ".tanner-stage" {
            files.push(format!("{name}/"));
        }
        files.extend(below.into_iter().map(|file| format!("{name}/{file}")));
    }
    files.sort();
    files
}

/// A pass that failed or was stopped may leave a store's directory, but nothing in it.
#[track_caller]
pub(crate) fn nothing_is_left_in(stores: &[PathBuf]) {
    stores.iter().for_each(|store| assert_eq!(files_below(store), [""; 0], "{}", store.display()));
}

/// No directory can be made there.
const NOWHERE: &str = "/proc/nowhere";
const HANGS: Duration = Duration::from_secs(120);
