//! Mistakes that a simulation has to find: a verdict that nothing can break would prove nothing.

/// A way in which a program could get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mistake {
    /// Takes a block for durable when its commit is sent.
    AcknowledgesEarly,
    /// Takes a commit that failed for done.
    SwallowsErrors,
    /// Promises what was planned, whatever was stored.
    ClaimsThePlan,
    /// Does not take back what a refused backup stored.
    LeavesRemains,
    /// Never lets the source wait for a store.
    QueuesWithoutBound,
    /// Has no deadlines.
    WaitsForEver,
    /// Takes a manifest for the backup's without asking the other stores.
    TrustsTheFirstManifest,
    /// Does not compare blocks with their hashes.
    SkipsBlockHashes,
    /// Compares nothing with any hash.
    SkipsAllHashes,
}

pub(super) const MISTAKES: [Mistake; 9] = [
    Mistake::AcknowledgesEarly,
    Mistake::SwallowsErrors,
    Mistake::ClaimsThePlan,
    Mistake::LeavesRemains,
    Mistake::QueuesWithoutBound,
    Mistake::WaitsForEver,
    Mistake::TrustsTheFirstManifest,
    Mistake::SkipsBlockHashes,
    Mistake::SkipsAllHashes,
];
