//! Sets of block indices.

/// A set of the n blocks of one profile, for example those that are still alive.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BlockSet {
    words: Vec<u64>,
    blocks: usize,
}

impl BlockSet {
    /// No block of `blocks`.
    #[must_use]
    pub fn none(blocks: usize) -> Self {
        Self { words: vec![0; blocks.div_ceil(64)], blocks }
    }

    /// All of `blocks` blocks.
    #[must_use]
    pub fn all(blocks: usize) -> Self {
        let mut set = Self::none(blocks);
        (0..blocks).for_each(|block| set.insert(block));
        set
    }

    /// How many blocks the profile has, in the set or not.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Adds a block.
    ///
    /// # Panics
    /// If `block` is not below [`Self::blocks`].
    pub fn insert(&mut self, block: usize) {
        assert!(block < self.blocks, "block {block} of {}", self.blocks);
        self.words[block / 64] |= 1 << (block % 64);
    }

    /// Adds all blocks of another set.
    ///
    /// # Panics
    /// If the other set is of another number of blocks.
    pub fn insert_all(&mut self, other: &Self) {
        assert_eq!(self.blocks, other.blocks, "sets of one profile");
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Takes a block out.
    ///
    /// # Panics
    /// If `block` is not below [`Self::blocks`].
    pub fn remove(&mut self, block: usize) {
        assert!(block < self.blocks, "block {block} of {}", self.blocks);
        self.words[block / 64] &= !(1 << (block % 64));
    }

    /// Whether the block is in the set.
    #[must_use]
    pub fn contains(&self, block: usize) -> bool {
        block < self.blocks && self.words[block / 64] >> (block % 64) & 1 == 1
    }

    /// How many blocks are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no block is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The blocks in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.blocks).filter(|&block| self.contains(block))
    }
}
