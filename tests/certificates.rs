//! The certificates say what was tried, and nothing else: whoever relies on a promise relies on them.
#![allow(clippy::unwrap_used)]

use rayon::prelude::*;
use tanner::certify::{Certificates, check};
use tanner::guarantee::Guarantee;
use tanner_kernels::certificate::{Method, Trial, certificates};
use tanner_kernels::{Construction, Evidence, Profile};

/// Losses of each kind that are repeated here; kinds with no more are repeated as a whole.
const REPEATED: u64 = 60;

/// A different seed repeats other losses.
fn seed() -> u64 {
    let seed = std::env::var("TANNER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("replay with TANNER_TEST_SEED={seed} cargo nextest run --test certificates");
    seed
}

#[test]
fn what_the_certificates_say_happens_again() {
    let seed = seed();
    let wrong: Vec<String> = certificates()
        .par_iter()
        .filter_map(|trial| check(trial, REPEATED, seed).err().map(|reason| format!("{trial}: {reason}")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(certificates().len() > 100);
}

/// The file is what `tanner certify` wrote.
#[test]
fn the_shipped_file_is_whole() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/certificates.csv");
    let file = Certificates::open(&path).unwrap();
    assert_eq!(file.trials(), certificates());
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [(",0,", ",1,"), ("shift", "coupled"), ("\n1", "\n2")] {
        let altered = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(altered.path(), text.replacen(from, to, 1)).unwrap();
        assert!(Certificates::open(altered.path()).is_err(), "{from} became {to}");
    }
}

/// Who alters what was found, and the hash with it, is found out by repeating.
#[test]
fn a_forged_trial_does_not_repeat() {
    let with = |wanted: &dyn Fn(&&Trial) -> bool| certificates().iter().find(wanted).unwrap().clone();
    let failing = with(&|trial| trial.failed * 10 > trial.tried && trial.tried > 1000);
    let complete = with(&|trial| trial.method == Method::All && trial.failed == 0 && trial.tried > 1000);
    let minors = with(&|trial| trial.method == Method::Minors && trial.data == 11);
    let sound = [failing.clone(), complete.clone(), minors.clone()];
    assert!(sound.iter().all(|trial| check(trial, 200, 1).is_ok()));
    let none = Vec::new;
    for forged in [
        Trial { failed: 0, worst: none(), ..failing.clone() },
        Trial { failed: failing.failed / 10, ..failing.clone() },
        Trial { failed: 0, ..failing.clone() },
        Trial { worst: complete.worst.iter().map(|block| block + 1).chain([0]).collect(), ..failing },
        Trial { tried: complete.tried - 1, ..complete.clone() },
        Trial { failed: complete.tried + 1, ..complete.clone() },
        Trial { data_lost: complete.data_lost + 1, ..complete },
        Trial { data: minors.data + 1, ..minors.clone() },
        Trial { construction: Construction::Shift { modulus: 4 }, ..minors },
    ] {
        assert!(check(&forged, 200, 1).is_err(), "{forged}");
    }
}

/// Shapes that people use, and what stands behind them. A promise may become better, never worse.
#[test]
fn shapes_that_people_use_are_certified() {
    let evidence = |k, m| Profile::for_source(k, m, 1 << 36).unwrap().evidence();
    let exact = |evidence| matches!(evidence, Evidence::Proved | Evidence::Tried);
    for k in 1..16 {
        for m in 1..=16 - k {
            assert!(exact(evidence(k, m)), "{k}+{m}");
        }
    }
    for (k, m) in [(17, 3), (20, 4), (25, 5), (10, 10), (20, 10), (10, 4), (3, 7)] {
        assert!(exact(evidence(k, m)), "{k}+{m}: {:?}", evidence(k, m));
    }
    let level = |k, m| {
        let guarantee = Guarantee::of(&Profile::for_source(k, m, 1 << 36).unwrap());
        guarantee.level(guarantee.threshold).unwrap().clone()
    };
    for (k, m) in
        [(16, 16), (20, 20), (25, 25), (29, 51), (50, 25), (50, 50), (100, 20), (100, 30), (100, 100)]
    {
        assert_eq!(evidence(k, m), Evidence::Bounded, "{k}+{m}");
        let level = level(k, m);
        assert!(level.failed == 0 && level.worst_stratum < 3e-3 && level.by_lot < 3e-3, "{k}+{m}: {level:?}");
    }
    // "Any 25 of 50", and the widest.
    for (k, m, most) in [(24, 26, 1e-6), (1000, 200, 1.1e-2)] {
        assert_eq!(evidence(k, m), Evidence::Bounded, "{k}+{m}");
        assert!(level(k, m).failed == 0 && level(k, m).worst_stratum < most, "{k}+{m}: {:?}", level(k, m));
    }
}

/// Any k of n, or any k+1 by the coupled code, wherever no more than ten million losses have to be tried for that.
#[test]
fn every_shape_with_few_losses_is_exact() {
    let losses = |k: u64, m: u64| (0..k.min(m)).fold(1.0, |all, i| all * (k + m - i) as f64 / (i + 1) as f64);
    for few in 1..=12_u64 {
        for many in few..4000 {
            if losses(few, many) > 1e7 {
                break;
            }
            for (k, m) in [(few, many), (many, few)] {
                let Ok(profile) = Profile::for_source(k, m, 1 << 36) else { continue };
                let exact = matches!(profile.evidence(), Evidence::Proved | Evidence::Tried);
                let surplus = profile.threshold() - profile.data();
                assert!(exact && surplus <= usize::from(few > 10), "{k}+{m}: {profile:?}");
            }
        }
    }
}
