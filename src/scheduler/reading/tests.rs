//! Readings from stores of all kinds, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tanner_kernels::BlockSet;

use super::sim::{BLOCK, Kind, NEVER, Sim, ms};
use super::{Action, CUT_BYTES, Reading, State};
use crate::scheduler::Facts;

#[test]
fn honest_stores_give_the_data_blocks_and_nothing_else_is_read() {
    let outcome = Sim::new(10, 5, 5).restores();
    assert!(outcome.asked.iter().all(|&(block, _)| block < 10) && outcome.asked.len() == 10);
    assert_eq!((outcome.slow, outcome.blocks.len()), (vec![], 10));
}

/// One that stalls at once, midway, or for the last piece.
#[test]
fn a_store_that_stalls_is_not_waited_for() {
    let honest = Sim::new(10, 5, 5).run().took;
    for from in [0, 100, 300, 490] {
        let mut sim = Sim::new(10, 5, 5);
        sim.stores[2].stalls = ms(from)..NEVER;
        let outcome = sim.restores();
        // The stall is noticed after a quarter of a second, and two blocks are read besides.
        assert!(outcome.took < honest + ms(1_400), "{from}: {:?} and honestly {honest:?}", outcome.took);
        assert_eq!(outcome.slow, [2], "{from}");
    }
}

/// With many blocks a stalled store costs the time of its share of them, not its stall.
#[test]
fn a_long_restore_past_a_stalled_store_takes_hardly_longer() {
    let honest = Sim::new(40, 20, 5).run().took;
    let mut sim = Sim::new(40, 20, 5);
    sim.stores[0].stalls = ms(0)..NEVER;
    let took = sim.restores().took;
    assert!(took.as_secs_f64() < 1.3 * honest.as_secs_f64(), "{took:?} and honestly {honest:?}");
}

#[test]
fn a_store_that_is_much_slower_than_the_rest_is_not_waited_for() {
    let honest = Sim::new(40, 20, 5).run().took;
    let mut sim = Sim::new(40, 20, 5);
    sim.stores[1].rate = 200_000;
    let outcome = sim.restores();
    assert!(outcome.took.as_secs_f64() < 1.3 * honest.as_secs_f64(), "{:?} of {honest:?}", outcome.took);
    assert_eq!(outcome.slow, [1]);
}

/// Hedging where all are alike would read everything twice.
#[test]
fn stores_that_are_all_slow_are_waited_for() {
    let mut sim = Sim::new(10, 5, 5);
    sim.stores.iter_mut().for_each(|kind| (kind.rate, kind.latency) = (100_000, ms(900)));
    let outcome = sim.restores();
    assert_eq!((outcome.asked.len(), outcome.slow), (10, vec![]));
    // As are those that all stall for a while.
    let mut sim = Sim::new(10, 5, 5);
    sim.stores.iter_mut().for_each(|kind| kind.stalls = ms(100)..ms(20_000));
    let outcome = sim.restores();
    assert_eq!((outcome.asked.len(), outcome.slow), (10, vec![]));
}

#[test]
fn the_first_store_to_answer_does_not_make_all_others_slow() {
    let mut sim = Sim::new(10, 5, 5);
    sim.stores[1..].iter_mut().for_each(|kind| kind.latency = ms(700));
    let outcome = sim.restores();
    assert_eq!((outcome.asked.len(), outcome.slow), (10, vec![]));
}

#[test]
fn one_store_alone_is_waited_for() {
    let mut sim = Sim::new(10, 5, 1);
    sim.stores[0].stalls = ms(100)..ms(25_000);
    assert_eq!(sim.restores().asked.len(), 10);
}

#[test]
fn a_dead_store_costs_no_more_than_its_blocks() {
    for dies in [0, 200] {
        let mut sim = Sim::new(10, 5, 5);
        sim.stores[3].dies = ms(dies);
        let outcome = sim.restores();
        assert!(outcome.took < ms(1_200), "{outcome:?}");
        assert!(outcome.asked.len() <= 12, "{outcome:?}");
    }
}

