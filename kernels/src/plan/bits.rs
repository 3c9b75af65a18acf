//! Sets of small numbers as bits.

/// A set of small numbers, XORed as a whole. It takes memory only up to the greatest number it ever had.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn one(bit: usize) -> Self {
        let mut bits = Self::default();
        bits.flip(bit);
        bits
    }

    pub(super) fn flip(&mut self, bit: usize) {
        self.grow(bit / 64 + 1);
        self.0[bit / 64] ^= 1 << (bit % 64);
    }

    pub(super) fn get(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(super) fn xor(&mut self, other: &Self) {
        self.grow(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word ^= other);
    }

    /// Takes out what is in `other`, and returns it.
    pub(super) fn take(&mut self, other: &Self) -> Self {
        let both = Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect());
        self.xor(&both);
        both
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    pub(super) fn first(&self) -> Option<usize> {
        self.ones().next()
    }

    pub(super) fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }

    fn grow(&mut self, words: usize) {
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
    }
}
