//! Making certificates: trying losses of a code by the million, and writing down what came of it.
//!
//! Every run goes on where the one before stopped: random losses are numbered, so those that were tried are known by
//! their number, and a kind of loss that is tried as a whole is written down once all of it was.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rayon::prelude::*;
use tanner_kernels::certificate::{HEADER, Method, Trial, TrialError};
use tanner_kernels::{BlockSet, Climb, Code, Construction, Losses, Minors, Profile, RankTest};

use crate::error::Error;
use crate::guarantee::levels;
use crate::resources::Stop;

/// What to try of one code.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random losses of each kind that has more than [`ALL_MAX`].
    pub samples: u64,
    /// Climbs towards the worst loss.
    pub climbs: u64,
}

/// A file of certificates.
pub struct Certificates {
    path: PathBuf,
    trials: Vec<Trial>,
}

impl Certificates {
    /// Opens a file of certificates; one that does not exist is empty.
    ///
    /// # Errors
    /// If the file cannot be read or is no such file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Certificates { path: path.to_owned(), source };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), trials: Vec::new() });
            }
            text => text.map_err(|source| failed(source.into()))?,
        };
        let sealed = text.rfind('#').filter(|&seal| text[seal..] == seal_of(&text[..seal]));
        let sealed =
            sealed.ok_or_else(|| failed("it was changed by other means than `tanner certify`".into()))?;
        let trials = text[..sealed].lines().skip(1).map(str::parse).collect::<Result<_, TrialError>>();
        Ok(Self { path: path.to_owned(), trials: trials.map_err(|source| failed(source.into()))? })
    }

    /// What is in the file.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Tries losses of the profile's code and writes each kind down as soon as it is done; `tell` hears of it.
    ///
    /// # Errors
    /// If the file cannot be written, or the run was stopped.
    pub fn add(
        &mut self,
        profile: &Profile,
        effort: Effort,
        stop: &Stop,
        tell: impl Fn(&Trial),
    ) -> Result<(), Error> {
        let code = Code::new(*profile);
        if let Some(minors) = Minors::new(&code) {
            if !self.trials.iter().any(|trial| trial.covers(profile)) {
                let trial = all_minors(&code, &minors, stop)?;
                tell(&trial);
                self.put(trial)?;
            }
            return Ok(());
        }
        for left in levels(profile).rev() {
            for data_lost in Losses::strata(profile, left) {
                let losses = Losses::new(profile, left, data_lost).expect("a stratum has losses");
                self.kind(&code, left, losses, effort.samples, stop, &tell)?;
            }
        }
        let climbs = Trial { method: Method::Climb, ..empty(profile, profile.data() + 1, 0) };
        let can_climb = profile.data().min(profile.parity()) > 1;
        if effort.climbs > 0 && can_climb && !self.trials.iter().any(|trial| trial.is_same(&climbs)) {
            let trial = climb(&code, effort.climbs, stop)?;
            tell(&trial);
            self.put(trial)?;
        }
        Ok(())
    }

    /// Tries one kind of losses.
    fn kind(
        &mut self,
        code: &Code,
        left: usize,
        losses: Losses,
        samples: u64,
        stop: &Stop,
        tell: &impl Fn(&Trial),
    ) -> Result<(), Error> {
        // Below the promise, where many fail, fewer tell as much.
        let promised = left >= code.profile().threshold();
        let samples = if promised { samples } else { samples.min(SAMPLES_MAX_UNPROMISED) };
        let all = losses.count().filter(|&count| count <= samples || promised && count <= ALL_MAX);
        let method = if all.is_some() { Method::All } else { Method::Sample };
        let new = Trial { method, ..empty(code.profile(), left, losses.data_lost()) };
        let mut trial = self.trials.iter().find(|trial| trial.is_same(&new)).cloned().unwrap_or(new);
        let wanted = all.unwrap_or(samples);
        while trial.tried < wanted {
            stop.check()?;
            let next = trial.tried..wanted.min(trial.tried + if all.is_some() { wanted } else { PIECE });
            let live = |index| match method {
                Method::All => losses.nth(index),
                _ => losses.sample(SEED, index),
            };
            let began = cpu_time();
            let (failed, worst) = failures(code, next.clone(), live, stop);
            stop.check()?;
            trial.tried = next.end;
            trial.failed += failed;
            trial.seconds += core_seconds(began);
            if trial.worst.is_empty() {
                trial.worst = worst;
            }
            tell(&trial);
            self.put(trial.clone())?;
        }
        Ok(())
    }

    /// Writes a trial down in the place of the one it continues.
    fn put(&mut self, trial: Trial) -> Result<(), Error> {
        self.trials.retain(|other| !other.is_same(&trial));
        self.trials.push(trial);
        self.trials.sort_by_key(|trial| {
            let Trial { data, parity, construction, left, method, data_lost, .. } = trial;
            (
                method_order(*method),
                *data,
                *parity,
                format!("{construction:?}"),
                std::cmp::Reverse(*left),
                *data_lost,
            )
        });
        let lines = self.trials.iter().map(|trial| format!("{trial}\n"));
        let mut text = std::iter::once(format!("{HEADER}\n")).chain(lines).collect::<String>();
        text.push_str(&seal_of(&text));
        let write = || -> std::io::Result<()> {
            let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty());
            let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().map_err(|source| Error::Certificates { path: self.path.clone(), source: source.into() })
    }
}