/// Its blocks are read to their ends before anybody knows; but not all of them.
#[test]
fn a_store_that_lies_is_soon_asked_last() {
    let mut sim = Sim::new(40, 20, 5);
    sim.stores[4].lies = Some(1);
    let outcome = sim.restores();
    let of_liar = outcome.asked.iter().filter(|&&(_, store)| store == 4).count();
    assert!(of_liar <= 4, "{of_liar}");
    assert!(outcome.blocks.iter().all(|block| block % 5 != 4));
}

#[test]
fn a_copy_elsewhere_is_better_than_parity() {
    let mut sim = Sim::new(4, 4, 4);
    sim.stores[1].listed.insert(0);
    sim.stores[0].stalls = ms(0)..NEVER;
    let outcome = sim.restores();
    assert!(outcome.asked.contains(&(0, 1)), "{outcome:?}");
    assert_eq!(outcome.blocks.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// A block of which the rest comes from elsewhere is not read twice.
#[test]
fn another_copy_goes_on_where_a_store_stalled_or_died() {
    for spoil in [|kind: &mut Kind| kind.stalls = ms(300)..NEVER, |kind: &mut Kind| kind.dies = ms(300)] {
        let mut sim = Sim::with_copies(4, 2, 4);
        spoil(&mut sim.stores[1]);
        let outcome = sim.restores();
        let bytes: u64 = outcome.bytes.iter().sum();
        assert!(bytes < 4 * BLOCK + 4 * CUT_BYTES, "{bytes} bytes: {outcome:?}");
        assert!(outcome.blocks.iter().eq(0..4) && outcome.bytes[1] > BLOCK / 2, "{outcome:?}");
    }
}

/// Stores that are done would look on while the slowest gives the last block.
#[test]
fn stores_that_have_nothing_to_do_share_the_rest_of_a_slow_ones_block() {
    let mut sim = Sim::new(1, 1, 4);
    sim.stores.iter_mut().for_each(|kind| (kind.rate, kind.listed) = (1_000_000, sim_block(0)));
    let outcome = sim.restores();
    // Ten seconds by one store, two and a half by all four if they knew it from the begin.
    assert!(outcome.took < ms(4_500), "{outcome:?}");
    assert!(outcome.bytes.iter().all(|&bytes| bytes > BLOCK / 10), "{outcome:?}");
    assert_eq!(outcome.slow, [] as [usize; 0]);
}

fn sim_block(block: usize) -> BlockSet {
    let mut blocks = BlockSet::none(2);
    blocks.insert(block);
    blocks
}

#[test]
fn with_two_copies_of_each_block_a_slow_store_costs_its_share_and_not_its_time() {
    let honest = Sim::with_copies(40, 20, 5).restores().took;
    let mut sim = Sim::with_copies(40, 20, 5);
    sim.stores[1].rate /= 10;
    let outcome = sim.restores();
    assert!(outcome.took.as_secs_f64() < 1.25 * honest.as_secs_f64(), "{:?} of {honest:?}", outcome.took);
}

/// A part of a block cannot be checked by itself, so nobody knows at first who lied.
#[test]
fn parts_that_do_not_match_are_read_anew_from_one_store_at_a_time() {
    let mut sim = Sim::new(1, 1, 2);
    sim.stores.iter_mut().for_each(|kind| (kind.rate, kind.listed) = (1_000_000, sim_block(0)));
    let honest = sim.restores();
    assert!(honest.bytes.iter().all(|&bytes| bytes > BLOCK / 4), "not shared: {honest:?}");
    for liar in 0..2 {
        let mut sim = Sim { stores: sim.stores.clone(), codec: Arc::clone(&sim.codec), kept: 0 };
        sim.stores[liar].lies = Some(1);
        let outcome = sim.restores();
        assert!(outcome.liars.iter().all(|&store| store == liar), "{outcome:?}");
    }
}

/// The hedged block was once counted as one that all others have to be read before.
#[test]
fn a_block_that_was_hedged_keeps_no_other_slow_block_from_being_hedged() {
    let mut sim = Sim::new(2, 4, 3);
    sim.stores[0].rate = 50_000;
    sim.stores[1].rate = 100_000;
    sim.stores[0].stalls = ms(500)..ms(20_000);
    let outcome = sim.restores();
    assert!(outcome.took < ms(8_000), "{outcome:?}");
}

#[test]
fn what_an_earlier_restore_left_is_not_read_again() {
    let mut sim = Sim::new(10, 5, 5);
    sim.kept = 9_000_000;
    let bytes: u64 = sim.restores().bytes.iter().sum();
    assert_eq!(bytes, 10 * 1_000_000);
}

/// Half of a restore may be over before a drip has shown itself; what was measured before is known at once.
#[test]
fn a_store_that_was_much_slower_than_the_rest_is_not_asked() {
    let mut sim = Sim::new(10, 5, 5);
    for (store, kind) in sim.stores.iter_mut().enumerate() {
        kind.facts.limit = Some(if store == 1 { 1_000 } else { 1_000_000 });
    }
    let outcome = sim.restores();
    assert!(outcome.asked.iter().all(|&(_, store)| store != 1), "{outcome:?}");
    // Unless it has to be.
    sim.stores[0].listed = BlockSet::none(15);
    sim.stores[2].listed.remove(2);
    assert!(sim.restores().asked.iter().any(|&(_, store)| store == 1));
}

/// All that are asked stall, and nobody moves: those that have nothing to do are asked.
#[test]
fn stores_that_have_nothing_to_do_are_asked_when_all_others_stall() {
    let mut sim = Sim::new(3, 3, 3);
    let idle = sim.stores.clone();
    sim.stores.iter_mut().for_each(|kind| kind.stalls = ms(0)..NEVER);
    sim.stores.extend(idle);
    let outcome = sim.restores();
    assert!(outcome.took < ms(15_000), "{outcome:?}");
}

#[test]
fn of_two_copies_the_cheaper_is_read_and_then_the_one_of_higher_priority_and_then_the_faster() {
    let facts: [fn(&mut Facts, &mut Facts); 3] = [
        |a, b| (a.cost, b.cost, a.priority) = (2.0, 1.0, 9),
        |a, b| (a.priority, b.priority) = (-1, 0),
        |a, b| (a.limit, b.limit) = (Some(1_000), Some(1_000_000)),
    ];
    for set in facts {
        let mut sim = Sim::new(1, 1, 2);
        let [one, other] = &mut sim.stores[..] else { panic!("two stores") };
        other.listed.insert(0);
        set(&mut one.facts, &mut other.facts);
        assert_eq!(sim.restores().asked, [(0, 1)]);
    }
}

/// Any k + 1 restore, not any k: what is needed is asked of the code.
#[test]
fn a_code_that_needs_more_than_k_gets_more() {
    for lost in 0..4 {
        let mut sim = Sim::new(12, 12, 6);
        (0..6).for_each(|store| (0..lost * 4).for_each(|block| sim.stores[store].listed.remove(block % 12)));
        let outcome = sim.run();
        let mut left = BlockSet::none(24);
        sim.stores.iter().for_each(|kind| left.insert_all(&kind.listed));
        let is_possible = sim.codec.recoverable(&left).is_some();
        assert_eq!(outcome.state == State::Done, is_possible, "{lost}: {outcome:?}");
    }
}

/// Hours of reading that end in nothing are worse than a word at once.
#[test]
fn too_few_blocks_are_said_at_once() {
    let mut sim = Sim::new(10, 5, 5);
    sim.stores[0].listed = BlockSet::none(15);
    sim.stores[1].listed = BlockSet::none(15);
    let outcome = sim.run();
    assert_eq!((outcome.state, outcome.took, outcome.asked), (State::Impossible, Duration::ZERO, vec![]));
    // And as soon as all that is left was asked for.
    let mut sim = Sim::new(10, 5, 5);
    (0..2).for_each(|store| sim.stores[store].dies = ms(100));
    let outcome = sim.run();
    assert!(outcome.state == State::Impossible && outcome.took < ms(1_000), "{outcome:?}");
    // Whatever else ends at the same time, the number of blocks that may be good is the one that was too small.
    assert_eq!(outcome.possible, 9);
}

/// Copies on two stores whose pieces are small and seldom: a restore would begin with one, then the other, for ever. Or
/// always with the cheaper one, in whose stead the other was to go on.
#[test]
fn a_block_is_not_handed_to_and_fro_between_two_slow_stores() {
    for (gaps, known_rate) in [([ms(700); 2], None), ([ms(7_000), ms(10_000)], Some(1e6))] {
        let mut sim = Sim::with_copies(1, 1, 2);
        if let Some(rate) = known_rate {
            sim.stores[1].facts.cost = 1.0;
            sim.stores[1].facts.measured.observe_bytes(0.0, rate as u64, 1.0);
        }
        seldom(&sim, gaps);
    }
}

/// A restore from two stores of which pieces come so seldom.
fn seldom(sim: &Sim, gaps: [Duration; 2]) {
    let stores = sim.stores.iter().map(|kind| (kind.facts.clone(), kind.listed.clone()));
    let (piece, whole) = (CUT_BYTES / 4, CUT_BYTES);
    let mut reading = Reading::new(Arc::clone(&sim.codec), [(whole, 0); 2], BlockSet::none(2), stores);
    let mut active: BTreeMap<usize, (usize, usize, u64, Duration)> = BTreeMap::new();
    let mut now = Duration::ZERO;
    while reading.state() == State::Going {
        for action in reading.next(now) {
            match action {
                Action::Begin { fetch, block, store, .. } => {
                    active.insert(fetch, (block, store, 0, now + gaps[store]));
                }
                Action::Cancel { fetch } => {
                    active.remove(&fetch);
                    reading.ended(now, fetch, 0, None);
                }
                Action::Forget { .. } => {}
            }
        }
        for (fetch, (block, store, bytes, next)) in std::mem::take(&mut active) {
            if now < next {
                active.insert(fetch, (block, store, bytes, next));
                continue;
            }
            reading.came(now, fetch, piece);
            reading.waits(now, fetch);
            if bytes + piece < whole {
                active.insert(fetch, (block, store, bytes + piece, now + gaps[store]));
            } else if reading.ended(now, fetch, whole, None) {
                reading.checked(block, true);
            }
        }
        now += ms(50);
        assert!(now < ms(300_000), "{gaps:?}: it never ends");
    }
    assert_eq!(reading.state(), State::Done);
}

/// Whatever stores do, a reading ends, with blocks enough or with the proof that there are too few.
#[test]
fn every_reading_ends_right() {
    let seeds = match std::env::var("TANNER_READING_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).unwrap(),
        Err(_) => 0..400,
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| random(seed));
        assert!(
            run.is_ok(),
            "replay: TANNER_READING_SEED={seed} cargo test -p tanner --lib every_reading_ends_right"
        );
    }
}

fn random(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut dice = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let (k, m) = [(1, 1), (3, 2), (10, 5), (12, 12)][dice(4) as usize];
    let mut sim = Sim::new(k, m, 1 + dice(6) as usize);
    let count = sim.stores.len() as u64;
    for block in 0..(k + m) as usize {
        if dice(4) == 0 {
            sim.stores[dice(count) as usize].listed.insert(block);
        }
    }
    for kind in &mut sim.stores {
        kind.latency = ms(dice(800));
        kind.rate = 20_000_000 / (1 + dice(30));
        let (from, to) = (dice(3_000), dice(60_000));
        match dice(6) {
            0 => kind.stalls = ms(from)..ms(from + to),
            1 => kind.stalls = ms(from)..NEVER,
            2 => kind.dies = ms(from),
            3 => kind.lies = Some(1 + dice(5) as usize),
            _ => {}
        }
    }
    let outcome = sim.run();
    // If what no fault spoils is enough, nothing else can keep the file away.
    let mut sure = BlockSet::none((k + m) as usize);
    for kind in &sim.stores {
        let is_gone = kind.dies < NEVER || (kind.stalls.start < NEVER && kind.stalls.end > ms(30_000));
        let good = kind.listed.iter().filter(|&block| !is_gone && !kind.is_wrong(block));
        good.for_each(|block| sure.insert(block));
    }
    if sim.codec.recoverable(&sure).is_some() {
        assert_eq!(outcome.state, State::Done, "seed {seed}: {outcome:?}");
    }
    match outcome.state {
        State::Done => assert!(sim.codec.recoverable(&outcome.blocks).is_some()),
        state => assert_eq!(state, State::Impossible),
    }
    let is_true = |block: usize| {
        outcome.asked.iter().any(|&(asked, store)| asked == block && !sim.stores[store].is_wrong(block))
    };
    assert!(outcome.blocks.iter().all(is_true), "seed {seed}: {outcome:?}");
}
