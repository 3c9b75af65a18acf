//! The level of every machine: `wide` at the width the build was made for, and the loop for small symbols.
#![expect(unsafe_code, reason = "walks raw pointers that `exec` checked against the arena")]

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
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    fn fence() {}

    #[inline(always)]
    fn prefetch(_at: *const u8) {}
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
            let to = base.wrapping_offset(first.first() * job.unit as isize);
            // SAFETY: `Job` promises that this symbol is ours to write.
            unsafe { std::ptr::copy_nonoverlapping(sum.as_ptr(), to, job.unit) };
            rows = rest;
        }
    }
}

fn xor_small(sum: &mut [u8; 64], base: *const u8, offset: isize, unit: usize) {
    // SAFETY: `Job` promises a readable symbol at each of its offsets, and nobody writes there now.
    let from = unsafe { std::slice::from_raw_parts(base.wrapping_offset(offset * unit as isize), unit) };
    sum.iter_mut().zip(from).for_each(|(sum, byte)| *sum ^= byte);
}
