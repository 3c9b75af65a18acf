//! `certify`: tries what codes survive.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tanner_kernels::certificate::Trial;

use super::{Context, Outcome};
use crate::certify::{Certificates, Effort, check, profile};
use crate::error::Error;

#[derive(Args, Debug)]
pub(super) struct CertifyArgs {
    /// Shapes such as 24+26
    #[arg(value_name = "K+M", value_parser = parse_shape)]
    shapes: Vec<(u64, u64)>,

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
    let run = move || {
        let mut certificates = Certificates::open(&args.file)?;
        if let Some(samples) = args.check {
            let trials = certificates.trials().iter().filter(|trial| {
                let shape = (trial.data as u64, trial.parity as u64);
                args.shapes.is_empty() || args.shapes.contains(&shape)
            });
            let mut wrong = 0;
            for trial in trials {
                stop.check()?;
                if let Err(reason) = check(trial, samples, args.seed) {
                    wrong += 1;
                    output.error(&format!("{}: {reason}", words(trial)));
                }
            }
            let code = if wrong > 0 { 1 } else { 0 };
            return Ok(Outcome {
                code,
                summary: json!({ "trials": certificates.trials().len(), "wrong": wrong }),
            });
        }
        let effort = Effort { samples: args.samples, climbs: args.climbs };
        for &(data, parity) in &args.shapes {
            let profile = profile(data, parity, args.shift)?;
            certificates.add(&profile, effort, &stop, |trial| output.say(&words(trial)))?;
        }
        Ok(Outcome { code: 0, summary: json!({ "trials": certificates.trials().len() }) })
    };
    tokio::task::spawn_blocking(run).await.expect("trying losses does not panic")
}

fn words(trial: &Trial) -> String {
    let Trial { data, parity, left, data_lost, tried, failed, seconds, .. } = trial;
    format!(
        "{data}+{parity} {:?}, {left} left, {} ({data_lost} data lost): {failed} of {tried} failed, {seconds} s",
        trial.construction,
        trial.method.name()
    )
}

fn parse_shape(text: &str) -> Result<(u64, u64), String> {
    let shape = text.split_once('+').and_then(|(k, m)| Some((k.parse().ok()?, m.parse().ok()?)));
    shape.ok_or_else(|| "wanted data and parity blocks, such as 24+26".to_owned())
}
