//! The report: machine facts and every raw time. What is printed is computed from it.

use serde::{Deserialize, Serialize};

use super::Machine;

/// The version of the report's fields. Fields are only added within a version.
pub const SCHEMA: u64 = 1;

/// Everything that a run of `tanner bench` found out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// The codes that were measured.
    pub profiles: Vec<ProfileFacts>,
    /// The directories that were measured.
    pub directories: Vec<DirectoryFacts>,
    /// What was measured, in the order of its first round.
    pub measurements: Vec<Measurement>,
    /// What a reader should know about the numbers.
    pub notes: Vec<String>,
}

/// What kind of work was timed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the machine allows.
    Ceiling,
    /// Encoding from memory to memory.
    Encode,
    /// Decoding from memory to memory.
    Decode,
    /// A directory.
    Disk,
    /// A connection.
    Net,
    /// A whole backup or restore, or what it is held against.
    E2e,
}

/// What was timed; the same in two reports if they can be compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The kind of work.
    pub kind: Kind,
    /// The shape, directory or job.
    pub name: String,
    /// The SIMD level, where one was chosen.
    pub level: Option<String>,
    /// Threads or streams.
    pub threads: usize,
}

impl Subject {
    /// Work at no level of its own.
    pub(crate) fn new(kind: Kind, name: impl Into<String>, threads: usize) -> Self {
        Self { kind, name: name.into(), level: None, threads }
    }

    pub(crate) fn at(self, level: &str) -> Self {
        Self { level: Some(level.into()), ..self }
    }
}

/// One subject and its times.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// What was timed.
    #[serde(flatten)]
    pub subject: Subject,
    /// Source bytes of one time; 0 where only the time matters.
    pub bytes: u64,
    /// The round of each time; times of one round are paired.
    pub rounds: Vec<u64>,
    /// The times.
    pub seconds: Vec<f64>,
}

impl Measurement {
    /// The median time in seconds.
    #[must_use]
    pub fn median_seconds(&self) -> f64 {
        median(self.seconds.clone())
    }

    /// Source bytes a second, by the median time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.median_seconds()
    }

    /// Source bytes a second by the median of the rounds that `other` has, too; of all rounds if there are none.
    #[must_use]
    pub fn rate_during(&self, other: &Self) -> f64 {
        let own = self.rounds.iter().zip(&self.seconds);
        let paired = own.filter(|(round, _)| other.rounds.contains(round)).map(|(_, &seconds)| seconds);
        let paired: Vec<f64> = paired.collect();
        if paired.is_empty() { self.rate() } else { self.bytes as f64 / median(paired) }
    }

    /// Source bytes a second in the slowest and the fastest round.
    #[must_use]
    pub fn rate_range(&self) -> (f64, f64) {
        let rates = || self.seconds.iter().map(|seconds| self.bytes as f64 / seconds);
        (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max))
    }

    /// Half of what lies between the fastest and the slowest round, relative to the median. `None` for one round.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        let (least, most) = self.seconds.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), &seconds| {
            (least.min(seconds), most.max(seconds))
        });
        (self.seconds.len() > 1).then(|| (most - least) / 2.0 / self.median_seconds())
    }

    /// How many times as long as `other` this took: the median over the rounds that both have.
    #[must_use]
    pub fn times_as_long_as(&self, other: &Self) -> Option<f64> {
        let ratios = self.ratios_to(other);
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// How many times as long as `other` this took in each round that both have.
    pub(super) fn ratios_to(&self, other: &Self) -> Vec<f64> {
        let own = self.rounds.iter().zip(&self.seconds);
        let ratio = |(round, seconds): (&u64, &f64)| {
            let paired = other.rounds.iter().position(|paired| paired == round)?;
            Some(seconds / other.seconds.get(paired)?)
        };
        own.filter_map(ratio).collect()
    }
}

/// What fixes a code that was measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProfileFacts {
    /// The shape, as in `10+5`.
    pub shape: String,
    /// Data blocks (k).
    pub data: usize,
    /// Parity blocks (m).
    pub parity: usize,
    /// The construction.
    pub code: String,
    /// Taps of each data symbol (N1), where the code is sparse.
    pub taps: Option<u32>,
    /// Steps after which the rows repeat (P).
    pub period: usize,
    /// The longest delay (D).
    pub depth: usize,
    /// How many blocks restore (T).
    pub threshold: usize,
    /// What the threshold rests on.
    pub evidence: String,
    /// XORs of 64 bytes for 64 source bytes when encoding, times 1000.
    pub xors_per_mille: u64,
    /// How many data blocks, and no parity, were lost in the decodings that were timed.
    pub losses: Vec<usize>,
    /// What each of them reads of other blocks, in thousandths of the source: of some codes less than all. Empty if it
    /// was not recorded.
    #[serde(default)]
    pub losses_read_per_mille: Vec<u64>,
}

/// A directory that was measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirectoryFacts {
    /// Its path as given.
    pub path: String,
    /// Bytes free before the run.
    pub free_bytes: u64,
    /// Whether its files can be read past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Whether it lives in memory.
    pub in_memory: bool,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        let mut notes = Vec::new();
        if cfg!(debug_assertions) {
            notes.push("this tanner was built without --release: its numbers are not what it can do".into());
        }
        let (profiles, directories, measurements) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, profiles, directories, measurements, notes }
    }

    /// Says something once.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Measurements of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |measurement| measurement.subject.kind == kind)
    }

    /// The fastest measurement of this work on so many threads, whatever its level.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str, threads: usize) -> Option<&Measurement> {
        let found = self.of(kind).filter(|m| m.subject.name == name && m.subject.threads == threads);
        found.max_by(|a, b| a.rate().total_cmp(&b.rate()))
    }

    /// The most threads that anything of this kind was measured on.
    #[must_use]
    pub fn threads(&self, kind: Kind) -> usize {
        self.of(kind).map(|measurement| measurement.subject.threads).max().unwrap_or(1)
    }
}

/// The middle; between the two in the middle if there are as many.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        count if count % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(rounds: &[u64], seconds: &[f64]) -> Measurement {
        let subject = Subject::new(Kind::Encode, "10+5", 1);
        Measurement { subject, bytes: 100, rounds: rounds.to_vec(), seconds: seconds.to_vec() }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (a, b) = (measurement(&[1, 2, 3], &[1.0, 10.0, 4.0]), measurement(&[3, 2, 7], &[2.0, 5.0, 1.0]));
        assert_eq!(a.times_as_long_as(&b), Some(2.0));
        assert_eq!(a.times_as_long_as(&measurement(&[9], &[1.0])), None);
    }

    #[test]
    fn one_round_has_no_spread() {
        assert_eq!(measurement(&[1], &[2.0]).spread(), None);
        assert_eq!(measurement(&[1, 2, 3], &[2.0, 1.0, 3.0]).spread(), Some(0.5));
        assert_eq!(measurement(&[1, 2], &[2.0, 4.0]).rate_range(), (25.0, 50.0));
    }
}
