//! What was encrypted by which key in which place: in tests of this crate, a place that takes a second plaintext panics.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// All that passes encrypted in this process.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Of each key, by the place in the source; none where it encrypted nothing.
    pads: HashMap<[u8; 32], Vec<Option<u8>>>,
    /// Bytes that were encrypted, each time counted.
    pub(crate) bytes: u64,
    /// Places that took two plaintexts. Nobody may hear the panic of a pass that nobody waits for.
    pub(crate) broken: Vec<u64>,
}

impl Ledger {
    /// That of this process.
    pub(crate) fn get() -> MutexGuard<'static, Self> {
        static LEDGER: LazyLock<Mutex<Ledger>> = LazyLock::new(Mutex::default);
        LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is encrypted.
    pub(super) fn record(&mut self, key: &[u8; 32], offset: u64, plain: &[u8]) {
        let first = usize::try_from(offset).unwrap();
        let pad = self.pads.entry(*key).or_default();
        pad.resize(pad.len().max(first + plain.len()), None);
        let same = |(before, byte): (&Option<u8>, &u8)| before.is_none_or(|before| before == *byte);
        if let Some(at) = pad[first..].iter().zip(plain).position(|pair| !same(pair)) {
            self.broken.push(offset + at as u64);
            panic!("one key for two plaintexts at {}", offset + at as u64);
        }
        pad[first..].iter_mut().zip(plain).for_each(|(before, byte)| *before = Some(*byte));
        self.bytes += plain.len() as u64;
    }
}

#[test]
#[should_panic(expected = "one key for two plaintexts at 1007")]
fn the_ledger_sees_one_changed_byte() {
    let mut ledger = Ledger::default();
    ledger.record(&[7; 32], 1000, b"the same");
    ledger.record(&[7; 32], 1000, b"the same");
    ledger.record(&[8; 32], 1000, b"any other");
    ledger.record(&[7; 32], 1004, b"samE");
}
