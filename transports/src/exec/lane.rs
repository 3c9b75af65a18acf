//! One process, one request at a time: lines and bytes, each awaited for a bounded time and in bounded memory.

use std::io::{self, ErrorKind};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::url::{Command, WORDS};
use crate::{ObjectName, PIECE_BYTES_MAX, Target, TransportError};

/// A program that runs and has greeted. Dropping it kills it and what it started.
#[derive(Debug)]
pub(super) struct Lane {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The last line that it wrote to standard error.
    last_words: Arc<Mutex<String>>,
    deadline: Duration,
}

/// What a program says, other than a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    End,
    Length(u64),
    Name(ObjectName),
    Data(Bytes),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The program refused, and is ready for the next request.
    Said(TransportError),
    /// It said that the range does not lie within an object of so many bytes.
    OutOfRange(u64),
    /// The program cannot be used any more.
    Broken(TransportError),
}

impl Lane {
    /// Starts a process and hears its greeting.
    pub(super) async fn start(
        command: &Command,
        at: &Target,
        deadline: Duration,
    ) -> Result<Self, TransportError> {
        let mut process = tokio::process::Command::new(&command.program);
        process.args(&command.args).process_group(0).kill_on_drop(true);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = process.spawn();
        let mut child = started.map_err(|error| TransportError::from_io(at.clone(), error))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(broken(at, "it has no standard input or output"));
        };
        let last_words = Arc::default();
        let program = command.program.to_string_lossy().into_owned();
        tokio::spawn(pass_on(errors, program, Arc::clone(&last_words)));
        let mut lane = Self { child, input, output: BufReader::new(output), last_words, deadline };
        match lane.greet(command, at).await {
            Ok(()) => Ok(lane),
            Err(Failure::Said(error) | Failure::Broken(error)) => Err(error),
            Err(Failure::OutOfRange(_)) => Err(broken(at, "it greets with a refusal")),
        }
    }

    async fn greet(&mut self, command: &Command, at: &Target) -> Result<(), Failure> {
        self.send(at, "TANNER-EXEC 1\n").await?;
        let line = self.line(at).await?;
        let mut words = line.split(' ');
        if words.next() != Some("TANNER-EXEC") || words.next() != Some("1") {
            return Err(babble(at, "TANNER-EXEC 1", &line));
        }
        let promised: Vec<_> = words.collect();
        match WORDS.into_iter().find(|word| command.expects(word) && !promised.contains(word)) {
            Some(word) => Err(Failure::Broken(broken(
                at,
                &format!("it does not promise {word}: add without={word} to its URL"),
            ))),
            None => Ok(()),
        }
    }

    /// Whether the process has not ended.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Writes a line, which ends with its line feed.
    pub(super) async fn send(&mut self, at: &Target, line: &str) -> Result<(), Failure> {
        self.send_bytes(at, line.as_bytes()).await
    }

    pub(super) async fn send_bytes(&mut self, at: &Target, bytes: &[u8]) -> Result<(), Failure> {
        match timeout(self.deadline, self.input.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.ended(at, Some(error)).await),
            Err(_) => Err(Failure::Broken(late(at))),
        }
    }

    /// Reads one answer, with its bytes.
    pub(super) async fn answer(&mut self, at: &Target) -> Result<Answer, Failure> {
        let line = self.line(at).await?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let number = rest.parse::<u64>().ok().filter(|_| rest.bytes().all(|byte| byte.is_ascii_digit()));
        match (word, number) {
            ("OK", _) if rest.is_empty() => Ok(Answer::Ok),
            ("END", _) if rest.is_empty() => Ok(Answer::End),
            ("LENGTH", Some(length)) => Ok(Answer::Length(length)),
            ("NAME", _) if let Ok(name) = ObjectName::new(rest) => Ok(Answer::Name(name)),
            ("DATA", Some(length)) if (1..=PIECE_BYTES_MAX as u64).contains(&length) => {
                self.bytes(at, length as usize).await.map(Answer::Data)
            }
            ("OUT-OF-RANGE", Some(length)) => Err(Failure::OutOfRange(length)),
            _ => Err(refusal(at, word, rest).map_or_else(|| babble(at, "an answer", &line), Failure::Said)),
        }
    }

    /// Reads an answer that has to be `wanted`.
    pub(super) async fn hear(&mut self, at: &Target, wanted: &Answer) -> Result<(), Failure> {
        match self.answer(at).await? {
            answer if answer == *wanted => Ok(()),
            _ => Err(Failure::Broken(super::out_of_turn(at))),
        }
    }

    async fn line(&mut self, at: &Target) -> Result<String, Failure> {
        let mut line = Vec::new();
        let mut output = (&mut self.output).take(LINE_BYTES_MAX);
        match timeout(self.deadline, output.read_until(b'\n', &mut line)).await {
            Err(_) => return Err(Failure::Broken(late(at))),
            Ok(Err(error)) => return Err(self.ended(at, Some(error)).await),
            Ok(Ok(_)) => {}
        }
        let is_word = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        match line.pop() {
            Some(b'\n') if line.iter().all(is_word) => {
                Ok(String::from_utf8(line).expect("ASCII was checked"))
            }
            // No line feed and no limit ended it, so the program did.
            last if last != Some(b'\n') && line.len() as u64 + 1 < LINE_BYTES_MAX => {
                Err(self.ended(at, None).await)
            }
            _ => Err(babble(at, "a line of words", &String::from_utf8_lossy(&line))),
        }
    }

    async fn bytes(&mut self, at: &Target, length: usize) -> Result<Bytes, Failure> {
        let mut bytes = vec![0; length];
        match timeout(self.deadline, self.output.read_exact(&mut bytes)).await {
            Ok(Ok(_)) => Ok(bytes.into()),
            Ok(Err(error)) => Err(self.ended(at, Some(error)).await),
            Err(_) => Err(Failure::Broken(late(at))),
        }
    }

    /// What a broken pipe means: how the program ended, if it did.
    async fn ended(&mut self, at: &Target, error: Option<io::Error>) -> Failure {
        let said = match timeout(ENDING, self.child.wait()).await {
            Ok(Ok(status)) => format!("the program ended with {status}"),
            _ => error.map_or("the program closed its output".to_owned(), |error| error.to_string()),
        };
        // What it wrote last may be on its way still.
        tokio::time::sleep(LAST_WORDS).await;
        let last_words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = if last_words.is_empty() { said } else { format!("{said}: {last_words}") };
        let source = io::Error::new(ErrorKind::BrokenPipe, said);
        Failure::Broken(TransportError::Unreachable { at: at.clone(), source })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        let group = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            // Gone already is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a refusal of a program means; `None` if it is none.
fn refusal(at: &Target, word: &str, text: &str) -> Option<TransportError> {
    let at = at.clone();
    let source = |kind| io::Error::new(kind, text.to_owned());
    Some(match word {
        "MISSING" => TransportError::Missing { at },
        "MISSING-STORE" => TransportError::Missing { at: Target { name: None, ..at } },
        "EXISTS" => TransportError::Exists { at },
        "FULL" => TransportError::Full { at, source: source(ErrorKind::StorageFull) },
        "CORRUPT" => TransportError::Corrupt { at, source: source(ErrorKind::InvalidData) },
        "REFUSED" => TransportError::Refused { at, source: source(ErrorKind::PermissionDenied) },
        "UNREACHABLE" => TransportError::Unreachable { at, source: source(ErrorKind::NotConnected) },
        "SLOW" => TransportError::Slow { at, source: source(ErrorKind::TimedOut) },
        "FAILED" => TransportError::Other { at, source: source(ErrorKind::Other) },
        _ => return None,
    })
}

fn late(at: &Target) -> TransportError {
    let source = io::Error::new(ErrorKind::TimedOut, "the program was silent for too long");
    TransportError::Slow { at: at.clone(), source }
}

pub(super) fn broken(at: &Target, what: &str) -> TransportError {
    let source = io::Error::new(ErrorKind::InvalidData, format!("the program breaks the protocol: {what}"));
    TransportError::Other { at: at.clone(), source }
}

fn babble(at: &Target, wanted: &str, said: &str) -> Failure {
    let said: String = said.chars().take(BABBLE_CHARS_MAX).collect();
    Failure::Broken(broken(at, &format!("it says \"{}\" for {wanted}", said.escape_default())))
}

/// Passes on what a program writes to standard error, until it ends.
async fn pass_on(errors: impl AsyncRead + Unpin, program: String, last_words: Arc<Mutex<String>>) {
    let mut errors = BufReader::new(errors);
    let mut rest = STDERR_BYTES_MAX;
    loop {
        let mut line = Vec::new();
        match (&mut errors).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(count) => rest = rest.saturating_sub(count),
        }
        // What is too much is still read, so that the program does not wait for us.
        if rest > 0 {
            let text = String::from_utf8_lossy(&line);
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            eprintln!("{program}: {text}");
            let shown = text.chars().take(LAST_WORDS_CHARS_MAX).collect();
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        }
    }
}

/// Bytes of the longest line with its line feed.
const LINE_BYTES_MAX: u64 = 1024;
/// Bytes of standard error that are passed on, of each process.
const STDERR_BYTES_MAX: usize = 64 * 1024;
/// Characters of a program's last words in a message.
const LAST_WORDS_CHARS_MAX: usize = 120;
/// Characters of a line that means nothing, in a message; each may be escaped to ten.
const BABBLE_CHARS_MAX: usize = 40;
/// How long a program whose pipe broke has to end, to tell how.
const ENDING: Duration = Duration::from_millis(500);
/// How long its last line is waited for.
const LAST_WORDS: Duration = Duration::from_millis(20);
