//! Blocks in memory: wherever they lie, however they are cut, the same parity and the same data come out.

#![allow(clippy::unwrap_used)]

mod common;

use common::{naive_parity, source};
use proptest::prelude::*;
use tanner_kernels::{Arena, BlockError, Codec, Construction, Level, Profile, Unrecoverable};

fn slices(blocks: &[Vec<u8>]) -> Vec<&[u8]> {
    blocks.iter().map(Vec::as_slice).collect()
}

fn slices_mut(blocks: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    blocks.iter_mut().map(Vec::as_mut_slice).collect()
}

/// Profiles with frames short enough that a test has several of them.
fn profiles() -> Vec<Profile> {
    let coupled = |k, m, depth, seed| {
        Profile::new(k, m, Construction::Coupled { n1: 8, period: 16, depth, seed }, 64, 4096)
    };
    let shift = |k, m, modulus| Profile::new(k, m, Construction::Shift { modulus }, 64, 2048);
    let rfc5170 = Profile::new(12, 12, Construction::Rfc5170 { n1: 7, group: 24, seed: 1 }, 64, 48 * 40);
    [
        rfc5170,
        shift(10, 4, 11),
        shift(3, 7, 7),
        shift(20, 10, 0),
        coupled(20, 20, 23, 1),
        coupled(24, 26, 31, 1),
    ]
    .into_iter()
    .map(Result::unwrap)
    .collect()
}

/// Data of `steps` steps and `odd` bytes less in the last block, at `offset` bytes from an aligned place.
fn data(codec: &Codec, steps: usize, odd: usize, offset: usize) -> (Arena, Vec<usize>) {
    let data = codec.profile().data();
    let mut arena = Arena::new(data, steps * 64 + 64).unwrap();
    let bytes = source(steps * 64 * data);
    let lengths: Vec<usize> =
        (0..data).map(|block| steps * 64 - if block + 1 == data { odd.min(steps * 64) } else { 0 }).collect();
    for (block, &length) in lengths.iter().enumerate() {
        arena.stream_mut(block)[offset..][..length].copy_from_slice(&bytes[block * steps * 64..][..length]);
    }
    (arena, lengths)
}

/// Slices that are used where they are, and those that are not, must not be told apart by their parity.
#[test]
fn parity_does_not_depend_on_where_blocks_lie() {
    for profile in profiles() {
        for (steps, odd) in [(1, 0), (40, 7), (1500, 64 * 20 + 3), (5000, 0), (9000, 1)] {
            let codec = Codec::new(profile);
            let (arena, lengths) = data(&codec, steps, odd, 0);
            let of = |arena: &Arena, offset: usize| -> Vec<Vec<u8>> {
                let stream =
                    |(block, &length): (usize, &usize)| arena.stream(block)[offset..][..length].to_vec();
                lengths.iter().enumerate().map(stream).collect()
            };
            let mut padded = of(&arena, 0);
            let whole = steps.next_multiple_of(profile.stripe());
            padded.iter_mut().for_each(|block| block.resize(whole * 64, 0));
            let full = usize::try_from(profile.frame_steps()).unwrap();
            let mut expected = vec![Vec::new(); profile.parity()];
            for start in (0..whole).step_by(full) {
                let frame = |block: &Vec<u8>| block[start * 64..(start + full).min(whole) * 64].to_vec();
                let parity = naive_parity(codec.code(), &padded.iter().map(frame).collect::<Vec<_>>(), 64);
                expected.iter_mut().zip(parity).for_each(|(block, frame)| block.extend(frame));
            }
            let parity_bytes = codec.parity_bytes(steps * 64);
            for offset in [0, 1, 63] {
                let (arena, _) = data(&codec, steps, odd, offset);
                let blocks: Vec<&[u8]> = lengths
                    .iter()
                    .enumerate()
                    .map(|(block, &length)| &arena.stream(block)[offset..][..length])
                    .collect();
                for (level, threads) in Level::all().into_iter().flat_map(|level| [(level, 1), (level, 3)]) {
                    let codec = Codec::new(profile).with_level(level).with_threads(threads);
                    let mut parity = Arena::new(profile.parity(), parity_bytes).unwrap();
                    codec.encode(&blocks, &mut parity.streams_mut().collect::<Vec<_>>()).unwrap();
                    for (index, expected) in expected.iter().enumerate() {
                        let context = format!("{profile:?} {level} x{threads}, {steps} steps, at {offset}");
                        assert!(parity.stream(index) == expected, "parity {index} of {context}");
                    }
                    let stored: Vec<&[u8]> =
                        (0..profile.parity()).map(|index| parity.stream(index)).collect();
                    codec.verify(&blocks, &stored).unwrap();
                }
            }
        }
    }
}

