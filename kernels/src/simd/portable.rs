//! The level of every machine: `wide` at the width the build was made for, with what every x86-64 has besides; and
//! the loop for small symbols.
#![expect(unsafe_code, reason = "walks raw pointers that `exec` checked against the streams")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, _MM_HINT_T1, _mm_prefetch, _mm_sfence, _mm_stream_si128};

use std::ptr;

use wide::u64x8;

use super::body::{self, Job, Symbol};

impl Symbol for u64x8 {
    #[inline(always)]
    fn zero() -> Self {
        Self::ZERO
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller's promise; any bits are numbers.
        Self::new(unsafe { from.cast::<[u64; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u64; 8]>().write(self.to_array()) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        #[cfg(target_arch = "x86_64")]
        for (lane, quarter) in bytemuck::cast::<_, [__m128i; 4]>(self.to_array()).into_iter().enumerate() {
            // SAFETY: the caller's promise, and every x86-64 has SSE2; `fence` follows.
            unsafe { _mm_stream_si128(to.cast::<__m128i>().add(lane), quarter) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: the caller's promise.
        unsafe {
            self.store(to);
        }
    }

    #[inline(always)]
    fn fence() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has SSE.
        unsafe {
            _mm_sfence();
        }
    }

    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    fn prefetch(at: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has SSE, and a prefetch never faults.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
}

pub(super) fn run(job: &Job<'_>) {
    // SAFETY: no instructions beyond the build's; `Job` promises the rest.
    unsafe { body::run::<u64x8>(job) }
}

/// Symbols of 1 to 32 bytes.
pub(super) fn run_small(job: &Job<'_>) {
    let period = job.groups.len() - 1;
    let mut sum = [0; 64];
    for group in job.first..job.first + job.count {
        let base = job.base.wrapping_add(group * job.advance * job.unit);
        let add = |sum: &mut [u8; 64], offset: isize| xor_small(sum, base, offset, job.unit);
        if group == job.first {
            job.init.iter().for_each(|&offset| add(&mut sum, offset as isize));
        }
        let mut rows = &job.rows[job.groups[group % period]..job.groups[group % period + 1]];
        while let [first, rest @ ..] = rows {
            let head = first.head();
            let (pairs, rest) = rest.split_at(head.operands().div_ceil(2));
            if !head.is_chained() {
                sum = [0; 64];
            }
            let operands = pairs.iter().flat_map(|pair| [pair.first(), pair.second()]);
            operands.take(head.operands()).for_each(|offset| add(&mut sum, offset));
            let to =
                ptr::with_exposed_provenance_mut(base.wrapping_add_signed(first.first() * job.unit as isize));
            // SAFETY: `Job` promises that this symbol is ours to write.
            unsafe { ptr::copy_nonoverlapping(sum.as_ptr(), to, job.unit) };
            rows = rest;
        }
    }
}

fn xor_small(sum: &mut [u8; 64], base: usize, offset: isize, unit: usize) {
    let from = ptr::with_exposed_provenance(base.wrapping_add_signed(offset * unit as isize));
    // SAFETY: `Job` promises a readable symbol at each of its offsets, and nobody writes there now.
    let from = unsafe { std::slice::from_raw_parts::<u8>(from, unit) };
    sum.iter_mut().zip(from).for_each(|(sum, byte)| *sum ^= byte);
}
