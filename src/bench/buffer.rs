//! Blocks in memory, where the codec reads and writes them as they are.

use std::io;

use memmap2::MmapMut;

/// Blocks of equal length, zeros at first: aligned to cache lines, at distances that suit the caches as those of an
/// arena's streams do, and in huge pages where the system has them.
pub(crate) struct Buffer {
    map: MmapMut,
    block_bytes: usize,
}

impl Buffer {
    /// `blocks` blocks of `block_bytes` bytes.
    ///
    /// # Errors
    /// If the system refuses as much memory.
    pub(crate) fn new(blocks: usize, block_bytes: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(blocks.saturating_mul(distance(block_bytes)))?;
        // Without them all is slower, but as right.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, block_bytes })
    }

    pub(crate) fn blocks(&self) -> Vec<&[u8]> {
        let places = self.map.chunks(distance(self.block_bytes));
        places.map(|place| &place[..self.block_bytes]).collect()
    }

    pub(crate) fn blocks_mut(&mut self) -> Vec<&mut [u8]> {
        let places = self.map.chunks_mut(distance(self.block_bytes));
        places.map(|place| &mut place[..self.block_bytes]).collect()
    }
}

/// An odd number of cache lines, and far from a multiple of the 64 that a page has: blocks at such distances would
/// share a few sets of the first-level cache.
fn distance(block_bytes: usize) -> usize {
    (block_bytes.div_ceil(64).next_multiple_of(64) + 25) * 64
}

#[cfg(test)]
mod tests {
    #[test]
    fn blocks_are_aligned_at_odd_distances_and_zero() {
        let mut buffer = super::Buffer::new(3, 1 << 20).unwrap();
        buffer.blocks_mut()[1].fill(1);
        let blocks = buffer.blocks();
        assert_eq!(blocks, [&vec![0; 1 << 20][..], &vec![1; 1 << 20], &vec![0; 1 << 20]]);
        let starts: Vec<usize> = blocks.iter().map(|block| block.as_ptr() as usize / 64).collect();
        assert!(blocks.iter().all(|block| (block.as_ptr() as usize).is_multiple_of(64)));
        assert!(starts.windows(2).all(|pair| (pair[1] - pair[0]) % 2 == 1));
    }
}
