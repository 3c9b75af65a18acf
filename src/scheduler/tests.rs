//! Placements on stores of all kinds.

use std::sync::Arc;

use tanner_kernels::{BlockSet, CodeChoice, Codec, Construction, Profile};

use super::{
    Blocks, Cheapest, Demand, Domains, Even, Facts, Fastest, Free, Labels, Placed, Policy, Proof, Refusal,
    Survive, Task,
};

const MB: u64 = 1_000_000;

fn try_blocks(k: usize, m: usize) -> Option<Blocks> {
    let profile = Profile::for_code(CodeChoice::Auto, k as u64, m as u64, 1 << 30).ok()?;
    let codec = Arc::new(Codec::new(profile));
    Some(Blocks { empty: BlockSet::none(profile.blocks()), codec, block_bytes: MB })
}

fn blocks(k: usize, m: usize) -> Blocks {
    try_blocks(k, m).unwrap()
}

/// Stores by their labels: `a.1 a.2 b.3` are two on host a and one on host b, each on a rack of its own.
fn stores(names: &str) -> Vec<Facts> {
    let store = |name: &str| {
        let (host, rack) = name.split_once('.').unwrap();
        let labels =
            [("host", host), ("rack", rack)].map(|(label, value)| (label.to_owned(), value.to_owned()));
        Facts { labels: labels.into(), ..Facts::of(name) }
    };
    names.split(' ').map(store).collect()
}

fn place(
    blocks: &Blocks,
    stores: &[Facts],
    policy: &dyn Policy,
    survive: &[&str],
) -> Result<Placed, Refusal> {
    let survive: Vec<Demand> = survive.iter().map(|demand| demand.parse().unwrap()).collect();
    let data = blocks.codec.profile().data();
    let task = Task { blocks, stores, survive: &survive, policy, now: 0.0 };
    task.place(&|parity| try_blocks(data, parity))
}

fn counts(placed: &Placed, stores: usize) -> Vec<usize> {
    let mut counts = vec![0; stores];
    placed.places.iter().for_each(|&store| counts[store] += 1);
    counts
}

