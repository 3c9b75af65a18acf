//! How a pass gets on, from one look at its stores to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scheduler::moving::{Load, excess};

/// What is seen of a pass.
pub(crate) struct Seen<'a> {
    /// For how long it waited for stores since it began.
    pub(crate) waited: Duration,
    /// For how long it has been waiting for the same store.
    pub(crate) stalled: Duration,
    /// The share of the source that is still to come.
    pub(crate) left: f64,
    /// For how long the store of a block has been writing it.
    pub(crate) busy: &'a dyn Fn(usize) -> Duration,
}

/// The time since stores were judged last.
#[derive(Default)]
pub(super) struct Window {
    pass_began: Duration,
    began: Duration,
    /// How long the pass had waited, and each block been written, when it began.
    waited: Duration,
    busy: BTreeMap<usize, Duration>,
}

impl Window {
    /// The first one of a pass.
    pub(super) fn new(now: Duration) -> Self {
        Self { pass_began: now, began: now, ..Self::default() }
    }

    /// For how long the pass has been going on.
    pub(super) fn lasted(&self, now: Duration) -> Duration {
        now.saturating_sub(self.pass_began)
    }

    /// Whether it is long enough to judge by.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= SPAN_LEAST.max(self.lasted(now) / SPANS)
    }

    /// Which stores have too many of the blocks that are written, and how many too many. Begins the next window.
    pub(super) fn excess(
        &mut self,
        now: Duration,
        seen: &Seen,
        streams: &[(usize, usize)],
        stores: usize,
    ) -> Vec<(usize, usize)> {
        let span = now.saturating_sub(self.began);
        let share = |part: Duration| part.div_duration_f64(span).min(1.0);
        let mut loads = vec![Load { blocks: 0, busy: 0.0 }; stores];
        let mut busy_now = BTreeMap::new();
        for &(block, store) in streams {
            let busy = (seen.busy)(block);
            let before = self.busy.get(&block).copied().unwrap_or_default();
            let load = &mut loads[store];
            load.blocks += 1;
            load.busy = load.busy.max(share(busy.saturating_sub(before)));
            busy_now.insert(block, busy);
        }
        let pass_busy = 1.0 - share(seen.waited.saturating_sub(self.waited));
        *self = Self { pass_began: self.pass_began, began: now, waited: seen.waited, busy: busy_now };
        excess(&loads, pass_busy, seen.left)
    }
}

/// The shortest time to judge a store by: longer than most pauses of a disk that is well.
const SPAN_LEAST: Duration = Duration::from_millis(250);
/// Long passes are judged by longer spans: this part of them.
const SPANS: u32 = 20;
