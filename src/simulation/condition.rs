//! What befalls stores, and when it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::faults::{FOR_EVER, Kind, Strike, Weather};
use super::net::{Event, Net};

/// What is the matter with a store.
#[derive(Clone, Default)]
pub(super) struct Condition {
    pub(super) down_until: Duration,
    pub(super) cut_until: Duration,
    pub(super) stalled_until: Duration,
    pub(super) is_clogged: bool,
    pub(super) slow: f64,
    pub(super) slow_until: Duration,
    pub(super) busy_until: Duration,
    pub(super) crashes: u64,
    /// Puts whose commit is under way.
    pub(super) committing: BTreeSet<u64>,
    /// The latest call that arrived.
    pub(super) latest: u64,
}

impl Net {
    /// Whether a store will never answer again.
    pub(super) fn is_lost_for_good(&self, store: usize) -> bool {
        let Condition { down_until, cut_until, stalled_until, .. } = self.conditions[store];
        [down_until, cut_until, stalled_until].contains(&FOR_EVER)
    }

    /// Everything that passes has passed, and everything that was on its way has arrived.
    pub(super) fn settle(&mut self) {
        self.forget_all();
        self.weather = Weather::FAIR;
        self.events.retain(|_, event| !matches!(event, Event::Strikes(..) | Event::Rings));
        for condition in &mut self.conditions {
            for until in [&mut condition.down_until, &mut condition.cut_until, &mut condition.stalled_until] {
                if *until != FOR_EVER {
                    *until = Duration::ZERO;
                }
            }
            (condition.slow, condition.is_clogged) = (1.0, false);
        }
        while self.next().is_some() {}
        self.conditions.iter_mut().for_each(|condition| condition.busy_until = Duration::ZERO);
    }

    /// The program ended: nobody waits for anything, and stores forget what it did not commit.
    pub(super) fn hang_up(&mut self) {
        self.forget_all();
        for (store, condition) in self.stores.iter_mut().zip(&self.conditions) {
            store.forget(&condition.committing);
        }
    }

    pub(super) fn strike(&mut self, store: usize, strike: Strike) {
        self.note(|| format!("store {store}: {strike:?}"));
        let until = |time: Duration| self.now.saturating_add(time);
        let condition = &mut self.conditions[store];
        match strike {
            Strike::Crash(time) => {
                condition.down_until = condition.down_until.max(until(time));
                condition.crashes += 1;
                condition.busy_until = Duration::ZERO;
                self.tally.count(if time == FOR_EVER { Kind::LostForGood } else { Kind::Crashed });
                // A commit in progress is done as a whole or not at all.
                for put in std::mem::take(&mut condition.committing) {
                    self.tally.count(Kind::Torn);
                    if self.dice.chance(0.5) {
                        _ = self.stores[store].commit(put, &mut self.tally);
                    }
                }
                self.stores[store].forget(&BTreeSet::new());
            }
            Strike::Partition(time) => condition.cut_until = condition.cut_until.max(until(time)),
            Strike::Stall(time) | Strike::Clog(time) => {
                condition.stalled_until = condition.stalled_until.max(until(time));
                condition.is_clogged = matches!(strike, Strike::Clog(_));
            }
            Strike::Slow(factor, time) => (condition.slow, condition.slow_until) = (factor, until(time)),
            Strike::Fill => self.stores[store].fill(),
            Strike::Flip => self.stores[store].flip(&mut self.dice, &mut self.tally),
        }
    }
}
