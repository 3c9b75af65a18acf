//! When others go on in the stead of a fetch, or help it.

use std::ops::Range;
use std::time::Duration;

use super::choose::Copy;
use super::{Action, CUT_BYTES, FETCHES_MAX, Fetch, Reading, Role};

impl Reading {
    /// Ceases to count on fetches that keep the rest waiting, if there is something to read in their stead.
    pub(super) fn hedge(&mut self, now: Duration) {
        let (opening, patience) = (self.openings.patience(), self.gaps.patience());
        let numbers: Vec<usize> = self.fetches.keys().copied().collect();
        for number in numbers {
            let fetch = &self.fetches[&number];
            let patience = if fetch.bytes == 0 { opening } else { patience };
            let patience = patience * (1 << self.hedges_in_vain.min(DOUBLINGS_MAX));
            let is_in_time = fetch.waited(now) < patience && fetch.pace.rate().is_none();
            let Some(instead) = self.instead_of(fetch).filter(|_| !is_in_time) else { continue };
            let (store, is_same) = (fetch.store, fetch.block == instead.block);
            // What is thought of the pace of a store that kept others waiting is no reason to wait for it again.
            let is_better = !self.stores[instead.store].is_last();
            if self.is_stalled(fetch, instead, now, patience)
                || (is_better && self.is_late(fetch, instead))
                || (is_better && is_same && self.is_slower(fetch, instead))
            {
                let ending = Role::Ending { heir: instead.store, is_shared: false };
                self.set(number, if is_same { ending } else { Role::Hedged });
                self.stores[store].is_slow = true;
                self.is_stale = true;
                self.hedges_in_vain += 1;
            }
        }
    }

    /// Lets stores that have nothing to do take the later part of what others would be long at.
    pub(super) fn share(&mut self) {
        let busy = self.busy();
        let idle = (0..self.stores.len()).filter(|&store| busy.is_idle(store));
        for helper in idle.filter(|&store| !self.stores[store].is_last()).collect::<Vec<_>>() {
            let may_help = |fetch: &Fetch| {
                fetch.role == Role::Counted
                    && self.stores[helper].copies.contains(fetch.block)
                    && self.stores[helper].cost() <= self.stores[fetch.store].cost()
                    && !self.blocks[fetch.block].is_alone
            };
            let gain =
                |fetch: &Fetch| fetch.left() / self.rate(fetch) * (1.0 - self.own_share(fetch, helper));
            let fetches = self.counted().filter(|(_, fetch)| may_help(fetch));
            let gains = fetches.map(|(number, fetch)| (gain(fetch), number));
            let best = gains.max_by(|(one, _), (other, _)| one.total_cmp(other));
            // Two more openings have to be worth their while.
            let least = (self.openings.patience() * 2).as_secs_f64();
            let Some((_, number)) = best.filter(|(gain, _)| *gain > least) else { continue };
            if self.counted().count() < FETCHES_MAX {
                self.set(number, Role::Ending { heir: helper, is_shared: true });
            }
        }
    }

    /// Gives what is left of a fetch that ended to its heir, or shares it so that its own store and the heir end at the
    /// same time.
    pub(super) fn hand_over(
        &mut self,
        now: Duration,
        fetch: &Fetch,
        heir: usize,
        is_shared: bool,
        left: Range<u64>,
    ) {
        let own = if is_shared { self.own_share(fetch, heir) } else { 0.0 };
        let own = (left.end - left.start) as f64 * own;
        let cut = left.start + own as u64 / CUT_BYTES * CUT_BYTES;
        let parts = [(fetch.store, left.start..cut), (heir, cut..left.end)];
        for (store, range) in parts.into_iter().filter(|(_, range)| !range.is_empty()) {
            match self.stores[store].copies.contains(fetch.block) && !self.busy().is_full(store) {
                true => self.start(now, fetch.block, store, range),
                false => self.blocks[fetch.block].rest.push(range),
            }
        }
    }

    /// What to read in a fetch's stead: the same block from where it ends, unless only a store that is asked last has
    /// a copy, or another block, unless that was begun already.
    fn instead_of(&self, fetch: &Fetch) -> Option<Copy> {
        let (mut others, is_last) = (self.expected(), |copy: &Copy| self.stores[copy.store].is_last());
        others.remove(fetch.block);
        let heir = || self.heir(fetch);
        let other = || self.best(&others, |store| store != fetch.store);
        match fetch.role {
            Role::Ending { .. } => None,
            Role::Hedged => heir(),
            Role::Counted => heir().into_iter().chain(other()).min_by_key(is_last),
        }
    }

