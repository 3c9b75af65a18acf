//! What stands for flags: a key is the flag of that name, with underscores. What a value may be is the flag's own say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use clap::builder::ArgAction;
use clap::{Arg, Command, CommandFactory};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::secret::{self, Secret};
use crate::cli::args::Cli;
use crate::cli::first_paragraph;

/// Values of flags, by flag.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(BTreeMap<String, Setting>);

/// What stands for a flag.
#[derive(Clone, Debug, Default)]
pub(super) struct Setting {
    pub(super) values: Vec<String>,
    /// Where each begins in the text, of those that are checked once all was read.
    at: Vec<usize>,
    /// The table that says it.
    pub(super) origin: String,
}

/// A key of `[defaults]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(&'static str);

impl Settings {
    /// Reads the value of a key.
    pub(super) fn take<'de, A: MapAccess<'de>>(&mut self, key: Key, map: &mut A) -> Result<(), A::Error> {
        let (flag, setting) = map.next_value_seed(key)?;
        self.0.insert(flag, setting);
        Ok(())
    }

    /// Says where these are from.
    pub(super) fn of(mut self, origin: &str) -> Self {
        self.0.values_mut().for_each(|setting| setting.origin = origin.to_owned());
        self
    }

    /// Sets a flag that has a name of its own in the file.
    pub(super) fn set(&mut self, flag: &str, value: Option<String>) {
        let Some(value) = value else { return };
        self.0.insert(flag.to_owned(), Setting { values: vec![value], ..Setting::default() });
    }

    /// Takes over what another says, and drops what that stands instead of.
    pub(super) fn replace(&mut self, other: Self) {
        for flag in other.0.keys() {
            alternatives(flag).iter().for_each(|instead| drop(self.0.remove(*instead)));
        }
        self.0.extend(other.0);
    }

    /// What stands for a flag.
    pub(super) fn get(&self, flag: &str) -> Option<&Setting> {
        self.0.get(flag)
    }

