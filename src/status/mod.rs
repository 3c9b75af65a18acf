//! What a server keeps and does, for whoever runs it: a page, measures, and whether it is well.
//!
//! Stores are looked through when somebody asks, once in [`SCAN_TIME`] at most; who asks more often is told what was seen
//! last. Nothing is said of what only readers of a backup know.

pub(crate) mod http;
mod page;
mod scan;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tanner_transports::server::Traffic;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

pub(crate) use self::scan::Root;
use self::scan::RootState;
use crate::monitor::metrics::{Metrics, label};

/// What a server shows of itself.
#[derive(Debug)]
pub(crate) struct Board {
    roots: Vec<Root>,
    traffic: Arc<Traffic>,
    began: SystemTime,
    seen: Mutex<Option<Arc<Seen>>>,
    /// Held by who looks through the stores.
    scanning: Arc<AsyncMutex<()>>,
    /// When so many bytes had been put and got, the newest last.
    samples: Mutex<VecDeque<(Instant, u64, u64)>>,
}

/// What was seen of the stores.
#[derive(Debug)]
struct Seen {
    at: Instant,
    roots: Vec<RootState>,
}

impl Board {
    pub(crate) fn new(roots: Vec<Root>, traffic: Arc<Traffic>) -> Arc<Self> {
        let (began, seen, scanning) = (SystemTime::now(), Mutex::default(), Arc::default());
        let board = Self { roots, traffic, began, seen, scanning, samples: Mutex::default() };
        board.sample();
        Arc::new(board)
    }

    /// What the stores hold: what was seen last, and if that is old somebody looks again.
    async fn look(self: &Arc<Self>) -> Arc<Seen> {
        if let Some(seen) = self.last() {
            if seen.at.elapsed() > SCAN_TIME
                && let Ok(alone) = self.scanning.clone().try_lock_owned()
            {
                let board = self.clone();
                tokio::spawn(async move {
                    board.scan().await;
                    drop(alone);
                });
            }
            return seen;
        }
        let _alone = self.scanning.lock().await;
        // Unless another did while this waited.
        match self.last() {
            Some(seen) => seen,
            None => self.scan().await,
        }
    }

    async fn scan(&self) -> Arc<Seen> {
        let mut roots = Vec::new();
        for root in &self.roots {
            roots.push(root.scan().await);
        }
        let seen = Arc::new(Seen { at: Instant::now(), roots });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
        seen
    }

    fn last(&self) -> Option<Arc<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how many bytes went through; to be done each [`SAMPLE_TIME`].
    fn sample(&self) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((Instant::now(), self.traffic.put_bytes(), self.traffic.get_bytes()));
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    /// Bytes a second that were put and got in about the last minute.
    fn rates(&self) -> (f64, f64) {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(&(at, put, got)) = samples.front() else { return (0.0, 0.0) };
        let seconds = at.elapsed().as_secs_f64().max(1.0);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (rate(self.traffic.put_bytes(), put), rate(self.traffic.get_bytes(), got))
    }

    /// What keeps it from serving, if anything does.
    async fn trouble(&self) -> Option<String> {
        for root in &self.roots {
            let looked = tokio::time::timeout(HEALTH_TIME, tokio::fs::read_dir(&root.path)).await;
            let what = match looked {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", HEALTH_TIME.as_secs()),
            };
            return Some(format!("{}: {what}", root.name));
        }
        None
    }

    async fn metrics(self: &Arc<Self>) -> Metrics {
        let mut metrics = Metrics::new();
        let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
        metrics.gauge("build", "1, with the version of the program", &version, 1.0);
        let began =
            self.began.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        metrics.gauge("start_time_seconds", "When the server began, in seconds since 1970", &vec![], began);
        let traffic = &self.traffic;
        for (op, bytes) in [("put", traffic.put_bytes()), ("get", traffic.get_bytes())] {
            let help = "Bytes of objects that went through the server";
            metrics.counter("served_bytes", help, &vec![label("op", op)], bytes);
        }
        metrics.counter("refused", "Requests that were answered with an error", &vec![], traffic.refused());
        for root in &self.look().await.roots {
            root.measure(&mut metrics);
        }
        metrics
    }
}

/// How old what is shown of the stores gets before they are looked through again.
const SCAN_TIME: Duration = Duration::from_secs(60);
/// Between two notes of the bytes that went through.
const SAMPLE_TIME: Duration = Duration::from_secs(10);
/// A minute of them.
const SAMPLES_MAX: usize = 7;
/// For a directory to be opened.
const HEALTH_TIME: Duration = Duration::from_secs(5);