/// The last line of a file with these lines before.
fn seal_of(lines: &str) -> String {
    format!("# blake3 {}\n", blake3::hash(lines.as_bytes()))
}

/// Minors first: they are one line each.
fn method_order(method: Method) -> usize {
    usize::from(method != Method::Minors)
}

fn empty(profile: &Profile, left: usize, data_lost: usize) -> Trial {
    Trial {
        data: profile.data(),
        parity: profile.parity(),
        construction: profile.construction(),
        left,
        method: Method::All,
        data_lost,
        tried: 0,
        failed: 0,
        seconds: 0,
        worst: Vec::new(),
    }
}

fn all_minors(code: &Code, minors: &Minors, stop: &Stop) -> Result<Trial, Error> {
    let profile = code.profile();
    let began = cpu_time();
    // The loss of no data block is one more.
    let mut trial = Trial { method: Method::Minors, tried: 1, ..empty(profile, profile.data(), 0) };
    let with_first = |first| stop.check().map(|()| minors.with_first(first));
    let found = (0..profile.data()).into_par_iter().map(with_first).collect::<Result<Vec<_>, Error>>()?;
    let mut rank = RankTest::new(code);
    for found in found {
        trial.tried += found.tried;
        for (lost, used) in found.zero {
            let unused = (0..profile.parity()).filter(|row| !used.contains(row));
            let lost: Vec<usize> = lost.into_iter().chain(unused.map(|row| profile.data() + row)).collect();
            // Zero modulo the polynomial may still be another than zero.
            if !rank.determines(&without(profile, &lost)) {
                trial.failed += 1;
                trial.worst = lost;
            }
        }
    }
    trial.seconds = core_seconds(began);
    Ok(trial)
}

/// How many of the numbered losses are not determined, and the blocks of the first of them.
fn failures(
    code: &Code,
    indices: std::ops::Range<u64>,
    live: impl Fn(u64) -> BlockSet + Sync,
    stop: &Stop,
) -> (u64, Vec<usize>) {
    let (failed, first) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let rank = || rank_test(code);
    let shares = (indices.end - indices.start).div_ceil(SHARE);
    (0..shares).into_par_iter().for_each_init(rank, |rank, share| {
        let start = indices.start + share * SHARE;
        for index in start..indices.end.min(start + SHARE) {
            if !stop.is_requested() && !rank.determines(&live(index)) {
                failed.fetch_add(1, Ordering::Relaxed);
                first.fetch_min(index, Ordering::Relaxed);
            }
        }
    });
    let first = first.into_inner();
    let worst = if first < u64::MAX { lost(&live(first)) } else { Vec::new() };
    (failed.into_inner(), worst)
}