/// Blocks on the stores of each domain of a label, the fullest first.
fn fullest(placed: &Placed, stores: &[Facts], label: &str) -> Vec<usize> {
    let labels: Vec<Labels> = stores.iter().map(Facts::all_labels).collect();
    let domains = Domains::of_label(label, &labels);
    let mut counts = vec![0; domains.count];
    placed.places.iter().for_each(|&store| counts[domains.of[store]] += 1);
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// Blocks that lie as they always did are where a second run looks for them.
#[test]
fn even_gives_every_store_its_turn() {
    for (k, m, of) in [(10, 5, 1), (10, 5, 4), (24, 26, 7), (3, 2, 9), (500, 100, 13)] {
        let all = vec![Facts::of("x"); of];
        let placed = place(&blocks(k, m), &all, &Even, &[]).unwrap();
        assert!(
            placed.places.iter().enumerate().all(|(block, &store)| store == block % of),
            "{k}+{m} on {of}"
        );
    }
}

/// With 5 of 15 to lose, a host may have five blocks, wherever else there is room.
#[test]
fn every_policy_keeps_what_must_be_survived() {
    let mut all = stores("a.1 a.2 a.3 b.4 c.5");
    all[0].cost = 0.0;
    (1..5).for_each(|store| all[store].cost = store as f64);
    all[0].measured.observe_bytes(0.0, 1000 * MB, 1.0);
    (1..5).for_each(|store| all[store].measured.observe_bytes(0.0, MB, 1.0));
    for policy in [&Even as &dyn Policy, &Fastest, &Cheapest, &Survive] {
        let placed = place(&blocks(10, 5), &all, policy, &["1 host"]).unwrap();
        assert_eq!(fullest(&placed, &all, "host"), [5, 5, 5], "{policy:?}");
        assert_eq!(placed.kept[0].1, Proof::Tried(3));
        // The plural is as good.
        assert!(place(&blocks(10, 5), &all, policy, &["1 hosts", "1 store"]).is_ok());
    }
    // Nobody demanded anything: the fast and the cheap store have all.
    for policy in [&Fastest as &dyn Policy, &Cheapest] {
        let placed = place(&blocks(10, 5), &all, policy, &[]).unwrap();
        assert_eq!(counts(&placed, 5)[0], 15, "{policy:?}");
    }
}

#[test]
fn what_is_fastest_ends_at_the_same_time_everywhere() {
    let mut all = vec![Facts::of("x"); 4];
    for (facts, rate) in all.iter_mut().zip([80, 40, 20, 10]) {
        facts.measured.observe_bytes(0.0, rate * MB, 1.0);
    }
    let placed = place(&blocks(20, 10), &all, &Fastest, &[]).unwrap();
    assert_eq!(counts(&placed, 4), [16, 8, 4, 2]);
    // A limit is a rate that is not exceeded, and who is not known is in the middle.
    all[0].limit = Some(20 * MB);
    all[3].measured = super::Measured::default();
    let placed = place(&blocks(20, 10), &all, &Fastest, &[]).unwrap();
    let of = counts(&placed, 4);
    assert!(of[1] > of[0] && of[0] == of[2] && of[3] == of[0], "{of:?}");
    assert!(
        placed.why[3].contains("unknown speed") && placed.why[0].contains("20.0 MB/s"),
        "{:?}",
        placed.why
    );
}

#[test]
fn the_cheapest_are_filled_first_and_then_those_of_the_higher_priority() {
    let mut all = stores("a.1 b.2 c.3 d.4");
    for (facts, (cost, priority)) in all.iter_mut().zip([(2.0, 0), (1.0, 1), (1.0, 2), (3.0, 9)]) {
        (facts.cost, facts.priority) = (cost, priority);
    }
    let placed = place(&blocks(10, 5), &all, &Cheapest, &["1 host"]).unwrap();
    assert_eq!(counts(&placed, 4), [5, 5, 5, 0]);
    assert!(
        placed.why[0].contains("b.2 has as many as the loss of 1 host allows")
            || placed.why[0].contains("c.3"),
        "{:?}",
        placed.why
    );
    all[2].capacity_bytes = Some(2 * MB);
    let placed = place(&blocks(10, 5), &all, &Cheapest, &["1 host"]).unwrap();
    assert_eq!(counts(&placed, 4), [5, 5, 2, 3]);
}

/// A store that is all data or all parity makes its loss the worst there is.
#[test]
fn data_and_parity_are_mixed_on_every_store() {
    let mut all = stores("a.1 b.2 c.3");
    (0..3).for_each(|store| all[store].cost = store as f64);
    let placed = place(&blocks(10, 5), &all, &Cheapest, &["1 host"]).unwrap();
    for store in 0..3 {
        let parity = (10..15).filter(|&block| placed.places[block] == store).count();
        assert!((1..=2).contains(&parity), "{:?}", placed.places);
    }
}

#[test]
fn survive_spreads_over_hosts_before_stores_and_over_nothing_that_cannot_be_survived() {
    let all = stores("a.1 a.2 a.3 a.4 b.5 c.6 d.7");
    let placed = place(&blocks(10, 5), &all, &Survive, &[]).unwrap();
    assert_eq!(fullest(&placed, &all, "host"), [4, 4, 4, 3]);
    // One store here, nine there: no loss of a host is survived, but two stores are.
    let all = stores("a.1 b.2 b.3 b.4 b.5 b.6 b.7 b.8 b.9 b.10");
    let placed = place(&blocks(10, 5), &all, &Survive, &[]).unwrap();
    assert!(fullest(&placed, &all, "store")[..2].iter().sum::<usize>() <= 5, "{placed:?}");
}

#[test]
fn no_store_and_no_disk_gets_more_than_fits() {
    let mut all = stores("a.1 a.2 b.3 c.4");
    let share = Free { device: 7, bytes: 4 * MB + 1 };
    (all[0].free, all[1].free) = (Some(share), Some(share));
    all[2].capacity_bytes = Some(5 * MB);
    for policy in [&Even as &dyn Policy, &Fastest, &Cheapest, &Survive] {
        let of = counts(&place(&blocks(10, 5), &all, policy, &[]).unwrap(), 4);
        assert!(of[0] + of[1] <= 4 && of[2] <= 5, "{policy:?}: {of:?}");
    }
    all[3].capacity_bytes = Some(3 * MB);
    let refused = place(&blocks(10, 5), &all, &Even, &[]).unwrap_err();
    assert_eq!(refused, Refusal::Room { blocks: 15, fit: 12, missing_bytes: 3 * MB, demanded: false });
    // There is room, but not where it would be of use.
    all[3].capacity_bytes = None;
    let refused = place(&blocks(10, 5), &all, &Survive, &["1 host"]).unwrap_err();
    assert_eq!(refused, Refusal::Room { blocks: 15, fit: 14, missing_bytes: MB, demanded: true });
}

/// Where labels cross, the first choice may bar the last block's only way.
#[test]
fn crossing_labels_are_untangled() {
    // Hosts a, b; racks 1 to 4; b is on rack 1 and 2 only, which a may have filled by then.
    let all = stores("a.1 a.2 a.3 a.4 b.1 b.2");
    let placed = place(&blocks(2, 2), &all, &Even, &["1 host", "1 rack"]).unwrap();
    assert!(fullest(&placed, &all, "host")[0] <= 2 && fullest(&placed, &all, "rack")[0] <= 2, "{placed:?}");
    let placed = place(&blocks(2, 2), &all, &Even, &["1 host", "2 racks"]).unwrap();
    assert!(fullest(&placed, &all, "host")[0] <= 2 && fullest(&placed, &all, "rack")[0] == 1, "{placed:?}");
}

/// LDPC-Staircase may lose all data with as many blocks left as suffice by estimate: only a trial can tell.
#[test]
fn a_loss_that_is_fatal_beyond_the_threshold_is_mended_by_exchange() {
    // Every row has four source symbols, so all rows together say nothing of the sum of all data.
    let even_rows = Construction::Rfc5170 { n1: 8, group: 16, seed: 1 };
    let profile = Profile::new(4, 8, even_rows, 64, 1024).unwrap();
    let codec = Arc::new(Codec::new(profile));
    let blocks = Blocks { empty: BlockSet::none(12), codec, block_bytes: MB };
    let mut dead = BlockSet::all(12);
    (0..4).for_each(|block| dead.remove(block));
    assert!(
        profile.threshold() <= 8 && blocks.codec.recoverable(&dead).is_none(),
        "another example is needed"
    );
    let all = stores("a.1 b.2 c.3");
    let survive = ["1 host".parse().unwrap()];
    let task = Task { blocks: &blocks, stores: &all, survive: &survive, policy: &Even, now: 0.0 };
    let mut places = vec![0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
    task.mend(&mut places);
    assert!(task.prove(&places).is_some(), "{places:?}");
}

#[test]
fn a_refusal_names_a_need_that_is_enough_and_no_less_is() {
    let all = stores("a.1 a.2 b.3");
    let Refusal::Demand(need) = place(&blocks(10, 5), &all, &Survive, &["1 host"]).unwrap_err() else {
        panic!("another refusal")
    };
    assert_eq!((need.have, need.domains, need.parity), (2, Some(3), Some(10)));
    assert_eq!(
        need.to_string(),
        "the loss of 1 host cannot be survived by 10+5 blocks on 2 hosts: needs 3 hosts, or --parity 10"
    );
    let Refusal::Demand(need) = place(&blocks(10, 5), &all, &Even, &["2 hosts"]).unwrap_err() else {
        panic!("another refusal")
    };
    // Three blocks on one of them, two on each other.
    assert_eq!((need.domains, need.parity), (Some(7), None));
    // Six domains lost at a time take more than five blocks.
    let Refusal::Demand(need) = place(&blocks(10, 5), &all, &Even, &["6 stores"]).unwrap_err() else {
        panic!("another refusal")
    };
    assert_eq!((need.domains, need.parity), (None, None));
    let refused = place(&blocks(10, 5), &all, &Even, &["1 moon"]).unwrap_err();
    assert!(matches!(refused, Refusal::NoLabel { demand } if demand.label == "moon"));
}

/// Blocks without bytes are never lost: nobody is refused for them.
#[test]
fn what_only_the_real_code_can_keep_is_kept() {
    let mut blocks = blocks(10, 5);
    let all = stores("a.1 b.2");
    assert!(place(&blocks, &all, &Even, &["1 host"]).is_err());
    (1..10).for_each(|block| blocks.empty.insert(block));
    assert!(place(&blocks, &all, &Even, &["1 host"]).is_ok());
}

/// Too many losses to try: the answer says so.
#[test]
fn what_cannot_be_tried_is_decided_by_the_threshold_and_says_so() {
    let all = vec![Facts::of("x"); 30];
    let placed = place(&blocks(10, 20), &all, &Even, &["15 stores"]).unwrap();
    assert_eq!(placed.kept[0].1, Proof::Threshold);
}