    fn set(&mut self, number: usize, role: Role) {
        if let Role::Ending { .. } = role {
            self.actions.push(Action::Cancel { fetch: number });
        }
        self.fetches.entry(number).and_modify(|fetch| fetch.role = role);
    }

    /// Bytes a second of a fetch; where nobody knows, it is in no need of help.
    fn rate(&self, fetch: &Fetch) -> f64 {
        fetch.pace.rate().or(self.stores[fetch.store].rate()).unwrap_or(f64::INFINITY)
    }

    /// The share of its range that a fetch would keep beside a helper; one that is not known is taken for as fast.
    fn own_share(&self, fetch: &Fetch, helper: usize) -> f64 {
        let own = self.rate(fetch);
        let share = own / (own + self.stores[helper].rate().unwrap_or(own));
        if share.is_finite() { share } else { 0.5 }
    }

    /// Whether nothing came for long, although something came from others meanwhile, or there are none.
    fn is_stalled(&self, fetch: &Fetch, instead: Copy, now: Duration, patience: Duration) -> bool {
        let (Some(since), waited) = (fetch.waits_since, fetch.waited(now)) else { return false };
        if waited < patience {
            return false;
        }
        // Those that fell silent at about the same time are no better.
        let came = |store: usize| self.stores[store].came_at.is_some_and(|at| at >= since + patience / 2);
        let is_asked = |store: usize| self.counted().any(|(_, fetch)| fetch.store == store);
        let others = (0..self.stores.len()).filter(|&store| store != fetch.store);
        let (moving, still): (Vec<usize>, Vec<usize>) =
            others.filter(|&store| came(store) || is_asked(store)).partition(|&store| came(store));
        if moving.len() >= still.len() {
            return true;
        }
        // The first store to answer does not make all others slow; but one that has nothing to do may be asked.
        let is_idle = self.busy().is_idle(instead.store);
        (is_idle || !moving.is_empty()) && waited >= patience * MINORITY
    }

    /// Whether another store with room for it, from which nothing would be read twice, is much faster.
    fn is_slower(&self, fetch: &Fetch, heir: Copy) -> bool {
        let rate = |store: usize| self.stores[store].rate();
        let (Some(pace), Some(own), Some(other)) = (fetch.pace.rate(), rate(fetch.store), rate(heir.store))
        else {
            return false;
        };
        let gain = fetch.left() / pace * (1.0 - own / other);
        own * SLOWER < other && gain > (self.openings.patience() * 2).as_secs_f64()
    }

    /// Whether the rest, and what is read after it in this one's stead, would be there in half the time.
    fn is_late(&self, fetch: &Fetch, instead: Copy) -> bool {
        let Some(rate) = fetch.pace.rate() else { return false };
        let others: Vec<&Fetch> =
            self.counted().map(|(_, fetch)| fetch).filter(|other| other.store != fetch.store).collect();
        let rates: Vec<f64> = others.iter().filter_map(|other| other.pace.rate()).collect();
        // What hedged fetches read is not among it: it has its replacements already.
        let to_begin = self.blocks[..self.codec.profile().data()].iter().flat_map(|block| &block.rest);
        let rest_bytes = others.iter().map(|other| other.left()).sum::<f64>()
            + to_begin.map(|rest| (rest.end - rest.start) as f64).sum::<f64>();
        let rest = match rates.iter().sum::<f64>() {
            _ if rest_bytes == 0.0 => 0.0,
            0.0 => return false,
            rate => rest_bytes / rate,
        };
        let mean = (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64);
        let Some(other_rate) = self.stores[instead.store].rate().or(mean) else { return false };
        fetch.left() / rate > LATE * (rest + instead.bytes / other_rate) + PATIENCE_MIN.as_secs_f64()
    }
}

/// The least time that a store is waited for.
pub(super) const PATIENCE_MIN: Duration = Duration::from_millis(250);
/// How much longer it is waited for a store than for most pieces.
pub(super) const PATIENCE: u32 = 4;
/// How much longer yet while most others wait, too.
const MINORITY: u32 = 4;
/// Patience is doubled so often at most: 2^7 times 250 ms is half a minute.
const DOUBLINGS_MAX: u32 = 7;
/// How many times as long as its replacement a fetch must take to be replaced.
const LATE: f64 = 2.0;
/// How many times faster a store must be to go on in another's stead.
const SLOWER: f64 = 4.0;
