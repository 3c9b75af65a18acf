//! What a shape means before anything is stored: what it costs, what it survives, and how sure that is.

use serde::Serialize;
use statrs::distribution::{Binomial, DiscreteCDF};
use tanner_kernels::{BlockSet, Codec, DecodePlan, Profile, RepairPlan};

use crate::error::Error;
use crate::geometry::Geometry;
use crate::guarantee::Guarantee;
use crate::scheduler::{DomainLosses, Placement};

/// How stores fail.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Failures {
    /// The share of stores that fail in a year.
    #[serde(rename = "per_year_ratio")]
    pub per_year: f64,
    /// Days until the blocks of a failed store are rebuilt elsewhere.
    #[serde(serialize_with = "as_seconds", rename = "repair_seconds")]
    pub repair_days: f64,
}

/// A shape over a source and stores.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Bytes of the source.
    pub bytes: u64,
    /// Data blocks (k).
    pub data: usize,
    /// Parity blocks (m).
    pub parity: usize,
    /// The code.
    pub code: &'static str,
    /// Bytes of the largest block.
    pub block_bytes: u64,
    /// Bytes of all blocks.
    pub stored_bytes: u64,
    /// The share of a parity block that is tail.
    #[serde(rename = "tail_ratio")]
    pub tail: f64,
    /// What is promised of blocks, and what stands behind it.
    pub guarantee: Guarantee,
    /// XORs of the encoder for each byte of the source.
    #[serde(rename = "encode_xors_ratio")]
    pub encode_xors: f64,
    /// XORs of the decoder for each lost byte, if as many data blocks are lost as may be.
    #[serde(rename = "decode_xors_ratio")]
    pub decode_xors: f64,
    /// What is read to rebuild one lost data block, in blocks.
    #[serde(rename = "repair_blocks_ratio")]
    pub repair_blocks: f64,
    /// What is promised of stores.
    pub stores: Option<Stores>,
}

/// A plan's blocks on stores, each getting its turn.
#[derive(Clone, Debug, Serialize)]
pub struct Stores {
    /// How many there are.
    pub stores: usize,
    /// Blocks on the fullest.
    pub blocks_most: usize,
    /// How many may be lost, whichever they are.
    pub survivable: usize,
    /// Losses of one store more, and how many of these would be fatal, if they are few enough to try.
    pub beyond: Option<(usize, usize)>,
    /// How likely that is to happen.
    pub loss: Option<Loss>,
}

/// The loss of a backup, stores failing independently of each other.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Loss {
    /// How they fail.
    pub failures: Failures,
    /// The probability that it happens within a year.
    #[serde(rename = "per_year_ratio")]
    pub per_year: f64,
}

impl Plan {
    /// What `profile` means for a source of so many bytes, on so many stores.
    ///
    /// # Errors
    /// [`Error::SizeTooLarge`] if no source may have so many bytes.
    pub fn new(
        profile: Profile,
        bytes: u64,
        stores: Option<usize>,
        failures: Option<Failures>,
    ) -> Result<Self, Error> {
        if bytes > Geometry::source_bytes_max(&profile) {
            return Err(Error::SizeTooLarge { bytes });
        }
        let (codec, geometry) = (Codec::new(profile), Geometry::new(profile, bytes));
        let (k, n) = (profile.data(), profile.blocks());
        let blocks = (0..n).map(|block| geometry.block_bytes(block));
        Ok(Self {
            bytes,
            data: k,
            parity: profile.parity(),
            code: profile.code_name(),
            block_bytes: blocks.max().unwrap_or(0),
            stored_bytes: geometry.stored_bytes(),
            tail: profile.tail() as f64 / profile.frame_steps() as f64,
            guarantee: Guarantee::of(&profile),
            encode_xors: codec.encoder().xors() as f64 / (k * codec.code().phases().len()) as f64,
            decode_xors: decode_xors(&codec),
            repair_blocks: repair_blocks(&codec),
            stores: stores.map(|stores| Stores::new(&codec, stores, failures)),
        })
    }
}

impl Stores {
    fn new(codec: &Codec, stores: usize, failures: Option<Failures>) -> Self {
        let blocks = codec.profile().blocks();
        let mut held = vec![BlockSet::none(blocks); stores];
        (0..blocks).for_each(|block| held[block % stores].insert(block));
        let placement = Placement { codec, always: &BlockSet::none(blocks), held: &held, manifests: stores };
        let survivable = placement.survivable().unwrap_or(0);
        // A store without blocks is no loss.
        let holding = held.iter().filter(|held| !held.is_empty()).count();
        let beyond = placement.losses_of(survivable + 1).filter(|losses| losses.domains < stores);
        Self {
            stores,
            blocks_most: held.iter().map(BlockSet::len).max().unwrap_or(0),
            survivable,
            beyond: beyond.map(|DomainLosses { losses, fatal, .. }| (losses, fatal)),
            loss: failures
                .map(|failures| Loss { failures, per_year: loss_per_year(holding, survivable, failures) }),
        }
    }
}

