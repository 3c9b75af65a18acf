//! The self-test of a level: small programs of every kind, against the definition, one byte at a time.
//!
//! A machine (or an emulator, or a compiler) that gets one instruction wrong would write parity that restores
//! nothing, and nobody would see it before the day it is needed. It takes about a millisecond, once a process.

use crate::arena::Arena;
use crate::code::Code;
use crate::exec::{Bound, Stores};
use crate::profile::{Construction, Profile};
use crate::program::Program;

use super::Level;

/// Whether the level computes what the definition says.
pub(super) fn is_right(level: Level) -> bool {
    computes_parity(|bound, arena, stores| bound.run(arena, DEPTH, 0..STEPS, level, stores))
}

/// Whether `run` fills arenas with the right parity: for rows of every length that the executor unrolls, longer
/// ones, odd ones, and such as continue the row before.
fn computes_parity(run: impl Fn(&Bound, &mut Arena, Stores)) -> bool {
    let shift = |k, m| Profile::new(k, m, Construction::Shift { modulus: 0 }, 64, 1024);
    let coupled =
        |k, m, n1| Profile::new(k, m, Construction::Coupled { n1, period: 4, depth: 9, seed: 1 }, 64, 1024);
    let profiles = [
        shift(3, 4),
        shift(8, 2),
        shift(9, 2),
        shift(10, 2),
        shift(12, 2),
        shift(16, 2),
        shift(18, 2),
        shift(20, 2),
        shift(22, 2),
        coupled(7, 8, 8),
        coupled(12, 3, 10),
    ];
    profiles.into_iter().all(|profile| {
        let code = Code::new(profile.expect("small shapes are profiles"));
        let bound = Bound::new(&Program::encode(&code), (DEPTH + STEPS) * 64, 64).expect("a small arena");
        [Stores::Cached, Stores::Streaming].into_iter().all(|stores| {
            let mut arena = bound.arena();
            for (block, stream) in arena.streams_mut().enumerate().take(code.profile().data()) {
                let bytes = stream[DEPTH * 64..].iter_mut().enumerate();
                // Of period 251, so that symbols and lanes that are mixed up show.
                bytes.for_each(|(at, byte)| *byte = ((at + 31 * block) % 251) as u8);
            }
            run(&bound, &mut arena, stores);
            is_parity(&code, &arena)
        })
    })
}

fn is_parity(code: &Code, arena: &Arena) -> bool {
    let data = code.profile().data();
    let mut sum = [0; 64];
    (0..STEPS).all(|step| {
        code.phases()[step % code.phases().len()].iter().all(|row| {
            if !row.chained {
                sum = [0; 64];
            }
            for tap in &row.taps {
                let from = &arena.stream(tap.block)[(DEPTH + step - tap.delay) * 64..][..64];
                sum.iter_mut().zip(from).for_each(|(sum, byte)| *sum ^= byte);
            }
            arena.stream(data + row.parity)[(DEPTH + step) * 64..][..64] == sum
        })
    })
}

/// At least the longest delay of the profiles above.
const DEPTH: usize = 22;
const STEPS: usize = 12;

#[cfg(test)]
mod tests {
    use super::{DEPTH, STEPS, computes_parity, is_right};
    use crate::simd::Level;

    #[test]
    fn every_level_of_this_machine_is_right() {
        assert!(Level::all().into_iter().all(is_right));
    }

    /// A test that finds nothing is none.
    #[test]
    fn one_wrong_bit_is_found() {
        for wrong in [0, 8, 15 * 64 - 1] {
            let found = !computes_parity(|bound, arena, stores| {
                bound.run(arena, DEPTH, 0..STEPS, Level::PORTABLE, stores);
                let last = arena.streams() - 1;
                arena.stream_mut(last)[DEPTH * 64 + wrong % (STEPS * 64)] ^= 4;
            });
            assert!(found, "byte {wrong}");
        }
    }
}
