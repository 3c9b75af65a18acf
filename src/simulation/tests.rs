//! Many worlds, and worlds in which something is wrong with the program.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;

use super::faults::{KINDS, Tally};
use super::mistakes::{MISTAKES, Mistake};
use super::verdict::{Ended, play};
use super::world::{Codecs, World};

/// What came of one seed.
struct Played {
    ended: Result<Ended, String>,
    tally: Tally,
    trace: Vec<String>,
}

fn played(seed: u64, mistake: Option<Mistake>, codecs: &mut Codecs, is_traced: bool) -> Played {
    let mut world = World::new(seed, codecs);
    let mut net = world.net(is_traced);
    let ended = catch_unwind(AssertUnwindSafe(|| play(&mut world, &mut net, mistake)));
    let ended = ended.unwrap_or_else(|_| Err("it panicked".into()));
    Played { ended, tally: net.tally.clone(), trace: net.trace() }
}

/// The seeds to play: those of the environment, or what is enough to find every planted mistake.
fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var(SEEDS) else { return 0..SEEDS_DEFAULT };
    let parsed = seeds.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("{SEEDS}={seeds}: wanted FROM..TO"))
}

/// What came of many.
struct Sum {
    ends: BTreeMap<Ended, u64>,
    tally: Tally,
    wrong: Vec<(u64, String)>,
}

impl Sum {
    const NONE: Self = Self { ends: BTreeMap::new(), tally: Tally::NONE, wrong: Vec::new() };

    fn with(mut self, seed: u64, Played { ended, tally, .. }: Played) -> Self {
        self.tally.add(&tally);
        match ended {
            Ok(ended) => *self.ends.entry(ended).or_default() += 1,
            Err(why) => self.wrong.push((seed, why)),
        }
        self
    }

    fn and(mut self, other: Self) -> Self {
        self.tally.add(&other.tally);
        other.ends.into_iter().for_each(|(ended, count)| *self.ends.entry(ended).or_default() += count);
        self.wrong.extend(other.wrong);
        self
    }
}

/// The first seed found to go wrong, if any does.
fn first_wrong(mistake: Mistake) -> Option<(u64, String)> {
    let why =
        |codecs: &mut Codecs, seed| Some((seed, played(seed, Some(mistake), codecs, false).ended.err()?));
    (0..SEEDS_DEFAULT).into_par_iter().map_init(Codecs::new, why).find_map_any(|wrong| wrong)
}

/// Whoever's program is killed, cut off or lied to would lose a file, get wrong bytes or wait for ever.
#[test]
fn acknowledged_is_restorable_and_nothing_else_is_given_out_whatever_befalls() {
    let seeds = seeds();
    let results = seeds
        .clone()
        .into_par_iter()
        .map_init(Codecs::new, |codecs, seed| (seed, played(seed, None, codecs, false)));
    let Sum { ends, tally, wrong } = results
        .fold(|| Sum::NONE, |sum, (seed, played)| sum.with(seed, played))
        .reduce(|| Sum::NONE, Sum::and);
    if let Some((seed, why)) = wrong.first() {
        let trace = played(*seed, None, &mut Codecs::new(), true).trace.join("\n");
        let (others, next) = (wrong[1..].iter().take(20).collect::<Vec<_>>(), seed + 1);
        panic!(
            "{trace}\nseed {seed}: {why}\n{} of {seeds:?} go wrong, others are {others:?}\n\
             again: {SEEDS}={seed}..{next} cargo test --lib simulation::tests::acknowledged",
            wrong.len(),
        );
    }
    println!("{seeds:?}: {ends:?}\n{tally}");
    if seeds == (0..SEEDS_DEFAULT) {
        KINDS.iter().for_each(|&kind| assert!(tally.of(kind) > 0, "{kind:?} never occurred:\n{tally}"));
        assert_eq!(ends.len(), 8, "{ends:?}");
    }
}

/// A failure that does not come again cannot be mended.
#[test]
fn a_seed_is_the_same_world_every_time() {
    let mut lines = 0;
    for seed in 0..20 {
        let [one, other] = [(); 2].map(|()| played(seed, None, &mut Codecs::new(), true));
        lines += one.trace.len();
        assert_eq!((one.trace, one.ended), (other.trace, other.ended), "seed {seed}");
    }
    assert!(lines > 1000, "{lines} lines of trace");
}

/// A simulation that finds nothing in a program that is wrong finds nothing in one that is right, either.
#[test]
fn mistakes_that_are_planted_are_found() {
    for mistake in MISTAKES {
        let found = first_wrong(mistake);
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found in {SEEDS_DEFAULT} seeds");
    }
}

const SEEDS: &str = "TANNER_SIMULATION_SEEDS";
const SEEDS_DEFAULT: u64 = 5000;
