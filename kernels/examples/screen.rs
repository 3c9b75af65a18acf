//! Counts the losses that a coupled code does not survive:
//! `cargo run --release --example screen -p tanner-kernels -- 24 26 samples=20000 depth=15`.
//!
//! The promise "any k+1 blocks restore" is a property of the seed, too: an unlucky one has a few data symbols whose
//! taps merge under some losses. So this samples losses that leave the threshold (or `surplus` blocks more than k),
//! in strata by the number of data blocks lost, with the rank test that the decoder's promises rest on. Without
//! `seed` it tries one after the other until one has no failure. `strata=1,2,40` counts in these only.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use tanner_kernels::{BlockSet, Codec, Construction, Profile};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "{error}\nusage: screen K M [samples= n1= period= depth= seed= surplus= strata= threads=]"
            );
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [k, m, options @ ..] = arguments.as_slice() else { return Err("no shape".into()) };
    let (k, m) = (k.parse()?, m.parse()?);
    let options: HashMap<&str, &str> = options.iter().filter_map(|option| option.split_once('=')).collect();
    let number = |name: &str, default: u64| options.get(name).map_or(Ok(default), |number| number.parse());

    let chosen = Profile::for_source(k, m, 1 << 40)?;
    let (n1, period, depth) = match chosen.construction() {
        Construction::Coupled { n1, period, depth, .. } => (n1, period, depth),
        Construction::Shift { .. } => (8, 32, 31),
    };
    let n1 = u32::try_from(number("n1", n1.into())?)?;
    let period = u32::try_from(number("period", period.into())?)?;
    let depth = u32::try_from(number("depth", depth.into())?)?;
    let samples = usize::try_from(number("samples", 20_000)?)?;

    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = usize::try_from(number("threads", threads as u64)?)?;
    for seed in number("seed", 1)?.. {
        let construction = Construction::Coupled { n1, period, depth, seed };
        let codec = Codec::new(Profile::new(k, m, construction, 64, 65_536)?);
        let surplus = number("surplus", (codec.profile().threshold() - codec.profile().data()) as u64)?;
        let screen = Screen { codec, lost: usize::try_from(m.saturating_sub(surplus))?, samples, threads };
        let strata = match options.get("strata") {
            Some(list) => {
                let data_lost = list.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
                data_lost.into_iter().map(|data_lost| (data_lost, samples)).collect()
            }
            None => screen.strata(),
        };
        print!("{k}+{m} N1={n1} P={period} D={depth} seed={seed}, failures with k+{surplus} left:");
        let mut clean = true;
        for (data_lost, samples) in strata {
            let failed = screen.failures(data_lost, samples);
            print!(" {failed}/{samples} (d={data_lost})");
            std::io::stdout().flush()?;
            clean &= failed == 0;
            // All counts of one seed; of many, only whether they are clean.
            if !clean && !options.contains_key("seed") {
                break;
            }
        }
        println!();
        if clean || options.contains_key("seed") {
            break;
        }
    }
    Ok(())
}

struct Screen {
    codec: Codec,
    lost: usize,
    samples: usize,
    threads: usize,
}

impl Screen {
    /// Numbers of lost data blocks, with samples: most where symbols with merged taps show.
    fn strata(&self) -> Vec<(usize, usize)> {
        let most = self.lost.min(self.codec.profile().data());
        let few = (1..=4).map(|data_lost| (data_lost, self.samples));
        let more =
            [6, 8, 12, 20, 30, 50, 80, 120, most / 2, most].map(|data_lost| (data_lost, self.samples / 10));
        let mut strata: Vec<(usize, usize)> =
            few.chain(more).filter(|&(data_lost, _)| data_lost >= 1 && data_lost <= most).collect();
        strata.sort_by_key(|&(data_lost, samples)| (data_lost, std::cmp::Reverse(samples)));
        strata.dedup_by_key(|&mut (data_lost, _)| data_lost);
        strata
    }

    fn failures(&self, data_lost: usize, samples: usize) -> usize {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            loop {
                let sample = next.fetch_add(1, Ordering::Relaxed);
                if sample >= samples {
                    return;
                }
                let live = self.loss(data_lost, (data_lost * samples + sample) as u64);
                if self.codec.recoverable(&live).is_none() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| (0..self.threads).for_each(|_| _ = scope.spawn(work)));
        failed.into_inner()
    }

    /// What is left after the loss of random blocks, `data_lost` of them data.
    fn loss(&self, data_lost: usize, sample: u64) -> BlockSet {
        let (data, blocks) = (self.codec.profile().data(), self.codec.profile().blocks());
        let mut state = sample.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((state >> 32) * bound as u64) >> 32) as usize
        };
        let mut live = BlockSet::all(blocks);
        for (mut from, count) in [
            ((0..data).collect::<Vec<usize>>(), data_lost),
            ((data..blocks).collect(), self.lost - data_lost),
        ] {
            (0..count).for_each(|_| live.remove(from.swap_remove(below(from.len()))));
        }
        live
    }
}
