//! What goes wrong and how often, and its words in a URL.

use std::fmt::Display;
use std::time::Duration;

use bytesize::ByteSize;

use crate::Result;
use crate::wrapped::Wrapped;

/// What goes wrong, and how often. The names in parentheses are those of the URL.
///
/// Probabilities are from 0 to 1. Those of objects are decided by the object's name alone, or for each put anew, and
/// last; those of calls are decided for each call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// An object is gone for ever: missing to every read, not listed, and a put of it is a success that stores
    /// nothing (`loss`).
    pub loss: f64,
    /// A put stores one byte wrong: the first where the length was not declared, any where it was (`rot`).
    pub rot: f64,
    /// A put stores too few bytes: none where the length was not declared (`short`).
    pub short: f64,
    /// A read has one byte wrong (`corrupt`).
    pub corrupt: f64,
    /// A read ends early, and well (`truncate`).
    pub truncate: f64,
    /// An answer is a lie: another length, the bytes of another object, `Missing` for what is there or kept, names that are
    /// not there and not all that are, a proof of nothing, a commit or delete that did nothing (`lie`).
    pub lie: f64,
    /// A call fails with an error that may be retried; half of the commits and deletes are done all the same
    /// (`error`).
    pub error: f64,
    /// The longest time before a call; each call has its own (`delay`).
    pub delay: Duration,
    /// The longest time for which an answer is held back, so that answers overtake each other; lists are shuffled
    /// (`reorder`).
    pub reorder: Duration,
    /// Calls, and pieces of streams, after which all is `Unreachable` (`dies`).
    pub dies_after: Option<u64>,
    /// Calls, and pieces of streams, after which nothing ever answers (`hangs`).
    pub hangs_after: Option<u64>,
    /// Bytes written, of whatever became of them, after which every put is `Full` (`room`).
    pub room_bytes: Option<u64>,
    /// Bytes a second of each stream, and of each put (`rate`).
    pub bytes_per_second: Option<u64>,
    /// Bytes of the largest piece of a stream (`piece`).
    pub piece_bytes: Option<u64>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// The seed and the faults that the options of a URL say.
    pub(super) fn parse(url: &Wrapped<'_>) -> Result<(u64, Self)> {
        let (mut seed, mut faults) = (0, Self::none());
        for (key, value) in &url.options {
            let key = key.as_str();
            if key == "seed" {
                seed = url.value(value, "a seed is a number from 0 to 2^64 - 1")?;
            } else if let Some((_, field)) = PROBABILITIES.iter().find(|(name, _)| *name == key) {
                *field(&mut faults) = url.value(value, A_PROBABILITY)?;
                if !(0.0..=1.0).contains(field(&mut faults)) {
                    return Err(url.bad(A_PROBABILITY));
                }
            } else if let Some((_, field)) = TIMES.iter().find(|(name, _)| *name == key) {
                let time = humantime::parse_duration(value);
                *field(&mut faults) = time.map_err(|_| url.bad("a time has a unit, as in delay=50ms"))?;
            } else if let Some((_, field)) = COUNTS.iter().find(|(name, _)| *name == key) {
                let count: ByteSize = url.value(value, "a count is a number, as in dies=100 or room=5M")?;
                *field(&mut faults) = Some(count.as_u64());
            } else {
                return Err(url.bad(KEYS));
            }
        }
        if [faults.bytes_per_second, faults.piece_bytes].contains(&Some(0)) {
            return Err(url.bad("rate and piece are at least 1; hangs=0 is a store that never answers"));
        }
        Ok((seed, faults))
    }

    /// The options of the URL that says this.
    pub(super) fn options(mut self) -> Vec<(&'static str, Box<dyn Display>)> {
        let mut options: Vec<(&str, Box<dyn Display>)> = Vec::new();
        for (key, field) in PROBABILITIES {
            options.push((key, Box::new(*field(&mut self))));
        }
        for (key, field) in TIMES {
            options.push((key, Box::new(format!("{}us", field(&mut self).as_micros()))));
        }
        options.retain(|(_, value)| !["0", "0us"].contains(&value.to_string().as_str()));
        for (key, field) in COUNTS {
            options.extend(field(&mut self).map(|count| (key, Box::new(count) as Box<dyn Display>)));
        }
        options
    }
}

type Field<T> = (&'static str, fn(&mut Faults) -> &mut T);

const PROBABILITIES: [Field<f64>; 7] = [
    ("loss", |faults| &mut faults.loss),
    ("rot", |faults| &mut faults.rot),
    ("short", |faults| &mut faults.short),
    ("corrupt", |faults| &mut faults.corrupt),
    ("truncate", |faults| &mut faults.truncate),
    ("lie", |faults| &mut faults.lie),
    ("error", |faults| &mut faults.error),
];

const TIMES: [Field<Duration>; 2] =
    [("delay", |faults| &mut faults.delay), ("reorder", |faults| &mut faults.reorder)];

const COUNTS: [Field<Option<u64>>; 5] = [
    ("dies", |faults| &mut faults.dies_after),
    ("hangs", |faults| &mut faults.hangs_after),
    ("room", |faults| &mut faults.room_bytes),
    ("rate", |faults| &mut faults.bytes_per_second),
    ("piece", |faults| &mut faults.piece_bytes),
];

const A_PROBABILITY: &str = "a probability is from 0 to 1, as in loss=0.1";
const KEYS: &str = "the faults are loss, rot, short, corrupt, truncate, lie, error, delay, reorder, dies, hangs, \
                    room, rate and piece, and there is seed";
