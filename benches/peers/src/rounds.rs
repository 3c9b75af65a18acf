//! The race: rounds in which every contestant runs once, in turn, so that the machine's moods hit all alike.

use std::time::{Duration, Instant};

use crate::ceilings::CEILINGS;
use crate::contestant::{Contestant, Entry, Layout, Shape, WHOLE};
use crate::memory::Bytes;
use crate::record::{Row, locked};

pub struct Race {
    pub rounds: usize,
    /// What one run may take; slower contestants get less of the source, but never less than the caches hold.
    pub seconds_max: f64,
    pub source: Bytes,
    /// The source again, to lose blocks of.
    pub work: Bytes,
    /// Where the ceilings write.
    pub target: Bytes,
    pub threads: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Encode,
    /// As many data blocks are lost as the code promises to restore.
    Worst,
    /// This many data blocks are lost, and nothing else.
    Lose(&'static str, usize),
}

impl Operation {
    /// Everything that is measured for a shape, no loss twice.
    fn all(shape: Shape) -> Vec<Self> {
        let most = shape.data.min(shape.parity);
        let losses = [("half", most / 2), ("quarter", most / 4), ("light", 1)];
        let mut all = vec![Self::Encode, Self::Worst];
        all.extend(
            losses
                .iter()
                .filter(|&&(name, lost)| lost > 1 || name == "light")
                .map(|&(n, l)| Self::Lose(n, l)),
        );
        all
    }

    pub fn name(self) -> String {
        match self {
            Self::Encode => "encode".to_owned(),
            Self::Worst => "decode worst".to_owned(),
            Self::Lose(name, _) => format!("decode {name}"),
        }
    }

    fn lost(self, contestant: &dyn Contestant) -> usize {
        let shape = contestant.layout().shape;
        let most = shape.data.min(shape.blocks() - contestant.threshold());
        match self {
            Self::Encode => 0,
            Self::Worst => most,
            Self::Lose(_, lost) => lost.min(most),
        }
    }
}

/// A contestant ready for one operation.
struct Runner {
    contestant: Box<dyn Contestant>,
    piece: usize,
    lost: usize,
    plan_seconds: f64,
}

impl Race {
    pub fn shape(&mut self, shape: Shape, entries: &[Entry]) -> Vec<Row> {
        let mut rows = Vec::new();
        for operation in Operation::all(shape) {
            eprint!("{shape} {}:", operation.name());
            let mut runners = Vec::new();
            for entry in entries {
                let template = Row { shape: shape.to_string(), operation: operation.name(), ..row(entry) };
                match self.ready(entry, shape, operation) {
                    Ok(runner) => runners.push((runner, template)),
                    Err(note) => rows.push(Row { note, ..template }),
                }
            }
            // Round 0 warms up.
            for round in 0..=self.rounds {
                let mut results = Vec::new();
                if operation == Operation::Encode {
                    results.extend(self.ceilings(shape));
                }
                for (runner, template) in &mut runners {
                    results.push(self.timed(runner, operation, template));
                }
                if round > 0 {
                    rows.extend(results.into_iter().map(|row| Row { round, ..row }));
                }
            }
            for (runner, template) in &mut runners {
                if operation == Operation::Encode {
                    // The parity of the last round is right if it restores what is lost.
                    runner.prepare(Operation::Worst);
                    runner.decode(&self.source, &mut self.work);
                }
                let last = rows
                    .iter()
                    .rfind(|row| (&row.contestant, row.threads) == (&template.contestant, template.threads));
                eprint!(" {}/{} {:.2}", template.contestant, template.threads, last.map_or(0.0, Row::rate));
            }
            eprintln!(" GB/s");
        }
        rows
    }

    /// The best piece, by a shorter source, and a contestant for as much of the source as it can take in time.
    fn ready(&mut self, entry: &Entry, shape: Shape, operation: Operation) -> Result<Runner, String> {
        let short = Layout::new(shape, self.source.len().min(TUNING_BYTES));
        let mut runner = Runner::new((entry.enter)(short, entry.threads)?);
        let bytes = short.source_bytes();
        let mut best = (f64::INFINITY, WHOLE);
        for &piece in runner.contestant.pieces() {
            if piece != WHOLE && piece >= 2 * short.block_bytes {
                continue;
            }
            let mut runner = Runner { piece, ..Runner::new((entry.enter)(short, entry.threads)?) };
            runner.settle(operation, &self.source[..bytes]);
            let mut run = || runner.run(operation, &self.source, &mut self.work);
            let seconds = (0..TUNING_RUNS).map(|_| run()).fold(f64::INFINITY, f64::min);
            if seconds < best.0 {
                best = (seconds, piece);
            }
        }
        runner.piece = best.1;
        let affordable = (self.seconds_max / best.0 * bytes as f64) as usize;
        let layout = Layout::new(shape, self.source.len().min(affordable.max(TUNING_BYTES)));
        drop(runner);
        let mut runner = Runner { piece: best.1, ..Runner::new((entry.enter)(layout, entry.threads)?) };
        runner.settle(operation, &self.source[..layout.source_bytes()]);
        Ok(runner)
    }

