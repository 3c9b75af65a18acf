//! What it takes to read small pieces of a file, next to reading all of it:
//! `cargo run --release --example pieces -p tanner-transports -- DIR`.
//!
//! Writes 256 MiB below DIR, and for each distance reads 64 bytes at every such distance, in order, and the whole file
//! in turn, each time from a page cache that has nothing of it. Prints what came from the disk, by `/proc/self/io`, and
//! the median over the rounds of both times' ratio.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: pieces DIR")?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    for mib in 0..FILE_BYTES >> 20 {
        std::io::Write::write_all(&mut file, &vec![mib as u8; 1 << 20])?;
    }
    file.as_file().sync_all()?;
    println!("a piece every   read from disk   time : time of all");
    for distance in [256, 1024, 4096, 16_384, 65_536, 262_144] {
        let (mut ratios, mut disk_bytes) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (all, _) = read(file.as_file(), 512 << 10, 512 << 10)?;
            let (pieces, bytes) = read(file.as_file(), 64, distance)?;
            ratios.push(pieces / all);
            disk_bytes = bytes;
        }
        ratios.sort_by(f64::total_cmp);
        println!("{distance:>8} bytes   {:>8} MiB     {:.2}", disk_bytes >> 20, ratios[ROUNDS / 2]);
    }
    Ok(())
}

/// Reads `bytes` bytes at every `distance`: seconds, and bytes that came from the disk.
fn read(file: &File, bytes: usize, distance: usize) -> Result<(f64, u64), Box<dyn Error>> {
    fadvise(file, 0, None, Advice::DontNeed)?;
    let (before, began) = (disk_bytes()?, Instant::now());
    let mut piece = vec![0; bytes];
    for offset in (0..FILE_BYTES).step_by(distance) {
        file.read_exact_at(&mut piece, offset)?;
        assert!(piece[0] == (offset >> 20) as u8, "wrong bytes at {offset}");
    }
    Ok((began.elapsed().as_secs_f64(), disk_bytes()? - before))
}

/// Bytes that this process made the disk read.
fn disk_bytes() -> Result<u64, Box<dyn Error>> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.ok_or("no count of bytes read")?.parse()?)
}

const FILE_BYTES: u64 = 256 << 20;
const ROUNDS: usize = 5;
