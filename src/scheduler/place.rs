//! Placing: a policy's wishes within what must be, proved by the real code.

use std::collections::BTreeSet;
use std::sync::Arc;

use tanner_kernels::{BlockSet, Codec};

use super::domains::{Demand, Domains};
use super::facts::{Facts, Labels, STORE};
use super::limits::{Filled, Limit, fill};
use super::need::Refusal;
use super::policy::Policy;
use super::survive::{Proof, Spread};

/// The blocks of a backup to be.
#[derive(Clone)]
pub struct Blocks {
    /// Their code.
    pub codec: Arc<Codec>,
    /// Those without bytes, which need no store.
    pub empty: BlockSet,
    /// Bytes of the largest.
    pub block_bytes: u64,
}

impl Blocks {
    /// How many of them fit into so many bytes; any number if nobody knows how many bytes there are. Blocks without bytes
    /// fit anywhere.
    pub(super) fn that_fit(&self, bytes: Option<u64>) -> usize {
        let blocks = bytes.and_then(|bytes| bytes.checked_div(self.block_bytes));
        blocks.and_then(|blocks| usize::try_from(blocks).ok()).unwrap_or(usize::MAX)
    }
}

/// What is to be placed, where to, and how.
#[derive(Clone)]
pub struct Task<'a> {
    /// The blocks.
    pub blocks: &'a Blocks,
    /// The stores, one at least.
    pub stores: &'a [Facts],
    /// What must be survived.
    pub survive: &'a [Demand],
    /// What is wished.
    pub policy: &'a dyn Policy,
    /// Now, in seconds since 1970: what was measured long ago is forgiven.
    pub now: f64,
}

/// A placement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The store of each block.
    pub places: Vec<usize>,
    /// For each store, why it has what it has.
    pub why: Vec<String>,
    /// The demands, and how it is known that they are kept.
    pub kept: Vec<(Demand, Proof)>,
}

