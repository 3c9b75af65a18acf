//! Decode plans stay cheap: operands and rows are counted, which no other load on the machine disturbs.

#![allow(clippy::unwrap_used)]

use tanner_kernels::{BlockSet, Code, DecodePlan, Profile};

/// k, m, lost data and parity blocks, and the most operands + rows per lost symbol. What they take now rounded up:
/// who makes a plan heavier by a tenth shall notice.
const MOST: [(u64, u64, usize, usize, f64); 9] = [
    (24, 26, 1, 0, 9.5),
    (24, 26, 12, 13, 17.0),
    (24, 26, 24, 1, 10.5),
    (24, 26, 1, 24, 72.5),
    (20, 20, 19, 0, 13.0),
    (50, 50, 49, 0, 14.0),
    (100, 30, 29, 0, 31.0),
    (10, 4, 4, 0, 11.5),
    (17, 3, 3, 0, 18.0),
];

#[test]
fn plans_take_few_operands_and_rows() {
    for (k, m, data_lost, parity_lost, most) in MOST {
        let code = Code::new(Profile::for_source(k, m, 1 << 40).unwrap());
        let mut live = BlockSet::all((k + m) as usize);
        (0..data_lost).for_each(|block| live.remove(block));
        (0..parity_lost).for_each(|block| live.remove(k as usize + block));
        let plan = DecodePlan::new(&code, &live).unwrap();
        let each = (plan.cost().operands + plan.cost().rows) as f64 / (data_lost * plan.advance()) as f64;
        println!("{k}+{m}, {data_lost}+{parity_lost} lost: {each:.2}");
        assert!(each <= most, "{each:.2} a symbol at {k}+{m}, {data_lost}+{parity_lost} lost: {most} before");
    }
}
