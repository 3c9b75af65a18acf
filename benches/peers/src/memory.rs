//! Memory as the measurements want it: aligned to cache lines, in huge pages, for every contestant alike.

use std::os::unix::process::CommandExt;
use std::process::Command;

use memmap2::{Advice, MmapMut};

/// Zeroed bytes, aligned to a cache line and in huge pages: asked for directly, because allocators may not.
pub struct Bytes {
    map: MmapMut,
    length: usize,
}

impl Bytes {
    pub fn zeroed(length: usize) -> Self {
        let map = MmapMut::map_anon(length.max(1)).expect("memory for the measurement");
        // Without, it is slower for all alike.
        let _ = map.advise(Advice::HugePage);
        Self { map, length }
    }

    /// Bytes that no code can guess, the same in every run: splitmix64.
    pub fn random(length: usize) -> Self {
        let mut bytes = Self::zeroed(length);
        let mut state = 1_u64;
        for word in bytemuck::cast_slice_mut::<u8, u64>(&mut bytes.map[..length / 8 * 8]) {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            *word = mixed ^ (mixed >> 31);
        }
        bytes
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[..self.length]
    }
}

impl std::ops::DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.length]
    }
}

/// Starts this program again with an allocator that asks for huge pages and gives nothing back: buffers that peers
/// allocate for themselves, even those in Python, then cost no more page faults than those they are handed.
pub fn ensure_huge_pages() -> std::io::Result<()> {
    if std::env::var(VARIABLE).is_ok_and(|value| value == TUNABLES) {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    Err(Command::new(program).args(std::env::args_os().skip(1)).env(VARIABLE, TUNABLES).exec())
}

const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLES: &str =
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=17179869184";
