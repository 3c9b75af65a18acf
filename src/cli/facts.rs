//! What is said of stores: on the command line, and with the names that they were given.

use std::sync::Arc;

use bytesize::ByteSize;
use clap::Args;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use tanner_transports::{Limit, Limiter, Limits, Timetable};

use super::clock;
use super::config::{Config, NamedStore};
use crate::error::Error;
use crate::scheduler::{Facts, Labels, check_labels};
use crate::store::Store;

#[derive(Args, Debug, Default)]
pub(super) struct FactArgs {
    /// Something about a store, named as it was given: cost (of each GB), priority (the higher the sooner), capacity (the
    /// most bytes that it is to get) or limit (the most bytes a second, as with --limit), or a label such as host=a,
    /// disk=3, zone=eu that stores lost together share; repeat for more
    #[arg(long = "fact", num_args = 2, value_names = ["STORE", "KEY=VALUE"])]
    fact: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct LimitArgs {
    /// The most bytes a second, read and written in all stores together: 5MB, or by the time of day "08:00,5MB 19:00,off"
    #[arg(long, env = "TANNER_LIMIT", value_name = "RATE")]
    limit: Option<Timetable>,
}

impl LimitArgs {
    /// Makes the stores share the limit, if there is one.
    pub(super) fn apply(&self, stores: &mut [Store]) {
        let Some(limiter) = self.limit.clone().map(limiter) else { return };
        stores.iter_mut().for_each(|store| hold(store, limiter.clone()));
    }
}

fn limiter(rate: Timetable) -> Limiter {
    Limiter::new(Limits { rate, ..Limits::default() }, Arc::new(clock::week_minute))
}

fn hold(store: &mut Store, limiter: Limiter) {
    store.transport = Arc::new(Limit::new(store.transport.clone(), limiter));
}

/// Bytes as they were written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Size {
    text: String,
    pub(super) bytes: u64,
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().parse::<ByteSize>() {
            Ok(size) => Ok(Self { text, bytes: size.as_u64() }),
            Err(_) => Err(format!("{text:?}: wanted a size such as 750GB or 2TiB")),
        }
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.text
    }
}

pub(super) fn parse_size(text: &str) -> Result<Size, String> {
    text.to_owned().try_into()
}

pub(super) fn parse_rate(text: &str) -> Result<Timetable, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

pub(super) fn parse_cost(text: &str) -> Result<f64, String> {
    let cost = text.parse().ok().filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
    cost.ok_or_else(|| "wanted a number, 0 or more".into())
}

/// A label and its value.
pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("wanted LABEL=VALUE, such as host=a")?;
    let pair = (label.to_owned(), value.to_owned());
    check_labels([&Labels::from([pair.clone()])]).map_err(|error| error.to_string())?;
    Ok(pair)
}

/// As [`check_labels`], with the place in the file.
pub(super) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let labels = Labels::deserialize(deserializer)?;
    check_labels([&labels]).map_err(serde::de::Error::custom)?;
    Ok(labels)
}

/// A rate is text in files.
pub(super) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timetable>, D::Error> {
    parse_rate(&String::deserialize(deserializer)?).map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn write_rate<S: Serializer>(rate: &Option<Timetable>, serializer: S) -> Result<S::Ok, S::Error> {
    rate.as_ref().map(Timetable::to_string).serialize(serializer)
}

pub(super) fn cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let cost = f64::deserialize(deserializer)?;
    parse_cost(&cost.to_string()).map(Some).map_err(serde::de::Error::custom)
}

impl FactArgs {
    /// Adds what is said of the stores, which were opened from `given` in this order, and keeps each to its limit.
    pub(super) fn apply(&self, given: &[String], stores: &mut [Store]) -> Result<(), Error> {
        let named = Config::read_if_allowed()?;
        let mut limits: Vec<Option<Timetable>> = vec![None; stores.len()];
        for ((store, given), limit) in stores.iter_mut().zip(given).zip(&mut limits) {
            store.facts.name.clone_from(given);
            let name = given.strip_prefix("store:");
            let by_url = || named.store.values().find(|named| named.url == store.facts.url);
            if let Some(named) = name.and_then(|name| named.store.get(name)).or_else(by_url) {
                named.tell(&mut store.facts);
                limit.clone_from(&named.limit);
            }
        }
        let (pairs, _) = self.fact.as_chunks::<2>();
        for [store, fact] in pairs {
            let wrong = |what: String| Error::Fact { store: store.clone(), fact: fact.clone(), what };
            let place = given.iter().position(|given| given == store);
            let place = place.ok_or_else(|| wrong("no store was given by that name".into()))?;
            match fact.strip_prefix("limit=") {
                Some(rate) => limits[place] = Some(parse_rate(rate).map_err(wrong)?),
                None => set(&mut stores[place].facts, fact).map_err(wrong)?,
            }
        }
        for (store, limit) in stores.iter_mut().zip(limits) {
            let Some(rate) = limit.filter(|rate| !rate.is_off()) else { continue };
            store.facts.limit = rate.at(clock::week_minute()).map(u64::from);
            hold(store, limiter(rate));
        }
        let all: Vec<Labels> = stores.iter().map(|store| store.facts.all_labels()).collect();
        check_labels(&all).map_err(|error| Error::Fact {
            store: "STORE".into(),
            fact: "LABEL=VALUE".into(),
            what: error.to_string(),
        })
    }
}

fn set(facts: &mut Facts, fact: &str) -> Result<(), String> {
    match fact.split_once('=') {
        Some(("capacity", size)) => facts.capacity_bytes = Some(parse_size(size)?.bytes),
        Some(("cost", cost)) => facts.cost = parse_cost(cost)?,
        Some(("priority", priority)) => {
            facts.priority = priority.parse().map_err(|_| "wanted a whole number")?;
        }
        _ => _ = parse_label(fact).map(|(label, value)| facts.labels.insert(label, value))?,
    }
    Ok(())
}

impl NamedStore {
    /// What is said of it.
    fn tell(&self, facts: &mut Facts) {
        facts.labels.extend(self.labels.clone());
        facts.capacity_bytes = self.capacity.as_ref().map(|size| size.bytes);
        facts.cost = self.cost.unwrap_or(0.0);
        facts.priority = self.priority.unwrap_or(0);
    }

    /// The same in words: `host=a capacity=2TB`.
    pub(super) fn words(&self) -> Vec<String> {
        let labels = self.labels.iter().map(|(label, value)| format!("{label}={value}"));
        let capacity = self.capacity.as_ref().map(|size| format!("capacity={}", size.text));
        labels
            .chain(capacity)
            .chain(self.limit.as_ref().map(|rate| format!("limit={rate}")))
            .chain(self.cost.map(|cost| format!("cost={cost}")))
            .chain(self.priority.map(|priority| format!("priority={priority}")))
            .chain(self.delete_token().map(|file| format!("delete_token_file={}", file.display())))
            .chain(self.credentials.as_ref().map(|keys| format!("credentials={keys}")))
            .collect()
    }

    /// What a run with `--json` says of it.
    pub(super) fn event(&self, name: &str) -> Value {
        json!({ "event": "named_store", "name": name, "url": self.url, "facts": self.words() })
    }
}
