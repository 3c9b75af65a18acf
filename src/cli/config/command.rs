//! `tanner config`: whether the file of settings can be used, and what it comes to.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory, Subcommand};
use serde_json::{Value, json};

use super::settings::{KEYS, Settings};
use super::{Config, Source, layers};
use crate::cli::args::Cli;
use crate::cli::output::count;
use crate::cli::{Context, Outcome};
use crate::error::Error;
use crate::fetch::chain;

#[derive(Args, Debug)]
pub(in crate::cli) struct ConfigArgs {
    #[command(subcommand)]
    what: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Say whether the file of settings can be used: exit code 0, or 2 and what is wrong, where
    Check,
    /// Print what the file, the environment and what is built in come to, for all runs or with --for JOB for that job's
    Show {
        /// Say which of them set each value
        #[arg(long)]
        origin: bool,
    },
}

pub(in crate::cli) fn config(
    context: &Context,
    args: &ConfigArgs,
    job: Option<&str>,
) -> Result<Outcome, Error> {
    match args.what {
        ConfigCommand::Check => check(context),
        ConfigCommand::Show { origin } => show(context, job, origin),
    }
}

fn check(context: &Context) -> Result<Outcome, Error> {
    let config = Config::read()?;
    let place = config.place();
    let (output, mut problems) = (context.output, Vec::new());
    if config.path.is_none() {
        output.say(&format!("{place} is not there: all is as it is built in"));
    }
    for (name, store) in &config.store {
        if let Some(secret) =
            store.credentials.iter().chain(&store.delete_token).find(|keys| !keys.is_at_hand())
        {
            output.say(&format!("[store.{name}] was not tried: {secret} is there in its unit only"));
            continue;
        }
        if let Err(error) = context.registry.open(&store.url) {
            problems.push(format!("{place}: [store.{name}]: {}", chain(&error)));
        }
    }
    for (name, job) in &config.job {
        let paths = if let Source::Paths(paths) = &job.source { paths.as_slice() } else { &[] };
        for path in paths.iter().filter(|path| !path.exists()) {
            output
                .say(&format!("[job.{name}]: {} is not there, or not to be seen from here", path.display()));
        }
        if job.settings.stores().next().is_none() && config.defaults.stores().next().is_none() {
            problems.push(format!("{place}: [job.{name}] has no stores: say to = [\"NAME\", …]"));
        }
    }
    problems.iter().for_each(|problem| output.error(problem));
    if problems.is_empty() {
        let (stores, jobs) = (count(config.store.len(), "store"), count(config.job.len(), "job"));
        output.result(&format!("{place}: {stores}, {jobs}: it can be used"));
    }
    let mut summary = json!({ "file": config.path, "stores": config.store.len(), "jobs": config.job.len() });
    if problems.is_empty() {
        return Ok(Outcome { code: 0, summary });
    }
    summary["error"] = json!(problems.join("; "));
    Ok(Outcome { code: 2, summary })
}

