//! From a seed to a world: what is backed up, to which stores, and what will befall them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tanner_kernels::{CodeChoice, Codec, Profile};

use super::dice::Dice;
use super::faults::{FOR_EVER, Kind, Strike, Tally, Weather};
use super::net::Net;
use super::store::{Lie, Nature, Store};
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::scheduler::{Blocks, Cheapest, Demand, Even, Facts, Fastest, Labels, Measured, Policy, Survive};

/// Codecs are the same in all worlds, and take longer to build than most worlds to run.
pub(super) type Codecs = HashMap<Profile, Arc<Codec>>;

/// How the program is to end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Ending {
    ByItself,
    /// It is killed.
    IsKilled(Duration),
    /// It is killed as soon as so many stores have the manifest.
    IsKilledPublishing(usize),
    /// It is told to stop.
    Stops(Duration),
    /// The source changes while it is read.
    SourceChanges,
}

/// What comes over the stores in one phase.
pub(super) struct Storm {
    pub(super) weather: Weather,
    pub(super) strikes: Vec<(Duration, usize, Strike)>,
}

pub(super) struct World {
    pub(super) id: BackupId,
    pub(super) source: Vec<u8>,
    pub(super) geometry: Geometry,
    pub(super) blocks: Blocks,
    /// What each block has to be.
    pub(super) contents: Vec<Bytes>,
    pub(super) facts: Vec<Facts>,
    pub(super) natures: Vec<Nature>,
    pub(super) policy: &'static dyn Policy,
    pub(super) survive: Vec<Demand>,
    pub(super) quorum: usize,
    /// Wall clock.
    pub(super) created: u64,
    /// Pieces that a pass cuts each block into, and how long it works on those of all blocks.
    pub(super) pieces: usize,
    pub(super) piece_time: Duration,
    pub(super) ending: Ending,
    /// Whether a backup that was cut off can be gone on with, and whether it is.
    pub(super) is_journaled: bool,
    pub(super) is_resumed: bool,
    pub(super) backup_storm: Storm,
    pub(super) restore_storm: Storm,
    /// Stores that make up a manifest after the backup.
    pub(super) forgers: Vec<usize>,
    /// Whose blocks somebody copies to whom after the backup.
    pub(super) copies: Vec<(usize, usize)>,
    /// When the first restore is killed, after its begin, and whether what it wrote last is lost then.
    pub(super) restore_killed: Option<(Duration, bool)>,
    pub(super) dice: Dice,
    pub(super) tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, codecs: &mut Codecs) -> Self {
        let mut dice = Dice::new(seed);
        let mut tally = Tally::NONE;
        // Several stores read parts of one block if it is long.
        let is_long = dice.chance(0.04);
        let (code, k, m) = dice.pick(if is_long { &SHAPES[..5] } else { &SHAPES });
        let bytes = match dice.below(12) {
            _ if is_long => k as usize * dice.within(130_000, 400_000),
            0 => dice.below(k as usize + 1),
            1..4 => dice.within(3000, 9000),
            _ => dice.within(100, 3000),
        };
        let source = dice.bytes(bytes);
        let profile = Profile::for_code(code, k, m, bytes as u64).expect("a shape that suits its code");
        let codec = Arc::clone(codecs.entry(profile).or_insert_with(|| Arc::new(Codec::new(profile))));
        let geometry = Geometry::new(profile, bytes as u64);
        let contents = encoded(&codec, &geometry, &source);
        let block_bytes = contents.iter().map(|block| block.len() as u64).max().unwrap_or(0);
        let blocks = Blocks { codec, empty: geometry.empty_blocks(), block_bytes };

        let count = dice.within(1, 9);
        let pieces = dice.within(1, 10);
        let piece_time = dice.seconds(0.02, 0.3);
        // What a store gets of each piece, if all get the same.
        let share = contents.iter().map(Bytes::len).sum::<usize>() as f64 / (pieces * count) as f64;
        let pace = share.max(1.0) / piece_time.as_secs_f64() / if is_long { 10.0 } else { 1.0 };
        let room = block_bytes * profile.blocks() as u64 + 4096;
        let is_calm = dice.chance(0.15);
        let natures: Vec<Nature> =
            (0..count).map(|_| nature(&mut dice, pace, room, block_bytes, is_calm)).collect();
        let created = 1_700_000_000 + dice.below(1 << 24) as u64;
        let jump = dice.chance(0.2).then(|| dice.between(1.0, 1e9) * dice.pick(&[-1.0, 1.0]));
        jump.iter().for_each(|_| tally.count(Kind::ClockJumped));
        let measured_at = (created as f64 - 3600.0 - jump.unwrap_or(0.0)).max(0.0);
        let facts = (0..count).map(|store| facts(&mut dice, store, &natures[store], measured_at)).collect();
        let demands = ["1 store", "1 host", "2 stores", "1 zone"];
        let demanded = dice.chance(0.5).then(|| dice.pick(&demands).parse().expect("a demand"));
        let backup = piece_time.as_secs_f64() * pieces as f64;
        let ending = match dice.below(20) {
            0 | 1 => Ending::IsKilled(dice.seconds(backup / 20.0, backup * 4.0)),
            2 => Ending::Stops(dice.seconds(backup / 20.0, backup * 4.0)),
            3 => Ending::SourceChanges,
            4 => Ending::IsKilledPublishing(dice.within(1, count)),
            _ => Ending::ByItself,
        };
        let quorum = if dice.chance(0.6) { 1 } else { dice.within(1, count) };
        let policies: [&'static dyn Policy; 4] = [&Even, &Fastest, &Cheapest, &Survive];
        let policy = policies[dice.below(policies.len())];
        let (backup_storm, restore_storm) = match is_calm {
            true => (Storm::none(), Storm::none()),
            false => (Storm::new(&mut dice, &natures, backup * 2.0), Storm::new(&mut dice, &natures, 4.0)),
        };
        let forgers = if dice.chance(0.1) { vec![dice.below(count)] } else { Vec::new() };
        let mut copies = Vec::new();
        if dice.chance(if is_long { 0.8 } else { 0.2 }) {
            copies.extend((0..dice.within(1, 6)).map(|_| (dice.below(count), dice.below(count))));
        }
        let restore_killed = dice.chance(0.3).then(|| (dice.seconds(0.05, 5.0), dice.chance(0.3)));
        let mut id: [u8; 16] = dice.bytes(16).try_into().expect("16 bytes");
        // That of a plain backup.
        id[0] &= 0x7f;
        Self {
            id: BackupId::from_bytes(id),
            source,
            geometry,
            blocks,
            contents,
            facts,
            natures,
            policy,
            survive: demanded.into_iter().collect(),
            quorum,
            created,
            pieces,
            piece_time,
            ending,
            is_journaled: dice.chance(0.8),
            is_resumed: dice.chance(0.8),
            backup_storm,
            restore_storm,
            forgers,
            copies,
            restore_killed,
            dice,
            tally,
        }
    }

    /// The stores, and the way to them.
    pub(super) fn net(&mut self, is_traced: bool) -> Net {
        let stores = self.natures.iter().cloned().map(Store::new).collect();
        let mut net = Net::new(stores, self.backup_storm.weather, Dice::new(self.dice.draw()), is_traced);
        net.tally = self.tally.clone();
        self.backup_storm.begin(&mut net);
        net
    }

    /// The part of a block that is one piece of a pass.
    pub(super) fn piece(&self, block: usize, piece: usize) -> Bytes {
        let content = &self.contents[block];
        let at = |piece: usize| content.len() * piece / self.pieces;
        content.slice(at(piece)..at(piece + 1))
    }

    pub(super) fn labels(&self) -> Vec<Labels> {
        self.facts.iter().map(Facts::all_labels).collect()
    }
}