impl Task<'_> {
    /// Places the blocks: within every store's room, so that every demand is kept, and else as the policy likes it.
    ///
    /// `with_parity` makes the blocks of the same backup with another number of parity blocks, if it can be: with that a
    /// refusal can say what would be enough.
    ///
    /// # Errors
    /// If demands and room cannot be kept.
    pub fn place(&self, with_parity: &dyn Fn(usize) -> Option<Blocks>) -> Result<Placed, Refusal> {
        let labels = self.labels();
        let known = |demand: &Demand| {
            demand.of_labels(&labels).ok_or_else(|| Refusal::NoLabel { demand: demand.clone() })
        };
        let survive: Vec<Demand> = self.survive.iter().map(known).collect::<Result<_, _>>()?;
        let task = Task { survive: &survive, ..self.clone() };
        task.try_place().ok_or_else(|| task.refusal(with_parity))
    }

    /// A placement that keeps all, if one is found.
    pub(super) fn try_place(&self) -> Option<Placed> {
        let (profile, empty) = (self.blocks.codec.profile(), self.blocks.empty.len());
        let (blocks, data) = (profile.blocks(), profile.data());
        // First what is promised of any loss; then what the code may do for these, which only a trial can tell.
        let mut spares = vec![blocks - profile.threshold(), blocks - data, blocks - data + empty];
        spares.dedup();
        if self.survive.is_empty() {
            spares.truncate(1);
        }
        spares.into_iter().enumerate().find_map(|(attempt, spare)| {
            let Filled { counts, why } = self.fill(spare).ok()?;
            let mut places = deal(&counts);
            if attempt == 0 {
                self.mend(&mut places);
            }
            let kept = self.prove(&places)?;
            Some(Placed { places, why, kept })
        })
    }

    /// How many blocks each store gets if the domains lost together may have `spare`; an error says how many could be
    /// dealt.
    pub(super) fn fill(&self, spare: usize) -> Result<Filled, usize> {
        let (blocks, labels) = (self.blocks.codec.profile().blocks(), self.labels());
        let mut limits = Vec::new();
        let limit = |demand: Demand| {
            let domains = Domains::of_label(&demand.label, &labels);
            Limit::demand(demand, domains, spare)
        };
        limits.extend(self.survive.iter().cloned().map(limit));
        limits.extend(Limit::rooms(self.stores, self.blocks));
        let rates = self.rates();
        let deal = |limits: &[Limit]| fill(blocks, self.stores, &rates, limits, self.policy);
        if self.policy.spreads() {
            for label in widest_first(&labels) {
                let count = Domains::of_label(&label, &labels).count;
                // If the fullest have `spare` together and the others as many as the emptiest of these, all must fit.
                let may = |losses: &usize| {
                    *losses <= spare && blocks <= spare + (count - losses) * (spare / losses)
                };
                for losses in (1..count).rev().filter(may) {
                    limits.push(limit(Demand { losses, label: label.clone() }));
                    if deal(&limits).is_ok() {
                        break;
                    }
                    limits.pop();
                }
            }
        }
        limits.sort_by_key(Limit::groups);
        deal(&limits)
    }

    /// How each demand is kept; none if one is not.
    pub(super) fn prove(&self, places: &[usize]) -> Option<Vec<(Demand, Proof)>> {
        self.on(places, |spread| {
            let proof = |demand: &Demand| Some((demand.clone(), spread.survives(demand)?));
            self.survive.iter().map(proof).collect()
        })
    }

    /// Exchanges data for parity between what a fatal loss takes and what it leaves, as long as fewer losses are fatal
    /// for it. Where the threshold is an estimate there may be losses that leave so many blocks and not the file.
    pub(super) fn mend(&self, places: &mut [usize]) {
        let data = self.blocks.codec.profile().data();
        let mut worst = self.worst(places);
        for attempt in 0..EXCHANGES_MAX {
            let Some((fatal, lost)) = &worst else { return };
            let (lost, left): (Vec<usize>, Vec<usize>) =
                (0..places.len()).partition(|&block| lost.contains(&places[block]));
            let wants_data = attempt % 2 == 1;
            let one: Vec<usize> = lost.into_iter().filter(|&block| (block < data) != wants_data).collect();
            let other: Vec<usize> = left.into_iter().filter(|&block| (block < data) == wants_data).collect();
            if one.is_empty() || other.is_empty() {
                continue;
            }
            let pair = (one[attempt / 2 % one.len()], other[attempt / 2 % other.len()]);
            places.swap(pair.0, pair.1);
            let now = self.worst(places);
            match &now {
                Some((still, _)) if still >= fatal => places.swap(pair.0, pair.1),
                _ => worst = now,
            }
        }
    }

    /// How many losses within the demands are fatal, and the stores of one; none if none is, or they cannot be tried.
    fn worst(&self, places: &[usize]) -> Option<(usize, Vec<usize>)> {
        self.on(places, |spread| {
            let losses = self.survive.iter().filter_map(|demand| Some((demand, spread.losses_of(demand)?)));
            let fatal: Vec<_> = losses.filter(|(_, losses)| losses.fatal > 0).collect();
            let (demand, example) = fatal.first().map(|(demand, losses)| (demand, &losses.example))?;
            let domains = Domains::of_label(&demand.label, spread.labels);
            let lost = (0..self.stores.len()).filter(|&store| example.contains(&domains.of[store]));
            Some((fatal.iter().map(|(_, losses)| losses.fatal).sum(), lost.collect()))
        })
    }

    /// What is said of the blocks where they are.
    fn on<T>(&self, places: &[usize], then: impl FnOnce(&Spread) -> T) -> T {
        let Blocks { codec, empty, .. } = self.blocks;
        Spread::of_places(codec, empty, places.iter().copied(), &self.labels(), then)
    }

    pub(super) fn labels(&self) -> Vec<Labels> {
        self.stores.iter().map(Facts::all_labels).collect()
    }

    /// Bytes a second; a store that often fails counts as slower.
    fn rates(&self) -> Vec<f64> {
        let rate =
            |store: &Facts| Some(store.rate()? * (1.0 - store.measured.error_ratio(self.now)).max(0.01));
        let rates: Vec<Option<f64>> = self.stores.iter().map(rate).collect();
        let mut known: Vec<f64> = rates.iter().flatten().copied().collect();
        known.sort_unstable_by(f64::total_cmp);
        let middle = known.get(known.len() / 2).copied().unwrap_or(1.0);
        rates.into_iter().map(|rate| rate.unwrap_or(middle)).collect()
    }
}

/// Gives the blocks to the stores in turn, to each as often as it is to have some, so that all get of data and of parity
/// in proportion.
fn deal(counts: &[usize]) -> Vec<usize> {
    let mut dealt = vec![0; counts.len()];
    let blocks = counts.iter().sum();
    let next = |_| {
        // Half a block more than it has, as a share of what it is to have.
        let open = (0..counts.len()).filter(|&store| dealt[store] < counts[store]);
        let share = |a: &usize, b: &usize| {
            ((2 * dealt[*a] + 1) * counts[*b]).cmp(&((2 * dealt[*b] + 1) * counts[*a]))
        };
        let store = open.min_by(share).expect("as many are dealt as are counted");
        dealt[store] += 1;
        store
    };
    (0..blocks).map(next).collect()
}

/// The labels that have several domains, those with the fewest first, and the stores themselves.
pub(crate) fn widest_first(labels: &[Labels]) -> Vec<String> {
    let all: BTreeSet<&str> = labels.iter().flat_map(|labels| labels.keys().map(String::as_str)).collect();
    let count = |label: &&str| Domains::of_label(label, labels).count;
    let mut several: Vec<&str> = all.into_iter().chain([STORE]).filter(|label| count(label) > 1).collect();
    several.sort_by_key(count);
    several.into_iter().map(str::to_owned).collect()
}

/// Exchanges worth trying, each with all losses tried anew.
const EXCHANGES_MAX: usize = 64;
