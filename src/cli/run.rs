//! `tanner run`: what jobs say is done. A job is a `backup` whose stores and flags are in the file of settings.

use std::ffi::OsString;

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::{BackupArgs, Cli, Command};
use super::config::{self, Config, LayerArgs, Source};
use super::monitor::watched;
use super::{Context, Outcome, clock, commands, failed, first_paragraph};
use crate::error::Error;
use crate::fetch::chain;
use crate::id::BackupId;
use crate::monitor::Monitor;
use crate::sweep::SweepPlan;

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Jobs of the file of settings
    #[arg(required_unless_present = "all", value_name = "JOB")]
    jobs: Vec<String>,

    /// All jobs, one after the other
    #[arg(long, conflicts_with = "jobs")]
    all: bool,

    /// Print the command that each job stands for, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Flags of `backup`, before what the file says
    #[arg(last = true, value_name = "FLAG")]
    flags: Vec<OsString>,
}

pub(super) async fn run(context: &Context, args: RunArgs, layers: LayerArgs) -> Result<Outcome, Error> {
    let config = Config::read()?;
    let jobs = if args.all { config.job.keys().cloned().collect() } else { args.jobs };
    // All are known before the first is begun.
    let lines = jobs.iter().map(|name| Line::of(name, &config, &args.flags, &layers));
    let lines = lines.collect::<Result<Vec<_>, Error>>()?;
    if args.dry_run {
        return print(context, &lines);
    }
    let (mut code, mut codes, mut wrong) = (0, Map::new(), Vec::new());
    for line in &lines {
        if lines.len() > 1 {
            context.output.say(&format!("job {}", line.job));
        }
        let outcome = match line.backup(line.resumes) {
            Ok((args, monitor)) => watched(context, &monitor, "backup", line.run(context, args)).await,
            Err(error) => failed(context.output, &error),
        };
        let mut summary = outcome.summary;
        summary["job"] = json!(line.job);
        if lines.len() == 1 {
            return Ok(Outcome { code: outcome.code, summary });
        }
        wrong.extend(summary["error"].as_str().map(|error| format!("job {}: {error}", line.job)));
        summary["exit_code"] = json!(outcome.code);
        summary["event"] = json!("job");
        context.output.message("event", summary);
        codes.insert(line.job.clone(), json!(outcome.code));
        // What is restorable but below target is better than what failed, and worse than what did not.
        if matches!(code, 0 | 3) && outcome.code != 0 {
            code = outcome.code;
        }
        if context.stop.is_requested() {
            break;
        }
    }
    if let (true, Err(error)) = (codes.len() < lines.len(), context.stop.check()) {
        code = error.exit_code();
        wrong.push(chain(&error));
    }
    let mut summary = json!({ "jobs": Value::Object(codes) });
    if !wrong.is_empty() {
        summary["error"] = json!(wrong.join("; "));
    }
    Ok(Outcome { code, summary })
}

/// The arguments of a job's `backup`.
struct Line {
    job: String,
    /// Before the name of the command.
    globals: Vec<OsString>,
    /// Behind it.
    rest: Vec<OsString>,
    /// Whether what was cut off can be gone on with.
    resumes: bool,
}

impl Line {
    fn of(name: &str, config: &Config, flags: &[OsString], layers: &LayerArgs) -> Result<Self, Error> {
        let source = &config.job(name)?.source;
        // A stream cannot be gone on with, and has no name of its own.
        let is_stream = source.is_stream();
        let begin = if is_stream { vec!["--name".into(), name.into()] } else { Vec::new() };
        let of: Vec<OsString> = match source {
            Source::Paths(paths) => {
                [OsString::from("--")].into_iter().chain(paths.iter().map(Into::into)).collect()
            }
            Source::Command(argv) => vec!["--command".into(), argv.to_string().into()],
        };
        let file = layers.config.iter().flat_map(|path| ["--config".into(), path.clone().into_os_string()]);
        let rest = begin.into_iter().chain(flags.iter().cloned()).chain(of).collect();
        Ok(Self { job: name.to_owned(), globals: file.collect(), rest, resumes: !is_stream })
    }

    fn words(&self, resume: bool) -> Vec<OsString> {
        let begin = [OsString::from("tanner"), "--for".into(), self.job.clone().into()];
        let command = self.globals.iter().cloned().chain(["backup".into()]);
        let command = command.chain(resume.then(|| "--resume".into()));
        begin.into_iter().chain(command).chain(self.rest.iter().cloned()).collect()
    }

    /// The backup, and who is told of it.
    fn backup(&self, resume: bool) -> Result<(BackupArgs, Monitor), Error> {
        match config::parse(&self.words(resume)) {
            Ok((Cli { command: Command::Backup(args), monitor, .. }, _)) => {
                Ok((args, monitor.monitor(Some(&self.job))))
            }
            Ok(_) => unreachable!("the first word is `backup`"),
            Err(error) => Err(self.wrong(&error)),
        }
    }

    fn wrong(&self, error: &clap::Error) -> Error {
        Error::Job { name: self.job.clone(), what: first_paragraph(error) }
    }

    /// Goes on with what is unfinished of it. What cannot be gone on with, because the source or the job is another by now,
    /// is taken back: else every run to come would stumble over it.
    async fn run(&self, context: &Context, args: BackupArgs) -> Result<Outcome, Error> {
        let journals = args.journal.journals();
        let (id, why) = match commands::backup(context, args).await {
            Err(error @ (Error::ResumeChanged { id, .. } | Error::ResumeDiffers { id, .. })) => (id, error),
            outcome => return outcome,
        };
        if let Some(journals) = journals {
            let now = clock::now();
            let (registry, ids) = (&context.registry, &[id][..]);
            SweepPlan { journals: &journals, ids, before: now, dry_run: false, registry }.run().await?;
        }
        self.say_anew(context, id, &why);
        commands::backup(context, self.backup(false)?.0).await
    }

    fn say_anew(&self, context: &Context, id: BackupId, why: &Error) {
        context.output.say(&format!("begun anew: {why}"));
        let event = json!({ "event": "begun_anew", "id": id.to_string(), "why": why.to_string() });
        context.output.message("event", event);
    }
}

/// The commands that jobs stand for.
fn print(context: &Context, lines: &[Line]) -> Result<Outcome, Error> {
    let mut commands = Map::new();
    for line in lines {
        let mut words =
            config::command_line(&line.words(line.resumes)).map_err(|error| line.wrong(&error))?;
        let globals = line.globals.iter().map(|word| word.to_string_lossy().into_owned());
        words.splice(1..1, globals);
        words.extend(line.resumes.then(|| "--resume".into()));
        words.extend(line.rest.iter().map(|word| word.to_string_lossy().into_owned()));
        let text = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
        context.output.result(&text);
        commands.insert(line.job.clone(), json!(words));
    }
    Ok(Outcome { code: 0, summary: json!({ "dry_run": true, "jobs": Value::Object(commands) }) })
}
