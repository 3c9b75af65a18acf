//! The generator behind the `coupled` code: splitmix64, frozen by the format.

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014). Part of the format: the order and number of draws decide
/// which parity a block holds, so neither may ever change.
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`: the top 32 bits of one draw, scaled.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.next() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a 32-bit fraction of a 32-bit bound")
    }

    /// Fisher–Yates from the end: one draw for each place but the first.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u32::try_from(last + 1).expect("profiles cap every list far below 2^32");
            items.swap(last, self.below(bound) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    /// The published sequence for seed 1234567; a change here makes every stored parity block unreadable.
    #[test]
    fn draws_are_splitmix64() {
        let mut prng = SplitMix64::new(1_234_567);
        let draws: Vec<u64> = (0..3).map(|_| prng.next()).collect();
        assert_eq!(draws, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_scales_the_top_bits_and_shuffle_goes_from_the_end() {
        let mut prng = SplitMix64::new(1);
        let mut order: Vec<u32> = (0..10).collect();
        prng.shuffle(&mut order);
        let after = prng.below(1000);
        assert_eq!((order, after), (vec![9, 0, 1, 4, 8, 2, 3, 7, 6, 5], 793));
    }
}
