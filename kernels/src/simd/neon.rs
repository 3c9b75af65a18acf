//! NEON.
#![expect(unsafe_code, reason = "intrinsics, and raw pointers that `exec` checked against the streams")]

use std::arch::aarch64::{uint8x16_t, vdupq_n_u8, veorq_u8, vld1q_u8, vst1q_u8};
use std::arch::is_aarch64_feature_detected;

use super::body::{self, Job, Symbol};

/// Proof that this machine has NEON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run(self, job: &Job<'_>) {
        #[target_feature(enable = "neon")]
        fn shell(job: &Job<'_>) {
            // SAFETY: NEON is enabled here; `Job` promises the rest.
            unsafe { body::run::<Quad>(job) }
        }
        // SAFETY: a `Neon` exists only where `detect` saw the feature.
        unsafe { shell(job) }
    }
}

#[derive(Clone, Copy)]
struct Quad([uint8x16_t; 4]);

// SAFETY, for all of it: the type lives inside `shell` only, where its instructions are enabled.

impl Symbol for Quad {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { [vdupq_n_u8(0); 4] })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|lane| unsafe { veorq_u8(self.0[lane], other.0[lane]) }))
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: see above, and the caller's promise.
        Self(std::array::from_fn(|lane| unsafe { vld1q_u8(from.add(16 * lane)) }))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: see above, and the caller's promise.
        (0..4).for_each(|lane| unsafe { vst1q_u8(to.add(16 * lane), self.0[lane]) });
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