/// Climbs towards the worst loss, from many.
fn climb(code: &Code, climbs: u64, stop: &Stop) -> Result<Trial, Error> {
    let began = cpu_time();
    let one = |rank: &mut RankTest<'_>, index| stop.check().map(|()| Climb::new(code, rank, SEED, index));
    let climbs = (0..climbs).into_par_iter().map_init(|| rank_test(code), one);
    let mut found = climbs.collect::<Result<Vec<Climb>, Error>>()?;
    // Those that fail first, then those that left most open.
    found.sort_by_key(|climb| std::cmp::Reverse((climb.failed, climb.open)));
    Ok(Trial {
        method: Method::Climb,
        tried: found.iter().map(|climb| climb.tried).sum(),
        failed: found.iter().map(|climb| climb.failed).sum(),
        seconds: core_seconds(began),
        worst: found.into_iter().next().map_or_else(Vec::new, |climb| climb.worst),
        ..empty(code.profile(), code.profile().data() + 1, 0)
    })
}

/// Repeats up to `samples` of the losses of a trial, drawn with `seed`; what does not agree is said.
///
/// # Errors
/// What the trial claims and the repetition does not find.
pub fn check(trial: &Trial, samples: u64, seed: u64) -> Result<(), String> {
    let Trial { data, parity, construction, .. } = *trial;
    let profile = Profile::new(data as u64, parity as u64, construction, 64, FRAME_STEPS)
        .map_err(|error| error.to_string())?;
    let code = Code::new(profile);
    let mut rank = rank_test(&code);
    if trial.failed > trial.tried {
        return Err(format!("{} of {} failed", trial.failed, trial.tried));
    }
    if !trial.worst.is_empty() {
        let live = without(&profile, &trial.worst);
        if live.len() != trial.left || rank.determines(&live) != (trial.failed == 0) {
            return Err(format!("the worst loss {:?} is not what it is said to be", trial.worst));
        }
    } else if trial.failed > 0 {
        return Err("losses failed and none is named".to_owned());
    }
    if let Some(minors) =
        Minors::new(&code).filter(|_| trial.method == Method::Minors && trial.tried <= MINORS_MAX)
    {
        // So few are computed again, all of them.
        let again = all_minors(&code, &minors, &Stop::default()).map_err(|error| error.to_string())?;
        if (again.tried, again.failed) != (trial.tried, trial.failed) {
            return Err(format!("{} of {} failed when all were computed again", again.failed, again.tried));
        }
    }
    let mut draw = Draw(seed);
    let kinds: Vec<Losses> = match trial.method {
        Method::Climb => return Ok(()),
        Method::Minors => (0..=data).filter_map(|lost| Losses::new(&profile, trial.left, lost)).collect(),
        Method::All | Method::Sample => {
            Losses::new(&profile, trial.left, trial.data_lost).into_iter().collect()
        }
    };
    let all = kinds.iter().try_fold(0_u64, |all, losses| all.checked_add(losses.count()?));
    if trial.is_complete() && all != Some(trial.tried) {
        return Err(format!("{} losses were tried of {all:?}", trial.tried));
    }
    if kinds.is_empty() {
        return Err("there is no such loss".to_owned());
    }
    let repeat_all = trial.is_complete() && trial.tried <= samples;
    let mut failed = 0;
    let repeated = if repeat_all { trial.tried } else { samples.min(trial.tried) };
    for round in 0..repeated {
        let live = if repeat_all {
            let mut index = round;
            let of_kind = kinds.iter().find(|losses| {
                let count = losses.count().expect("counted");
                let found = index < count;
                index -= if found { 0 } else { count };
                found
            });
            of_kind.expect("counted").nth(index)
        } else if trial.method == Method::Sample {
            kinds[0].sample(SEED, draw.next() % trial.tried)
        } else {
            kinds[draw.below(kinds.len())].sample(seed, round)
        };
        failed += u64::from(!rank.determines(&live));
    }
    let expected = trial.failed as f64 / trial.tried as f64 * repeated as f64;
    let far = deviation(failed as f64, expected) > DEVIATION_MAX;
    let exactly = repeat_all && failed != trial.failed;
    if exactly || far || trial.failed == 0 && failed > 0 {
        return Err(format!(
            "{failed} of {repeated} losses failed, where {} of {} did",
            trial.failed, trial.tried
        ));
    }
    Ok(())
}

