//! Stores as facts: what their owner says, what can be seen, and what was measured.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a store shares with others, by label: host, disk, zone, anything.
pub type Labels = BTreeMap<String, String>;

/// The label that every store has: itself.
pub const STORE: &str = "store";
/// The most bytes of a label, and of its value.
pub const LABEL_BYTES_MAX: usize = 64;
/// The most different labels of the stores of one backup: what survives is decided for each.
pub const LABELS_MAX: usize = 16;

/// What is known of a store.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Facts {
    /// What it is called in words for people.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Labels that somebody gave it.
    pub labels: Labels,
    /// Labels that can be seen without being told; a given one counts more.
    pub derived: Labels,
    /// The most bytes that it is to get of one backup.
    pub capacity_bytes: Option<u64>,
    /// What is free where it lies.
    pub free: Option<Free>,
    /// The most bytes a second that it is said to take.
    pub limit: Option<u64>,
    /// The cost of each GB stored there, in any unit.
    pub cost: f64,
    /// Of two that cost the same the higher is preferred.
    pub priority: i64,
    /// How it behaved.
    pub measured: Measured,
}

/// Free bytes of a device, which several stores may share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Free {
    /// Tells devices apart.
    pub device: u64,
    /// Bytes free.
    pub bytes: u64,
}

/// Why labels are refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LabelError {
    /// Empty or too long, or not to be printed.
    #[error("label {label:?} or its value: wanted 1 to {LABEL_BYTES_MAX} bytes without control characters")]
    Text {
        /// The label.
        label: String,
    },
    /// A label that has a meaning already.
    #[error("the label `{STORE}` is every store's own: choose another name")]
    Reserved,
    /// More than are looked at.
    #[error("more than {LABELS_MAX} different labels")]
    TooMany,
}

/// Refuses labels that are too long, too many, or not to be shown.
///
/// # Errors
/// The first thing wrong with them.
pub fn check_labels<'a>(stores: impl IntoIterator<Item = &'a Labels>) -> Result<(), LabelError> {
    let mut all = BTreeSet::new();
    for (label, value) in stores.into_iter().flatten() {
        let is_text =
            |text: &str| (1..=LABEL_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if !is_text(label) || !is_text(value) {
            return Err(LabelError::Text { label: label.chars().take(LABEL_BYTES_MAX).collect() });
        }
        if label == STORE {
            return Err(LabelError::Reserved);
        }
        all.insert(label);
        if all.len() > LABELS_MAX {
            return Err(LabelError::TooMany);
        }
    }
    Ok(())
}

impl Facts {
    /// A store of which nothing but its URL is known.
    #[must_use]
    pub fn of(url: &str) -> Self {
        Self { name: url.to_owned(), url: url.to_owned(), ..Self::default() }
    }

    /// All its labels.
    #[must_use]
    pub fn all_labels(&self) -> Labels {
        let mut labels = self.derived.clone();
        labels.extend(self.labels.clone());
        labels
    }

    /// How many bytes fit; none if nobody knows.
    #[must_use]
    pub fn room_bytes(&self) -> Option<u64> {
        let free = self.free.map(|free| free.bytes);
        free.into_iter().chain(self.capacity_bytes).min()
    }

    /// Bytes a second that it takes, as measured and within its limit; none if nobody knows.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let limit = self.limit.map(|limit| limit as f64);
        self.measured.rate().into_iter().chain(limit).min_by(f64::total_cmp).filter(|rate| *rate > 0.0)
    }
}

/// How a store behaved, as averages in which what is older by [`Measured::HALF_LIFE_SECONDS`] weighs half.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measured {
    /// When it was last seen, in seconds since 1970.
    at: f64,
    bytes: f64,
    busy_seconds: f64,
    waits: f64,
    wait_seconds: f64,
    tries: f64,
    errors: f64,
}

impl Measured {
    /// A week: backups are daily, and a store that was slow last month may have been mended.
    pub const HALF_LIFE_SECONDS: f64 = 7.0 * 86_400.0;

    /// Takes in that at `now` so many bytes had been taken in so many seconds.
    pub fn observe_bytes(&mut self, now: f64, bytes: u64, seconds: f64) {
        self.decay(now);
        self.bytes += bytes as f64;
        self.busy_seconds += seconds;
    }

    /// Takes in that a request was answered after so many seconds, or failed.
    pub fn observe_request(&mut self, now: f64, seconds: Option<f64>) {
        self.decay(now);
        self.tries += 1.0;
        match seconds {
            Some(seconds) => {
                self.waits += 1.0;
                self.wait_seconds += seconds;
            }
            None => self.errors += 1.0,
        }
    }

