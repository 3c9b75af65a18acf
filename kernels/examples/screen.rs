//! Screens seeds of the coupled code for one shape: `cargo run --release --example screen -p tanner-kernels -- 24 26`.
//!
//! The promise "any k+1 blocks restore" is a property of the seed, too: an unlucky one has a few data symbols whose
//! taps merge under some losses. For each seed this samples losses of m−1 blocks, most of them where such symbols
//! show (few data blocks lost), with the decoder's own planner, and stops at the first seed without a failure.
//!
//! With `rfc5170` as the last word it counts the failures of that code at the number of blocks that it promises.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use tanner_kernels::{BlockSet, Code, CodeChoice, Construction, DecodePlan, Profile};

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).map_while(|arg| arg.parse().ok()).collect();
    let (k, m, samples) = match numbers.as_slice() {
        [k, m] => (*k, *m, 20_000),
        [k, m, samples] | [k, m, samples, _] => (*k, *m, *samples as usize),
        _ => {
            eprintln!("usage: screen K M [SAMPLES of each stratum [DEPTH | rfc5170]]");
            return ExitCode::from(2);
        }
    };
    let rfc5170 = std::env::args().any(|arg| arg == "rfc5170");
    let choice = if rfc5170 { CodeChoice::Rfc5170 } else { CodeChoice::Auto };
    let chosen = match Profile::for_code(choice, k, m, 1 << 40) {
        Ok(profile) => profile,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if rfc5170 {
        let surplus = chosen.threshold() - chosen.data();
        let failures = failures(&Code::new(chosen), samples, usize::MAX);
        println!("{k}+{m} {:?}, any k+{surplus}: {failures:?}", chosen.construction());
        return ExitCode::SUCCESS;
    }
    let Construction::Coupled { n1, period, depth, .. } = chosen.construction() else {
        println!("{k}+{m} uses the shift code, which has no seed");
        return ExitCode::SUCCESS;
    };
    let depth = numbers.get(3).map_or(depth, |&depth| u32::try_from(depth).unwrap_or(u32::MAX));
    for seed in 1.. {
        let construction = Construction::Coupled { n1, period, depth, seed };
        let profile = match Profile::new(k, m, construction, 64, 65_536) {
            Ok(profile) => profile,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        let failures = failures(&Code::new(profile), samples, 1);
        println!("{k}+{m} N1={n1} P={period} D={depth} seed={seed}: {failures:?}");
        if failures.iter().all(|&(_, failed, _)| failed == 0) {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// How many data blocks to lose, and how many times.
fn strata(profile: &Profile, samples: usize) -> Vec<(usize, usize)> {
    let most = (profile.blocks() - profile.threshold()).min(profile.data());
    let mut strata: Vec<(usize, usize)> = (1..=4).map(|data_lost| (data_lost, samples)).collect();
    strata.extend([6, 8, most / 2, most].map(|data_lost| (data_lost, samples / 10)));
    if matches!(profile.construction(), Construction::Rfc5170 { .. }) {
        // Its N1 is not chosen for wide shapes: there most windows are empty about here.
        strata.push((profile.data() / 10, samples));
    }
    strata.retain(|&(data_lost, _)| data_lost >= 1 && data_lost <= most);
    strata
}

/// (data blocks lost, failures, samples) for each stratum. Stops early once a stratum fails `failures_max` times.
fn failures(code: &Code, samples: usize, failures_max: usize) -> Vec<(usize, usize, usize)> {
    let profile = code.profile();
    let lost = profile.blocks() - profile.threshold();
    let mut results = Vec::new();
    for (data_lost, samples) in strata(profile, samples) {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            loop {
                let sample = next.fetch_add(1, Ordering::Relaxed);
                if sample >= samples || failed.load(Ordering::Relaxed) >= failures_max {
                    return;
                }
                let live = loss(code, lost, data_lost, (data_lost * samples + sample) as u64);
                if DecodePlan::new(code, &live).is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| _ = scope.spawn(work));
        });
        results.push((data_lost, failed.into_inner(), next.into_inner().min(samples)));
        if results.last().is_some_and(|&(_, failed, _)| failed >= failures_max) {
            break;
        }
    }
    results
}

/// What is left after the loss of `lost` random blocks, `data_lost` of them data.
fn loss(code: &Code, lost: usize, data_lost: usize, sample: u64) -> BlockSet {
    let (data, blocks) = (code.profile().data(), code.profile().blocks());
    let mut state = sample.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 32) * bound as u64) >> 32) as usize
    };
    let mut live = BlockSet::all(blocks);
    for (mut from, count) in
        [((0..data).collect::<Vec<usize>>(), data_lost), ((data..blocks).collect(), lost - data_lost)]
    {
        (0..count).for_each(|_| live.remove(from.swap_remove(below(from.len()))));
    }
    live
}