impl Storm {
    fn none() -> Self {
        Self { weather: Weather::FAIR, strikes: Vec::new() }
    }

    /// Faults that begin within about so many seconds.
    fn new(dice: &mut Dice, natures: &[Nature], seconds: f64) -> Self {
        let mut odds = |most: f64| if dice.chance(0.3) { dice.between(0.001, most) } else { 0.0 };
        let weather = Weather {
            until: Duration::from_secs_f64(seconds * 10.0),
            drops: odds(0.05),
            delays: odds(0.2),
            duplicates: odds(0.3),
            truncates: odds(0.2),
            flips: odds(0.05),
        };
        let mut strikes = Vec::new();
        let stores: Vec<usize> = (0..natures.len()).collect();
        for _ in 0..dice.pick(&[0, 0, 1, 1, 1, 2, 3, 5]) {
            let (at, store) = (dice.seconds(seconds / 50.0, seconds * 2.0), dice.pick(&stores));
            // Only what has deadlines may be cut off or stall without end: what has none waits for ever by design.
            let has_deadline = natures[store].deadline.is_some();
            let span = |dice: &mut Dice| match has_deadline && dice.chance(0.15) {
                true => FOR_EVER,
                false => dice.seconds(0.1, 300.0),
            };
            strikes.push(match dice.below(8) {
                0 | 1 => (at, store, Strike::Crash(span(dice))),
                2 if has_deadline => (at, store, Strike::Partition(span(dice))),
                2 | 3 => (at, store, Strike::Stall(span(dice))),
                4 => (at, store, Strike::Slow(dice.between(3.0, 1000.0), dice.seconds(1.0, 300.0))),
                5 => (at, store, Strike::Fill),
                6 => (at, store, Strike::Flip),
                _ => {
                    strikes.extend(swizzle(dice, &stores, at));
                    continue;
                }
            });
        }
        Self { weather, strikes }
    }

    pub(super) fn begin(&self, net: &mut Net) {
        net.weather = Weather { until: net.now + self.weather.until, ..self.weather };
        self.strikes.iter().for_each(|&(at, store, strike)| net.strike_after(at, store, strike));
    }
}

