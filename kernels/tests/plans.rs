//! Decode plans stay cheap: operands and rows are counted, which no other load on the machine disturbs.

#![allow(clippy::unwrap_used)]

use tanner_kernels::{BlockSet, Code, DecodePlan, Profile};

/// k, m, lost data and parity blocks; the most operands + rows per lost symbol, and the most symbols that are read or
/// written for each step. What they take now rounded up: who makes a plan heavier by a tenth shall notice.
const MOST: [(u64, u64, usize, usize, f64, f64); 11] = [
    (24, 26, 1, 0, 9.5, 9.0),
    (24, 26, 6, 0, 9.5, 32.0),
    (24, 26, 12, 13, 17.0, 38.0),
    (24, 26, 24, 1, 10.5, 50.0),
    (24, 26, 1, 24, 72.5, 26.0),
    (20, 20, 19, 0, 13.0, 40.0),
    (50, 50, 49, 0, 14.0, 100.0),
    (100, 30, 29, 0, 31.0, 130.0),
    (1000, 200, 1, 0, 44.0, 43.0),
    (10, 4, 4, 0, 11.5, 14.0),
    (17, 3, 3, 0, 18.0, 20.0),
];

#[test]
fn plans_take_few_operands_and_rows() {
    for (k, m, data_lost, parity_lost, most, most_lines) in MOST {
        let code = Code::new(Profile::for_source(k, m, 1 << 40).unwrap());
        let mut live = BlockSet::all((k + m) as usize);
        (0..data_lost).for_each(|block| live.remove(block));
        (0..parity_lost).for_each(|block| live.remove(k as usize + block));
        let plan = DecodePlan::new(&code, &live).unwrap();
        let each = (plan.cost().operands + plan.cost().rows) as f64 / (data_lost * plan.advance()) as f64;
        let lines = plan.cost().lines as f64 / plan.advance() as f64;
        println!("{k}+{m}, {data_lost}+{parity_lost} lost: {each:.2}, {lines:.2} lines");
        assert!(each <= most, "{each:.2} a symbol at {k}+{m}, {data_lost}+{parity_lost} lost: {most} before");
        assert!(
            lines <= most_lines,
            "{lines:.2} lines at {k}+{m}, {data_lost}+{parity_lost} lost: {most_lines} before"
        );
    }
}