    /// The flags that it says something for.
    #[cfg(test)]
    pub(super) fn flags(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The stores that are named, and where.
    pub(super) fn stores(&self) -> impl Iterator<Item = (usize, &str)> {
        let to = self.0.get(STORES).into_iter();
        to.flat_map(|to| to.at.iter().copied().zip(to.values.iter().map(String::as_str)))
    }

    pub(super) fn each_store(&mut self, url: impl Fn(&str) -> String) {
        if let Some(to) = self.0.get_mut(STORES) {
            to.values.iter_mut().for_each(|store| *store = url(store));
        }
    }
}

/// The flags that one of them stands instead of, itself included: whoever says for whom to encrypt says all of it.
pub(super) fn alternatives(flag: &str) -> &'static [&'static str] {
    ALTERNATIVES.iter().find(|flags| flags.contains(&flag)).copied().unwrap_or_default()
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Settings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of flags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
                let mut settings = Settings::default();
                while let Some(key) = map.next_key::<Key>()? {
                    settings.take(key, &mut map)?;
                }
                Ok(settings)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl Key {
    /// The key of that name, which one that only `[defaults]` may say is not if `is_job`.
    pub(super) fn named<E: serde::de::Error>(name: &str, is_job: bool) -> Result<Self, E> {
        let keys = || KEYS.iter().filter(|key| !is_job || !GLOBAL_KEYS.contains(key));
        keys().find(|key| **key == name).map(|key| Self(key)).ok_or_else(|| {
            let known: Vec<&str> = keys().copied().collect();
            let more = if is_job { "source, keep, monitor, hooks, " } else { "" };
            E::custom(format!("unknown key `{name}`: wanted one of {more}{}", known.join(", ")))
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::named(&String::deserialize(deserializer)?, false)
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = (String, Setting);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let flag = self.0.replace('_', "-");
        let (flag, values, at) = match self.0 {
            STORES => {
                let stores = Vec::<Spanned<String>>::deserialize(deserializer)?;
                let at = stores.iter().map(|store| store.span().start).collect();
                (flag, Given::Many(stores.into_iter().map(Spanned::into_inner).collect()), at)
            }
            "passphrase" => match Secret::deserialize(deserializer)? {
                Secret::Command(argv) => {
                    ("passphrase-command".into(), Given::One(argv.to_string()), Vec::new())
                }
                secret => {
                    let file = secret.file().unwrap_or_default();
                    ("passphrase-file".into(), Given::One(file.display().to_string()), Vec::new())
                }
            },
            _ => (flag, deserializer.deserialize_any(GivenVisitor)?, Vec::new()),
        };
        let values = values.checked(&flag).map_err(D::Error::custom)?;
        Ok((flag, Setting { values, at, origin: String::new() }))
    }
}

/// A value as it stands in the file.
enum Given {
    Switch(bool),
    One(String),
    Many(Vec<String>),
}

impl Given {
    /// Its texts, if the flag takes them.
    fn checked(self, flag: &str) -> Result<Vec<String>, String> {
        let command = Cli::command();
        // What is asked for by a table of its own may have no flag.
        let Some(arg) = find(&command, flag) else { return self.texts() };
        let (is_switch, is_list) = match arg.get_action() {
            ArgAction::SetTrue => (true, false),
            action => (false, matches!(action, ArgAction::Append)),
        };
        match self {
            Self::Switch(on) if is_switch => return Ok(vec![on.to_string()]),
            _ if is_switch => return Err("wanted true or false".into()),
            Self::Switch(_) => return Err("wanted a text or a number".into()),
            Self::Many(_) if !is_list => return Err("wanted one value, not a list".into()),
            Self::One(_) | Self::Many(_) => {}
        }
        let values = self.texts()?;
        if let Some(relative) = values.iter().find(|value| PATHS.contains(&flag) && is_relative(value)) {
            return Err(format!(
                "{relative:?} is relative: who knows where that is from is another matter each time"
            ));
        }
        let bare = Arg::new("value").long(flag.to_owned()).action(arg.get_action().clone());
        let bare =
            Command::new("").no_binary_name(true).arg(bare.value_parser(arg.get_value_parser().clone()));
        let typed = bare.try_get_matches_from(values.iter().map(|value| format!("--{flag}={value}")));
        typed.map_err(|error| first_paragraph(&error)).map(|_| values)
    }

    fn texts(self) -> Result<Vec<String>, String> {
        Ok(match self {
            Self::Switch(on) => vec![on.to_string()],
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        })
    }
}

/// The flag itself. The first to have it is `backup`, and then `restore`: elsewhere it may mean something else.
pub(super) fn find<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    let of = |command: &'c Command| command.get_arguments().find(|arg| arg.get_long() == Some(flag));
    let first = ["backup", "restore"].iter().filter_map(|name| command.find_subcommand(name));
    of(command).or_else(|| first.chain(command.get_subcommands()).find_map(of))
}

fn is_relative(path: &str) -> bool {
    path != "none" && !Path::new(path).is_absolute()
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, or a list of texts")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Given, E> {
        Ok(Given::Switch(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(Given::One(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Given, E> {
        Ok(Given::One(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            texts.push(text);
        }
        if texts.is_empty() { Err(A::Error::custom("an empty list")) } else { Ok(Given::Many(texts)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Given, A::Error> {
        let file = secret::in_file(MapAccessDeserializer::new(map))?.and_then(|secret| secret.file());
        Ok(Given::One(file.unwrap_or_default().display().to_string()))
    }
}

/// The key that lists stores: those to write to, and those to look into.
pub(super) const STORES: &str = "to";
/// What may stand in `[defaults]`.
pub(super) const KEYS: [&str; 23] = [
    STORES,
    "data",
    "parity",
    "code",
    "io",
    "survive",
    "policy",
    "quorum",
    "recipient",
    "recipients_file",
    "no_encrypt",
    "passphrase",
    "identity",
    "trust",
    "limit",
    "memory",
    "threads",
    "state",
    "journal",
    "checkpoint",
    "progress",
    "progress_interval",
    "disk_io",
];
/// What a whole run goes by, whatever it does.
const GLOBAL_KEYS: [&str; 3] = ["progress", "progress_interval", "disk_io"];
/// Flags that take a path; a job may be run from anywhere.
const PATHS: [&str; 5] = ["recipients-file", "passphrase-file", "identity", "state", "journal"];
const ALTERNATIVES: [&[&str]; 2] = [
    &["recipient", "recipients-file", "no-encrypt", "encrypt", "passphrase-file", "passphrase-command"],
    &["survive", "no-survive"],
];
