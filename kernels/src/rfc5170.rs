//! The parity check matrix of RFC 5170's LDPC-Staircase scheme (FEC encoding ID 3), and the order in which its
//! packets carry the repair symbols. Names are the RFC's: k source symbols, n encoding symbols, n − k repair
//! symbols, N1 ones in each column of the left part.
//!
//! The right part is the staircase: repair symbol i is repair symbol i − 1 plus the source symbols of row i.

/// The left part of the matrix, and the permutation of §5.6.
pub(crate) struct Staircase {
    /// The source symbols of each of the n − k rows.
    pub(crate) rows: Vec<Vec<usize>>,
    /// The place of each repair symbol in the order of the packets: packet q holds places q·G to (q+1)·G.
    pub(crate) id_to_txseq: Vec<usize>,
}

impl Staircase {
    /// Draws the matrix (§6.2) and then, without seeding again, the permutation (§5.6).
    ///
    /// `n1` is at most n − k and k at least 2: the draws would not end otherwise.
    pub(crate) fn new(k: usize, n: usize, n1: usize, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let mut rows = left_part(&mut prng, k, n - k, n1);
        fill_light_rows(&mut prng, k, &mut rows);
        Self { rows, id_to_txseq: permutation(&mut prng, n - k) }
    }
}

/// N1 rows for each column, drawn from a list that has all rows equally often; from all rows once the rest of
/// the list has none that the column lacks.
fn left_part(prng: &mut Prng, k: usize, repair: usize, n1: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); repair];
    let mut u: Vec<usize> = (0..n1 * k).map(|h| h % repair).collect();
    let mut t = 0;
    // How often each row is in `u[t..]`: whether a column can still draw from it, without a search.
    let mut left = vec![0; repair];
    u.iter().for_each(|&row| left[row] += 1);
    for column in 0..k {
        let mut drawn: Vec<usize> = Vec::with_capacity(n1);
        for _ in 0..n1 {
            let in_column: usize = drawn.iter().map(|&row| left[row]).sum();
            let row = if in_column < u.len() - t {
                let i = prng.draw(|prng| t + prng.below(u.len() - t), |&i| !drawn.contains(&u[i]));
                let row = u[i];
                u[i] = u[t];
                t += 1;
                left[row] -= 1;
                row
            } else {
                prng.draw(|prng| prng.below(repair), |row| !drawn.contains(row))
            };
            drawn.push(row);
            rows[row].push(column);
        }
    }
    rows
}

/// At least two source symbols for each row; only low code rates have rows with fewer.
fn fill_light_rows(prng: &mut Prng, k: usize, rows: &mut [Vec<usize>]) {
    for row in rows {
        while row.len() < 2 {
            let column = prng.draw(|prng| prng.below(k), |column| !row.contains(column));
            row.push(column);
        }
    }
}

fn permutation(prng: &mut Prng, repair: usize) -> Vec<usize> {
    let mut id_to_txseq: Vec<usize> = (0..repair).collect();
    for id in 0..repair {
        id_to_txseq.swap(id, prng.below(repair));
    }
    id_to_txseq
}

/// The generator of §5.7: Park and Miller's, scaled. Part of the RFC: the order and number of draws decide which
/// parity a block holds.
struct Prng {
    state: u64,
}

impl Prng {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number in `0..bound`. The RFC scales in doubles; up to bounds of 2²² integers give the same.
    fn below(&mut self, bound: usize) -> usize {
        self.state = 16_807 * self.state % PRNG_MODULUS;
        usize::try_from(bound as u64 * self.state / PRNG_MODULUS).expect("less than the bound")
    }

    /// Draws until `fits`; what does not fit has used up a draw.
    fn draw(&mut self, mut draw: impl FnMut(&mut Self) -> usize, fits: impl Fn(&usize) -> bool) -> usize {
        loop {
            let drawn = draw(self);
            if fits(&drawn) {
                return drawn;
            }
        }
    }
}

