//! The codec on one thread, from memory to memory: GB/s of source bytes, by SIMD level and by loss.
//!
//! `cargo bench --bench codec [-- --quick]` — parity is held against the portable level's, restored blocks against the
//! source.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::collections::BTreeSet;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tanner_kernels::{Codec, Level, Profile};

use buffer::Buffer;

#[path = "../src/bench/buffer.rs"]
mod buffer;

/// Source bytes of each measurement: far more than the caches hold.
const SOURCE_BYTES: usize = 256 << 20;
const SHAPES: [(u64, u64); 8] =
    [(10, 4), (17, 3), (3, 7), (20, 20), (24, 26), (50, 50), (100, 30), (1000, 200)];

/// A shape, its data, and room for its parity.
fn prepare((k, m): (u64, u64)) -> (Codec, Buffer, Buffer) {
    let codec = Codec::new(Profile::for_source(k, m, SOURCE_BYTES as u64).expect("a shape"));
    let data_bytes = codec.data_bytes(SOURCE_BYTES);
    let mut data = Buffer::new(k as usize, data_bytes).expect("memory for the data");
    for (block, bytes) in data.blocks_mut().into_iter().enumerate() {
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i + block) % 251) as u8);
    }
    let parity = Buffer::new(m as usize, codec.parity_bytes(data_bytes)).expect("memory for the parity");
    (codec, data, parity)
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Bytes(SOURCE_BYTES as u64)).sample_size(10);
    for (k, m) in SHAPES {
        let (mut codec, data, mut parity) = prepare((k, m));
        let data = data.blocks();
        for level in Level::all() {
            codec = codec.with_level(level);
            parity.blocks_mut().into_iter().for_each(|block| block.fill(0));
            let mut run = || codec.encode(&data, &mut parity.blocks_mut()).expect("blocks of the profile");
            run();
            group.bench_function(BenchmarkId::new(level.name(), format!("{k}+{m}")), |bencher| {
                bencher.iter(&mut run);
            });
            codec = codec.with_level(Level::PORTABLE);
            let verified = codec.verify(&data, &parity.blocks());
            assert!(verified.is_ok(), "{level} differs from portable at {k}+{m}: {verified:?}");
        }
    }
    group.finish();
}

/// Data blocks are lost, and no parity: one, half of what may be lost, and all of it.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(SOURCE_BYTES as u64)).sample_size(10);
    for (k, m) in SHAPES {
        let (codec, data, mut parity) = prepare((k, m));
        let data = data.blocks();
        codec.encode(&data, &mut parity.blocks_mut()).expect("blocks of the profile");
        let most = (codec.profile().blocks() - codec.profile().threshold()).min(data.len());
        for lost in BTreeSet::from([1, (most / 2).max(1), most]) {
            let at_hand = data.iter().enumerate().map(|(block, bytes)| (block >= lost).then_some(*bytes));
            let at_hand: Vec<Option<&[u8]>> = at_hand.chain(parity.blocks().into_iter().map(Some)).collect();
            let mut restored = Buffer::new(lost, data[0].len()).expect("memory for the lost");
            let mut places: Vec<(usize, &mut [u8])> = restored.blocks_mut().into_iter().enumerate().collect();
            let mut run = || codec.reconstruct(&at_hand, &mut places, data[0].len()).expect("enough blocks");
            run();
            group.bench_function(BenchmarkId::new(format!("{lost} data lost"), format!("{k}+{m}")), |b| {
                b.iter(&mut run);
            });
            assert!(restored.blocks() == data[..lost], "wrong bytes at {k}+{m}, {lost} lost");
        }
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
