//! Two reports side by side, and saved output read back.

use std::path::Path;

use serde_json::Value;

use super::report::{Measurement, Report, SCHEMA, Subject};
use crate::error::Error;

/// One subject in two reports.
pub(crate) struct Comparison<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) a: &'a Measurement,
    pub(crate) b: &'a Measurement,
}

impl Comparison<'_> {
    /// How many times as fast the second is as the first.
    pub(crate) fn ratio(&self) -> f64 {
        self.a.median_seconds() / self.b.median_seconds()
    }

    /// Whether every round of one was faster than every round of the other. `None` if one round says nothing.
    pub(crate) fn exceeds_spread(&self) -> Option<bool> {
        if self.a.seconds.len() < 2 || self.b.seconds.len() < 2 {
            return None;
        }
        let range = |m: &Measurement| {
            (
                m.seconds.iter().copied().fold(f64::INFINITY, f64::min),
                m.seconds.iter().copied().fold(0.0, f64::max),
            )
        };
        let (a, b) = (range(self.a), range(self.b));
        Some(a.1 < b.0 || b.1 < a.0)
    }
}

/// What both reports measured. Other sizes of the same work are compared too: rates are.
pub(crate) fn compare<'a>(a: &'a Report, b: &'a Report) -> Vec<Comparison<'a>> {
    let pairs = a.measurements.iter().filter_map(|a| {
        let b = b.measurements.iter().find(|b| b.subject == a.subject && b.bytes == a.bytes)?;
        Some(Comparison { subject: &a.subject, a, b })
    });
    pairs.collect()
}

/// Reads what `tanner bench --json` wrote.
///
/// # Errors
/// If the file cannot be read, is something else, was cut off, or is of another version.
pub(crate) fn read(path: &Path) -> Result<Report, Error> {
    let not = |what: String| Error::NotBenchOutput { path: path.to_owned(), what };
    let failed = |source| Error::Source { path: path.to_owned(), source };
    // Not a file of that size: nobody's memory is to be filled by a typing error.
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(not(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| not("it is no text".into()))?;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let summary = lines.find_map(|(number, line)| match serde_json::from_str::<Value>(line) {
        Err(error) => Some(Err(not(format!("line {}: {error}", number + 1)))),
        Ok(object) if object["message_type"] == "summary" => Some(Ok(object)),
        Ok(_) => None,
    });
    let mut summary = summary.unwrap_or_else(|| Err(not("it has no summary".into())))?;
    match summary["bench_version"].as_u64() {
        Some(SCHEMA) => {}
        Some(other) => return Err(not(format!("it has version {other}, this tanner reads {SCHEMA}"))),
        None => return Err(not("its summary has no bench_version".into())),
    }
    let report: Report =
        serde_json::from_value(summary["report"].take()).map_err(|error| not(error.to_string()))?;
    let broken = |m: &Measurement| {
        m.seconds.is_empty() || m.seconds.len() != m.rounds.len() || m.seconds.iter().any(|s| *s <= 0.0)
    };
    match report.measurements.iter().find(|measurement| broken(measurement)) {
        Some(measurement) => Err(not(format!("{} has no times", measurement.subject.name))),
        None => Ok(report),
    }
}

const FILE_BYTES_MAX: u64 = 64 << 20;
