//! What durable writes cost each way: `cargo run --release --example disk_io -p tanner-transports -- DIR [FILES] [MIB]`.
//!
//! Writes FILES objects (15) of MIB MiB each (16) below DIR, all at the same time in pieces as a backup makes them, and
//! makes them durable: by a plain thread for each file, through [`Disk`] with positioned calls and with the ring. Then it
//! reads the objects through `Disk` from a cold page cache and from a warm one. All ways take turns; what is printed is
//! the median of each, and the median over the rounds of its ratio to plain threads (writes) or to positioned calls
//! (reads) in the same round.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use tanner_transports::{Disk, DiskIo, ObjectName, Transport, ring};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy)]
struct Job {
    files: usize,
    pieces: usize,
}

const WAYS: [&str; 7] = [
    "write, plain threads",
    "write, disk, positioned",
    "write, disk, ring",
    "read cold, disk, positioned",
    "read cold, disk, ring",
    "read warm, disk, positioned",
    "read warm, disk, ring",
];
/// The way that another is compared with.
const BASE: [usize; 7] = [0, 0, 0, 3, 3, 5, 5];

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("usage: disk_io DIR [FILES] [MIB]")?;
    let mut number = |or: usize| args.next().map_or(Ok(or), |text| text.parse());
    let (files, mib) = (number(15)?, number(16)?);
    let job = Job { files, pieces: (mib << 20) / PIECE_BYTES };
    println!("io_uring: {}", ring::status());
    let mut seconds = vec![Vec::new(); WAYS.len()];
    for round in 0..ROUNDS {
        // Each way is first as often as last.
        for turn in 0..3 {
            let way = (turn + round) % 3;
            let place = tempfile::tempdir_in(&directory)?;
            let disk = |io| Disk::open(place.path()).and_then(|disk| disk.with_io(io));
            let began = Instant::now();
            match way {
                0 => write_plain(place.path(), job)?,
                1 => write_disk(&disk(DiskIo::Positioned)?, job).await?,
                _ => write_disk(&disk(DiskIo::Ring)?, job).await?,
            }
            seconds[way].push(began.elapsed().as_secs_f64());
            if way == 0 {
                continue;
            }
            for cold in [true, false] {
                let positioned_first = round % 2 == 0;
                for positioned in [positioned_first, !positioned_first] {
                    if cold {
                        for file in 0..files {
                            fadvise(
                                File::open(place.path().join(format!("id/{file}")))?,
                                0,
                                None,
                                Advice::DontNeed,
                            )?;
                        }
                    }
                    let disk = disk(if positioned { DiskIo::Positioned } else { DiskIo::Ring })?;
                    let began = Instant::now();
                    read_disk(&disk, job).await?;
                    let way = if cold { 3 } else { 5 } + usize::from(!positioned);
                    seconds[way].push(began.elapsed().as_secs_f64());
                }
            }
        }
    }
    println!("{files} files of {mib} MiB in pieces of {} KiB, {ROUNDS} rounds", PIECE_BYTES >> 10);
    for (way, name) in WAYS.iter().enumerate() {
        let rate = (files * job.pieces * PIECE_BYTES) as f64 / median(seconds[way].clone()) / 1e9;
        let ratios = seconds[BASE[way]].iter().zip(&seconds[way]).map(|(base, own)| base / own).collect();
        println!("{name:<28} {rate:>6.2} GB/s   {:>5.2} × {}", median(ratios), WAYS[BASE[way]]);
    }
    Ok(())
}

async fn write_disk(disk: &Disk, job: Job) -> Outcome<()> {
    let bytes = Bytes::from(vec![7; PIECE_BYTES]);
    let writes = (0..job.files).map(|file| {
        let (disk, bytes) = (disk.clone(), bytes.clone());
        tokio::spawn(async move {
            let name = ObjectName::new(format!("id/{file}"))?;
            let mut put = disk.put(&name, Some((job.pieces * PIECE_BYTES) as u64)).await?;
            for _ in 0..job.pieces {
                put.write(bytes.clone()).await?;
            }
            put.commit().await
        })
    });
    try_join_all(writes).await?.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

async fn read_disk(disk: &Disk, job: Job) -> Outcome<()> {
    let reads = (0..job.files).map(|file| {
        let disk = disk.clone();
        tokio::spawn(async move {
            let name = ObjectName::new(format!("id/{file}"))?;
            let bytes = (job.pieces * PIECE_BYTES) as u64;
            let pieces = disk.get(&name, 0..bytes).await?;
            let read = pieces.try_fold(0, async |sum, piece| Ok(sum + piece.len() as u64)).await?;
            assert_eq!(read, bytes);
            Ok::<_, tanner_transports::TransportError>(())
        })
    });
    try_join_all(reads).await?.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

fn write_plain(place: &Path, job: Job) -> Outcome<()> {
    let bytes = vec![7; PIECE_BYTES];
    let write = |path: &Path| -> std::io::Result<()> {
        let file = File::create(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, (job.pieces * PIECE_BYTES) as u64)?;
        for piece in 0..job.pieces {
            file.write_all_at(&bytes, (piece * PIECE_BYTES) as u64)?;
        }
        file.sync_all()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.files)
            .map(|file| place.join(file.to_string()))
            .map(|path| scope.spawn(move || write(&path)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(File::open(place)?.sync_all()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a backup writes to a block at a time.
const PIECE_BYTES: usize = 128 << 10;
const ROUNDS: usize = 8;
