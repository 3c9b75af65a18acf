//! BLAKE3 of a byte string whose pieces come in any order.
//!
//! A backup reads k places of its source at once, so the hash of the whole source cannot be taken front to back.
//! BLAKE3 is a tree: any aligned piece has a chaining value of its own, and two neighbours merge into one.
//! What comes out is the plain BLAKE3 of the whole, as `b3sum` prints it.

use std::collections::BTreeMap;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hash, Hasher};

/// Hashes a byte string of known length from pieces in any order.
///
/// Pieces begin at multiples of 1024 bytes and end there or at the end of the string; memory stays small as
/// long as they come from a few places that advance. Threads hash into branches, which are then joined.
pub struct PieceHasher {
    bytes: u64,
    state: State,
}

enum State {
    /// For strings whose pieces are not aligned: the pieces themselves, so the string must be small.
    Pieces(BTreeMap<u64, Vec<u8>>),
    /// Chaining values of the subtrees that could not be merged yet, by their offset, with their length.
    Tree(BTreeMap<u64, (u64, ChainingValue)>),
    Done(Hash),
}

impl PieceHasher {
    /// A hasher for `bytes` bytes. Unless `aligned`, pieces may begin anywhere and are kept in memory.
    #[must_use]
    pub fn new(bytes: u64, aligned: bool) -> Self {
        let state = if aligned { State::Tree(BTreeMap::new()) } else { State::Pieces(BTreeMap::new()) };
        Self { bytes, state }
    }

    /// A hasher for a string whose end is [not known](Self::end) yet.
    #[must_use]
    pub fn endless() -> Self {
        Self::new(u64::MAX, true)
    }

    /// Says how long the string is that nobody knew the end of, before its last piece is added.
    pub fn end(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// An empty hasher for other pieces of the same string.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self::new(self.bytes, !matches!(self.state, State::Pieces(_)))
    }

    /// Adds the piece that begins at `offset`.
    ///
    /// # Panics
    /// If the piece does not lie in the string, or is not aligned where that was promised.
    pub fn add(&mut self, offset: u64, piece: &[u8]) {
        let end = offset + piece.len() as u64;
        assert!(end <= self.bytes, "a piece to {end} of {} bytes", self.bytes);
        if piece.is_empty() {
            return;
        }
        if let State::Pieces(pieces) = &mut self.state {
            pieces.insert(offset, piece.to_vec());
            return;
        }
        if piece.len() as u64 == self.bytes {
            self.state = State::Done(blake3::hash(piece));
            return;
        }
        assert!(offset.is_multiple_of(CHUNK_LEN as u64), "a piece at {offset}");
        assert!(end == self.bytes || end.is_multiple_of(CHUNK_LEN as u64), "a piece to {end}");
        for (offset, bytes, value) in self.subtrees(offset, piece) {
            self.state.insert(self.bytes, offset, bytes, value);
        }
    }

    /// Adds all pieces of a branch.
    pub fn join(&mut self, branch: Self) {
        match (&mut self.state, branch.state) {
            (State::Pieces(pieces), State::Pieces(others)) => pieces.extend(others),
            (_, State::Tree(tree)) => {
                tree.into_iter()
                    .for_each(|(offset, (bytes, value))| self.state.insert(self.bytes, offset, bytes, value));
            }
            (_, state) => self.state = state,
        }
    }

    /// Hands over what the bytes that were added are known by: the same for others if, and only if, those are the same in
    /// the same places.
    pub(crate) fn each_value(&self, mut each: impl FnMut(u64, &[u8])) {
        match &self.state {
            State::Done(hash) => each(0, hash.as_bytes()),
            State::Tree(tree) => tree.iter().for_each(|(offset, (_, value))| each(*offset, value)),
            State::Pieces(pieces) => pieces.iter().for_each(|(offset, piece)| each(*offset, piece)),
        }
    }

    /// The hash, once every byte was added exactly once.
    #[must_use]
    pub fn finish(self) -> Option<Hash> {
        match self.state {
            State::Done(hash) => Some(hash),
            State::Tree(_) => (self.bytes == 0).then(|| blake3::hash(b"")),
            State::Pieces(pieces) => {
                let (mut hasher, mut end) = (Hasher::new(), 0);
                for (offset, piece) in pieces {
                    if offset != end {
                        return None;
                    }
                    hasher.update(&piece);
                    end += piece.len() as u64;
                }
                (end == self.bytes).then(|| hasher.finalize())
            }
        }
    }

