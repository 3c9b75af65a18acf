//! Shows the progress of a run while it goes on, and whenever somebody asks by a signal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::ProgressMode;
use super::output::{Output, rate, size};
use crate::progress::Progress;

/// A thread that looks at the counter now and then, and when it is asked to, until it is dropped.
pub(super) struct Ticker {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

enum Event {
    Show,
    End,
}

impl Ticker {
    /// A ticker for the command of this name.
    pub(super) fn start(
        mode: ProgressMode,
        interval: Duration,
        output: Output,
        command: &str,
        progress: &Arc<Progress>,
    ) -> Self {
        let can_draw = stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let mode = match mode {
            ProgressMode::Auto if output.quiet => ProgressMode::None,
            ProgressMode::Auto if output.json => ProgressMode::Json,
            ProgressMode::Auto | ProgressMode::Bar if can_draw => ProgressMode::Bar,
            ProgressMode::Auto | ProgressMode::Bar => ProgressMode::Plain,
            mode => mode,
        };
        let (events, asked) = channel();
        let (command, progress) = (command.to_owned(), Arc::clone(progress));
        let thread = std::thread::Builder::new().spawn(move || {
            let bar = (mode == ProgressMode::Bar).then(bar);
            let began = Instant::now();
            let every = match mode {
                ProgressMode::Bar => BAR_INTERVAL,
                ProgressMode::None => Duration::MAX,
                _ => interval,
            };
            loop {
                let event = asked.recv_timeout(every);
                let (done, total) = progress.get();
                let state = State { done, total, seconds: began.elapsed().as_secs_f64() };
                match (event, &bar) {
                    (Ok(Event::Show), Some(bar)) => bar.suspend(|| state.show(output, &command)),
                    (Ok(Event::Show), None) => state.show(output, &command),
                    (Ok(Event::End) | Err(RecvTimeoutError::Disconnected), _) => break,
                    // Nothing that is counted in bytes.
                    (Err(RecvTimeoutError::Timeout), _) if total == 0 && done == 0 => {}
                    (Err(RecvTimeoutError::Timeout), Some(bar)) => {
                        bar.set_length(total.max(done));
                        bar.set_position(done);
                    }
                    (Err(RecvTimeoutError::Timeout), None) => match mode {
                        ProgressMode::Json => state.message(Output { json: true, ..output }),
                        _ => write_line(&state.words()),
                    },
                }
            }
            bar.inspect(ProgressBar::finish_and_clear);
        });
        // Without a thread nothing is shown, and nothing is lost.
        Self { events, thread: thread.ok() }
    }

    /// From now on SIGUSR1 shows how far the run is, whatever else it shows.
    pub(super) fn heed_signal(&self) {
        let Ok(mut signals) = signal(SignalKind::user_defined1()) else { return };
        let events = self.events.clone();
        tokio::spawn(
            async move { while signals.recv().await.is_some() && events.send(Event::Show).is_ok() {} },
        );
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let _ = self.events.send(Event::End);
        // A panic in the display is no reason to fail the run.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// How far a run is.
struct State {
    done: u64,
    total: u64,
    seconds: f64,
}

impl State {
    /// For whoever asked: words on standard error, or with `--json` one object more.
    fn show(&self, output: Output, command: &str) {
        let time = humantime::format_duration(Duration::from_secs(self.seconds as u64));
        match (output.json, self.total.max(self.done)) {
            (true, _) => self.message(output),
            (false, 0) => write_line(&format!("{command}: running for {time}")),
            (false, _) => write_line(&format!("{command}: {}, running for {time}", self.words())),
        }
    }

    fn message(&self, output: Output) {
        let Self { done, total, seconds } = self;
        output.message("status", json!({ "bytes_done": done, "bytes_total": total, "seconds": seconds }));
    }

    fn words(&self) -> String {
        let &Self { done, total, seconds } = self;
        // Of a stream nobody knows how much is to come.
        let total = total.max(done);
        let percent = done as f64 / total.max(1) as f64 * 100.0;
        format!("{} of {} ({percent:.0} %), {}", size(done), size(total), rate(done, seconds))
    }
}

fn write_line(line: &str) {
    // Whoever closed standard error does not want to hear about it.
    let _ = writeln!(stderr(), "{line}");
}

fn bar() -> ProgressBar {
    let colour = if AutoStream::choice(&stderr()) == ColorChoice::Never { "" } else { ":.cyan/dim" };
    let style = ProgressStyle::with_template(&format!(
        "{{wide_bar{colour}}} {{bytes}} of {{total_bytes}}, {{bytes_per_sec}}, {{eta}} left"
    ));
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.with_style(style.expect("the template is fixed"))
}

const BAR_INTERVAL: Duration = Duration::from_millis(100);
