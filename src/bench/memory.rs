//! How fast memory can be read, and written past the caches: the ceilings that no code can pass.
#![expect(unsafe_code, reason = "wide registers and stores past the caches have no safe names")]

/// One cache line, so that buffers are aligned to it.
#[derive(Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([u64; 8]);

/// The XOR of all lines, by the widest registers of this machine.
pub(super) fn read(lines: &[Line]) -> Line {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just seen.
        return unsafe { read_avx512(lines) };
    } else if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just seen.
        return unsafe { read_avx2(lines) };
    }
    read_portable(lines)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn read_avx512(lines: &[Line]) -> Line {
    read_portable(lines)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn read_avx2(lines: &[Line]) -> Line {
    read_portable(lines)
}

/// Several places at a time and prefetched, as a code reads its blocks: one stream does not fill the memory's queues,
/// and a ceiling below what the codec reaches would be none.
#[inline(always)]
pub(super) fn read_portable(lines: &[Line]) -> Line {
    let mut sums = [[0_u64; 8]; STREAMS];
    let each = lines.len() / STREAMS;
    let add = |sum: &mut [u64; 8], line: &Line| {
        sum.iter_mut().zip(line.0).for_each(|(sum, word)| *sum ^= word);
    };
    let (streams, rest) = lines.split_at(each * STREAMS);
    let streams: [&[Line]; STREAMS] = std::array::from_fn(|stream| &streams[stream * each..][..each]);
    for at in 0..each {
        for (stream, sum) in streams.iter().zip(&mut sums) {
            prefetch(&stream[at]);
            add(sum, &stream[at]);
        }
    }
    let mut sum = [0; 8];
    sums.iter().map(|&sum| Line(sum)).chain(rest.iter().copied()).for_each(|line| add(&mut sum, &line));
    Line(sum)
}

/// Asks for the line that is read some lines later.
#[inline(always)]
fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = std::ptr::from_ref(line).wrapping_add(PREFETCH_LINES);
        // SAFETY: a prefetch reads nothing that could be seen and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Copies without reading the target into the caches first.
#[cfg(target_arch = "x86_64")]
pub(super) fn copy_past_caches(from: &[Line], to: &mut [Line]) {
    use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si128};
    for (from, to) in from.iter().zip(to) {
        prefetch(from);
        let words: [__m128i; 4] = bytemuck::cast(from.0);
        let to = std::ptr::from_mut(to).cast::<__m128i>();
        for (at, word) in words.into_iter().enumerate() {
            // SAFETY: SSE2 is part of the architecture; `to` is 64 bytes, aligned, and ours.
            unsafe { _mm_stream_si128(to.add(at), word) };
        }
    }
    // Such stores are not ordered with others; whoever reads `to` next may be another thread.
    // SAFETY: SSE is part of the architecture.
    unsafe { _mm_sfence() };
}

/// Whether [`copy_past_caches`] is there.
pub(super) const HAS_STREAMING: bool = cfg!(target_arch = "x86_64");

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn copy_past_caches(from: &[Line], to: &mut [Line]) {
    to.copy_from_slice(from);
}

const STREAMS: usize = 8;
#[cfg(target_arch = "x86_64")]
const PREFETCH_LINES: usize = 16;