/// How unlikely it is that so few or so many are counted where so many are expected, as minus the logarithm of a bound:
/// Chernoff's, for Poisson's distribution.
fn deviation(counted: f64, expected: f64) -> f64 {
    let ratio = if counted > 0.0 { counted * (counted / expected).ln() } else { 0.0 };
    expected - counted + ratio
}

/// One in 10^9: thousands of counts are looked at.
const DEVIATION_MAX: f64 = 20.7;

/// What all cores together spent on this process, whatever else they did meanwhile.
fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.try_into().expect("no process ran for less than no time")
}

fn core_seconds(began: Duration) -> u64 {
    (cpu_time() - began).as_secs_f64().round() as u64
}

fn lost(live: &BlockSet) -> Vec<usize> {
    (0..live.blocks()).filter(|&block| !live.contains(block)).collect()
}

fn without(profile: &Profile, lost: &[usize]) -> BlockSet {
    let mut live = BlockSet::all(profile.blocks());
    lost.iter().filter(|&&block| block < profile.blocks()).for_each(|&block| live.remove(block));
    live
}

/// Knuth's multiplicative generator: enough to choose what to look at.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() * bound as u64) >> 32) as usize
    }
}

/// The rank test of all trials. It looks as far ahead as hardly any loss needs that is determined at all; what needs more
/// counts as lost.
pub(crate) fn rank_test(code: &Code) -> RankTest<'_> {
    let depth = code.profile().depth();
    RankTest::new(code).with_look_ahead(LOOK_AHEAD_MAX.max(code.profile().parity().min(16) * depth))
}

/// The code that is tried for a shape: the one that is chosen for it, or the shift code with the least prime.
///
/// # Errors
/// If there is none.
pub fn profile(data: u64, parity: u64, shift: bool) -> Result<Profile, Error> {
    let refused = |source| Error::Profile(source);
    if !shift {
        return Profile::for_source(data, parity, 1 << 40).map_err(refused);
    }
    // Of more blocks than there may be any modulus is refused.
    let least = data.max(parity).clamp(2, u32::MAX.into());
    let modulus = (least..).find(|&n| is_prime(n)).and_then(|prime| u32::try_from(prime).ok());
    let construction = Construction::Shift { modulus: modulus.unwrap_or(u32::MAX) };
    Profile::new(data, parity, construction, 64, FRAME_STEPS).map_err(refused)
}

pub(crate) fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|divisor| divisor * divisor <= n).all(|divisor| !n.is_multiple_of(divisor))
}

/// Kinds of losses with no more than this many are tried as a whole.
pub const ALL_MAX: u64 = 4_000_000;
const SAMPLES_MAX_UNPROMISED: u64 = 1000;
/// Minors that take less than a tenth of a second.
const MINORS_MAX: u64 = 2_000_000;
/// Random losses between two lines written down.
const PIECE: u64 = 1 << 20;
/// Losses that a thread takes at a time.
const SHARE: u64 = 256;
const SEED: u64 = 1;
/// Steps.
const LOOK_AHEAD_MAX: usize = 160;
/// Any number: certificates hold for every length.
const FRAME_STEPS: u32 = 65_536;
