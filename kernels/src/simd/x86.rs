//! AVX2 and AVX-512.
#![expect(unsafe_code, reason = "intrinsics, and raw pointers that `exec` checked against the streams")]

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T1, _mm_prefetch, _mm_sfence, _mm256_load_si256, _mm256_setzero_si256,
    _mm256_store_si256, _mm256_stream_si256, _mm256_xor_si256, _mm512_load_si512, _mm512_setzero_si512,
    _mm512_store_si512, _mm512_stream_si512, _mm512_xor_si512,
};

use super::body::{self, Job, Symbol};

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Avx2(());

/// Proof that this machine has AVX-512 F.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Avx512(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn run(self, job: &Job<'_>) {
        #[target_feature(enable = "avx2")]
        fn shell(job: &Job<'_>) {
            // SAFETY: AVX2 is enabled here; `Job` promises the rest.
            unsafe { body::run::<Ymm>(job) }
        }
        // SAFETY: an `Avx2` exists only where `detect` saw the feature.
        unsafe { shell(job) }
    }
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run(self, job: &Job<'_>) {
        #[target_feature(enable = "avx512f")]
        fn shell(job: &Job<'_>) {
            // SAFETY: AVX-512 F is enabled here; `Job` promises the rest.
            unsafe { body::run::<Zmm>(job) }
        }
        // SAFETY: an `Avx512` exists only where `detect` saw the feature.
        unsafe { shell(job) }
    }
}

#[derive(Clone, Copy)]
struct Ymm([__m256i; 2]);

#[derive(Clone, Copy)]
struct Zmm(__m512i);

// SAFETY, for all of both: the two types live inside `shell` only, where their instructions are enabled.

impl Symbol for Ymm {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { [_mm256_setzero_si256(); 2] })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self([_mm256_xor_si256(self.0[0], other.0[0]), _mm256_xor_si256(self.0[1], other.0[1])]) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: see above, and the caller's promise.
        unsafe { Self([_mm256_load_si256(from.cast()), _mm256_load_si256(from.add(32).cast())]) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: see above, and the caller's promise.
        unsafe {
            _mm256_store_si256(to.cast(), self.0[0]);
            _mm256_store_si256(to.add(32).cast(), self.0[1]);
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: see above, and the caller's promise; `fence` follows.
        unsafe {
            _mm256_stream_si256(to.cast(), self.0[0]);
            _mm256_stream_si256(to.add(32).cast(), self.0[1]);
        }
    }

    #[inline(always)]
    fn fence() {
        // SAFETY: every x86-64 has SSE.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        // SAFETY: every x86-64 has SSE, and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

impl Symbol for Zmm {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: see above, and the caller's promise.
        Self(unsafe { _mm512_load_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm512_store_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: see above, and the caller's promise; `fence` follows.
        unsafe { _mm512_stream_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    fn fence() {
        Ymm::fence();
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        Ymm::prefetch(at);
    }
}
