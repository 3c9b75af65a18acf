//! How long a store is waited for that was asked for something that has no pace.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::time::Duration;

use super::Request;

/// How long others took for the same.
#[derive(Default)]
pub(super) struct Patience {
    /// Requests of this phase that ended well.
    ended: BTreeMap<Request, Duration>,
    /// The longest pass.
    pass: Duration,
}

impl Patience {
    pub(super) fn ended(&mut self, request: Request, took: Duration) {
        self.ended.insert(request, took);
    }

    /// Another phase begins.
    pub(super) fn forget(&mut self) {
        self.ended.clear();
    }

    pub(super) fn pass_took(&mut self, took: Duration) {
        self.pass = self.pass.max(took);
    }

    /// Whether a request has taken so long that the store is to be given up: much longer than any other store that is
    /// done, and long in comparison to the pass that it may cost to write its blocks elsewhere.
    pub(super) fn is_over(
        &self,
        request: Request,
        waited: Duration,
        underway: &BTreeMap<Request, Duration>,
    ) -> bool {
        if waited <= LATE_LEAST {
            return false;
        }
        let is_other = |other: &&Request| {
            discriminant(*other) == discriminant(&request) && other.store() != request.store()
        };
        let stores = |requests: Vec<&Request>| -> BTreeSet<usize> {
            requests.into_iter().filter(is_other).map(|request| request.store()).collect()
        };
        let waiting = stores(underway.keys().collect());
        let done = &stores(self.ended.keys().collect()) - &waiting;
        // Slowness is relative: where nobody is done, nobody is late.
        if done.is_empty() {
            return false;
        }
        let of_others = self.ended.iter().filter(|(other, _)| is_other(other));
        let slowest = of_others.map(|(_, &took)| took).max().unwrap_or_default();
        let limit = LATE_LEAST.max(slowest * LATE).max(self.pass / PASS_PART);
        waited > if done.len() < waiting.len() { limit * MINORITY } else { limit }
    }

    /// How long it is waited for a store that is to take something back.
    pub(super) fn of_removal(request: Request) -> Duration {
        match request {
            Request::Open { .. } | Request::Write { .. } | Request::Abandon { .. } => ABANDON_WAIT,
            Request::Commit { .. } | Request::Manifest { .. } | Request::Remove { .. } => LATE_LEAST,
        }
    }
}

/// No store is late before. Longer than the deadlines within which transports try again.
const LATE_LEAST: Duration = Duration::from_secs(60);
/// How many times as long as the slowest of the others.
const LATE: u32 = 4;
/// What part of the time of a pass: another one may cost as much as all of it.
const PASS_PART: u32 = 2;
/// How much longer yet while most others wait, too.
const MINORITY: u32 = 4;
/// How long a run that failed waits for its stores to take back what was staged.
const ABANDON_WAIT: Duration = Duration::from_secs(5);
