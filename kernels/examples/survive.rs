//! Erasure coding alone, with buffers of your own: encode, lose blocks, reconstruct, time it.
//!
//! `cargo run --release --example survive -p tanner-kernels [-- K M MIB]`

use std::error::Error;
use std::time::Instant;

use tanner_kernels::{Arena, Codec, Profile};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let (k, m, bytes) = (number(24)?, number(26)?, number(256)? << 20);

    let profile = Profile::for_source(k, m, bytes)?;
    let codec = Codec::new(profile).with_threads(std::thread::available_parallelism()?.get());
    println!("{k}+{m} by the {} code: any {} blocks suffice", profile.code_name(), profile.threshold());

    // Streams of an arena are aligned to 64 bytes and at distances that suit the caches: nothing is copied.
    let block_bytes = codec.data_bytes(usize::try_from(bytes)?);
    let mut data = Arena::new(profile.data(), block_bytes)?;
    for (block, stream) in data.streams_mut().enumerate() {
        stream.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 + block * 7) as u8);
    }
    let blocks: Vec<&[u8]> = (0..profile.data()).map(|block| data.stream(block)).collect();
    let mut parity = Arena::new(profile.parity(), codec.parity_bytes(block_bytes))?;
    let mut lost = Arena::new(profile.data(), block_bytes)?;
    for round in ["cold", "warm"] {
        let began = Instant::now();
        codec.encode(&blocks, &mut parity.streams_mut().collect::<Vec<_>>())?;
        println!("encoded, {round}: {:.1} GB/s", bytes as f64 / began.elapsed().as_secs_f64() / 1e9);
    }

    let most = (profile.blocks() - profile.threshold()).min(profile.data());
    let at_hand = (0..profile.data()).map(|block| (block >= most).then(|| data.stream(block)));
    let at_hand = at_hand.chain((0..profile.parity()).map(|block| Some(parity.stream(block))));
    let at_hand: Vec<Option<&[u8]>> = at_hand.collect();
    for round in ["cold, plan included", "warm"] {
        let mut places: Vec<(usize, &mut [u8])> = lost.streams_mut().enumerate().take(most).collect();
        let began = Instant::now();
        codec.reconstruct(&at_hand, &mut places, block_bytes)?;
        println!(
            "{most} data blocks reconstructed, {round}: {:.1} GB/s of the source",
            bytes as f64 / began.elapsed().as_secs_f64() / 1e9
        );
        assert!(places.iter().all(|(block, place)| *place == data.stream(*block)), "wrong bytes");
    }
    Ok(())
}
