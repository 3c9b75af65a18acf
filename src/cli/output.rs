//! What a run prints: words for people on standard error, results and JSON lines on standard output.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytesize::ByteSize;
use clap::ValueEnum;
use clap::builder::styling::AnsiColor;
use serde_json::{Map, Value, json};

/// Where words and objects go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) quiet: bool,
}

impl Output {
    /// A line for people.
    pub(super) fn say(self, line: &str) {
        if !self.json && !self.quiet {
            print_words(line);
        }
    }

    /// A line of the result, for people and pipes.
    pub(super) fn result(self, line: &str) {
        if !self.json {
            print_line(line);
        }
    }

    /// An object of the JSON contract; `fields` is an object.
    pub(super) fn message(self, message_type: &str, fields: Value) {
        if !self.json {
            return;
        }
        let mut message = Map::new();
        message.insert("v".into(), json!(1));
        message.insert("ts".into(), json!(humantime::format_rfc3339_millis(SystemTime::now()).to_string()));
        message.insert("message_type".into(), json!(message_type));
        if let Value::Object(fields) = fields {
            message.extend(fields);
        }
        print_line(&Value::Object(message).to_string());
    }

    /// What went wrong beside the work, and does not spoil it.
    pub(super) fn warn(self, what: &str) {
        self.say(&format!("warning: {what}"));
        self.message("event", json!({ "event": "warning", "what": what }));
    }

    /// What went wrong.
    pub(super) fn error(self, error: &str) {
        if self.json {
            self.message("error", json!({ "error": error }));
        } else {
            let red = AnsiColor::Red.on_default().bold();
            // Whoever closed standard error does not want to hear about it.
            let _ = writeln!(anstream::stderr(), "{red}tanner:{red:#} {}", printable(error));
        }
    }

    /// Whether something of the result was lost, other than because its reader had seen enough.
    pub(super) fn is_cut_off() -> bool {
        CUT_OFF.load(Ordering::Relaxed)
    }
}

/// Takes `--color` in, which counts for the errors about all other arguments, too.
pub(super) fn choose_colours<'a>(flags: impl Iterator<Item = &'a OsString>) {
    let words: Vec<_> = flags.map(|flag| flag.to_string_lossy()).collect();
    let apart = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| &*pair[1]);
    let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
    let chosen = apart.chain(joined).find_map(|when| clap::ColorChoice::from_str(when, false).ok());
    match chosen {
        Some(clap::ColorChoice::Always) => anstream::ColorChoice::Always.write_global(),
        Some(clap::ColorChoice::Never) => anstream::ColorChoice::Never.write_global(),
        Some(clap::ColorChoice::Auto) | None => {}
    }
}

fn print_words(line: &str) {
    // Whoever closed standard error does not want to hear about it.
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

fn print_line(line: &str) {
    match writeln!(io::stdout(), "{}", printable(line)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => CUT_OFF.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// File names come from disks and manifests: none of their control characters may reach a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// There is one standard output.
static CUT_OFF: AtomicBool = AtomicBool::new(false);

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Bytes a second for people, in GB/s.
pub(super) fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.2} GB/s", bytes as f64 / seconds.max(1e-9) / 1e9)
}

/// A number and its noun.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Seconds since 1970 for people.
pub(super) fn time(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    // The formatter knows the years up to 9999.
    let known = time.filter(|_| seconds < 253_402_300_800);
    known.map_or_else(
        || format!("{seconds} s after 1970"),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
