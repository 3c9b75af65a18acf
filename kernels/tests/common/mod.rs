//! The truth: parity by the definition, one byte at a time.
#![allow(dead_code, reason = "each test binary uses its part")]

use tanner_kernels::Code;

/// Bytes of period 251, so that no two blocks or symbols look alike.
pub(crate) fn source(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8 ^ (i / 251) as u8).collect()
}

/// Parity of one frame: `data[b]` holds the frame's symbols of block b; each parity block gets
/// `length + tail` symbols of `unit` bytes.
pub(crate) fn naive_parity(code: &Code, data: &[Vec<u8>], unit: usize) -> Vec<Vec<u8>> {
    let profile = code.profile();
    let steps = data[0].len() / unit + profile.tail();
    let mut parity = vec![vec![0; steps * unit]; profile.parity()];
    let mut sum = vec![0; unit];
    for step in 0..steps {
        for row in &code.phases()[step % code.phases().len()] {
            if !row.chained {
                sum.fill(0);
            }
            for tap in &row.taps {
                let Some(at) = step.checked_sub(tap.delay) else { continue };
                for (byte, sum) in sum.iter_mut().enumerate() {
                    *sum ^= data[tap.block].get(at * unit + byte).unwrap_or(&0);
                }
            }
            parity[row.parity][(step - row.back) * unit..][..unit].copy_from_slice(&sum);
        }
    }
    parity
}
