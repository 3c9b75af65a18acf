//! What a repair is to come to, besides good blocks.

use tanner_kernels::BlockSet;

use super::Repair;
use crate::fetch::{Damage, DamageKind, Found};
use crate::margins::{labels_of, margins_of, placed};
use crate::scheduler::{Demand, STORE, Spread};
use crate::verify::Health;

impl Repair {
    /// What is to be done: as if the store that is left had nothing.
    pub(super) fn without_leaving(&self, health: Health) -> Health {
        let Some(leaving) = self.leaving else { return health };
        let (mut held, url) = (health.held, self.found.stores[leaving].url());
        held[leaving] = BlockSet::none(health.good.blocks());
        let mut damages = health.damages;
        damages.retain(|damage| damage.store.as_deref() != Some(url));
        let mut known = self.found.live_of(&held);
        damages.iter().for_each(|damage| known.insert(damage.block));
        let alone = (0..known.blocks()).filter(|&block| !known.contains(block));
        damages.extend(alone.map(|block| Damage { block, store: None, kind: DamageKind::Missing }));
        damages.sort_by_key(|damage| damage.block);
        Health::of(&self.found, held, damages)
    }
}

/// What is to be survived and is not; if nothing is demanded, what was survived as the blocks were placed, as far as the
/// manifest says so.
pub(crate) fn broken(found: &Found, survive: &[Demand], health: &Health) -> Vec<Demand> {
    let labels = labels_of(found);
    if !survive.is_empty() {
        let empty = found.manifest.geometry.empty_blocks();
        let spread = Spread {
            codec: &found.codec,
            always: &empty,
            held: &health.held,
            has_manifest: &found.has_manifest,
            labels: &labels,
        };
        let is_kept = |demand: &Demand| spread.survives(&demand.of_labels(&labels)?);
        return survive.iter().filter(|demand| is_kept(demand).is_none()).cloned().collect();
    }
    let Some(placed) = placed(found) else { return Vec::new() };
    let now = margins_of(found, &health.held, &found.has_manifest, &labels);
    let now_of = |label: &str| now.iter().find(|margin| margin.domains.label == label)?.survivable;
    let by_label = placed.margins.iter().map(|margin| {
        let label = margin.domains.label.as_str();
        (label, margin.survivable, now_of(label))
    });
    let by_store = (STORE, placed.stores_survivable, health.stores_survivable);
    let less = by_label.chain([by_store]).filter(|(_, placed, now)| placed > now);
    let demand = |(label, placed, _): (&str, Option<usize>, _)| {
        Some(Demand { losses: placed.filter(|&losses| losses > 0)?, label: label.to_owned() })
    };
    less.filter_map(demand).collect()
}
