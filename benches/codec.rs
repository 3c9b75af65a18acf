//! The codec on one thread, from memory to memory: GB/s of source bytes, for each SIMD level.
//!
//! `cargo bench --bench codec` — every result is checked against the definition before it is timed.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tanner_kernels::{BlockSet, Bound, Codec, Level, Profile, Role, Stores};

/// Source bytes of each measurement: far more than the caches hold.
const SOURCE_BYTES: usize = 256 << 20;
const SHAPES: [(u64, u64); 8] =
    [(10, 4), (17, 3), (3, 7), (20, 20), (24, 26), (50, 50), (100, 30), (1000, 200)];

fn fill(bytes: &mut [u8], seed: usize) {
    bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i + seed) % 251) as u8);
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Bytes(SOURCE_BYTES as u64)).sample_size(10);
    for (k, m) in SHAPES {
        let codec = Codec::new(Profile::for_source(k, m, SOURCE_BYTES as u64).expect("a shape"));
        let depth = codec.profile().depth();
        let steps = SOURCE_BYTES / k as usize / 64;
        let bound = Bound::new(codec.encoder(), (depth + steps + depth) * 64, 64).expect("below 2 GiB");
        let mut arena = bound.arena();
        (0..k as usize)
            .for_each(|block| fill(&mut arena.stream_mut(block)[depth * 64..][..steps * 64], block));
        let mut truth = Vec::new();
        for level in Level::all() {
            let mut run = || bound.run(&mut arena, depth, 0..steps + depth, level, Stores::Streaming);
            run();
            group.bench_function(BenchmarkId::new(level.name(), format!("{k}+{m}")), |bencher| {
                bencher.iter(&mut run);
            });
            let parity: Vec<Vec<u8>> =
                (0..m as usize).map(|j| arena.stream(k as usize + j).to_vec()).collect();
            if truth.is_empty() {
                truth = parity;
            } else {
                assert!(parity == truth, "{level} differs from portable at {k}+{m}");
            }
        }
    }
    group.finish();
}

/// Decoding with every m-th kind of loss: one data block, half of what may be lost, all of it data.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(SOURCE_BYTES as u64)).sample_size(10);
    for (k, m) in SHAPES {
        let codec = Codec::new(Profile::for_source(k, m, SOURCE_BYTES as u64).expect("a shape"));
        let (profile, depth) = (*codec.profile(), codec.profile().depth());
        let most = profile.blocks() - profile.threshold();
        let steps = SOURCE_BYTES / k as usize / 64 / 64 * 64;
        let encoder = Bound::new(codec.encoder(), (depth + steps + depth) * 64, 64).expect("below 2 GiB");
        let mut encoded = encoder.arena();
        (0..k as usize)
            .for_each(|block| fill(&mut encoded.stream_mut(block)[depth * 64..][..steps * 64], block));
        encoder.run(&mut encoded, depth, 0..steps + depth, Level::fastest(), Stores::Streaming);
        let losses = std::collections::BTreeSet::from([1, (most / 2).min(k as usize), most.min(k as usize)]);
        for lost in losses {
            let mut live = BlockSet::all(profile.blocks());
            (0..lost).for_each(|block| live.remove(block));
            // The parity blocks that are not needed are lost as well.
            (k as usize + lost + profile.threshold() - k as usize..profile.blocks())
                .for_each(|block| live.remove(block));
            let plan = codec.decoder(&live).expect("within the promise");
            let (back, groups) = (plan.reach_back(), steps.div_ceil(plan.advance()));
            let stream_bytes =
                (back + groups * plan.advance() + plan.reach_ahead()).max(back + steps + depth) * 64;
            let bind = |program| Bound::new(program, stream_bytes, 64).expect("below 2 GiB");
            let programs: Vec<Bound> = plan.programs().iter().map(bind).collect();
            let mut arena = programs[0].arena();
            for (stream, role) in plan.roles().iter().enumerate() {
                let Role::Input(block) = *role else { continue };
                let from = &encoded.stream(block)[depth * 64..];
                arena.stream_mut(stream)[back * 64..][..from.len()].copy_from_slice(from);
            }
            let mut run = || {
                let last = programs.len() - 1;
                for (group, program) in programs[..last].iter().enumerate() {
                    program.run(&mut arena, back, group..group + 1, Level::fastest(), Stores::Cached);
                }
                programs[last].run(&mut arena, back, last..groups, Level::fastest(), Stores::Cached);
                black_box(&arena);
            };
            run();
            group.bench_function(BenchmarkId::new(format!("{lost} data lost"), format!("{k}+{m}")), |b| {
                b.iter(&mut run);
            });
            for (stream, role) in plan.roles().iter().enumerate() {
                let Role::Output(block) = *role else { continue };
                let (got, wanted) =
                    (&arena.stream(stream)[back * 64..], &encoded.stream(block)[depth * 64..]);
                assert!(got[..steps * 64] == wanted[..steps * 64], "wrong bytes at {k}+{m}, {lost} lost");
            }
        }
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
