//! `certify`: tries what codes survive.

use std::cell::Cell;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tanner_kernels::certificate::Trial;
use tanner_kernels::{Construction, Minors};

use super::{Context, Outcome};
use crate::bench::Blocks;
use crate::certify::{Certificates, Effort, check, is_prime, profile};
use crate::error::Error;
use crate::parallel::{blocking, pool};

#[derive(Args, Debug)]
pub(super) struct CertifyArgs {
    /// Shapes such as 24+26
    #[arg(value_name = "K+M", required_unless_present_any = ["all", "check"])]
    shapes: Vec<Blocks>,

    /// All that is shipped: the shift code by primes, each with as many parity blocks as can be tried, and the shapes
    /// of the coupled code that people use
    #[arg(long, conflicts_with_all = ["shapes", "shift"])]
    all: bool,

    /// Try the shift code with the least prime that tells the blocks apart, whatever is chosen for the shape
    #[arg(long)]
    shift: bool,

    /// The file of certificates; what is in it is continued
    #[arg(long, value_name = "FILE", default_value = "kernels/certificates.csv")]
    file: PathBuf,

    /// Random losses of each number of lost data blocks, where there are too many to try all
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    samples: u64,

    /// Climbs towards the worst loss
    #[arg(long, value_name = "N", default_value_t = 100)]
    climbs: u64,

    /// Try nothing new: repeat so many losses of each trial in the file and compare
    #[arg(long, value_name = "N")]
    check: Option<u64>,

    /// Which losses `--check` repeats
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

pub(super) async fn certify(context: &Context, args: CertifyArgs) -> Result<Outcome, Error> {
    let (output, stop) = (context.output, context.stop.clone());
    let pool = pool(context.cpu_threads(0))?;
    let run = move || {
        let mut certificates = Certificates::open(&args.file)?;
        if let Some(samples) = args.check {
            let trials = certificates.trials().iter().filter(|trial| {
                let shape = Blocks { data: trial.data as u64, parity: trial.parity as u64 };
                args.shapes.is_empty() || args.shapes.contains(&shape)
            });
            let (mut checked, mut wrong) = (0, 0);
            for trial in trials {
                stop.check()?;
                checked += 1;
                if let Err(reason) = check(trial, samples, args.seed) {
                    wrong += 1;
                    output.error(&format!("{}: {reason}", words(trial)));
                }
            }
            if checked == 0 {
                let source = "there is nothing to check: no such file, or no line of this shape".into();
                return Err(Error::Certificates { path: args.file, source });
            }
            output.say(&format!("{wrong} of {checked} trials are not as they say"));
            let code = if wrong > 0 { 1 } else { 0 };
            return Ok(Outcome { code, summary: json!({ "trials": checked, "wrong": wrong }) });
        }
        let effort = Effort { samples: args.samples, climbs: args.climbs };
        let named = args.shapes.iter().map(|shape| (shape.data, shape.parity, args.shift));
        let primes = shift_shapes().map(|(data, parity)| (data, parity, true));
        let coupled = COUPLED_SHAPES.map(|(data, parity)| (data, parity, false));
        let shapes: Vec<(u64, u64, bool)> =
            if args.all { primes.chain(coupled).collect() } else { named.collect() };
        for (data, parity, shift) in shapes {
            let (profile, told) = (profile(data, parity, shift)?, Cell::new(false));
            let tell = |trial: &Trial| {
                told.set(true);
                output.say(&words(trial));
            };
            certificates.add(&profile, effort, &stop, tell)?;
            if !told.get() {
                output.say(&format!("{data}+{parity}: the file has as much already"));
            }
        }
        Ok(Outcome { code: 0, summary: json!({ "trials": certificates.trials().len() }) })
    };
    blocking(move || pool.install(run)).await
}

/// For each prime the shape with as many data blocks and as much parity as has few enough losses. It covers all that are
/// smaller, and those with data and parity exchanged.
fn shift_shapes() -> impl Iterator<Item = (u64, u64)> {
    let losses = |q: u64, m: u64| (0..m).fold(1.0, |all, i| all * (q + m - i) as f64 / (i + 1) as f64);
    let shape = move |q: u64| {
        let most = if q < 64 { 1e9 } else { 1e8 };
        let parity =
            (3.min(q)..=q.min(Minors::PARITY_MAX as u64)).take_while(|&m| losses(q, m) <= most).last();
        Some((q, parity?))
    };
    (2..1000).filter(|&n| is_prime(n)).map_while(shape)
}

/// Shapes that people use, and all that are small enough to be tried as a whole.
const COUPLED_SHAPES: [(u64, u64); 26] = [
    (11, 11),
    (11, 12),
    (11, 13),
    (11, 14),
    (11, 15),
    (12, 11),
    (12, 12),
    (12, 13),
    (12, 14),
    (13, 11),
    (13, 12),
    (14, 11),
    (14, 12),
    (15, 11),
    (16, 11),
    (16, 16),
    (20, 20),
    (24, 26),
    (25, 25),
    (29, 51),
    (50, 25),
    (50, 50),
    (100, 20),
    (100, 30),
    (100, 100),
    (1000, 200),
];

fn code_words(construction: Construction) -> String {
    match construction {
        Construction::Shift { modulus } => format!("shift modulo {modulus}"),
        Construction::Coupled { n1, period, depth, seed } => {
            format!("coupled N1 {n1}, P {period}, D {depth}, seed {seed}")
        }
        Construction::Rfc5170 { n1, group, seed } => format!("rfc5170 N1 {n1}, G {group}, seed {seed}"),
    }
}

fn words(trial: &Trial) -> String {
    let Trial { data, parity, left, data_lost, tried, failed, seconds, .. } = trial;
    format!(
        "{data}+{parity} {}, {left} left, {data_lost} of data lost, {}: {failed} of {tried} failed, {seconds} s",
        code_words(trial.construction),
        trial.method.name()
    )
}
