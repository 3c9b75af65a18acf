//! Takes the time, round by round.

use std::time::Instant;

use super::Machine;
use super::report::{Measurement, Report, Subject};
use crate::error::Error;
use crate::progress::Progress;
use crate::resources::Stop;

/// A report in the making. Whatever is timed in one round can be held against each other: the speed of a machine
/// drifts, and ratios within a round do not.
pub(crate) struct Recorder {
    pub(crate) report: Report,
    round: u64,
    stop: Stop,
    progress: std::sync::Arc<Progress>,
}

impl Recorder {
    pub(crate) fn new(stop: &Stop, progress: &std::sync::Arc<Progress>) -> Self {
        let report = Report::new(Machine::this());
        Self { report, round: 0, stop: stop.clone(), progress: std::sync::Arc::clone(progress) }
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn progress(&self) -> &std::sync::Arc<Progress> {
        &self.progress
    }

    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// Times `work` on `bytes` source bytes.
    pub(crate) fn time<T>(
        &mut self,
        subject: &Subject,
        bytes: u64,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.stop.check()?;
        let began = Instant::now();
        let result = work()?;
        self.add(subject, bytes, began.elapsed().as_secs_f64());
        self.progress.advance(bytes);
        Ok(result)
    }

    /// Adds a time that was taken elsewhere.
    pub(crate) fn add(&mut self, subject: &Subject, bytes: u64, seconds: f64) {
        let measurements = &mut self.report.measurements;
        let known = measurements.iter().position(|known| known.subject == *subject && known.bytes == bytes);
        let at = known.unwrap_or_else(|| {
            let (subject, rounds, seconds) = (subject.clone(), Vec::new(), Vec::new());
            measurements.push(Measurement { subject, bytes, rounds, seconds });
            measurements.len() - 1
        });
        measurements[at].rounds.push(self.round);
        // No clock is finer than a nanosecond, and nothing is done in none.
        measurements[at].seconds.push(seconds.max(1e-9));
    }
}
