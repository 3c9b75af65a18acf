//! SIMD levels: how wide the executor XORs, detected at run time or forced.
//!
//! The value is the proof: an [`Avx2`] or [`Avx512`] exists only where detection saw the feature, so the
//! kernels behind it are safe to call. One body serves all levels, see `body.rs`; a level is a shell around
//! it that enables the instructions.

mod body;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub(crate) use body::{Head, Job, Pair};

/// A SIMD level that this machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

/// Why a level cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum LevelError {
    /// No level has this name.
    #[error("no SIMD level is called `{name}`: wanted auto, portable, neon, avx2 or avx512")]
    Unknown {
        /// The name given.
        name: String,
    },
    /// This machine does not have the level.
    #[error("this machine has no SIMD level `{name}`: it has {}", names(&Level::all()))]
    Unavailable {
        /// The name given.
        name: String,
    },
}

impl Level {
    /// The level that runs on every machine.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Every level of this machine, slowest first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut levels = vec![Self::PORTABLE];
        #[cfg(target_arch = "aarch64")]
        levels.extend(neon::Neon::detect().map(|neon| Self(Kind::Neon(neon))));
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(x86::Avx2::detect().map(|avx2| Self(Kind::Avx2(avx2))));
            levels.extend(x86::Avx512::detect().map(|avx512| Self(Kind::Avx512(avx512))));
        }
        levels
    }

    /// The fastest level of this machine.
    #[must_use]
    pub fn fastest() -> Self {
        Self::all().pop().unwrap_or(Self::PORTABLE)
    }

    /// The level named by the environment variable [`LEVEL_VARIABLE`], else the fastest.
    ///
    /// # Errors
    /// If the variable names no level, or one that this machine does not have.
    pub fn from_env() -> Result<Self, LevelError> {
        match std::env::var_os(LEVEL_VARIABLE) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::fastest()),
        }
    }

    /// The level's name, as [`FromStr`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
        }
    }

    pub(crate) fn run(self, job: &Job<'_>) {
        match self.0 {
            // Symbols smaller than a cache line occur in tiny files only.
            _ if job.unit < 64 => portable::run_small(job),
            Kind::Portable => portable::run(job),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.run(job),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512) => avx512.run(job),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(neon) => neon.run(job),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(name: &str) -> Result<Self, LevelError> {
        match name {
            "" | "auto" => Ok(Self::fastest()),
            "portable" | "neon" | "avx2" | "avx512" => Self::all()
                .into_iter()
                .find(|level| level.name() == name)
                .ok_or_else(|| LevelError::Unavailable { name: name.to_owned() }),
            _ => Err(LevelError::Unknown { name: name.to_owned() }),
        }
    }
}

fn names(levels: &[Level]) -> String {
    levels.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ")
}

/// Names the environment variable that forces a level.
pub const LEVEL_VARIABLE: &str = "TANNER_SIMD";

#[cfg(test)]
mod tests {
    use super::{Level, LevelError};

    #[test]
    fn levels_are_forced_by_name_or_refused_by_name() {
        for level in Level::all() {
            assert_eq!(level.name().parse(), Ok(level));
        }
        assert_eq!("auto".parse(), Ok(Level::fastest()));
        assert!(matches!("sse9".parse::<Level>(), Err(LevelError::Unknown { .. })));
        let other_machine = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        assert!(matches!(other_machine.parse::<Level>(), Err(LevelError::Unavailable { .. })));
    }
}
