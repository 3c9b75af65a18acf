//! reed-solomon-simd: Reed–Solomon over GF(2^16) by additive FFT (Leopard).

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::contestant::{Contestant, Layout};
use crate::memory::Bytes;

struct RsSimd {
    layout: Layout,
    parity: Bytes,
    encoder: ReedSolomonEncoder,
    decoder: Option<(ReedSolomonDecoder, usize)>,
}

pub fn enter(layout: Layout, _threads: usize) -> Result<Box<dyn Contestant>, String> {
    let (k, m) = (layout.shape.data, layout.shape.parity);
    let encoder = ReedSolomonEncoder::new(k, m, 64).map_err(|error| error.to_string())?;
    let parity = Bytes::zeroed(m * layout.block_bytes);
    Ok(Box::new(RsSimd { layout, parity, encoder, decoder: None }))
}

impl Contestant for RsSimd {
    fn threshold(&self) -> usize {
        self.layout.shape.data
    }

    // Its working space holds all blocks' pieces, so short ones stay in the caches; but every decode costs a transform
    // of 65 536 elements first, which long ones spread over more bytes.
    fn pieces(&self) -> &'static [usize] {
        &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20]
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, data: &[u8], piece: usize) {
        let Layout { shape, block_bytes } = self.layout;
        for (at, len) in self.layout.pieces(piece) {
            self.encoder.reset(shape.data, shape.parity, len).expect("a supported shape");
            for block in data.chunks(block_bytes) {
                self.encoder.add_original_shard(&block[at..][..len]).expect("k of them");
            }
            let result = self.encoder.encode().expect("all were added");
            for (parity, block) in result.recovery_iter().zip(self.parity.chunks_mut(block_bytes)) {
                block[at..][..len].copy_from_slice(parity);
            }
        }
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        let decoder = ReedSolomonDecoder::new(self.layout.shape.data, self.layout.shape.parity, 64);
        self.decoder = Some((decoder.expect("a supported shape"), lost));
    }

    fn decode(&mut self, data: &mut [u8], piece: usize) {
        let Layout { shape, block_bytes } = self.layout;
        let (decoder, lost) = self.decoder.as_mut().expect("planned");
        for (at, len) in self.layout.pieces(piece) {
            decoder.reset(shape.data, shape.parity, len).expect("a supported shape");
            for (index, block) in data.chunks(block_bytes).enumerate().skip(*lost) {
                decoder.add_original_shard(index, &block[at..][..len]).expect("live ones");
            }
            for (index, block) in self.parity.chunks(block_bytes).enumerate().take(*lost) {
                decoder.add_recovery_shard(index, &block[at..][..len]).expect("as many as are lost");
            }
            let result = decoder.decode().expect("k blocks suffice");
            for (index, restored) in result.restored_original_iter() {
                data[index * block_bytes + at..][..len].copy_from_slice(restored);
            }
        }
    }
}
