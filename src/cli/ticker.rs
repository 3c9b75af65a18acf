//! Shows the progress of a run while it goes on.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::ProgressMode;
use super::output::{Output, rate, size};
use crate::progress::Progress;

/// A thread that looks at the counter now and then, until it is dropped.
pub(super) struct Ticker {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(
        mode: ProgressMode,
        interval: Duration,
        output: Output,
        progress: &Arc<Progress>,
    ) -> Self {
        let mode = match mode {
            ProgressMode::Auto if output.quiet => ProgressMode::None,
            ProgressMode::Auto if output.json => ProgressMode::Json,
            ProgressMode::Auto if stderr().is_terminal() => ProgressMode::Bar,
            ProgressMode::Auto => ProgressMode::Plain,
            mode => mode,
        };
        if mode == ProgressMode::None {
            return Self { end: None, thread: None };
        }
        let (end, ended) = channel();
        let progress = Arc::clone(progress);
        let thread = std::thread::Builder::new().spawn(move || {
            let (began, bar) = (Instant::now(), (mode == ProgressMode::Bar).then(bar));
            let every = if bar.is_some() { BAR_INTERVAL } else { interval };
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let (done, total) = progress.get();
                if total == 0 {
                    // Nothing that is counted in bytes.
                    continue;
                }
                match &bar {
                    Some(bar) => {
                        bar.set_length(total);
                        bar.set_position(done);
                    }
                    None => line(mode, output, done, total, began.elapsed().as_secs_f64()),
                }
            }
            bar.inspect(ProgressBar::finish_and_clear);
        });
        // Without a thread nothing is shown, and nothing is lost.
        Self { end: Some(end), thread: thread.ok() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end.take();
        // A panic in the display is no reason to fail the run.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn line(mode: ProgressMode, output: Output, done: u64, total: u64, seconds: f64) {
    if mode == ProgressMode::Json {
        let json = Output { json: true, ..output };
        json.message("status", json!({ "bytes_done": done, "bytes_total": total, "seconds": seconds }));
    } else {
        let percent = done as f64 / total.max(1) as f64 * 100.0;
        let _ =
            writeln!(stderr(), "{} of {} ({percent:.0} %), {}", size(done), size(total), rate(done, seconds));
    }
}

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.with_style(style.expect("the template is fixed"))
}

const BAR_INTERVAL: Duration = Duration::from_millis(100);
