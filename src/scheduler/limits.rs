//! The layer below every policy: how many blocks a store, a device, a domain may have.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::domains::{Demand, Domains};
use super::facts::Facts;
use super::place::Blocks;
use super::policy::{Policy, SoFar};

/// At most so many blocks in each group of stores.
pub(super) struct Limit {
    /// The demand that it stems from; none if it is room.
    pub(super) demand: Option<Demand>,
    /// The group of each store.
    pub(super) of: Vec<usize>,
    /// Blocks that each group may have.
    most: Vec<usize>,
    /// So many groups may have one more than that.
    bonus: usize,
}

impl Limit {
    /// What fits into each store and onto each device.
    pub(super) fn rooms(stores: &[Facts], blocks: &Blocks) -> [Self; 2] {
        let most = stores.iter().map(|store| blocks.that_fit(store.room_bytes())).collect();
        let each = Self { demand: None, of: (0..stores.len()).collect(), most, bonus: 0 };
        let (mut devices, mut most) = (BTreeMap::new(), vec![usize::MAX]);
        // Whose device is not known share one without end.
        let of = stores.iter().map(|store| {
            let Some(free) = store.free else { return 0 };
            let device = *devices.entry(free.device).or_insert_with(|| {
                most.push(usize::MAX);
                most.len() - 1
            });
            most[device] = most[device].min(blocks.that_fit(Some(free.bytes)));
            device
        });
        let of = of.collect();
        [each, Self { demand: None, of, most, bonus: 0 }]
    }

    /// So few in each domain that all of the fullest, lost together, are no more than `spare`.
    pub(super) fn demand(demand: Demand, domains: Domains, spare: usize) -> Self {
        let (each, bonus) = (spare / demand.losses, spare % demand.losses);
        Self { demand: Some(demand), of: domains.of, most: vec![each; domains.count], bonus }
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.most.len()
    }

    /// The label whose domains the groups are.
    pub(super) fn label(&self) -> &str {
        self.demand.as_ref().map_or("room", |demand| &demand.label)
    }
}

/// Stores while they are filled, within limits.
pub(super) struct Filling<'a> {
    limits: &'a [Limit],
    /// For each limit, the blocks in each group.
    used: Vec<Vec<usize>>,
    /// For each limit, how many groups may still have one more.
    bonus: Vec<usize>,
    counts: Vec<usize>,
}

/// Blocks of each store, and why.
pub(super) struct Filled {
    pub(super) counts: Vec<usize>,
    pub(super) why: Vec<String>,
}

impl<'a> Filling<'a> {
    fn new(limits: &'a [Limit], stores: usize) -> Self {
        let used = limits.iter().map(|limit| vec![0; limit.most.len()]).collect();
        let bonus = limits.iter().map(|limit| limit.bonus).collect();
        Self { limits, used, bonus, counts: vec![0; stores] }
    }

    /// The limits whose domains are to be spread over, the widest first, with what each domain has.
    pub(super) fn spread(&self) -> impl Iterator<Item = (&Limit, &Vec<usize>)> {
        let limits = self.limits.iter().zip(&self.used);
        limits.filter(|(limit, _)| limit.demand.is_some())
    }

    /// The first limit that keeps another block from a store.
    fn in_the_way(&self, store: usize) -> Option<usize> {
        (0..self.limits.len()).find(|&at| {
            let group = self.limits[at].of[store];
            let most = self.limits[at].most[group];
            match self.used[at][group].cmp(&most) {
                Ordering::Less => false,
                Ordering::Equal => self.bonus[at] == 0,
                Ordering::Greater => true,
            }
        })
    }

    fn add(&mut self, store: usize) {
        self.counts[store] += 1;
        for (at, limit) in self.limits.iter().enumerate() {
            let group = limit.of[store];
            self.bonus[at] -= usize::from(self.used[at][group] == limit.most[group]);
            self.used[at][group] += 1;
        }
    }

    fn remove(&mut self, store: usize) {
        self.counts[store] -= 1;
        for (at, limit) in self.limits.iter().enumerate() {
            let group = limit.of[store];
            self.used[at][group] -= 1;
            self.bonus[at] += usize::from(self.used[at][group] == limit.most[group]);
        }
    }

    /// Moves a block elsewhere so that some store can have one more, and gives it that. Where labels cross, as racks and
    /// vendors do, who was first may have taken the only place that was left for others.
    fn exchange(&mut self) -> bool {
        let stores = self.counts.len();
        if stores > EXCHANGE_STORES_MAX {
            return false;
        }
        for from in (0..stores).filter(|&from| self.counts[from] > 0).collect::<Vec<_>>() {
            self.remove(from);
            for to in (0..stores).filter(|&to| to != from) {
                if self.in_the_way(to).is_some() {
                    continue;
                }
                self.add(to);
                if let Some(free) = (0..stores).find(|&store| self.in_the_way(store).is_none()) {
                    self.add(free);
                    return true;
                }
                self.remove(to);
            }
            self.add(from);
        }
        false
    }
}

/// Deals `blocks` blocks, each to the best store that may have it.
///
/// # Errors
/// How many could be dealt, if not all.
pub(super) fn fill(
    blocks: usize,
    stores: &[Facts],
    rates: &[f64],
    limits: &[Limit],
    policy: &dyn Policy,
) -> Result<Filled, usize> {
    let mut filling = Filling::new(limits, stores.len());
    let mut passed_over: Vec<Option<(usize, usize)>> = vec![None; stores.len()];
    for dealt in 0..blocks {
        let so_far = SoFar { stores, counts: &filling.counts, rates, filling: &filling };
        let better = |a: &usize, b: &usize| policy.prefer(&so_far, *a, *b);
        let best = (0..stores.len()).min_by(better);
        let allowed = (0..stores.len()).filter(|&store| filling.in_the_way(store).is_none()).min_by(better);
        match allowed {
            Some(store) => {
                let wanted = best.filter(|&best| best != store && passed_over[store].is_none());
                let barred = wanted.and_then(|best| Some((best, filling.in_the_way(best)?)));
                passed_over[store] = passed_over[store].or(barred);
                filling.add(store);
            }
            None if filling.exchange() => {}
            None => return Err(dealt),
        }
    }
    let so_far = SoFar { stores, counts: &filling.counts, rates, filling: &filling };
    let why = (0..stores.len()).map(|store| {
        let why = policy.why(&so_far, store);
        let Some((best, limit)) = passed_over[store] else { return why };
        let name = &stores[best].name;
        match &limits[limit].demand {
            Some(demand) => format!("{why}; {name} has as many as the loss of {demand} allows"),
            None => format!("{why}; {name} has no room for more"),
        }
    });
    let why = why.collect();
    Ok(Filled { counts: filling.counts, why })
}

/// Above, an exchange would take longer than anybody waits.
const EXCHANGE_STORES_MAX: usize = 64;