    /// Bytes a second.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        share(self.bytes, self.busy_seconds)
    }

    /// Seconds until a request is answered.
    #[must_use]
    pub fn latency(&self) -> Option<f64> {
        share(self.wait_seconds, self.waits)
    }

    /// The share of requests that failed. With time that is forgiven: little weight counts as little.
    #[must_use]
    pub fn error_ratio(&self, now: f64) -> f64 {
        let mut today = *self;
        today.decay(now);
        today.errors / (today.tries + 1.0)
    }

    /// When it was last seen, in seconds since 1970.
    #[must_use]
    pub fn seen_at(&self) -> f64 {
        self.at
    }

    /// Whether all of it is numbers that can be reckoned with; what a file says may be anything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { at, bytes, busy_seconds, waits, wait_seconds, tries, errors } = *self;
        let all = [at, bytes, busy_seconds, waits, wait_seconds, tries, errors];
        all.iter().all(|number| number.is_finite() && *number >= 0.0) && errors <= tries
    }

    /// Time that runs backwards lets nothing grow.
    fn decay(&mut self, now: f64) {
        let share = (-(now - self.at).max(0.0) / Self::HALF_LIFE_SECONDS).exp2();
        let Self { at, bytes, busy_seconds, waits, wait_seconds, tries, errors } = self;
        for sum in [bytes, busy_seconds, waits, wait_seconds, tries, errors] {
            *sum *= share;
        }
        *at = at.max(now);
    }
}

/// A mean that says something.
fn share(sum: f64, weight: f64) -> Option<f64> {
    (weight > 1e-9 && sum > 0.0).then(|| sum / weight)
}

#[cfg(test)]
mod tests {
    use super::{Facts, Free, LABELS_MAX, LabelError, Labels, Measured, check_labels};

    const DAY: f64 = 86_400.0;

    /// A store that became slow would go on getting the most for years.
    #[test]
    fn what_was_measured_lately_counts_more() {
        let mut measured = Measured::default();
        assert_eq!((measured.rate(), measured.latency()), (None, None));
        measured.observe_bytes(1e9, 1000, 1.0);
        assert_eq!(measured.rate(), Some(1000.0));
        // One half-life later the old second weighs half a second: (500 + 100) bytes in 1.5 s.
        measured.observe_bytes(1e9 + Measured::HALF_LIFE_SECONDS, 100, 1.0);
        assert!((measured.rate().unwrap() - 400.0).abs() < 1e-6, "{measured:?}");
        measured.observe_bytes(1e9 + 100.0 * Measured::HALF_LIFE_SECONDS, 100, 1.0);
        assert!((measured.rate().unwrap() - 100.0).abs() < 1e-6, "{measured:?}");
    }

    #[test]
    fn errors_are_counted_and_forgiven() {
        let mut measured = Measured::default();
        (0..9).for_each(|_| measured.observe_request(1e9, None));
        assert!(measured.error_ratio(1e9) > 0.89 && measured.latency().is_none());
        let later = 1e9 + 10.0 * Measured::HALF_LIFE_SECONDS;
        assert!(measured.error_ratio(later) < 0.01);
        measured.observe_request(1e9, Some(0.5));
        assert_eq!(measured.latency(), Some(0.5));
        // A clock that was set back makes nothing heavier.
        measured.observe_request(1e9 - 30.0 * DAY, None);
        assert!(measured.error_ratio(1e9) < 1.0 && measured.seen_at() == 1e9 && measured.is_sound());
    }

    #[test]
    fn room_and_rate_are_the_least_of_what_is_known() {
        let mut facts = Facts::of("file:///a");
        assert_eq!((facts.room_bytes(), facts.rate()), (None, None));
        facts.free = Some(Free { device: 1, bytes: 70 });
        facts.capacity_bytes = Some(50);
        facts.limit = Some(10);
        facts.measured.observe_bytes(0.0, 300, 1.0);
        assert_eq!((facts.room_bytes(), facts.rate()), (Some(50), Some(10.0)));
    }

    #[test]
    fn labels_that_could_not_be_kept_or_shown_are_refused() {
        let one = |label: &str, value: &str| Labels::from([(label.to_owned(), value.to_owned())]);
        assert_eq!(check_labels([&one("host", "a")]), Ok(()));
        assert_eq!(check_labels([&one("store", "a")]), Err(LabelError::Reserved));
        for (label, value) in [("", "a"), ("host", ""), ("host", "a\nb"), (&"h".repeat(65), "a")] {
            assert!(matches!(check_labels([&one(label, value)]), Err(LabelError::Text { .. })), "{label}");
        }
        let many: Vec<Labels> = (0..=LABELS_MAX).map(|i| one(&i.to_string(), "a")).collect();
        assert_eq!(check_labels(&many), Err(LabelError::TooMany));
        assert_eq!(check_labels(&many[1..]), Ok(()));
    }

    /// Who says where a store is knows better than what can be seen of it.
    #[test]
    fn a_given_label_counts_more_than_a_derived_one() {
        let mut facts = Facts::of("file:///a");
        let label = |value: &str| Labels::from([("disk".to_owned(), value.to_owned())]);
        facts.derived = label("8:1");
        assert_eq!(facts.all_labels(), label("8:1"));
        facts.labels = label("the blue one");
        assert_eq!(facts.all_labels(), label("the blue one"));
    }
}
