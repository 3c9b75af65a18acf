//! What the threads are for that the system lets this process start.
//!
//! A limit of tasks (`ulimit -u`, or a container's) may leave few. Tokio waits for ever for a thread that it could not
//! start as long as any other runs: so they are counted first, and each use gets a share.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, available_parallelism};
use std::time::Duration;

use tokio::runtime::{self, Runtime};

use crate::error::Error;

/// How many threads each use may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    /// Of computation.
    pub(super) cpu: usize,
    /// Of tokio's workers; with none, the main thread is the only one.
    io: usize,
    /// In calls of the operating system.
    blocking: usize,
}

impl Shares {
    /// Counts what can be had.
    ///
    /// # Errors
    /// [`Error::Threads`] if that is less than any backup needs.
    pub(super) fn take() -> Result<Self, Error> {
        let cores = available_parallelism().map_or(1, usize::from);
        let (startable, refusal) = startable(2 * cores + BLOCKING_MAX + OTHERS);
        let refused = || refusal.unwrap_or_else(|| io::ErrorKind::WouldBlock.into());
        Self::of(startable, cores).ok_or_else(|| Error::Threads { source: refused() })
    }

    /// Shares of so many threads.
    fn of(startable: usize, cores: usize) -> Option<Self> {
        if startable < STARTABLE_MIN {
            return None;
        }
        let rest = startable.saturating_sub(OTHERS).max(2);
        let left = rest - (rest / 3).clamp(1, BLOCKING_MAX);
        let cpu = cores.min(left / 2).max(1);
        // A worker in the place of the main thread is no gain.
        let io = if left - cpu > 1 { cores.min(left - cpu) } else { 0 };
        Some(Self { cpu, io, blocking: (rest - cpu - io).min(BLOCKING_MAX) })
    }

    /// A runtime with them.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub(super) fn runtime(self) -> Result<Runtime, Error> {
        let mut builder = match self.io {
            0 => runtime::Builder::new_current_thread(),
            _ => runtime::Builder::new_multi_thread(),
        };
        // Threads that ended might not be replaced.
        builder
            .worker_threads(self.io.max(1))
            .max_blocking_threads(self.blocking)
            .thread_keep_alive(Duration::MAX);
        let runtime = builder.enable_all().thread_name("tanner-io").build();
        let runtime = runtime.map_err(|source| Error::Threads { source })?;
        // With one that blocks, there is always one.
        drop(runtime.spawn_blocking(|| ()));
        Ok(runtime)
    }
}

/// How many threads could be started now, up to `wanted`, and why no more. They have ended, for the system as well.
fn startable(wanted: usize) -> (usize, Option<io::Error>) {
    let tasks = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let (before, hold, mut refusal) = (tasks(), Mutex::new(()), None);
    let started = thread::scope(|scope| {
        let _held = hold.lock();
        let wait = || drop(hold.lock().unwrap_or_else(PoisonError::into_inner));
        let start = || Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, wait);
        (0..wanted).map_while(|_| start().map_err(|error| refusal = Some(error)).ok()).count()
    });
    // A thread that was joined still counts for some microseconds. Others may have started more meanwhile.
    for _ in 0..SETTLE_TRIES {
        if tasks() <= before {
            break;
        }
        thread::sleep(SETTLE_WAIT);
    }
    (started, refusal)
}

/// Calls of the operating system that are under way at a time; more would only wait for each other.
const BLOCKING_MAX: usize = 32;
/// One that leads a pass and one that reads for it, that of the ring, and that which shows progress.
const OTHERS: usize = 4;
/// The first two of these, one that computes and one that blocks.
const STARTABLE_MIN: usize = 4;
/// How long, and how often, to wait for threads that ended.
const SETTLE_WAIT: Duration = Duration::from_micros(50);
const SETTLE_TRIES: u32 = 1000;
/// Of a thread that only waits, in bytes.
const STACK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{BLOCKING_MAX, OTHERS, STARTABLE_MIN, Shares, startable};

    #[test]
    fn no_use_goes_without_a_thread_and_none_is_given_twice() {
        for cores in [1, 2, 8, 256] {
            for startable in 0..2 * cores + BLOCKING_MAX + OTHERS {
                let Some(Shares { cpu, io, blocking }) = Shares::of(startable, cores) else {
                    assert!(startable < STARTABLE_MIN);
                    continue;
                };
                assert!(cpu > 0 && blocking > 0, "{startable} of {cores} cores");
                assert!(cpu + io + blocking + 2 <= startable, "{startable} of {cores} cores");
            }
        }
    }

    #[test]
    fn plenty_of_threads_are_one_of_each_kind_for_each_core() {
        for cores in [1, 8, 256] {
            let shares = Shares { cpu: cores, io: cores, blocking: BLOCKING_MAX };
            assert_eq!(Shares::of(2 * cores + BLOCKING_MAX + OTHERS, cores), Some(shares));
        }
    }

    #[test]
    fn threads_are_counted() {
        assert_eq!(startable(3).0, 3);
    }
}
