//! raptorq: RFC 6330. A piece of every block is a symbol; k consecutive symbols of the source are a source block, so
//! that its encoder finds them where it wants them: data block b is symbol b of every source block.

use std::ops::Range;

use raptorq::{
    EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder, SourceBlockEncoder,
    SourceBlockEncodingPlan,
};

use crate::contestant::{Contestant, Layout};

struct RaptorQ {
    layout: Layout,
    plan: SourceBlockEncodingPlan,
    /// The repair packets of each source block.
    parity: Vec<Vec<EncodingPacket>>,
    /// The lost data blocks and the symbol size to decode with.
    decoding: Option<(usize, usize)>,
    /// What the decoder is given: it takes packets by value, which a network would have made.
    received: Vec<Vec<EncodingPacket>>,
}

pub fn enter(layout: Layout, _threads: usize) -> Result<Box<dyn Contestant>, String> {
    if layout.shape.parity <= SPARE {
        return Err(format!("with k+{SPARE} blocks to decode it would promise nothing"));
    }
    let symbols = u16::try_from(layout.shape.data).map_err(|error| error.to_string())?;
    let plan = SourceBlockEncodingPlan::generate(symbols);
    Ok(Box::new(RaptorQ { layout, plan, parity: Vec::new(), decoding: None, received: Vec::new() }))
}

fn config(source_bytes: usize, symbol_bytes: usize) -> ObjectTransmissionInformation {
    let symbol_bytes = u16::try_from(symbol_bytes).expect("pieces below 64 KiB");
    ObjectTransmissionInformation::new(source_bytes as u64, symbol_bytes, 1, 1, 1)
}

impl RaptorQ {
    /// The source blocks: start in the source, and symbol size.
    fn source_blocks(&self, piece: usize) -> impl Iterator<Item = (usize, usize)> {
        let k = self.layout.shape.data;
        self.layout.pieces(piece).map(move |(at, len)| (at * k, len))
    }
}

impl Contestant for RaptorQ {
    fn threshold(&self) -> usize {
        self.layout.shape.data + SPARE
    }

    // Symbols are at most 65 535 bytes.
    fn pieces(&self) -> &'static [usize] {
        &[1 << 10, 4 << 10, 16 << 10, 65_472]
    }

    fn ranges(&self, block: usize, piece: usize) -> Vec<Range<usize>> {
        self.source_blocks(piece).map(|(start, len)| start + block * len..start + (block + 1) * len).collect()
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn load(&mut self, data: &[u8]) {
        let Some((lost, piece)) = self.decoding else {
            self.parity.clear();
            return;
        };
        let shape = self.layout.shape;
        let received = self.source_blocks(piece).zip(&self.parity).map(|((start, len), parity)| {
            let live = (lost..shape.data).map(|symbol| {
                let bytes = &data[start + symbol * len..][..len];
                EncodingPacket::new(PayloadId::new(0, u32::try_from(symbol).expect("few")), bytes.to_vec())
            });
            live.chain(parity.iter().take(lost + SPARE).cloned()).collect()
        });
        self.received = received.collect();
    }

    fn encode(&mut self, data: &[u8], piece: usize) {
        let (k, m) = (self.layout.shape.data, self.layout.shape.parity);
        let m = u32::try_from(m).expect("few");
        let parity = self.source_blocks(piece).map(|(start, len)| {
            let source = &data[start..][..k * len];
            let encoder =
                SourceBlockEncoder::with_encoding_plan(0, &config(k * len, len), source, &self.plan);
            encoder.repair_packets(0, m)
        });
        self.parity = parity.collect();
    }

    fn plan(&mut self, lost: usize, piece: usize) {
        self.decoding = Some((lost, piece));
    }

    fn decode(&mut self, data: &mut [u8], _piece: usize) {
        let k = self.layout.shape.data;
        let (lost, piece) = self.decoding.expect("planned");
        let blocks: Vec<_> = self.source_blocks(piece).collect();
        for ((start, len), packets) in blocks.into_iter().zip(self.received.drain(..)) {
            let mut decoder = SourceBlockDecoder::new(0, &config(k * len, len), (k * len) as u64);
            let restored = decoder.decode(packets).expect("two spare symbols fail once in ten million");
            data[start..][..lost * len].copy_from_slice(&restored[..lost * len]);
        }
    }
}

/// Symbols beyond k: with k alone one source block in 256 fails, with two more one in ten million.
const SPARE: usize = 2;
