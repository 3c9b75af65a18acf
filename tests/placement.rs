//! What was promised of a placement is kept: fifty sets of stores, backed up to for real, and every loss that the demand
//! speaks of restored from what it leaves. What is refused is placed as soon as what the refusal names is there.
//!
//! `TANNER_SEED=7 cargo test --test placement` runs one set alone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tanner::scheduler::{Cheapest, Demand, Even, Facts, Fastest, Need, Policy, Survive};
use tanner::{
    Backup, BackupId, BackupReport, Error, Found, IoMode, Progress, Resources, RestoreTo, Shape, Stop, Store,
    read_object, restore,
};
use tanner_kernels::{CodeChoice, Codec};
use tanner_transports::{Memory, ObjectName};

/// A generator that is the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Whole steps in each number of blocks that is drawn.
const BYTES: usize = 120 * 16 * 64;

/// Stores in 4 to 12 hosts, what must be survived, and how they are to be placed.
struct Case {
    stores: Vec<Store>,
    survive: Vec<Demand>,
    policy: &'static dyn Policy,
    shape: (u64, u64),
}

fn store(number: usize) -> Store {
    let mut store = Store::new(Arc::new(Memory::new()));
    store.facts = Facts::of(&format!("store {number}"));
    store
}

fn case(seed: u64) -> Case {
    let mut draw = Draw(seed);
    (0..8).for_each(|_| _ = draw.below(2));
    let (hosts, zones) = (4 + draw.below(9), 2 + draw.below(4));
    let mut stores = Vec::new();
    for host in 0..hosts {
        let zone = draw.below(zones);
        for _ in 0..draw.of(&[1, 1, 1, 2, 3]) {
            let mut store = store(stores.len());
            let facts = &mut store.facts;
            for (label, value, odds) in [("host", host, 20), ("zone", zone, 10), ("vendor", draw.below(3), 2)]
            {
                if draw.below(odds) > 0 {
                    facts.labels.insert(label.into(), value.to_string());
                }
            }
            facts.cost = draw.below(5) as f64;
            facts.priority = draw.below(3) as i64;
            facts.measured.observe_bytes(0.0, 1 << (20 + draw.below(8)), 1.0);
            if draw.below(8) == 0 {
                facts.capacity_bytes = Some(4 * BYTES as u64);
            }
            stores.push(store);
        }
    }
    let shape = draw.of(&[
        (10, 5),
        (4, 4),
        (3, 2),
        (6, 6),
        (10, 2),
        (20, 4),
        (20, 10),
        (24, 26),
        (12, 12),
        (10, 10),
        (1, 3),
    ]);
    let losses = draw.of(&["1 host", "2 hosts", "3 hosts", "1 zone", "2 stores", "1 vendor", "4 hosts"]);
    let mut survive = vec![losses.parse().unwrap()];
    if draw.below(3) == 0 {
        survive.push(draw.of(&["1 store", "1 host", "1 zone"]).parse().unwrap());
    }
    let policy = draw.of(&[&Even as &dyn Policy, &Fastest, &Cheapest, &Survive]);
    Case { stores, survive, policy, shape }
}

impl Case {
    fn backup<'a>(&'a self, source: &'a Path, shape: (u64, u64)) -> Backup<'a> {
        Backup {
            source,
            io: IoMode::Auto,
            shape: Shape::Blocks { code: CodeChoice::Auto, data: shape.0, parity: shape.1 },
            stores: self.stores.clone(),
            policy: self.policy,
            survive: &self.survive,
            quorum: 1,
            encryption: None,
            id: BackupId::random(),
            created: 0,
        }
    }

    /// Which stores are lost together with each, by the label of a demand.
    fn domains(&self, demand: &Demand) -> Vec<Vec<usize>> {
        let label = demand.label.trim_end_matches('s');
        let mut domains: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, store) in self.stores.iter().enumerate() {
            let value = store.facts.labels.get(label).map(|value| format!("value {value}"));
            domains.entry(value.unwrap_or_else(|| format!("alone {number}"))).or_default().push(number);
        }
        domains.into_values().collect()
    }

    fn without(&self, lost: &[usize]) -> Vec<Store> {
        let left = self.stores.iter().enumerate().filter(|(number, _)| !lost.contains(number));
        left.map(|(_, store)| store.clone()).collect()
    }
}

/// All sets of `count` out of `of`.
fn sets(of: usize, count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![Vec::new()],
        _ => (count - 1..of)
            .flat_map(|last| sets(last, count - 1).into_iter().map(move |set| [set, vec![last]].concat()))
            .collect(),
    }
}