/// The probability that more than `survivable` of the stores are down at a time, within a year. A store that fails stays
/// down until it is repaired, so a year is as many independent trials as repairs fit into it, of twice their length:
/// who fails within one repair of another meets it.
#[must_use]
pub fn loss_per_year(stores: usize, survivable: usize, failures: Failures) -> f64 {
    let share_of_year = (failures.repair_days / DAYS).min(1.0);
    let down = -(2.0 * share_of_year * (-failures.per_year).ln_1p()).exp_m1();
    let too_many = Binomial::new(down, stores as u64).map_or(1.0, |lost| lost.sf(survivable as u64));
    -((-too_many).ln_1p() / share_of_year).exp_m1()
}

/// The least number of lost stores to survive that keeps the yearly loss below `target`, if any does.
#[must_use]
pub fn survive_for(stores: usize, failures: Failures, target: f64) -> Option<usize> {
    (0..stores).find(|&survivable| loss_per_year(stores, survivable, failures) <= target)
}

/// The shape with the least overhead that has one block for each store and survives the loss of any `lost` of them.
///
/// # Errors
/// If no shape does.
pub fn shape_for(stores: usize, lost: usize, bytes: u64) -> Result<Profile, Error> {
    let shapes = (1..=stores.saturating_sub(lost)).rev();
    let profiles = shapes
        .filter(|&data| data < stores)
        .filter_map(|data| Profile::for_source(data as u64, (stores - data) as u64, bytes).ok());
    let mut suited = profiles.filter(|profile| profile.threshold() + lost <= stores);
    suited.next().ok_or(Error::NoShape { stores, lost })
}

fn as_seconds<S: serde::Serializer>(days: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(days * 86_400.0)
}

fn decode_xors(codec: &Codec) -> f64 {
    let profile = codec.profile();
    let lost = (profile.blocks() - profile.threshold()).min(profile.data());
    let mut live = BlockSet::all(profile.blocks());
    (0..lost).for_each(|block| live.remove(block));
    DecodePlan::new(codec.code(), &live)
        .map_or(f64::NAN, |plan| plan.cost().operands as f64 / (lost * plan.advance()) as f64)
}

fn repair_blocks(codec: &Codec) -> f64 {
    let blocks = codec.profile().blocks();
    let (mut live, mut wanted) = (BlockSet::all(blocks), BlockSet::none(blocks));
    live.remove(0);
    wanted.insert(0);
    RepairPlan::new(codec.code(), &live, &wanted).map_or(f64::NAN, |plan| plan.blocks_read())
}

const DAYS: f64 = 365.25;

#[cfg(test)]
mod tests {
    use super::{Failures, loss_per_year, shape_for, survive_for};

    const FAILURES: Failures = Failures { per_year: 0.015, repair_days: 7.0 };

    #[test]
    fn the_loss_of_one_store_without_parity_is_its_failure_rate() {
        let year = loss_per_year(1, 0, FAILURES);
        // Trials overlap, so up to twice.
        assert!(year > 0.015 && year < 0.031, "{year}");
    }

    /// Who asks for a probability gets it with the least parity.
    #[test]
    fn more_stores_lost_at_a_time_are_less_likely() {
        let years: Vec<f64> = (0..5).map(|lost| loss_per_year(10, lost, FAILURES)).collect();
        assert!(years.windows(2).all(|two| two[1] < two[0] / 50.0), "{years:?}");
        let lost = survive_for(10, FAILURES, 1e-9).unwrap();
        assert!(loss_per_year(10, lost, FAILURES) <= 1e-9 && loss_per_year(10, lost - 1, FAILURES) > 1e-9);
        assert_eq!(survive_for(1, FAILURES, 1e-9), None);
    }

    #[test]
    fn a_shape_for_stores_survives_what_was_asked_for() {
        for (stores, lost, data) in [(5, 2, 3), (15, 5, 10), (2, 1, 1), (50, 24, 25)] {
            let profile = shape_for(stores, lost, 1 << 30).unwrap();
            assert_eq!((profile.data(), profile.blocks()), (data, stores));
        }
        assert!(shape_for(3, 3, 1 << 30).is_err() && shape_for(1, 0, 1 << 30).is_err());
    }
}
