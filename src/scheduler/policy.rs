//! Policies: of the stores that may have one block more, which is the best.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::facts::Facts;
use super::limits::Filling;

/// A wish about where blocks go. Which stores may have a block at all is not its business.
pub trait Policy: Debug + Send + Sync {
    /// Its name, in a word.
    fn name(&self) -> &'static str;

    /// Which of two stores is to have the next block: `Less` if the first.
    fn prefer(&self, so_far: &SoFar, a: usize, b: usize) -> Ordering;

    /// Whether as many losses as possible are to be survived, of each label, although nobody demanded it.
    fn spreads(&self) -> bool {
        false
    }

    /// Why blocks went to a store, in a few words.
    fn why(&self, so_far: &SoFar, store: usize) -> String;
}

/// How many blocks went where, so far.
pub struct SoFar<'a> {
    /// The stores.
    pub stores: &'a [Facts],
    /// Blocks of each.
    pub counts: &'a [usize],
    /// Bytes a second that each takes; where nobody knows, the middle of what is known of others.
    pub rates: &'a [f64],
    pub(super) filling: &'a Filling<'a>,
}

impl SoFar<'_> {
    /// How many blocks are in each of a store's domains whose loss is to be survived, the widest first.
    pub fn in_domains(&self, store: usize) -> impl Iterator<Item = usize> + '_ {
        self.filling.spread().map(move |(limit, used)| used[limit.of[store]])
    }
}

/// Every store in its turn: each gets its share of data and of parity.
#[derive(Clone, Copy, Debug)]
pub struct Even;

impl Policy for Even {
    fn name(&self) -> &'static str {
        "even"
    }

    fn prefer(&self, so_far: &SoFar, a: usize, b: usize) -> Ordering {
        so_far.counts[a].cmp(&so_far.counts[b])
    }

    fn why(&self, _: &SoFar, _: usize) -> String {
        "its turn".into()
    }
}

/// All stores done at the same time: blocks in proportion to the rates, which ends soonest.
#[derive(Clone, Copy, Debug)]
pub struct Fastest;

impl Policy for Fastest {
    fn name(&self) -> &'static str {
        "fastest"
    }

    fn prefer(&self, so_far: &SoFar, a: usize, b: usize) -> Ordering {
        let done = |store: usize| (so_far.counts[store] + 1) as f64 / so_far.rates[store];
        done(a).total_cmp(&done(b)).then(so_far.rates[b].total_cmp(&so_far.rates[a]))
    }

    fn why(&self, so_far: &SoFar, store: usize) -> String {
        match so_far.stores[store].rate() {
            Some(rate) => format!("takes {:.1} MB/s", rate / 1e6),
            None => "of unknown speed: taken for the middle one".into(),
        }
    }
}

/// The cheapest store first, then that of the highest priority.
#[derive(Clone, Copy, Debug)]
pub struct Cheapest;

impl Policy for Cheapest {
    fn name(&self) -> &'static str {
        "cheapest"
    }

    fn prefer(&self, so_far: &SoFar, a: usize, b: usize) -> Ordering {
        let [one, other] = [a, b].map(|store| &so_far.stores[store]);
        let cheaper = one.cost.total_cmp(&other.cost).then(other.priority.cmp(&one.priority));
        cheaper.then(Even.prefer(so_far, a, b))
    }

    fn why(&self, so_far: &SoFar, store: usize) -> String {
        let Facts { cost, priority, .. } = so_far.stores[store];
        format!("costs {cost} a GB, priority {priority}")
    }
}

/// As many losses survived as can be: the domains of the widest label in turn, in these those of the next, then stores.
#[derive(Clone, Copy, Debug)]
pub struct Survive;

impl Policy for Survive {
    fn name(&self) -> &'static str {
        "survive"
    }

    fn prefer(&self, so_far: &SoFar, a: usize, b: usize) -> Ordering {
        so_far.in_domains(a).cmp(so_far.in_domains(b)).then(Even.prefer(so_far, a, b))
    }

    fn spreads(&self) -> bool {
        true
    }

    fn why(&self, so_far: &SoFar, store: usize) -> String {
        let spread = so_far.filling.spread();
        let words =
            spread.map(|(limit, used)| format!("its {} has {}", limit.label(), used[limit.of[store]]));
        let mut labels: Vec<String> = words.collect();
        // What is demanded of a label and what is wished of it besides are of the same domains.
        labels.dedup();
        if labels.is_empty() { Even.why(so_far, store) } else { labels.join(", ") }
    }
}