/// A pipe that hands over what it has must give the parity that the whole would.
#[test]
fn chunks_of_any_size_encode_like_the_whole() {
    for profile in profiles() {
        let codec = Codec::new(profile);
        let sizes =
            [1, 2, 300, 17, 64, 4000, 0, 619].map(|steps: usize| steps.next_multiple_of(profile.stripe()));
        let steps = sizes.iter().sum::<usize>();
        let blocks: Vec<Vec<u8>> =
            (0..profile.data()).map(|b| source(steps * 64 + b)[b..].to_vec()).collect();
        let mut whole = vec![vec![0; codec.parity_bytes(steps * 64)]; profile.parity()];
        codec.encode(&slices(&blocks), &mut slices_mut(&mut whole)).unwrap();
        let mut encoder = codec.stream_encoder();
        let mut parity = vec![Vec::new(); profile.parity()];
        let mut at = 0;
        for size in sizes {
            let chunk: Vec<&[u8]> = blocks.iter().map(|block| &block[at * 64..][..size * 64]).collect();
            encoder.push(&chunk, &mut parity).unwrap();
            at += size;
        }
        encoder.finish(&mut parity).unwrap();
        assert!(parity == whole, "{profile:?}");
    }
}

/// Loses as many blocks as may be lost, most of them data; what was lost comes back as a whole, and then a range of it.
fn what_was_lost_comes_back(
    profile: Profile,
    (steps, odd, offset): (usize, usize, usize),
    threads: usize,
    mut dice: u64,
    range: (f64, f64),
) {
    let codec = Codec::new(profile).with_threads(threads);
    let (arena, lengths) = data(&codec, steps, odd, offset);
    let blocks: Vec<&[u8]> =
        lengths.iter().enumerate().map(|(block, &length)| &arena.stream(block)[offset..][..length]).collect();
    let mut parity = Arena::new(profile.parity(), codec.parity_bytes(steps * 64)).unwrap();
    codec.encode(&blocks, &mut parity.streams_mut().collect::<Vec<_>>()).unwrap();
    let mut all: Vec<Option<&[u8]>> = blocks.iter().map(|block| Some(*block)).collect();
    all.extend((0..profile.parity()).map(|index| Some(parity.stream(index))));

    let mut lost = Vec::new();
    for _ in 0..profile.blocks() - profile.threshold() {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let among = if dice >> 62 == 0 { profile.blocks() } else { profile.data() };
        let block = (dice >> 33) as usize % among;
        if all[block].take().is_some() && block < profile.data() {
            lost.push(block);
        }
    }
    let mut restored = Arena::new(lost.len().max(1), steps * 64 + 64).unwrap();
    let mut places: Vec<(usize, &mut [u8])> = lost
        .iter()
        .zip(restored.streams_mut())
        .map(|(&block, stream)| (block, &mut stream[offset..][..lengths[block]]))
        .collect();
    codec.reconstruct(&all, &mut places, steps * 64).unwrap();
    for (block, place) in &places {
        assert!(*place == blocks[*block], "block {block} of {profile:?}");
    }
    // A range brings back that range, and only its frames.
    let (from, to) = ((range.0 * (steps * 64) as f64) as usize, (range.1 * (steps * 64) as f64) as usize);
    let range = from.min(to)..from.max(to);
    places.iter_mut().for_each(|(_, place)| place.fill(0));
    codec.reconstruct_range(&all, &mut places, steps * 64, range.clone()).unwrap();
    for (block, place) in &places {
        let range = range.start.min(place.len())..range.end.min(place.len());
        assert!(place[range.clone()] == blocks[*block][range], "range of block {block} of {profile:?}");
    }
}

