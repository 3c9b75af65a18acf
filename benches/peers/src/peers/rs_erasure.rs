//! reed-solomon-erasure: Reed–Solomon over GF(2^8), with its C kernels (feature `simd-accel`).

use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::contestant::{Contestant, Layout, WHOLE};
use crate::memory::Bytes;

struct RsErasure {
    layout: Layout,
    code: ReedSolomon,
    parity: Bytes,
    lost: usize,
}

pub fn enter(layout: Layout, _threads: usize) -> Result<Box<dyn Contestant>, String> {
    let (k, m) = (layout.shape.data, layout.shape.parity);
    if k + m > 256 {
        return Err("256 blocks are the most".to_owned());
    }
    let code = ReedSolomon::new(k, m).map_err(|error| error.to_string())?;
    Ok(Box::new(RsErasure { layout, code, parity: Bytes::zeroed(m * layout.block_bytes), lost: 0 }))
}

impl Contestant for RsErasure {
    fn threshold(&self) -> usize {
        self.layout.shape.data
    }

    fn pieces(&self) -> &'static [usize] {
        &[4 << 10, 16 << 10, 64 << 10, WHOLE]
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, data: &[u8], piece: usize) {
        let block_bytes = self.layout.block_bytes;
        for (at, len) in self.layout.pieces(piece) {
            let inputs: Vec<&[u8]> = data.chunks(block_bytes).map(|block| &block[at..][..len]).collect();
            let mut outputs: Vec<&mut [u8]> =
                self.parity.chunks_mut(block_bytes).map(|block| &mut block[at..][..len]).collect();
            self.code.encode_sep(&inputs, &mut outputs).expect("equal pieces");
        }
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        // It keeps the inverse of the last decode by itself.
        self.lost = lost;
    }

    fn decode(&mut self, data: &mut [u8], piece: usize) {
        let block_bytes = self.layout.block_bytes;
        for (at, len) in self.layout.pieces(piece) {
            let blocks = data.chunks_mut(block_bytes).chain(self.parity.chunks_mut(block_bytes));
            let mut pieces: Vec<(&mut [u8], bool)> =
                blocks.enumerate().map(|(i, block)| (&mut block[at..][..len], i >= self.lost)).collect();
            self.code.reconstruct_data(&mut pieces).expect("k blocks suffice");
        }
    }
}
