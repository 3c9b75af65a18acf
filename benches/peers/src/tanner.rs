//! tanner itself: the only file here that knows the interface of its kernels.

use tanner_kernels::{BlockSet, Codec, Level, Profile};

use crate::contestant::{Contestant, Layout, WHOLE};
use crate::memory::Bytes;

struct Tanner {
    layout: Layout,
    codec: Codec,
    /// The parity blocks at distances of an odd number of cache lines, like the data blocks.
    parity: Bytes,
    parity_bytes: usize,
    lost: usize,
}

pub fn enter(layout: Layout, threads: usize) -> Result<Box<dyn Contestant>, String> {
    let (k, m) = (layout.shape.data as u64, layout.shape.parity as u64);
    let profile =
        Profile::for_source(k, m, layout.source_bytes() as u64).map_err(|error| error.to_string())?;
    let level = Level::from_env().map_err(|error| error.to_string())?;
    let codec = Codec::new(profile).with_level(level).with_threads(threads);
    let parity_bytes = codec.parity_bytes(layout.block_bytes);
    let parity = Bytes::zeroed(layout.shape.parity * stride(parity_bytes));
    Ok(Box::new(Tanner { layout, codec, parity, parity_bytes, lost: 0 }))
}

impl Contestant for Tanner {
    fn threshold(&self) -> usize {
        self.codec.profile().threshold()
    }

    fn pieces(&self) -> &'static [usize] {
        &[WHOLE]
    }

    fn level(&self) -> &'static str {
        self.codec.level().name()
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, data: &[u8], _piece: usize) {
        let data: Vec<&[u8]> = data.chunks(self.layout.block_bytes).collect();
        let (bytes, stride) = (self.parity_bytes, stride(self.parity_bytes));
        let mut parity: Vec<&mut [u8]> =
            self.parity.chunks_mut(stride).map(|block| &mut block[..bytes]).collect();
        self.codec.encode(&data, &mut parity).expect("as many and as long as the layout says");
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        self.lost = lost;
        let mut live = BlockSet::all(self.layout.shape.blocks());
        (0..lost).for_each(|block| live.remove(block));
        // The codec keeps the plan.
        self.codec.decoder(&live).expect("within the promise");
    }

    fn decode(&mut self, data: &mut [u8], _piece: usize) {
        let bytes = self.layout.block_bytes;
        let (lost, live) = data.split_at_mut(self.lost * bytes);
        let mut lost: Vec<(usize, &mut [u8])> = lost.chunks_mut(bytes).enumerate().collect();
        let parity =
            self.parity.chunks(stride(self.parity_bytes)).map(|block| Some(&block[..self.parity_bytes]));
        let blocks: Vec<Option<&[u8]>> =
            lost.iter().map(|_| None).chain(live.chunks(bytes).map(Some)).chain(parity).collect();
        self.codec.reconstruct(&blocks, &mut lost, bytes).expect("within the promise");
    }
}

fn stride(parity_bytes: usize) -> usize {
    (parity_bytes.div_ceil(64) | 1) * 64
}