    /// Cuts a piece into whole subtrees and hashes them.
    fn subtrees(&self, mut offset: u64, mut piece: &[u8]) -> Vec<(u64, u64, ChainingValue)> {
        let mut subtrees = Vec::new();
        while !piece.is_empty() {
            let left = piece.len() as u64;
            let most = max_subtree_len(offset).unwrap_or(u64::MAX);
            let ends = offset + left == self.bytes && left <= most && offset > 0;
            let bytes = if ends { left } else { 1 << left.min(most).ilog2() };
            let (subtree, rest) = piece.split_at(usize::try_from(bytes).expect("no longer than the piece"));
            let value = Hasher::new().set_input_offset(offset).update(subtree).finalize_non_root();
            subtrees.push((offset, bytes, value));
            (offset, piece) = (offset + bytes, rest);
        }
        subtrees
    }
}

impl State {
    /// Adds a subtree and merges it upwards with what is there.
    fn insert(&mut self, total: u64, mut offset: u64, mut bytes: u64, mut value: ChainingValue) {
        let Self::Tree(tree) = self else { return };
        let mut span = bytes.next_power_of_two().max(CHUNK_LEN as u64);
        loop {
            let is_right = offset & span != 0;
            if !is_right && offset + span >= total {
                // The right edge has no neighbour here: it moves up as it is.
                span *= 2;
                continue;
            }
            let (left, right) = if is_right { (offset - span, offset) } else { (offset, offset + span) };
            let other = if is_right { left } else { right };
            let wanted = if is_right { span } else { span.min(total - right) };
            let Some((_, other)) =
                tree.get(&other).filter(|(bytes, _)| *bytes == wanted).copied().inspect(|_| {
                    tree.remove(&other);
                })
            else {
                tree.insert(offset, (bytes, value));
                return;
            };
            let (first, second) = if is_right { (other, value) } else { (value, other) };
            bytes += wanted;
            if bytes == total {
                *self = Self::Done(merge_subtrees_root(&first, &second, Mode::Hash));
                return;
            }
            (offset, value) = (left, merge_subtrees_non_root(&first, &second, Mode::Hash));
            span *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PieceHasher;

    proptest! {
        /// A source hash that depends on the order of the reads would refuse a good restore.
        #[test]
        fn pieces_in_any_order_hash_like_the_whole(
            bytes in prop_oneof![0_usize..5000, 0_usize..300_000],
            places in 1_usize..12,
            piece_kib in 1_usize..40,
            seed in any::<u64>(),
        ) {
            let string: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            let place = (bytes.div_ceil(places).max(1)).next_multiple_of(1024);
            let mut pieces: Vec<(usize, &[u8])> = Vec::new();
            for (index, run) in string.chunks(place).enumerate() {
                let run = run.chunks(piece_kib * 1024).enumerate();
                pieces.extend(run.map(|(at, piece)| (index * place + at * piece_kib * 1024, piece)));
            }
            let mut dice = seed;
            for last in (1..pieces.len()).rev() {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(last, (dice >> 33) as usize % (last + 1));
            }
            for aligned in [true, false] {
                let mut hasher = PieceHasher::new(bytes as u64, aligned);
                for pieces in pieces.chunks(7) {
                    let mut branch = hasher.branch();
                    pieces.iter().for_each(|(offset, piece)| branch.add(*offset as u64, piece));
                    hasher.join(branch);
                }
                prop_assert_eq!(hasher.finish(), Some(blake3::hash(&string)));
            }
        }
    }

    /// What was merged before the end was known must not be taken for the whole.
    #[test]
    fn a_string_whose_end_shows_late_hashes_like_the_whole() {
        for bytes in [1, 1023, 1024, 1025, 2048, 4096, 4097, 65_536, 65_537, 100_000] {
            let string: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            for row in [1024, 2048, 3072, 10_240] {
                let mut hasher = PieceHasher::endless();
                for (at, piece) in string.chunks(row).enumerate() {
                    let offset = at * row;
                    if offset + piece.len() == bytes {
                        hasher.end(bytes as u64);
                    }
                    let mut branch = hasher.branch();
                    branch.add(offset as u64, piece);
                    hasher.join(branch);
                }
                assert_eq!(hasher.finish(), Some(blake3::hash(&string)), "{bytes} in rows of {row}");
            }
        }
    }

    #[test]
    fn a_missing_piece_is_no_hash() {
        for aligned in [true, false] {
            let mut hasher = PieceHasher::new(4096, aligned);
            hasher.add(0, &[0; 1024]);
            hasher.add(2048, &[0; 2048]);
            assert_eq!(hasher.finish(), None);
        }
    }
}
