//! What decode plans cost, counted: `cargo run --release --example plans -p tanner-kernels [-- K M [DATA PARITY]]`.
//!
//! Every operand is one load of a symbol and every row one store, so operands + rows per lost symbol of the last
//! program, which serves nearly all of a frame, tell how fast a plan runs; counting them takes no quiet machine.
//! Losses are drawn with a fixed seed: of each shape all, half, a quarter and one of the data blocks, with as many
//! parity blocks as may be lost besides, and with none. The last line is the peak of the process's memory.

use std::time::Instant;

use tanner_kernels::{BlockSet, Code, DecodePlan, Profile};

const SHAPES: [(u64, u64); 10] =
    [(20, 20), (24, 26), (25, 25), (50, 50), (100, 30), (1000, 200), (10, 4), (17, 3), (3, 7), (20, 10)];

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map_while(|arg| arg.parse().ok()).collect();
    println!(
        "{:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7} {:>5} {:>6} {:>5} {:>8} {:>8}",
        "shape",
        "lost",
        "inactive",
        "operands",
        "rows",
        "sum",
        "lines",
        "chunk",
        "rounds",
        "ahead",
        "KiB",
        "plan ms"
    );
    match numbers.as_slice() {
        [k, m, data, parity] => line(&code(*k, *m), *data as usize, *parity as usize),
        [k, m] => shape(*k, *m),
        _ => SHAPES.iter().for_each(|&(k, m)| shape(k, m)),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
}

fn code(k: u64, m: u64) -> Code {
    Code::new(Profile::for_source(k, m, 1 << 40).expect("a shape that has a code"))
}

fn shape(k: u64, m: u64) {
    let code = code(k, m);
    let most = code.profile().blocks() - code.profile().threshold();
    let all = most.min(code.profile().data());
    let mut losses: Vec<(usize, usize)> =
        [all, all / 2, all / 4, 1].into_iter().flat_map(|data| [(data, most - data), (data, 0)]).collect();
    losses.retain(|&(data, _)| data > 0);
    losses.sort_unstable_by(|a, b| b.cmp(a));
    losses.dedup();
    losses.into_iter().for_each(|(data, parity)| line(&code, data, parity));
}

fn line(code: &Code, data_lost: usize, parity_lost: usize) {
    let (k, n) = (code.profile().data(), code.profile().blocks());
    let mut dice = 1_u64;
    let mut live = BlockSet::all(n);
    for (blocks, count) in [(0..k, data_lost), (k..n, parity_lost)] {
        let mut from: Vec<usize> = blocks.collect();
        for _ in 0..count {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            live.remove(from.swap_remove((((dice >> 32) * from.len() as u64) >> 32) as usize));
        }
    }
    let start = Instant::now();
    let plan = match DecodePlan::new(code, &live) {
        Ok(plan) => plan,
        Err(error) => return println!("{k}+{} {data_lost}+{parity_lost}: {error}", n - k),
    };
    let millis = start.elapsed().as_secs_f64() * 1e3;
    let cost = plan.cost();
    let symbols = (data_lost * plan.advance()) as f64;
    let (operands, rows) = (cost.operands as f64 / symbols, cost.rows as f64 / symbols);
    println!(
        "{:>9} {:>9} {:>8} {:>8.2} {:>7.2} {:>7.2} {:>7.2} {:>5} {:>6} {:>5} {:>8.1} {:>8.1}",
        format!("{k}+{}", n - k),
        format!("{data_lost}+{parity_lost}"),
        cost.inactive,
        operands,
        rows,
        operands + rows,
        cost.lines as f64 / plan.advance() as f64,
        plan.advance(),
        plan.programs().len(),
        cost.look_ahead,
        ((cost.operands + 2 * cost.rows) * size_of::<i32>()) as f64 / 1024.0,
        millis,
    );
}