    fn timed(&mut self, runner: &mut Runner, operation: Operation, template: &Row) -> Row {
        let seconds = runner.run(operation, &self.source, &mut self.work);
        let piece = if runner.piece == WHOLE { "whole blocks".to_owned() } else { runner.piece.to_string() };
        Row {
            seconds,
            lost: runner.lost,
            bytes: runner.contestant.layout().source_bytes(),
            level: runner.contestant.level().to_owned(),
            piece,
            plan_seconds: runner.plan_seconds,
            ..template.clone()
        }
    }

    fn ceilings(&mut self, shape: Shape) -> Vec<Row> {
        let mut rows = Vec::new();
        for &threads in &self.threads {
            for ceiling in &CEILINGS {
                settle(&self.source);
                let began = Instant::now();
                ceiling.run(&self.source, &mut self.target, threads);
                rows.push(Row {
                    contestant: ceiling.name.to_owned(),
                    version: locked(ceiling.version),
                    shape: shape.to_string(),
                    operation: CEILING.to_owned(),
                    bytes: self.source.len(),
                    seconds: began.elapsed().as_secs_f64(),
                    threads,
                    ..Row::default()
                });
            }
        }
        rows
    }
}

impl Runner {
    fn new(contestant: Box<dyn Contestant>) -> Self {
        Self { contestant, piece: WHOLE, lost: 0, plan_seconds: 0.0 }
    }

    /// Makes the contestant ready for an operation; to decode, it needs its parity first.
    fn settle(&mut self, operation: Operation, source: &[u8]) {
        if operation != Operation::Encode {
            self.contestant.load(source);
            self.contestant.encode(source, self.piece);
            self.prepare(operation);
        }
    }

    fn prepare(&mut self, operation: Operation) {
        self.lost = operation.lost(self.contestant.as_ref());
        let began = Instant::now();
        self.contestant.plan(self.lost, self.piece);
        self.plan_seconds = began.elapsed().as_secs_f64();
    }

    /// Seconds that the operation took.
    fn run(&mut self, operation: Operation, source: &[u8], work: &mut [u8]) -> f64 {
        if operation != Operation::Encode {
            return self.decode(source, work);
        }
        let source = &source[..self.contestant.layout().source_bytes()];
        self.contestant.load(source);
        settle(source);
        let began = Instant::now();
        self.contestant.encode(source, self.piece);
        began.elapsed().as_secs_f64()
    }

    fn decode(&mut self, source: &[u8], work: &mut [u8]) -> f64 {
        let bytes = self.contestant.layout().source_bytes();
        let (source, work) = (&source[..bytes], &mut work[..bytes]);
        for block in 0..self.lost {
            self.contestant.ranges(block, self.piece).into_iter().for_each(|range| work[range].fill(0xA5));
        }
        self.contestant.load(work);
        settle(source);
        let began = Instant::now();
        self.contestant.decode(work, self.piece);
        let seconds = began.elapsed().as_secs_f64();
        self.contestant.unload(work);
        assert!(source == work, "wrong bytes: {} with {} lost", self.contestant.layout().shape, self.lost);
        seconds
    }
}

fn row(entry: &Entry) -> Row {
    Row {
        contestant: entry.name.to_owned(),
        version: entry.version.clone(),
        threads: entry.threads,
        ..Row::default()
    }
}

/// The operation of the ceilings' rows.
pub const CEILING: &str = "ceiling";

/// Twice the last-level cache of most machines.
const TUNING_BYTES: usize = 64 << 20;
const TUNING_RUNS: usize = 2;

/// Reads memory for a moment. Whoever runs after a contestant in a process of its own, or after one that does without
/// memory, would else be timed on a core and a memory that have slept meanwhile, and pay for their waking up.
fn settle(bytes: &[u8]) {
    let (began, mut sum) = (Instant::now(), 0);
    while began.elapsed() < SETTLE {
        for piece in bytes.chunks(1 << 20) {
            let words = bytemuck::cast_slice::<u8, u64>(&piece[..piece.len() / 8 * 8]);
            sum = words.iter().fold(sum, |sum: u64, word| sum ^ word);
            if began.elapsed() >= SETTLE {
                break;
            }
        }
    }
    std::hint::black_box(sum);
}

const SETTLE: Duration = Duration::from_millis(80);
