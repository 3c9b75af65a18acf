//! Sizes at which arithmetic goes wrong.

use crate::stored::Stored;

const SIZES: [usize; 16] = [
    0,
    1,
    2,
    10,
    69,
    640,
    4095,
    4096,
    4097,
    12_345,
    163_841,
    777_777,
    983_040, // 16 cache lines of each of 10 and of each of 12 blocks, many times over
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
];

#[test]
fn files_of_every_size_come_back_from_ten_plus_five() {
    come_back(10, 5, 5);
}

#[test]
fn files_of_every_size_come_back_from_twelve_plus_twelve() {
    come_back(12, 12, 11);
}

#[test]
fn files_of_every_size_come_back_from_one_plus_one() {
    come_back(1, 1, 1);
}

/// `tolerated` blocks are lost: the first, the last, and some of each kind.
fn come_back(data: usize, parity: usize, tolerated: usize) {
    for size in SIZES {
        eprintln!("{size} bytes in {data}+{parity}");
        let stored = Stored::new(size, &format!("-k {data} -m {parity}"), 3.min(data + parity));
        let blocks = data + parity;
        stored.on("verify").run().expect(0);
        let spread: Vec<usize> = (0..tolerated).map(|i| i * blocks / tolerated).collect();
        for lost in [(0..tolerated).collect(), spread, (blocks - tolerated..blocks).collect()] {
            stored.without(&lost, || _ = stored.restores());
        }
    }
}
