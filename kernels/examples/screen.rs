//! Counts the losses that a code does not survive:
//! `cargo run --release --example screen -p tanner-kernels -- 24 26 samples=20000 depth=15`.
//!
//! The promise "any k+1 blocks restore" is a property of the seed, too: an unlucky one has a few data symbols whose
//! taps merge under some losses. So this samples losses that leave the threshold (or `surplus` blocks more than k),
//! in strata by the number of data blocks lost, with the rank test that the decoder's promises rest on; strata with
//! no more losses than samples are tried as a whole. `strata=1,2,40` counts in these only.
//!
//! Before that it looks for what random losses seldom meet: the lightest kernel of one or two symbols among all that
//! there are, and the worst losses that `climbs` climbs find.
//!
//! Of the coupled code it tries one seed after the other until one has no failure, unless `seed` is given. With
//! `code=rfc5170` it counts for the seed that this code is used with.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use tanner_kernels::{Climb, CodeChoice, Codec, Construction, LightKernels, Losses, Profile, RankTest};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "{error}\nusage: screen K M [code=coupled|rfc5170 samples= n1= period= depth= seed= surplus= \
                 strata= climbs= threads=]"
            );
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [k, m, options @ ..] = arguments.as_slice() else { return Err("no shape".into()) };
    let (k, m) = (k.parse()?, m.parse()?);
    let options: Option<HashMap<&str, &str>> = options.iter().map(|option| option.split_once('=')).collect();
    let options = Options(options.ok_or("options are name=value")?);

    let code = match options.0.get("code") {
        None | Some(&"coupled") => CodeChoice::Coupled,
        Some(&"rfc5170") => CodeChoice::Rfc5170,
        Some(other) => return Err(format!("code {other} has no seed").into()),
    };
    let chosen = Profile::for_code(code, k, m, 1 << 40)?;
    let with_seed = |seed| -> Result<Profile, Box<dyn Error>> {
        let construction = match chosen.construction() {
            Construction::Coupled { n1, period, depth, .. } => Construction::Coupled {
                n1: options.number("n1", n1)?,
                period: options.number("period", period)?,
                depth: options.number("depth", depth)?,
                seed,
            },
            Construction::Rfc5170 { n1, group, .. } => {
                Construction::Rfc5170 { n1: options.number("n1", n1)?, group, seed }
            }
            shift @ Construction::Shift { .. } => shift,
        };
        Ok(Profile::new(k, m, construction, 64, u32::try_from(chosen.frame_steps())?)?)
    };
    let samples = options.number("samples", 20_000)?;
    let threads = options.number("threads", std::thread::available_parallelism().map_or(1, usize::from))?;

    let one_seed = options.0.contains_key("seed") || code == CodeChoice::Rfc5170;
    for seed in options.number("seed", 1)?.. {
        let profile = with_seed(seed)?;
        // What the shape promises: for a seed that nobody screened the profile promises less.
        let surplus = options.number("surplus", chosen.threshold() - chosen.data())?;
        let lost = profile.parity().saturating_sub(surplus);
        let screen = Screen { codec: Codec::new(profile), lost, samples, threads };
        print!("{k}+{m} {:?}", profile.construction());
        let mut clean = screen.lightest_kernel();
        if clean || one_seed {
            clean &= screen.climb(options.number("climbs", 20)?, surplus);
            print!(", failures with k+{surplus} left:");
        }
        for (data_lost, samples) in screen.strata(options.0.get("strata").copied())? {
            // All counts of one seed; of many, only whether they are clean.
            if !clean && !one_seed {
                break;
            }
            let (failed, tried) = screen.failures(data_lost, samples);
            print!(" {failed}/{tried} (d={data_lost})");
            std::io::stdout().flush()?;
            clean &= failed == 0;
        }
        println!();
        if clean || one_seed {
            break;
        }
    }
    Ok(())
}

struct Options<'a>(HashMap<&'a str, &'a str>);

impl Options<'_> {
    fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, T::Err> {
        self.0.get(name).map_or(Ok(default), |number| number.parse())
    }
}

struct Screen {
    codec: Codec,
    lost: usize,
    samples: usize,
    threads: usize,
}

impl Screen {
    /// Numbers of lost data blocks, with samples: those in `list`, or most where symbols with merged taps show.
    fn strata(&self, list: Option<&str>) -> Result<Vec<(usize, usize)>, Box<dyn Error>> {
        let data = self.codec.profile().data();
        let most = self.lost.min(data);
        let mut strata: Vec<(usize, usize)> = match list {
            Some(list) => {
                let data_lost = list.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
                data_lost.into_iter().map(|data_lost| (data_lost, self.samples)).collect()
            }
            None => {
                let few = (1..=4).map(|data_lost| (data_lost, self.samples));
                let more = [6, 8, 12, 20, 30, 50, 80, 120, most / 2, most];
                few.chain(more.map(|data_lost| (data_lost, self.samples / 10))).collect()
            }
        };
        if list.is_none() && matches!(self.codec.profile().construction(), Construction::Rfc5170 { .. }) {
            // Its N1 is not chosen for wide shapes: there most windows are empty about here.
            strata.push((data / 10, self.samples));
        }
        strata.retain(|&(data_lost, _)| data_lost >= 1 && data_lost <= most);
        strata.sort_by_key(|&(data_lost, samples)| (data_lost, std::cmp::Reverse(samples)));
        strata.dedup_by_key(|&mut (data_lost, _)| data_lost);
        Ok(strata)
    }

    /// Whether no kernel of few symbols lies in as few blocks as are lost.
    fn lightest_kernel(&self) -> bool {
        let Some(kernels) = LightKernels::of(self.codec.code()) else { return true };
        match kernels.blocks() {
            0 => print!(", no light kernel"),
            blocks => print!(", {} kernels in {blocks} blocks", kernels.counts[blocks]),
        }
        kernels.blocks() == 0 || kernels.blocks() > self.lost
    }

    /// Whether climbs find no loss that fails. They end with one block more than k.
    fn climb(&self, climbs: u64, surplus: usize) -> bool {
        let code = self.codec.code();
        if surplus > 1 || self.codec.profile().data().min(self.codec.profile().parity()) < 2 {
            return true;
        }
        let mut rank = RankTest::new(code);
        let failed: u64 = (0..climbs).map(|climb| Climb::new(code, &mut rank, SEED, climb).failed).sum();
        print!(", {failed} failures by {climbs} climbs");
        failed == 0
    }

    /// How many losses fail, and how many were tried.
    fn failures(&self, data_lost: usize, samples: usize) -> (u64, u64) {
        let profile = self.codec.profile();
        let losses =
            Losses::new(profile, profile.blocks() - self.lost, data_lost).expect("there are such losses");
        let all = losses.count().filter(|&all| all <= samples as u64);
        let tried = all.unwrap_or(samples as u64);
        let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = || {
            let mut rank = RankTest::new(self.codec.code());
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tried {
                    return;
                }
                let live = if all.is_some() { losses.nth(index) } else { losses.sample(SEED, index) };
                if !rank.determines(&live) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| (0..self.threads).for_each(|_| _ = scope.spawn(work)));
        (failed.into_inner(), tried)
    }
}

/// Others than those of the certificates.
const SEED: u64 = 2;