/// Some stores stop one after the other, and go on one after the other in another order.
fn swizzle(dice: &mut Dice, stores: &[usize], at: Duration) -> Vec<(Duration, usize, Strike)> {
    let mut clogged = stores.to_vec();
    dice.shuffle(&mut clogged);
    clogged.truncate(dice.within(1, stores.len()));
    let begins: Vec<Duration> = clogged.iter().map(|_| at + dice.seconds(0.01, 2.0)).collect();
    let last = begins.iter().max().copied().unwrap_or(at);
    let mut ends: Vec<Duration> = clogged.iter().map(|_| last + dice.seconds(0.1, 40.0)).collect();
    dice.shuffle(&mut ends);
    let clogs = clogged.into_iter().zip(begins).zip(ends);
    clogs.map(|((store, begin), end)| (begin, store, Strike::Clog(end - begin))).collect()
}

fn nature(dice: &mut Dice, pace: f64, room: u64, block_bytes: u64, is_calm: bool) -> Nature {
    let latency = dice.seconds(0.001, 0.1);
    let lies = [Lie::Bytes, Lie::OtherBlock, Lie::Stored, Lie::Missing];
    let rate = pace * if dice.chance(0.15) { dice.between(0.01, 0.5) } else { dice.between(0.7, 30.0) };
    // A manifest has its length, however little it is about; and nothing takes a minute but for faults.
    let rate = rate.max(300.0).max(block_bytes as f64 / 60.0);
    // A store that is slow and gets on is not given up.
    let slowest = 20.0 * block_bytes as f64 / rate;
    Nature {
        rate,
        sync: latency + dice.seconds(0.001, 1.0),
        latency,
        deadline: (!dice.chance(0.1)).then(|| dice.seconds(5.0, 60.0).max(Duration::from_secs_f64(slowest))),
        room: if dice.chance(0.1) { block_bytes * dice.below(8) as u64 } else { room },
        lie: (!is_calm && dice.chance(0.08)).then(|| dice.pick(&lies)),
    }
}

fn facts(dice: &mut Dice, store: usize, nature: &Nature, measured_at: f64) -> Facts {
    let label = |label: &str, value: usize| (label.to_owned(), value.to_string());
    let mut measured = Measured::default();
    if dice.chance(0.5) {
        measured.observe_bytes(measured_at, (nature.rate * 10.0) as u64, 10.0);
        measured.observe_request(measured_at, dice.chance(0.9).then_some(nature.latency.as_secs_f64()));
    }
    Facts {
        labels: [label("host", store / 2), label("zone", store % 3)].into(),
        capacity_bytes: dice.chance(0.5).then_some(nature.room),
        cost: dice.pick(&[0.0, 0.0, 1.0, 2.5]),
        measured,
        ..Facts::of(&format!("simulated:{store}"))
    }
}

/// All blocks of a source, by the real code.
fn encoded(codec: &Codec, geometry: &Geometry, source: &[u8]) -> Vec<Bytes> {
    let profile = geometry.profile();
    let length = usize::try_from(geometry.steps()).expect("small") * profile.unit();
    let range = |block| {
        let range = geometry.source_ranges(block, 0..u64::MAX).next().unwrap_or(0..0);
        &source[range.start as usize..range.end as usize]
    };
    let padded = |block| {
        let mut bytes = range(block).to_vec();
        bytes.resize(length, 0);
        bytes
    };
    let data: Vec<Vec<u8>> = (0..profile.data()).map(padded).collect();
    let mut parity = vec![vec![0; codec.parity_bytes(length)]; profile.parity()];
    let (inputs, mut outputs): (Vec<&[u8]>, Vec<&mut [u8]>) =
        (data.iter().map(Vec::as_slice).collect(), parity.iter_mut().map(Vec::as_mut_slice).collect());
    codec.encode(&inputs, &mut outputs).expect("as long as the profile says");
    let data = (0..profile.data()).map(|block| Bytes::copy_from_slice(range(block)));
    let blocks: Vec<Bytes> = data.chain(parity.into_iter().map(Bytes::from)).collect();
    assert!((0..blocks.len()).all(|block| blocks[block].len() as u64 == geometry.block_bytes(block)));
    blocks
}

/// Codes and shapes: k, m; first those of the longest blocks.
const SHAPES: [(CodeChoice, u64, u64); 14] = [
    (CodeChoice::Auto, 1, 1),
    (CodeChoice::Auto, 1, 2),
    (CodeChoice::Auto, 2, 1),
    (CodeChoice::Auto, 2, 2),
    (CodeChoice::Auto, 3, 2),
    (CodeChoice::Auto, 4, 2),
    (CodeChoice::Auto, 4, 4),
    (CodeChoice::Auto, 5, 3),
    (CodeChoice::Auto, 6, 6),
    (CodeChoice::Auto, 8, 4),
    (CodeChoice::Auto, 10, 5),
    (CodeChoice::Coupled, 6, 6),
    (CodeChoice::Coupled, 12, 12),
    (CodeChoice::Rfc5170, 8, 6),
];
