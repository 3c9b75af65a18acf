//! What was measured, as it is kept: CSV, and the facts of the machine beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One timed run. An absent contestant has one row without rounds, and a note that says why.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub round: usize,
    pub contestant: String,
    pub version: String,
    pub shape: String,
    pub operation: String,
    pub lost: usize,
    pub bytes: usize,
    pub seconds: f64,
    pub level: String,
    pub threads: usize,
    pub piece: String,
    pub plan_seconds: f64,
    pub note: String,
}

const HEADER: &str =
    "round,contestant,version,shape,operation,lost,bytes,seconds,GB/s,level,threads,piece,plan_seconds,note";

impl Row {
    /// GB/s of source bytes.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / self.seconds / 1e9 } else { 0.0 }
    }

    fn to_line(&self) -> String {
        let words = |text: &str| text.replace(',', ";");
        [
            self.round.to_string(),
            words(&self.contestant),
            words(&self.version),
            self.shape.clone(),
            self.operation.clone(),
            self.lost.to_string(),
            self.bytes.to_string(),
            format!("{:.6}", self.seconds),
            format!("{:.3}", self.rate()),
            self.level.clone(),
            self.threads.to_string(),
            self.piece.clone(),
            format!("{:.6}", self.plan_seconds),
            words(&self.note),
        ]
        .join(",")
    }

    fn from_line(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [
            round,
            contestant,
            version,
            shape,
            operation,
            lost,
            bytes,
            seconds,
            _,
            level,
            threads,
            piece,
            plan,
            note,
        ] = fields.as_slice()
        else {
            return None;
        };
        Some(Self {
            round: round.parse().ok()?,
            contestant: (*contestant).to_owned(),
            version: (*version).to_owned(),
            shape: (*shape).to_owned(),
            operation: (*operation).to_owned(),
            lost: lost.parse().ok()?,
            bytes: bytes.parse().ok()?,
            seconds: seconds.parse().ok()?,
            level: (*level).to_owned(),
            threads: threads.parse().ok()?,
            piece: (*piece).to_owned(),
            plan_seconds: plan.parse().ok()?,
            note: (*note).to_owned(),
        })
    }
}

pub fn write(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let lines: String = rows.iter().map(|row| row.to_line() + "\n").collect();
    fs::write(path, format!("{HEADER}\n{lines}"))
}

pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let row = |line: &str| Row::from_line(line).ok_or_else(|| format!("{}: `{line}`", path.display()));
    text.lines().skip(1).map(row).collect()
}

/// What the figures rest on: machine, system, compiler, versions and the command.
pub fn machine_facts(versions: &[(&str, String)]) -> String {
    let mut facts = String::new();
    let mut fact = |name: &str, value: &str| {
        let value = value.trim();
        writeln!(facts, "{name}: {}", if value.is_empty() { "unknown" } else { value }).expect("in memory");
    };
    fact("date", &output("date", &["-u", "+%FT%TZ"]));
    fact("command", &std::env::args().skip(1).collect::<Vec<_>>().join(" "));
    fact("commit", &output("git", &["describe", "--always", "--dirty"]));
    fact("CPU", &field("/proc/cpuinfo", "model name"));
    fact("flags", &field("/proc/cpuinfo", "flags"));
    fact("cores", &std::thread::available_parallelism().map_or_else(|_| String::new(), |n| n.to_string()));
    for index in 0..4 {
        let cache = |name| text(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}"));
        fact("cache", &["level", "type", "size"].map(cache).join(" "));
    }
    fact("memory", &field("/proc/meminfo", "MemTotal"));
    fact("huge pages", &text("/sys/kernel/mm/transparent_hugepage/enabled"));
    fact("kernel", &output("uname", &["-sr"]));
    fact("rustc", &output("rustc", &["--version"]));
    versions.iter().for_each(|(name, version)| fact(name, version));
    facts
}

/// The version of a package in this crate's lock file.
pub fn locked(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let name = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&name).and_then(|(_, rest)| rest.split_once('"'));
    version.map_or_else(String::new, |(version, _)| version.to_owned())
}

fn field(path: &str, name: &str) -> String {
    let text = text(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}
