//! Every SIMD level of this machine computes what the definition says, for every length and start.

#![allow(clippy::unwrap_used)]

mod common;

use common::{naive_parity, source};
use tanner_kernels::{Bound, Code, Construction, Level, Profile, Program, Stores};

fn profiles() -> Vec<Profile> {
    let shift =
        |k, m, modulus, unit| Profile::new(k, m, Construction::Shift { modulus }, unit, 1024).unwrap();
    let coupled = |k, m, n1, period, depth, unit| {
        Profile::new(k, m, Construction::Coupled { n1, period, depth, seed: 5 }, unit, 1024).unwrap()
    };
    let mut profiles =
        vec![shift(10, 4, 11, 64), shift(20, 10, 0, 64), shift(1, 1, 0, 64), shift(3, 7, 7, 64)];
    profiles.extend([
        coupled(24, 26, 8, 32, 15, 64),
        coupled(7, 11, 2, 3, 4, 64),
        coupled(100, 30, 8, 16, 15, 64),
    ]);
    let rfc5170 = |k, m, n1, group, unit| {
        let construction = Construction::Rfc5170 { n1, group, seed: 5 };
        Profile::new(k, m, construction, unit, 16 * group).unwrap()
    };
    profiles.extend([rfc5170(24, 26, 7, 16, 64), rfc5170(10, 4, 3, 1, 64), rfc5170(3, 2, 10, 31, 64)]);
    for unit in [1, 2, 4, 8, 16, 32] {
        profiles.extend([shift(5, 3, 0, unit), coupled(12, 12, 8, 16, 31, unit), rfc5170(5, 3, 7, 5, unit)]);
    }
    profiles
}

/// A machine with other registers than the writer's must not produce other parity.
#[test]
fn parity_is_the_same_on_every_level_in_every_split() {
    println!("levels of this machine: {:?}", Level::all());
    for profile in profiles() {
        let code = Code::new(profile);
        let program = Program::encode(&code);
        let (unit, depth, data) = (profile.unit(), profile.depth(), profile.data());
        for steps in [0_usize, 1, 2, 15, 16, 17, 31, 64, 100] {
            let steps = steps.next_multiple_of(profile.stripe());
            let bytes = source(data * steps * unit);
            let blocks: Vec<Vec<u8>> =
                (0..data).map(|b| bytes[b * steps * unit..][..steps * unit].to_vec()).collect();
            let expected = naive_parity(&code, &blocks, unit);
            let bound = Bound::new(&program, (depth + steps + profile.tail()) * unit, unit).unwrap();
            for level in Level::all() {
                for stores in [Stores::Cached, Stores::Streaming] {
                    for parts in [1, 2, 7] {
                        let mut arena = bound.arena();
                        for (index, block) in blocks.iter().enumerate() {
                            arena.stream_mut(index)[depth * unit..][..steps * unit].copy_from_slice(block);
                        }
                        // Canaries: what lies before the frame in the parity streams stays.
                        (data..profile.blocks())
                            .for_each(|index| arena.stream_mut(index)[..depth * unit].fill(0xA5));
                        for part in bound.split(&mut arena, depth, 0..steps + profile.tail(), parts, stores) {
                            part.run(level);
                        }
                        for (index, expected) in expected.iter().enumerate() {
                            let (before, parity) = arena.stream(data + index).split_at(depth * unit);
                            assert!(
                                before.iter().all(|&byte| byte == 0xA5),
                                "{level} wrote before the frame"
                            );
                            assert!(
                                parity == expected,
                                "{profile:?} {level} {stores:?} {parts} parts, {steps} steps"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Two threads in one arena compute what one thread does.
#[test]
fn parts_run_on_different_threads() {
    let code = Code::new(Profile::for_source(24, 26, 1 << 30).unwrap());
    let (depth, steps) = (code.profile().depth(), 3000);
    let bound = Bound::new(&Program::encode(&code), (2 * depth + steps) * 64, 64).unwrap();
    let encode = |parts: usize| {
        let mut arena = bound.arena();
        for index in 0..24 {
            let block = source(steps * 64 + index);
            arena.stream_mut(index)[depth * 64..][..steps * 64].copy_from_slice(&block[index..]);
        }
        std::thread::scope(|scope| {
            for part in bound.split(&mut arena, depth, 0..steps + depth, parts, Stores::Cached) {
                scope.spawn(|| part.run(Level::fastest()));
            }
        });
        (24..50).map(|index| arena.stream(index).to_vec()).collect::<Vec<_>>()
    };
    assert!(encode(1) == encode(5));
}

/// No groups, no access, wherever they are said to begin.
#[test]
fn an_empty_range_touches_nothing() {
    let code = Code::new(Profile::for_source(24, 26, 1 << 20).unwrap());
    let bound = Bound::new(&Program::encode(&code), 6400, 64).unwrap();
    let mut arena = bound.arena();
    bound.run(&mut arena, 1 << 40, 0..0, Level::fastest(), Stores::Cached);
    assert!(bound.split(&mut arena, 0, 7..7, 4, Stores::Cached).is_empty());
}

/// Decoding writes ahead of its group, so two groups at a time would race.
#[test]
fn decoding_is_never_split() {
    let codec = tanner_kernels::Codec::new(Profile::for_source(4, 2, 1 << 20).unwrap());
    let mut live = tanner_kernels::BlockSet::all(6);
    live.remove(0);
    live.remove(1);
    let plan = codec.decoder(&live).unwrap();
    let bound = Bound::new(&plan.programs()[0], 64 * 1000, 64).unwrap();
    assert_eq!(bound.split(&mut bound.arena(), 100, 0..8, 4, Stores::Cached).len(), 1);
}

#[test]
#[should_panic(expected = "reach outside streams")]
fn origins_that_wrap_are_refused() {
    let code = Code::new(Profile::for_source(10, 4, 1 << 20).unwrap());
    let bound = Bound::new(&Program::encode(&code), 6400, 64).unwrap();
    bound.run(&mut bound.arena(), usize::MAX / 64 + 20, 0..1, Level::fastest(), Stores::Cached);
}

/// A range outside the arena must be a panic, never a stray write.
#[test]
#[should_panic(expected = "reach outside streams")]
fn groups_outside_the_arena_are_refused() {
    let code = Code::new(Profile::for_source(10, 4, 1 << 20).unwrap());
    let bound = Bound::new(&Program::encode(&code), 6400, 64).unwrap();
    bound.run(&mut bound.arena(), 10, 0..91, Level::fastest(), Stores::Cached);
}
