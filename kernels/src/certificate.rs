//! Certificates: which losses of a code were tried, and what came of it.
//!
//! The file `certificates.csv` beside this crate's sources is made by `tanner certify`. What the profiles promise is
//! read from it, so whoever doubts a promise can repeat the trials that it rests on.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

use crate::profile::{Construction, Profile};

/// How losses were tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// All of the shift code's, by its minors ([`crate::Minors`]); of every shape that is not larger both ways.
    Minors,
    /// All with so many data blocks among them, by their rank ([`crate::RankTest`]).
    All,
    /// Random ones with so many data blocks among them, by their rank ([`crate::Losses::sample`]).
    Sample,
    /// Those around the worst that a climb found.
    Climb,
}

/// Losses of one kind that were tried for one code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Data blocks (k).
    pub data: usize,
    /// Parity blocks (m).
    pub parity: usize,
    /// The code and its parameters.
    pub construction: Construction,
    /// Blocks that the losses leave.
    pub left: usize,
    /// How they were tried.
    pub method: Method,
    /// Data blocks among the lost; of minors and climbs any number.
    pub data_lost: usize,
    /// How many losses were tried.
    pub tried: u64,
    /// How many of them do not restore.
    pub failed: u64,
    /// What that took, in seconds of one core.
    pub seconds: u64,
    /// The blocks of a loss that does not restore or, of a climb, of the worst that was found.
    pub worst: Vec<usize>,
}

/// A line that is no trial.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("certificate line `{line}`: wanted {HEADER}")]
pub struct TrialError {
    line: String,
}

/// The first line of a file of certificates.
pub const HEADER: &str =
    "data,parity,code,n1,period,depth,seed,left,method,data_lost,tried,failed,seconds,worst";

/// All certificates that are shipped.
pub fn certificates() -> &'static [Trial] {
    static ALL: OnceLock<Vec<Trial>> = OnceLock::new();
    ALL.get_or_init(|| {
        let lines = include_str!("../certificates.csv").lines().skip(1).filter(|line| !line.starts_with('#'));
        lines.map(|line| line.parse().expect("a test reads them all")).collect()
    })
}

/// The least modulus for which all losses of a shift code of such a shape were tried, and none failed.
pub(crate) fn least_modulus(data: usize, parity: usize) -> Option<u32> {
    let modulus = |trial: &Trial| match trial.construction {
        Construction::Shift { modulus } if trial.failed == 0 && trial.is_at_least(data, parity) => {
            Some(modulus)
        }
        _ => None,
    };
    certificates().iter().filter(|trial| trial.method == Method::Minors).filter_map(modulus).min()
}

impl Trial {
    /// Whether a shift code of such a shape is part of this one. Delays are b·j, so data and parity may change places;
    /// and the minors of fewer blocks are among those of more.
    fn is_at_least(&self, data: usize, parity: usize) -> bool {
        data <= self.data && parity <= self.parity || parity <= self.data && data <= self.parity
    }

    /// Whether this is about the code of a profile, or one that it is part of.
    #[must_use]
    pub fn covers(&self, profile: &Profile) -> bool {
        let (data, parity) = (profile.data(), profile.parity());
        let is_of_shape = match self.method {
            Method::Minors => self.is_at_least(data, parity),
            _ => (data, parity) == (self.data, self.parity),
        };
        is_of_shape && self.construction == profile.construction()
    }

    /// Whether the other is about the same kind of losses of the same code.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let kind = |trial: &Self| {
            let &Self { data, parity, construction, left, method, data_lost, .. } = trial;
            (data, parity, construction, left, method, data_lost)
        };
        kind(self) == kind(other)
    }

    /// Whether every loss of this kind was tried.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.method, Method::Minors | Method::All)
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { data, parity, left, data_lost, tried, failed, seconds, .. } = self;
        let (code, n1, period, depth, seed) = match self.construction {
            Construction::Shift { modulus } => ("shift", 0, 1, 0, u64::from(modulus)),
            Construction::Coupled { n1, period, depth, seed } => ("coupled", n1, period, depth, seed),
            Construction::Rfc5170 { n1, group, seed } => ("rfc5170", n1, group, 0, seed),
        };
        let worst: Vec<String> = self.worst.iter().map(usize::to_string).collect();
        let (method, worst) = (self.method.name(), worst.join(" "));
        write!(
            f,
            "{data},{parity},{code},{n1},{period},{depth},{seed},{left},{method},{data_lost},{tried},{failed},{seconds},{worst}"
        )
    }
}

impl FromStr for Trial {
    type Err = TrialError;

    fn from_str(line: &str) -> Result<Self, TrialError> {
        let fields: Vec<&str> = line.split(',').collect();
        parse(&fields).ok_or_else(|| TrialError { line: line.to_owned() })
    }
}

fn parse(fields: &[&str]) -> Option<Trial> {
    let &[
        data,
        parity,
        code,
        n1,
        period,
        depth,
        seed,
        left,
        method,
        data_lost,
        tried,
        failed,
        seconds,
        worst,
    ] = fields
    else {
        return None;
    };
    let (n1, period, depth, seed) =
        (n1.parse().ok()?, period.parse().ok()?, depth.parse().ok()?, seed.parse().ok()?);
    let construction = match code {
        "shift" => Construction::Shift { modulus: u32::try_from(seed).ok()? },
        "coupled" => Construction::Coupled { n1, period, depth, seed },
        "rfc5170" => Construction::Rfc5170 { n1, group: period, seed },
        _ => return None,
    };
    Some(Trial {
        data: data.parse().ok()?,
        parity: parity.parse().ok()?,
        construction,
        left: left.parse().ok()?,
        method: Method::ALL.into_iter().find(|other| other.name() == method)?,
        data_lost: data_lost.parse().ok()?,
        tried: tried.parse().ok()?,
        failed: failed.parse().ok()?,
        seconds: seconds.parse().ok()?,
        worst: worst.split_whitespace().map(|block| block.parse().ok()).collect::<Option<_>>()?,
    })
}

impl Method {
    const ALL: [Self; 4] = [Self::Minors, Self::All, Self::Sample, Self::Climb];

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minors => "minors",
            Self::All => "all",
            Self::Sample => "sample",
            Self::Climb => "climb",
        }
    }
}
