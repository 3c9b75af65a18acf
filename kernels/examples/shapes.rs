//! What a shape gets: `cargo run --release --example shapes -p tanner-kernels [-- K+M …]`.
//!
//! Its code, how many blocks restore and what that rests on; the longest delay D and the share of a parity block of a
//! source of 1 TiB that is the tail of D symbols of each frame; and how many blocks' worth of symbols the repair of
//! one lost data or parity block reads, all others at hand: the mean over the blocks, or some of them if there are many.

use std::error::Error;
use std::ops::Range;

use tanner_kernels::{BlockSet, Code, Profile, RepairPlan};

const SHAPES: [&str; 8] = ["10+5", "20+10", "20+20", "24+26", "50+50", "500+4", "500+100", "1000+200"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = arguments.iter().map(String::as_str);
    let shapes = if arguments.is_empty() { SHAPES.to_vec() } else { given.collect() };
    println!("shape     code     any   rests on   D     tail    data block from  parity block from");
    for shape in shapes {
        let (k, m) = shape.split_once('+').ok_or("a shape is K+M")?;
        let profile = Profile::for_source(k.parse()?, m.parse()?, 1 << 40)?;
        let (code, k, n) = (Code::new(profile), profile.data(), profile.blocks());
        println!(
            "{shape:<9} {:<8} {:<5} {:<10} {:<5} {:<7} {:<16.1} {:.1}",
            profile.code_name(),
            profile.threshold(),
            profile.evidence().name(),
            profile.depth(),
            format!("{:.2} %", 100.0 * profile.tail() as f64 / profile.frame_steps() as f64),
            blocks_read(&code, 0..k)?,
            blocks_read(&code, k..n)?,
        );
    }
    Ok(())
}

/// The mean over `lost` of what is read for one lost block.
fn blocks_read(code: &Code, lost: Range<usize>) -> Result<f64, Box<dyn Error>> {
    let (step, all) = (lost.len().div_ceil(LOST_MAX), code.profile().blocks());
    let lost: Vec<usize> = lost.step_by(step).collect();
    let mut sum = 0.0;
    for &block in &lost {
        let (mut live, mut wanted) = (BlockSet::all(all), BlockSet::none(all));
        live.remove(block);
        wanted.insert(block);
        sum += RepairPlan::new(code, &live, &wanted)?.blocks_read();
    }
    Ok(sum / lost.len() as f64)
}

const LOST_MAX: usize = 100;
