//! What the machine does with the same bytes without any code: the ceilings of each run.
#![expect(unsafe_code, reason = "stores past the caches are intrinsics")]

use std::hint::black_box;
use std::thread;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};

pub struct Ceiling {
    pub name: &'static str,
    pub version: &'static str,
    work: fn(&[u8], &mut [u8]),
}

pub const READ: &str = "read";
pub const COPY_STREAMING: &str = "copy past the caches";

pub const CEILINGS: [Ceiling; 5] = [
    Ceiling { name: READ, version: "", work: read },
    Ceiling { name: "copy", version: "", work: copy },
    Ceiling { name: COPY_STREAMING, version: "", work: copy_streaming },
    Ceiling { name: "BLAKE3", version: "blake3", work: hash },
    Ceiling { name: "AES-256-CTR", version: "aws-lc-rs", work: encrypt },
];

impl Ceiling {
    /// Does its work on all of `source`, each thread on a range of its own.
    pub fn run(&self, source: &[u8], target: &mut [u8], threads: usize) {
        let each = source.len().div_ceil(threads).next_multiple_of(4096);
        thread::scope(|scope| {
            let mut parts = source.chunks(each).zip(target.chunks_mut(each));
            let first = parts.next();
            parts.for_each(|(from, into)| drop(scope.spawn(|| (self.work)(from, into))));
            if let Some((from, into)) = first {
                (self.work)(from, into);
            }
        });
    }
}

fn read(source: &[u8], _target: &mut [u8]) {
    let mut sums = [0_u64; 32];
    for line in source.as_chunks::<256>().0 {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum ^= u64::from_ne_bytes(*word);
        }
    }
    black_box(sums);
}

/// In pieces that `memcpy` still writes through the caches: it streams very long ones.
fn copy(source: &[u8], target: &mut [u8]) {
    const PIECE: usize = 64 << 10;
    source.chunks(PIECE).zip(target.chunks_mut(PIECE)).for_each(|(from, into)| into.copy_from_slice(from));
}

#[cfg(target_arch = "x86_64")]
fn copy_streaming(source: &[u8], target: &mut [u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    assert!(target.as_ptr().cast::<__m128i>().is_aligned(), "ranges start at cache lines");
    for (from, into) in source.as_chunks::<64>().0.iter().zip(target.as_chunks_mut::<64>().0) {
        let (from, into) = (from.as_ptr().cast::<__m128i>(), into.as_mut_ptr().cast::<__m128i>());
        for part in 0..4 {
            // SAFETY: four parts of 16 bytes are a line of 64; the target is aligned. SSE2 is everywhere on x86-64.
            unsafe { _mm_stream_si128(into.add(part), _mm_loadu_si128(from.add(part))) };
        }
    }
    // SAFETY: as above.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_streaming(source: &[u8], target: &mut [u8]) {
    target.copy_from_slice(source);
}

fn hash(source: &[u8], _target: &mut [u8]) {
    black_box(blake3::hash(source));
}

/// In place, over whatever the target holds: the cipher does not care.
fn encrypt(_source: &[u8], target: &mut [u8]) {
    let key = UnboundCipherKey::new(&AES_256, &[7; 32]).and_then(EncryptingKey::ctr).expect("32 bytes");
    key.encrypt(target).expect("any length");
}
