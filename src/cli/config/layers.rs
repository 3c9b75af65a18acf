//! Flags before the environment, that before the file of settings, that before what is built in: what the file says
//! becomes the default of a flag, and the rest is clap's.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Id};

use super::settings::{STORES, Setting, Settings, alternatives};
use super::{Config, places};
use crate::cli::args::Cli;
use crate::error::Error;
use crate::fetch::chain;

/// Where to look for what no flag says.
#[derive(Args, Debug)]
pub(in crate::cli) struct LayerArgs {
    /// The file of settings, or none; the default is that in TANNER_CONFIG, else tanner/config.toml in the user's directory
    /// for settings, else /etc/tanner/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,

    /// Take stores and flags from this job of the file of settings, as `tanner run JOB` does
    #[arg(id = "for", long = "for", global = true, value_name = "JOB")]
    pub(in crate::cli) job: Option<String>,
}

/// Arguments as typed, with the file of settings for what they do not say; and the name of the command.
pub(in crate::cli) fn parse(args: &[OsString]) -> Result<(Cli, String), clap::Error> {
    let typed = Cli::command().try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&typed)?;
    let name = typed.subcommand_name().unwrap_or_default().to_owned();
    places::give(cli.layers.config.as_ref());
    if WITHOUT.contains(&name.as_str()) {
        return Ok((cli, name));
    }
    let settings = Config::read_if_allowed().and_then(|config| config.settings_for(&typed));
    let layered = layered(Cli::command(), &typed, &settings.map_err(|error| wrong(&error))?);
    Ok((Cli::from_arg_matches(&layered.try_get_matches_from(args)?)?, name))
}

impl Config {
    /// What stands for flags of this command. Only of backups is anybody told.
    fn settings_for(&self, typed: &ArgMatches) -> Result<Settings, Error> {
        let job = typed.get_one("for").map(String::as_str);
        let mut settings = self.settings(job)?;
        if typed.subcommand_name() == Some("backup") {
            settings.replace(self.told(job)?);
        }
        Ok(settings)
    }
}

/// As wrong arguments are told.
fn wrong(error: &Error) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{}\n", chain(error)))
}

/// With what the file says as defaults of the flags that were not given.
pub(super) fn layered(mut command: Command, typed: &ArgMatches, settings: &Settings) -> Command {
    let applied: Vec<(Id, Setting)> =
        applied(&command, typed, settings).map(|(id, setting)| (id.clone(), setting.clone())).collect();
    for (id, setting) in applied {
        command = command.mut_arg(id, |arg| arg.required(false).default_values(setting.values));
    }
    match typed.subcommand() {
        Some((name, typed)) => command.mut_subcommand(name, |sub| layered(sub, typed, settings)),
        None => command,
    }
}

/// What of it stands for flags of this command that nobody gave, nor any other instead of them.
pub(super) fn applied<'a>(
    command: &'a Command,
    typed: &'a ArgMatches,
    settings: &'a Settings,
) -> impl Iterator<Item = (&'a Id, &'a Setting)> {
    let is_given =
        |id: &Id| !matches!(typed.value_source(id.as_str()), None | Some(ValueSource::DefaultValue));
    command.get_arguments().filter_map(move |arg| {
        let flag = flag_of(command, arg)?;
        let instead = alternatives(flag);
        let is_instead = |arg: &&clap::Arg| arg.get_long().is_some_and(|long| instead.contains(&long));
        let any = command.get_arguments().filter(is_instead).any(|arg| is_given(arg.get_id()));
        let setting = settings.get(flag).filter(|_| !any && !is_given(arg.get_id()))?;
        Some((arg.get_id(), setting))
    })
}

/// What a flag is called in the file. The stores of a job are those that `backup` writes to and all others look into.
fn flag_of<'a>(command: &Command, arg: &'a clap::Arg) -> Option<&'a str> {
    match arg.get_long() {
        Some(flag) if ONLY_OF_BACKUPS.contains(&flag) => (command.get_name() == "backup").then_some(flag),
        Some("from") => Some(STORES),
        None if arg.get_id() == "stores" => Some(STORES),
        long => long,
    }
}

/// The command with which `tanner run` does what a job says, as far as it is in the file.
pub(in crate::cli) fn command_line(args: &[OsString]) -> Result<Vec<String>, clap::Error> {
    let command = Cli::command();
    let typed = command.clone().try_get_matches_from(args)?;
    let settings =
        Config::read().and_then(|config| config.settings_for(&typed)).map_err(|error| wrong(&error))?;
    let mut words = vec!["tanner".to_owned()];
    let mut level = Some((&command, &typed));
    while let Some((command, typed)) = level {
        for (id, setting) in applied(command, typed, &settings) {
            let arg = command.get_arguments().find(|arg| arg.get_id() == id);
            let Some(flag) = arg.and_then(clap::Arg::get_long) else { continue };
            let is_switch = arg.is_some_and(|arg| !arg.get_action().takes_values());
            for value in &setting.values {
                match (is_switch, value.as_str()) {
                    (true, "true") => words.push(format!("--{flag}")),
                    (true, _) => {}
                    // Whoever knows it can ping in its place.
                    _ if flag == "ping" => words.extend(["--ping".to_owned(), "URL".to_owned()]),
                    _ => words.extend([format!("--{flag}"), value.clone()]),
                }
            }
        }
        level = typed.subcommand().and_then(|(name, typed)| {
            words.push(name.to_owned());
            Some((command.find_subcommand(name)?, typed))
        });
    }
    Ok(words)
}

/// Commands that have nothing to do with stores: a broken file does not stop them, least of all those that mend it.
const WITHOUT: [&str; 11] = [
    "bench",
    "certify",
    "completions",
    "config",
    "man",
    "plan",
    "schema",
    "serve",
    "store",
    "undelete",
    "version",
];
/// Flags that mean something else with other commands.
const ONLY_OF_BACKUPS: [&str; 5] = [STORES, "data", "parity", "code", "quorum"];