/// Decodes what every loss leaves, and restores what one does; how many there were.
async fn survives_all(
    case: &Case,
    report: &BackupReport,
    source: &[u8],
    resources: &Arc<Resources>,
) -> usize {
    let (geometry, places) = (report.manifest.geometry, &report.placed.places);
    let (id, codec, output) =
        (report.manifest.id, Codec::new(*geometry.profile()), tempfile::tempdir().unwrap());
    let mut blocks = Vec::new();
    for (block, &store) in places.iter().enumerate() {
        let name = ObjectName::new(format!("{id}/{block}")).unwrap();
        blocks.push(read_object(&*case.stores[store].transport, &name).await.unwrap());
    }
    let (mut losses, mut worst) = (0, Vec::new());
    for demand in &case.survive {
        let domains = case.domains(demand);
        for lost in sets(domains.len(), demand.losses) {
            let lost: Vec<usize> = lost.iter().flat_map(|&domain| domains[domain].clone()).collect();
            let is_left = |block: usize| !lost.contains(&places[block]);
            let left: Vec<Option<&[u8]>> = blocks
                .iter()
                .enumerate()
                .map(|(block, bytes)| is_left(block).then_some(&bytes[..]))
                .collect();
            let gone = (0..geometry.profile().data()).filter(|&block| !is_left(block));
            let mut computed: Vec<(usize, Vec<u8>)> =
                gone.map(|block| (block, vec![0; blocks[block].len()])).collect();
            let mut into: Vec<(usize, &mut [u8])> =
                computed.iter_mut().map(|(block, to)| (*block, &mut to[..])).collect();
            let decoded = codec.reconstruct(&left, &mut into, blocks[0].len());
            decoded.unwrap_or_else(|error| panic!("without stores {lost:?}: {error}"));
            assert!(
                computed.iter().all(|(block, bytes)| bytes == &blocks[*block]),
                "without stores {lost:?}"
            );
            (losses, worst) = (losses + 1, lost);
        }
        // Whatever domain is left alone, the manifest is there.
        for left in domains {
            let stores = left.iter().map(|&store| case.stores[store].clone()).collect();
            assert!(Found::open(stores, id).await.is_ok(), "stores {left:?} alone");
        }
    }
    let (path, found) =
        (output.path().join("restored"), Found::open(case.without(&worst), id).await.unwrap());
    let to = RestoreTo { path: path.clone(), replace: true, resume: false };
    restore(found, to, resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == source, "without stores {worst:?}");
    losses
}

/// With what the refusal says is needed, it is placed.
fn need_is_enough(case: &mut Case, source: &Path, need: &Need) {
    if let Some(parity) = need.parity {
        let more = case.backup(source, (case.shape.0, parity as u64)).plan();
        assert!(more.is_ok(), "{need}, and with --parity {parity}: {:?}", more.err());
    }
    if let Some(domains) = need.domains {
        for _ in need.have..domains {
            let number = case.stores.len();
            case.stores.push(store(number));
        }
        let more = case.backup(source, case.shape).plan();
        assert!(more.is_ok(), "{need}, and with so many: {:?}", more.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_to_survive_does_and_what_is_refused_is_told_what_it_takes() {
    let only = std::env::var("TANNER_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let source: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8 ^ (i / 251 % 256) as u8).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source");
    std::fs::write(&path, &source).unwrap();
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let (mut kept, mut losses, mut refused, mut seed) = (0, 0, 0, only.unwrap_or(0));
    // Fifty that are kept, and those that are refused until then.
    while kept < if only.is_some() { 1 } else { 50 } && (only.is_none() || refused == 0) {
        println!("replay: TANNER_SEED={seed} cargo test --test placement");
        let mut case = case(seed);
        let backup = case.backup(&path, case.shape);
        match backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await {
            Ok(report) => {
                assert!(report.is_complete() && report.broken.is_empty());
                losses += survives_all(&case, &report, &source, &resources).await;
                kept += 1;
            }
            Err(Error::Unsurvivable { need }) => {
                need_is_enough(&mut case, &path, &need);
                refused += 1;
            }
            Err(Error::NoRoom { .. } | Error::NoLabel { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        seed += 1;
    }
    println!("{kept} kept in {losses} losses, {refused} refused");
    assert!(only.is_some() || (losses > 300 && refused > 10), "{losses} losses, {refused} refused");
}