/// What a random test found once: blocks of one step, where a stripe has 24.
#[test]
fn blocks_shorter_than_a_stripe_come_back() {
    for profile in profiles() {
        for steps in [1, 2, 23, 24, 25] {
            what_was_lost_comes_back(profile, (steps, 0, 0), 1, 4_744_210_811_292_568_543, (0.0, 0.0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Wherever the blocks lie and whichever are at hand.
    #[test]
    fn lost_blocks_are_reconstructed_in_place(
        which in 0..profiles().len(),
        steps in prop_oneof![1_usize..50, 1000_usize..9000],
        odd in 0_usize..200,
        offset in prop_oneof![Just(0_usize), 0_usize..64],
        threads in 1_usize..4,
        dice in any::<u64>(),
        range in (0.0..1.0, 0.0..1.0),
    ) {
        what_was_lost_comes_back(profiles()[which], (steps, odd, offset), threads, dice, range);
    }
}

/// Wrong use must be an error that names the block, and must write nothing.
#[test]
fn wrong_blocks_are_refused_by_name() {
    let codec = Codec::new(Profile::for_source(4, 2, 4096).unwrap());
    let source = source(4096);
    let data = codec.data_blocks(&source);
    let bytes = data[0].len();
    let mut parity = vec![vec![0; codec.parity_bytes(bytes)]; 2];
    let encode = |data: &[&[u8]], parity: &mut [Vec<u8>]| codec.encode(data, &mut slices_mut(parity));
    let count = |what, wanted, got| Err(BlockError::Count { what, wanted, got });
    assert_eq!(encode(&data[..3], &mut parity), count("data", 4, 3));
    assert_eq!(encode(&data, &mut parity[..1]), count("parity", 2, 1));
    let mut short = parity.clone();
    short[1].pop();
    let wanted = parity[0].len();
    assert_eq!(encode(&data, &mut short), Err(BlockError::Length { block: 5, wanted, got: wanted - 1 }));
    encode(&data, &mut parity).unwrap();

    parity[1][100] ^= 1;
    let step = 100 / codec.profile().unit();
    assert_eq!(codec.verify(&data, &slices(&parity)), Err(BlockError::Parity { block: 5, step }));
    parity[1][100] ^= 1;

    let mut blocks: Vec<Option<&[u8]>> = data.iter().map(|block| Some(*block)).collect();
    blocks.extend(parity.iter().map(|block| Some(block.as_slice())));
    let reconstruct = |blocks: &[Option<&[u8]>], lost: &[usize]| {
        let mut places = vec![vec![0; bytes]; lost.len()];
        let mut lost: Vec<(usize, &mut [u8])> =
            lost.iter().copied().zip(places.iter_mut().map(Vec::as_mut_slice)).collect();
        codec.reconstruct(blocks, &mut lost, bytes)
    };
    assert_eq!(reconstruct(&blocks[..5], &[0]), count("data and parity", 6, 5));
    blocks[0] = None;
    blocks[3] = None;
    assert_eq!(reconstruct(&blocks, &[4]), Err(BlockError::NotData { block: 4 }));
    assert_eq!(reconstruct(&blocks, &[3, 3]), Err(BlockError::Twice { block: 3 }));
    // Only one of two lost blocks is wanted.
    assert_eq!(reconstruct(&blocks, &[3]), Ok(()));
    blocks[1] = None;
    let too_few = BlockError::Unrecoverable(Unrecoverable::TooFew { live: 3, data: 4 });
    assert_eq!(reconstruct(&blocks, &[0, 1, 3]), Err(too_few));
}
