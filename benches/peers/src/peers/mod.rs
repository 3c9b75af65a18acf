//! The other codes, one file each.

pub mod isal;
pub mod raptorq;
pub mod rs_erasure;
pub mod rs_simd;
pub mod zfec;