const PRNG_MODULUS: u64 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sha2::{Digest, Sha256};

    use super::{Prng, Staircase, fill_light_rows, left_part};

    fn sha256(text: &str) -> String {
        Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    }

    fn words(numbers: &[usize]) -> String {
        numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
    }

    fn sorted(row: &[usize]) -> String {
        let mut row = row.to_vec();
        row.sort_unstable();
        words(&row)
    }

    #[test]
    fn draws_are_park_and_millers() {
        let mut prng = Prng::new(1);
        let states: Vec<u64> = (0..10_000)
            .map(|_| {
                prng.below(1);
                prng.state
            })
            .collect();
        assert_eq!(states[..4], [16_807, 282_475_249, 1_622_650_073, 984_943_658]);
        assert_eq!(states[9_999], 1_043_618_065);
    }

    /// k, n, N1, seed; SHA-256 of all rows, one a line; the generator's state after. The rows were compared with
    /// those of OpenFEC 1.4.2: a change here is a code that no other decoder reads.
    const MATRICES: &str = "\
        10 15 3 1 be817aba93e4f8323c73e476739c3d3842033c5101156ea0a841f1311e63e109 530511967
        20 40 5 21 08284b0e38b4250df41e2052c9a00fbf6ecf48e2f8aa52f29a793ce5a44fa2a7 1387834528
        4 20 3 7 ea02f261e779be640e060514bcec5a2f57423fb4f7a2ddccd1f60f58a087a8fc 1885172822
        100 150 3 1234 52f66c9c2b202331bc83aea3eba1e08c2894adc8e6e7ea2bb3d59b9e00be3395 275886353
        256 384 7 1 0f28bb4bf28f162970c0943a6c5fd7cfc535f9c0c80f6b9eac380e07ae044e82 1389628018
        1000 2000 7 1 216529881a13cf322c33c74aa4dc0f42480ce2f97c7cae0edcaf10617db89530 269598357
        1000 2000 7 2147483646 97cf0774fbf98550138e68552f430a99b15c87c7202c3278c06855efa63e39d3 930264791
        1000 2000 5 42 5d3abd3b4d6612fcc9f55904e4fc74c318ef6e25012cb69e850a578e516fc537 382251732
        1000 2000 4 42 604a9e48828446b1b2ecec2f6bf9a891464072527ac1387e9085a63efa240497 573711542
        1024 1536 7 1 a6ce6f9ed875a87128bb2a7f924c728cb26304cdca5b2551cead1b7e5446492c 1565081777
        5000 10000 3 2147483646 56b226c15e94de1cfc9caa2f745ded5830690d675bb8e8cd811a466e5985a75b 1933609457";

    #[test]
    fn matrices_are_those_of_other_implementations() {
        for line in MATRICES.lines() {
            let [k, n, n1, seed, hash, state] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let number = |word: &str| word.parse::<usize>().unwrap();
            let (k, n, n1) = (number(k), number(n), number(n1));
            let mut prng = Prng::new(seed.parse().unwrap());
            let mut rows = left_part(&mut prng, k, n - k, n1);
            fill_light_rows(&mut prng, k, &mut rows);
            let text: String = rows.iter().map(|row| sorted(row) + "\n").collect();
            assert_eq!((sha256(&text).as_str(), prng.state.to_string().as_str()), (hash, state), "{line}");
        }
    }

    #[test]
    fn rows_are_those_that_the_vectors_spell_out() {
        let rows = |k, n, n1, seed| -> Vec<String> {
            Staircase::new(k, n, n1, seed).rows.iter().map(|row| sorted(row)).collect()
        };
        let all = ["0 1 2 3 4 5", "1 3 4 5 6 8 9", "1 2 3 7 9", "0 2 5 6 7 8", "0 4 6 7 8 9"];
        assert_eq!(rows(10, 15, 3, 1), all);
        let twenty = rows(20, 40, 5, 21);
        assert_eq!(twenty[..4], ["0 5 12 13 14", "1 3 4 7 12", "0 6 11 15 18", "2 4 12 18 19"]);
        assert_eq!(twenty[19], "4 6 7 15 19");
        let thousand = rows(1000, 2000, 7, 1);
        assert_eq!(thousand[0], "0 171 280 382 719 820 898");
        assert_eq!(thousand[999], "61 186 370 895 917 928 981");
    }

    #[test]
    fn packets_carry_repair_symbols_in_the_order_of_the_vectors() {
        let txseq_to_id = |k, n, n1, seed| {
            let id_to_txseq = Staircase::new(k, n, n1, seed).id_to_txseq;
            let mut ids: Vec<usize> = (0..n - k).collect();
            ids.sort_unstable_by_key(|&id| id_to_txseq[id]);
            words(&ids) + "\n"
        };
        let text = txseq_to_id(20, 40, 5, 21);
        assert!(text.starts_with("6 16 9 17 1 14 10 19 15 4 "), "{text}");
        assert_eq!(sha256(&text), "38362009a0ac1ce6eb9850c016f1602833f49b609459a979f4d1d11aa1b05dc8");
        let text = txseq_to_id(1000, 2000, 7, 1);
        assert!(text.starts_with("831 541 885 329 125 285 19 516 940 240 "), "{text}");
        assert_eq!(sha256(&text), "fb131e91d951a99412bb4ae17525765f398b6c0f1e9e268348f74446faaebae8");
    }

    /// The least of everything that a profile admits; the draws must end.
    #[test]
    fn the_narrowest_matrices_are_drawn_to_their_end() {
        for (k, n, n1) in [(2, 5, 3), (31, 41, 10), (4000, 4003, 3), (4000, 4010, 10), (2, 4000, 3)] {
            for seed in [1, 2, 3, 2_147_483_646] {
                let rows = Staircase::new(k, n, n1, seed).rows;
                assert!(rows.iter().all(|row| row.len() >= 2));
            }
        }
    }
}
