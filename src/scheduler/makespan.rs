//! How long a backup takes on stores of unlike speed, in virtual time: with the real decisions of [`excess`] and [`Homes`],
//! without them, and at best. The table is in `makespan.md`.

use std::fmt::Write;
use std::sync::Arc;

use tanner_kernels::{BlockSet, Codec, Profile};

use super::moving::{Homes, Load, excess};
use super::{Blocks, Facts, Placed};

/// Ten data and five parity blocks on stores of these speeds, in blocks a second of which a pass can make one.
struct Case {
    name: &'static str,
    rates: Vec<f64>,
    /// A store that fails when so many seconds have passed.
    dies: Option<(usize, f64)>,
}

/// Seconds of a pass that no store holds up.
const PASS: f64 = 20.0;
const BLOCKS: usize = 15;

fn cases() -> Vec<Case> {
    let case = |name, rates: &[f64]| Case {
        name,
        rates: rates.iter().map(|rate| rate / PASS).collect(),
        dies: None,
    };
    let mut cases = vec![
        case("5 equal", &[1.5; 5]),
        case("5 equal, faster than the pass", &[9.0; 5]),
        case("15 equal", &[0.4; 15]),
        case("5, ± 20 %", &[1.2, 1.35, 1.5, 1.65, 1.8]),
        case("5, one of 1/3", &[3.0, 3.0, 3.0, 3.0, 1.0]),
        case("5, one of 1/10", &[3.0, 3.0, 3.0, 3.0, 0.3]),
        case("5, one of 1/100", &[3.0, 3.0, 3.0, 3.0, 0.03]),
        case("8, two of 1/10", &[3.0, 0.3, 3.0, 3.0, 3.0, 0.3, 3.0, 3.0]),
        case("8, from 1 to 1/100", &[3.0, 2.0, 3.0, 3.0, 0.3, 0.1, 0.06, 0.03]),
        case("15, three of 1/100", &[1.0, 0.01].repeat(3).into_iter().chain([1.0; 9]).collect::<Vec<_>>()),
        case("5, one dies half-way", &[3.0; 5]),
    ];
    cases.last_mut().expect("there are some").dies = Some((2, PASS / 2.0));
    cases
}

fn homes(stores: usize) -> Homes {
    let codec = Arc::new(Codec::new(Profile::for_source(10, 5, 1 << 30).expect("a shape that is screened")));
    let blocks = Blocks { codec, empty: BlockSet::none(BLOCKS), block_bytes: 1 };
    let facts: Vec<Facts> = (0..stores).map(|store| Facts::of(&format!("memory:{store}"))).collect();
    let places = (0..BLOCKS).map(|block| block % stores).collect();
    Homes::new(&blocks, &facts, &Placed { places, why: Vec::new(), kept: Vec::new() })
}

/// Seconds until all blocks are stored; without decisions a store that fails keeps them from being so.
fn seconds(case: &Case, decides: bool) -> Option<f64> {
    let mut homes = homes(case.rates.len());
    let (mut now, mut wanted) = (0.0, (0..BLOCKS).collect::<Vec<_>>());
    while !wanted.is_empty() {
        let (mut left, began, mut lost) = (1.0, now, Vec::new());
        let mut promised = homes.clone();
        while left > 0.0 {
            let count = |store| wanted.iter().filter(|&&block| homes.of[block] == store).count();
            let counts: Vec<usize> = (0..case.rates.len()).map(count).collect();
            let paces = counts.iter().zip(&case.rates).map(|(&blocks, rate)| rate / blocks as f64);
            let pace = paces.fold(1.0 / PASS, f64::min);
            let span = f64::max(0.25, (now - began) / 20.0).min(left / pace);
            (now, left) = (now + span, (left - span * pace).max(0.0));
            if left < 1e-9 {
                break;
            }
            let dead = case.dies.filter(|&(_, at)| now >= at).map(|(store, _)| store);
            if let Some(dead) = dead.filter(|&store| counts[store] > 0) {
                homes.takes_more[dead] = false;
                let (gone, rest) = wanted.into_iter().partition(|&block| homes.of[block] == dead);
                (wanted, lost) = (rest, [lost, gone].concat());
            }
            if !decides {
                continue;
            }
            let load = |(&blocks, rate): (&usize, &f64)| Load { blocks, busy: pace * blocks as f64 / rate };
            let loads: Vec<Load> = counts.iter().zip(&case.rates).map(load).collect();
            for (slow, blocks) in excess(&loads, pace * PASS, left) {
                let of_slow = wanted.iter().copied().filter(|&block| homes.of[block] == slow);
                let taken: Vec<usize> = of_slow.take(blocks).collect();
                let mut moved = promised.clone();
                moved.takes_more[slow] = false;
                if moved.move_away(&taken) && moved.keep_promises() {
                    (promised, homes.takes_more[slow]) = (moved, false);
                    wanted.retain(|block| !taken.contains(block));
                    lost.extend(taken);
                }
            }
        }
        let is_placed = lost.is_empty() || (decides && homes.move_away(&lost));
        if !is_placed {
            return None;
        }
        wanted = lost;
    }
    Some(now)
}

/// Seconds if all speeds were known before: each block goes where it is stored first, and the loss of any one store is
/// survived.
fn seconds_at_best(case: &Case) -> f64 {
    // As many blocks a store as its loss may cost.
    let most = 5;
    let mut counts = vec![0_usize; case.rates.len()];
    let alive = |store: usize| case.dies.is_none_or(|(dead, _)| dead != store);
    for _ in 0..BLOCKS {
        let ends = |&store: &usize| (counts[store] + 1) as f64 / case.rates[store];
        let open = (0..counts.len()).filter(|&store| counts[store] < most && alive(store));
        let store = open.min_by(|a, b| ends(a).total_cmp(&ends(b))).expect("there is room");
        counts[store] += 1;
    }
    counts.iter().zip(&case.rates).map(|(&blocks, rate)| blocks as f64 / rate).fold(PASS, f64::max)
}

fn table() -> String {
    let mut table = String::from(
        "| stores | no decisions | tanner | at best | gain |\n| --- | --- | --- | --- | --- |\n",
    );
    for case in cases() {
        let (fixed, decided) = (seconds(&case, false), seconds(&case, true).expect("it ends"));
        let gain = fixed.map_or("–".into(), |fixed| format!("{:.2}", fixed / decided));
        let fixed = fixed.map_or("blocks are missing".into(), |fixed| format!("{fixed:.1} s"));
        let best = seconds_at_best(&case);
        writeln!(table, "| {} | {fixed} | {decided:.1} s | {best:.1} s | {gain} |", case.name)
            .expect("a string takes all");
    }
    table
}

/// Whoever has one slow store would wait for it, or whoever has none for a second pass.
#[test]
fn unlike_stores_are_done_at_least_twice_as_fast_and_equal_ones_never_slower() {
    for case in cases() {
        let (Some(fixed), Some(decided)) = (seconds(&case, false), seconds(&case, true)) else {
            assert!(seconds(&case, true).is_some(), "{}", case.name);
            continue;
        };
        let slow = case.name.contains("1/10");
        assert!(
            decided <= fixed * 1.03 && (!slow || decided * 2.0 <= fixed),
            "{}: {fixed} {decided}",
            case.name
        );
    }
}

#[test]
fn the_table_in_the_docs_is_what_comes_out() {
    let docs = include_str!("makespan.md");
    assert!(docs.contains(&table()), "the table is\n{}", table());
}
