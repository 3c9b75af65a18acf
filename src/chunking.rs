//! How a pass divides its source: steps in a chunk and buffers in a pool, as the memory allows.

use tanner_kernels::{Arena, Bound, Codec, Profile};

use crate::error::Error;
use crate::geometry::Geometry;
use crate::resources::Resources;

/// The chunks of all passes of a backup, and the buffers that they go through.
#[derive(Debug)]
pub(crate) struct Chunking {
    pub(crate) bound: Bound,
    pub(crate) chunk_steps: u64,
    pub(crate) buffers: usize,
}

impl Chunking {
    /// As the memory allows, of which the source holds some bytes; with chunks of so many steps, if they are to be those of
    /// an earlier run.
    ///
    /// # Errors
    /// If that takes more memory than is allowed.
    pub(crate) fn new(
        geometry: &Geometry,
        codec: &Codec,
        resources: &Resources,
        held_bytes: u64,
        before: Option<u64>,
    ) -> Result<Self, Error> {
        let profile = geometry.profile();
        let unit = profile.unit();
        // Chunks begin at phase 0 and, where pieces are hashed, at whole KiB.
        let multiple = Geometry::chunk_multiple(codec.code().phases().len());
        let frame = usize::try_from(geometry.frame_steps_max()).expect("frames hold 32 bits");
        let wanted = CHUNK_STEPS_MAX.next_multiple_of(multiple).min(frame);
        // Symbols below a cache line occur in sources so small that one chunk takes them whole.
        let least = if unit == 64 { multiple.min(frame) } else { frame };
        // The rows of a stream are its chunks, and one is held when it begins.
        let (least, wanted, held_bytes) = match geometry.row_steps() {
            Some(row_steps) => {
                let steps = row_steps as usize;
                (steps, steps, held_bytes.saturating_add(row_bytes(profile, steps) as u64))
            }
            None => (least, wanted, held_bytes),
        };
        let needed = |steps, buffers| needed(profile, steps, buffers).saturating_add(held_bytes);
        let allowed = resources.buffer_bytes(codec);
        let fewest = if least == frame && geometry.frame_count() <= 1 { 1 } else { BUFFERS_MIN };
        let most_buffers =
            |steps| (fewest..=BUFFERS_MAX).rev().find(|&buffers| needed(steps, buffers) <= allowed);
        let Some(mut buffers) = most_buffers(least) else {
            return Err(resources.too_little(codec, needed(least, fewest)));
        };
        let spare = allowed - needed(least, buffers);
        let more = usize::try_from(spare).unwrap_or(usize::MAX) / (profile.blocks() * buffers * unit);
        let mut steps =
            if least + more >= wanted { wanted } else { least + more / multiple * multiple }.max(1);
        if let Some(before) = before.and_then(|before| usize::try_from(before).ok())
            && before != steps
        {
            let fits =
                most_buffers(before).ok_or_else(|| resources.too_little(codec, needed(before, fewest)));
            (steps, buffers) = (before, fits?);
        }
        let bound = Bound::new(codec.encoder(), stream_bytes(profile, steps), unit)
            .map_err(|_| resources.too_little(codec, u64::MAX))?;
        Ok(Self { bound, chunk_steps: steps as u64, buffers })
    }
}

/// Steps of the rows in which a stream is laid out: as many as a chunk has that fits into the memory, with one row besides.
///
/// # Errors
/// If none fits.
pub(crate) fn row_steps(codec: &Codec, resources: &Resources) -> Result<u32, Error> {
    let (profile, multiple) = (codec.profile(), Geometry::chunk_multiple(codec.code().phases().len()));
    let all_needed =
        |steps| needed(profile, steps, BUFFERS_MIN).saturating_add(row_bytes(profile, steps) as u64);
    let parts = (1..=CHUNK_STEPS_MAX / multiple).rev().map(|times| times * multiple);
    let frame = usize::try_from(profile.frame_steps()).expect("frames hold 32 bits");
    let steps = parts.chain([frame]).filter_map(|steps| u32::try_from(steps).ok());
    let rows: Vec<u32> = steps.filter(|&steps| Geometry::are_rows(profile, steps)).collect();
    let allowed = resources.buffer_bytes(codec);
    let fits = |steps: &&u32| all_needed(**steps as usize) <= allowed;
    let too_little = || resources.too_little(codec, all_needed(multiple.min(frame)));
    rows.iter().find(fits).copied().ok_or_else(too_little)
}

/// Bytes of a source in so many steps of all data blocks.
pub(crate) fn row_bytes(profile: &Profile, steps: usize) -> usize {
    profile.data() * steps * profile.unit()
}

/// Bytes of memory for so many buffers.
fn needed(profile: &Profile, steps: usize, buffers: usize) -> u64 {
    let bytes = Arena::bytes_for(profile.blocks(), stream_bytes(profile, steps)).map(|bytes| bytes * buffers);
    bytes.map_or(u64::MAX, |bytes| (bytes + row_bytes(profile, profile.depth())) as u64)
}

/// Bytes of one block in a buffer, with what came before and what follows a frame.
fn stream_bytes(profile: &Profile, steps: usize) -> usize {
    (profile.depth() + steps + profile.tail()) * profile.unit()
}

/// 128 KiB of each block: enough for one write, little enough that a chunk is still in the caches when it is written.
const CHUNK_STEPS_MAX: usize = 2048;
/// One that is read, one encoded, and the rest in the hands of the stores.
const BUFFERS_MAX: usize = 4;
const BUFFERS_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use tanner_kernels::{Codec, Profile};

    use super::Chunking;
    use crate::error::Error;
    use crate::geometry::Geometry;
    use crate::resources::Resources;

    /// With other chunks no tag would fit, and a backup could not be gone on with.
    #[test]
    fn chunks_of_an_earlier_run_are_taken_as_they_are_or_not_at_all() {
        let geometry = Geometry::new(Profile::for_source(10, 5, 1 << 30).unwrap(), 1 << 30);
        let codec = Codec::new(*geometry.profile());
        let chunking = |memory_bytes: u64, before| {
            Chunking::new(&geometry, &codec, &Resources::new(1, memory_bytes).unwrap(), 0, before)
        };
        let Err(Error::Memory { needed: least }) = chunking(0, None) else { panic!("no memory") };
        let small = chunking(least, None).unwrap().chunk_steps;
        let large = chunking(512 << 20, None).unwrap().chunk_steps;
        assert!(small < large);
        assert_eq!(chunking(512 << 20, Some(small)).unwrap().chunk_steps, small);
        let Err(Error::Memory { needed }) = chunking(least, Some(large)) else { panic!("too little memory") };
        let again = chunking(needed, Some(large)).unwrap();
        assert_eq!((again.chunk_steps, again.buffers), (large, 2));
    }
}
