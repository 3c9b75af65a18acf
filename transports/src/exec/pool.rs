//! The processes of one store: started when they are needed, kept for the next request.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::lane::{Failure, Lane, broken};
use super::url::Command;
use crate::transport::check_range;
use crate::{Result, Target, TransportError};

#[derive(Debug)]
pub(super) struct Pool {
    command: Command,
    deadline: Duration,
    idle: Mutex<Vec<Lane>>,
    room: Arc<Semaphore>,
}

/// A process that is at work for one request. If it is not given back it is killed.
#[derive(Debug)]
pub(super) struct Hired {
    pub(super) lane: Lane,
    room: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(command: Command, deadline: Duration) -> Self {
        Self { command, deadline, idle: Mutex::default(), room: Arc::new(Semaphore::new(PROCESSES_MAX)) }
    }

    /// An idle process or a new one. Puts hold theirs until they end, so waiting for one has an end too.
    pub(super) async fn hire(&self, at: &Target) -> Result<Hired> {
        let room = timeout(self.deadline, self.room.clone().acquire_owned()).await;
        let Ok(Ok(room)) = room else {
            let source = std::io::Error::other(format!("all {PROCESSES_MAX} processes are busy"));
            return Err(TransportError::Slow { at: at.clone(), source });
        };
        let lane = match self.idle() {
            Some(lane) => lane,
            None => Lane::start(&self.command, at, self.deadline).await?,
        };
        Ok(Hired { lane, room })
    }

    /// A process that has not ended since its last request.
    fn idle(&self) -> Option<Lane> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find_map(|mut lane| lane.runs().then_some(lane))
    }

    /// Gives a process back that waits for its next request.
    pub(super) fn give_back(&self, hired: Hired) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(hired.lane);
        }
        drop(hired.room);
    }

    /// Ends a request that failed: a program that only refused goes on.
    pub(super) fn failed(
        &self,
        hired: Hired,
        at: &Target,
        range: Option<&Range<u64>>,
        failure: Failure,
    ) -> TransportError {
        let refused = match (failure, range) {
            (Failure::Broken(error), _) => return error,
            (Failure::Said(error), _) => error,
            (Failure::OutOfRange(length), Some(range)) => match check_range(at, range, length) {
                Ok(()) => return broken(at, "it refuses a range that fits"),
                Err(error) => error,
            },
            (Failure::OutOfRange(_), None) => {
                return broken(at, "it refuses a range that it was not asked for");
            }
        };
        self.give_back(hired);
        refused
    }
}

/// Processes of one store at a time: one for each put that is under way, and a few for other requests. Their memory is
/// the programs' own; here each has a buffer of 8 KiB and at most one piece of 1 MiB.
const PROCESSES_MAX: usize = 256;
/// Processes that are kept for later requests.
const IDLE_MAX: usize = 64;
