//! ISA-L: Reed–Solomon over GF(2^8), by the Cauchy matrix.
#![expect(unsafe_code, reason = "calls a C library")]

// Named so that its static library is linked; it binds the compression only.
use isal_sys as _;

use crate::contestant::{Contestant, Layout, WHOLE};
use crate::memory::Bytes;

unsafe extern "C" {
    fn gf_gen_cauchy1_matrix(matrix: *mut u8, n: i32, k: i32);
    fn gf_invert_matrix(matrix: *mut u8, inverse: *mut u8, k: i32) -> i32;
    fn ec_init_tables(k: i32, rows: i32, matrix: *const u8, tables: *mut u8);
    fn ec_encode_data(
        len: i32,
        k: i32,
        rows: i32,
        tables: *const u8,
        data: *const *const u8,
        coding: *const *mut u8,
    );
}

struct Isal {
    layout: Layout,
    /// n × k, the identity on top.
    matrix: Vec<u8>,
    encoder: Tables,
    parity: Bytes,
    decoder: Option<(Tables, usize)>,
}

/// The product of some rows of coefficients with k blocks, in ISA-L's own form.
struct Tables {
    k: usize,
    rows: usize,
    tables: Vec<u8>,
}

impl Tables {
    fn new(k: usize, coefficients: &[u8]) -> Self {
        let rows = coefficients.len() / k;
        let mut tables = vec![0; 32 * k * rows];
        // SAFETY: k·rows coefficients are read, 32 bytes written for each.
        unsafe { ec_init_tables(number(k), number(rows), coefficients.as_ptr(), tables.as_mut_ptr()) };
        Self { k, rows, tables }
    }

    /// # Safety
    /// All k inputs are readable and all outputs writable for `len` bytes, and no output overlaps anything else.
    unsafe fn run(&self, inputs: &[*const u8], outputs: &[*mut u8], len: usize) {
        assert_eq!((inputs.len(), outputs.len()), (self.k, self.rows));
        let (k, rows) = (number(self.k), number(self.rows));
        // SAFETY: as many pointers as the tables have columns and rows; the rest is the caller's promise.
        unsafe {
            ec_encode_data(number(len), k, rows, self.tables.as_ptr(), inputs.as_ptr(), outputs.as_ptr());
        };
    }
}

fn number(value: usize) -> i32 {
    i32::try_from(value).expect("blocks below 2 GiB")
}

pub fn enter(layout: Layout, _threads: usize) -> Result<Box<dyn Contestant>, String> {
    let (k, n) = (layout.shape.data, layout.shape.blocks());
    if n > 255 {
        return Err("255 blocks are the most".to_owned());
    }
    let mut matrix = vec![0; n * k];
    // SAFETY: n·k bytes are written.
    unsafe { gf_gen_cauchy1_matrix(matrix.as_mut_ptr(), number(n), number(k)) };
    let encoder = Tables::new(k, &matrix[k * k..]);
    let parity = Bytes::zeroed(layout.shape.parity * layout.block_bytes);
    Ok(Box::new(Isal { layout, matrix, encoder, parity, decoder: None }))
}

impl Contestant for Isal {
    fn threshold(&self) -> usize {
        self.layout.shape.data
    }

    fn pieces(&self) -> &'static [usize] {
        &[4 << 10, 16 << 10, 32 << 10, 64 << 10, WHOLE]
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn encode(&mut self, data: &[u8], piece: usize) {
        let Layout { shape, block_bytes } = self.layout;
        assert_eq!((data.len(), self.parity.len()), (shape.data * block_bytes, shape.parity * block_bytes));
        for (at, len) in self.layout.pieces(piece) {
            let inputs: Vec<_> = data.chunks(block_bytes).map(|block| block[at..].as_ptr()).collect();
            let outputs: Vec<_> =
                self.parity.chunks_mut(block_bytes).map(|block| block[at..].as_mut_ptr()).collect();
            // SAFETY: every block has `block_bytes` bytes and a piece ends within them; parity is a buffer of its own.
            unsafe { self.encoder.run(&inputs, &outputs, len) };
        }
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        let k = self.layout.shape.data;
        // Rows of the survivors: data blocks from `lost` on, then the first parity blocks.
        let mut survivors = self.matrix[lost * k..][..k * k].to_vec();
        let mut inverse = vec![0; k * k];
        // SAFETY: both are k × k.
        let singular = unsafe { gf_invert_matrix(survivors.as_mut_ptr(), inverse.as_mut_ptr(), number(k)) };
        assert_eq!(singular, 0, "Cauchy matrices have inverses");
        self.decoder = Some((Tables::new(k, &inverse[..lost * k]), lost));
    }

    fn decode(&mut self, data: &mut [u8], piece: usize) {
        let Layout { shape, block_bytes } = self.layout;
        let (decoder, lost) = self.decoder.as_ref().expect("planned");
        let (restored, live) = data.split_at_mut(lost * block_bytes);
        assert_eq!(live.len() + restored.len(), shape.data * block_bytes);
        let parity = &self.parity[..lost * block_bytes];
        for (at, len) in self.layout.pieces(piece) {
            let survivors = live.chunks(block_bytes).chain(parity.chunks(block_bytes));
            let inputs: Vec<_> = survivors.map(|block| block[at..].as_ptr()).collect();
            let outputs: Vec<_> =
                restored.chunks_mut(block_bytes).map(|block| block[at..].as_mut_ptr()).collect();
            // SAFETY: as in `encode`; the lost blocks are split off from the live ones.
            unsafe { decoder.run(&inputs, &outputs, len) };
        }
    }
}