fn show(context: &Context, job: Option<&str>, with_origin: bool) -> Result<Outcome, Error> {
    let config = Config::read()?;
    let settings = config.settings(job)?;
    let place = config.place();
    let shown = effective(&settings, &place);
    let output = context.output;
    let origin = |origin: &str| if with_origin { format!("  # {origin}") } else { String::new() };
    let table = |header: &str| {
        output.result("");
        output.result(header);
    };
    output.result("[defaults]");
    for key in KEYS.iter().map(|key| key.replace('_', "-")).flat_map(flags) {
        let Some((values, from)) = shown.get(&key) else { continue };
        let name = key.replace('-', "_");
        output.result(&format!("{name} = {}{}", literal(values), origin(from)));
        output.message(
            "event",
            json!({ "event": "setting", "key": name, "value": value(values), "origin": from }),
        );
    }
    for (name, store) in &config.store {
        table(&format!("[store.{name}]{}", origin(&place)));
        output.result(&format!("url = {}", quoted(&store.url)));
        store.words().iter().for_each(|word| output.result(&format!("# {word}")));
        output.message("event", store.event(name));
    }
    for (name, job) in &config.job {
        let source = job.source.to_string();
        let stores: Vec<&str> = job.settings.stores().map(|(_, store)| store).collect();
        let keep: BTreeMap<&str, u32> = job.keep.rules().collect();
        table(&format!("[job.{name}]{}", origin(&place)));
        output.result(&format!("source = {}", quoted(&source)));
        output.result(&format!(
            "to = {}",
            literal(&stores.iter().map(ToString::to_string).collect::<Vec<_>>())
        ));
        output.message(
            "event",
            json!({ "event": "named_job", "name": name, "source": source, "to": stores, "keep": keep }),
        );
    }
    let told = [("monitor", toml::to_string(&config.monitor)), ("hooks", toml::to_string(&config.hooks))];
    for (name, text) in told.iter().filter_map(|(name, text)| Some((name, text.as_deref().ok()?))) {
        if !text.is_empty() {
            table(&format!("[{name}]{}", origin(&place)));
            text.lines().for_each(|line| output.result(line));
        }
    }
    output.message("event", json!({ "event": "monitor", "monitor": config.monitor, "hooks": config.hooks }));
    let summary =
        json!({ "file": config.path, "job": job, "stores": config.store.len(), "jobs": config.job.len() });
    Ok(Outcome { code: 0, summary })
}

/// The flags behind a key; only a passphrase may be two.
fn flags(flag: String) -> Vec<String> {
    match flag.as_str() {
        "passphrase" => vec!["passphrase-file".into(), "passphrase-command".into()],
        _ => vec![flag],
    }
}

/// What `backup` and `restore` would go by, and who says so: as they find out themselves.
fn effective(settings: &Settings, place: &str) -> BTreeMap<String, (Vec<String>, String)> {
    let mut shown = BTreeMap::new();
    for words in [&["tanner", "backup", "x"][..], &["tanner", "restore", "x", "-o", "x"]] {
        let command = Cli::command();
        let Ok(typed) = command.clone().try_get_matches_from(words) else { continue };
        let layered = layers::layered(command.clone(), &typed, settings);
        let Ok(found) = layered.clone().try_get_matches_from(words) else { continue };
        collect(&command, &typed, &found, settings, place, &mut shown);
        if let (Some((name, typed)), Some((_, found))) = (typed.subcommand(), found.subcommand())
            && let Some(command) = command.find_subcommand(name)
        {
            collect(command, typed, found, settings, place, &mut shown);
        }
    }
    shown
}

fn collect(
    command: &Command,
    typed: &ArgMatches,
    found: &ArgMatches,
    settings: &Settings,
    place: &str,
    shown: &mut BTreeMap<String, (Vec<String>, String)>,
) {
    let applied: BTreeMap<&str, &str> = layers::applied(command, typed, settings)
        .map(|(id, setting)| (id.as_str(), setting.origin.as_str()))
        .collect();
    for arg in command.get_arguments() {
        let (Some(flag), id) = (arg.get_long(), arg.get_id().as_str()) else { continue };
        let Some(raw) = found.get_raw(id) else { continue };
        let values: Vec<String> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
        let env = arg.get_env().unwrap_or_default().to_string_lossy();
        let origin = match (found.value_source(id), applied.get(id)) {
            (Some(ValueSource::EnvVariable), _) => format!("environment {env}"),
            (_, Some(table)) => format!("{place} {table}"),
            _ => "built in".into(),
        };
        shown.entry(flag.to_owned()).or_insert((values, origin));
    }
}

/// As it would stand in the file.
fn literal(values: &[String]) -> String {
    match values {
        [value] => plain(value).unwrap_or_else(|| quoted(value)),
        values => format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")),
    }
}

fn plain(value: &str) -> Option<String> {
    let is_plain = value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok();
    is_plain.then(|| value.to_owned())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn value(values: &[String]) -> Value {
    if let [value] = values { json!(value) } else { json!(values) }
}
