//! What goes wrong, and how often it really did.

use std::fmt;
use std::time::Duration;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// Faults, and how programs meet them. A fault counts when something met it, not when it was merely planned.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Kind { $($(#[$doc])* $kind,)* }

        pub(super) const KINDS: &[Kind] = &[$(Kind::$kind,)*];
    };
}

kinds! {
    /// A request, or the answer to what was done, got lost.
    Dropped,
    Delayed,
    /// A request overtook one that was sent before it.
    Reordered,
    /// A request came twice; a commit that was done is answered with `Exists`.
    Duplicated,
    /// Bits flipped on the way.
    FlippedOnTheWay,
    /// Bits flipped in what was stored.
    FlippedAtRest,
    Truncated,
    /// A store was cut off for a while.
    Partitioned,
    /// A store was cut off, or went down, and never came back.
    LostForGood,
    /// Stores stopped one after the other and went on in another order.
    Clogged,
    /// A store went down with everything that was not durable.
    Crashed,
    /// It did so in the middle of a commit.
    Torn,
    Full,
    SlowDisk,
    /// A store took requests and did nothing for a while.
    Stalled,
    /// It never did anything again.
    StalledForEver,
    /// The wall clock jumped between a measurement and the backup.
    ClockJumped,
    /// A store gave other bytes than it was given.
    LiedBytes,
    /// A store gave the bytes of another block.
    LiedBlock,
    /// A store said that it stored what it did not.
    LiedStored,
    /// A store denied what it has.
    LiedMissing,
    /// A store gave a manifest that it made up.
    LiedManifest,
    /// The program itself was killed in mid backup.
    BackupKilled,
    /// The program itself was killed in mid restore.
    RestoreKilled,
    /// And what it had written was not what came.
    StagedLost,
    /// The source was changed while it was read.
    SourceChanged,
    /// Met by going on with a backup that was cut off.
    Resumed,
    /// Met by giving blocks to other stores.
    MovedBlocks,
    /// Met by taking blocks from stores that hold up all others.
    TookBlocks,
    /// Met by not waiting any longer for a store.
    GaveUp,
    /// Met by taking back what was stored.
    TookBack,
    /// Met by reading on from another store.
    ReadOn,
    /// Met by reading a block from several stores at once.
    ReadInParts,
    /// Met by reading a block once more, as what came of it did not match.
    ReadAnew,
    /// Met by going on with what a killed restore had read.
    WentOn,
}

/// How often each kind occurred.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tally([u64; KINDS.len()]);

impl Tally {
    pub(super) const NONE: Self = Self([0; KINDS.len()]);

    pub(super) fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KINDS.iter().try_for_each(|&kind| writeln!(f, "{:10} {kind:?}", self.of(kind)))
    }
}

/// What befalls a store at some time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Strike {
    /// It is down for so long, and forgets what was not durable.
    Crash(Duration),
    /// Nothing reaches it for so long.
    Partition(Duration),
    /// It does nothing for so long.
    Stall(Duration),
    /// As a stall, one of several stores in turn.
    Clog(Duration),
    /// It is slower by this factor for so long.
    Slow(f64, Duration),
    /// Somebody else took all the room.
    Fill,
    /// A bit of something stored flips.
    Flip,
}

/// A strike without end.
pub(super) const FOR_EVER: Duration = Duration::MAX;

/// How likely what is the fate of each call, until it clears up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Weather {
    pub(super) until: Duration,
    pub(super) drops: f64,
    pub(super) delays: f64,
    pub(super) duplicates: f64,
    pub(super) truncates: f64,
    pub(super) flips: f64,
}

impl Weather {
    pub(super) const FAIR: Self =
        Self { until: Duration::ZERO, drops: 0.0, delays: 0.0, duplicates: 0.0, truncates: 0.0, flips: 0.0 };
}
