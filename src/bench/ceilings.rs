//! What the machine allows: memory, hash and cipher, on one thread and on more.

use std::hint::black_box;

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use rayon::prelude::*;

use super::memory::{self, Line};
use super::recorder::Recorder;
use super::report::{Kind, Subject};
use super::{Buffer, buffer, check_memory, verified};
use crate::error::Error;
use crate::hash::PieceHasher;
use crate::resources::{MEMORY_BYTES_DEFAULT, Resources};

/// What to measure of them alone.
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    /// The most threads; 0 for one a core.
    pub(crate) threads: usize,
}

impl Run {
    /// Times all, on one thread and on the most.
    ///
    /// # Errors
    /// If memory does not suffice, or a result is wrong.
    pub(crate) fn run(&self, recorder: &mut Recorder) -> Result<(), Error> {
        check_memory(Ceilings::memory_bytes(self.bytes))?;
        let mut ceilings = Ceilings::new(self.bytes)?;
        let all = Resources::new(self.threads, MEMORY_BYTES_DEFAULT)?;
        let one = (all.thread_count() > 1).then(|| Resources::new(1, MEMORY_BYTES_DEFAULT)).transpose()?;
        for _ in 0..self.rounds {
            recorder.next_round();
            one.iter().chain([&all]).try_for_each(|machine| ceilings.round(recorder, machine))?;
        }
        Ok(())
    }
}

/// Two buffers, like those of the codec, and the work that is done on them.
pub(super) struct Ceilings {
    from: Buffer,
    to: Buffer,
    works: Vec<(&'static str, Work)>,
}

type Work = Box<dyn Fn(&[Line], &mut [Line]) + Send + Sync>;

impl Ceilings {
    /// What [`Self::new`] allocates.
    pub(super) fn memory_bytes(bytes: u64) -> u64 {
        2 * bytes
    }

    /// Allocates, and checks every work's result.
    pub(super) fn new(bytes: u64) -> Result<Self, Error> {
        let bytes = usize::try_from(bytes.max(64) / 64 * 64).unwrap_or(usize::MAX);
        let (mut from, to) = (buffer(1, bytes)?, buffer(1, bytes)?);
        super::fill(from.blocks_mut()[0], 0);
        let mut works: Vec<(&str, Work)> = vec![
            (READ, Box::new(|from, _| _ = black_box(memory::read(from)))),
            (COPY, Box::new(|from, to| to.copy_from_slice(from))),
        ];
        if memory::HAS_STREAMING {
            works.push((COPY_STREAMING, Box::new(memory::copy_past_caches)));
        }
        works.push((HASH, Box::new(|from, _| _ = black_box(blake3::hash(bytemuck::cast_slice(from))))));
        let cipher = encrypting_key();
        works.push((CIPHER, Box::new(move |_, to| encrypt(&cipher, to))));
        let mut ceilings = Self { from, to, works };
        ceilings.verify()?;
        Ok(ceilings)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.from.blocks()[0].len() as u64
    }

    /// How many times [`Self::round`] takes.
    pub(super) fn count(&self) -> usize {
        self.works.len()
    }

    /// Times everything once on the threads of `resources`.
    pub(super) fn round(&mut self, recorder: &mut Recorder, resources: &Resources) -> Result<(), Error> {
        let (bytes, threads) = (self.bytes(), resources.thread_count());
        let (from, to) = (lines(&self.from), lines_mut(&mut self.to));
        let each = from.len().div_ceil(threads);
        for (name, work) in &self.works {
            let run = || {
                let pieces = from.par_chunks(each).zip(to.par_chunks_mut(each));
                resources.threads().install(|| pieces.for_each(|(from, to)| work(from, to)));
                Ok(())
            };
            recorder.time(&Subject::new(Kind::Ceiling, *name, threads), bytes, run)?;
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), Error> {
        let (from, to) = (lines(&self.from), lines_mut(&mut self.to));
        verified(memory::read(from) == memory::read_portable(from), || READ.into())?;
        for (name, work) in self.works.iter().filter(|(name, _)| [COPY, COPY_STREAMING].contains(name)) {
            to.fill(bytemuck::Zeroable::zeroed());
            work(from, to);
            verified(from == to, || (*name).into())?;
        }
        let bytes: &[u8] = bytemuck::cast_slice(from);
        let mut pieces = PieceHasher::new(bytes.len() as u64, true);
        bytes.chunks(1 << 20).enumerate().for_each(|(at, piece)| pieces.add((at as u64) << 20, piece));
        verified(pieces.finish() == Some(blake3::hash(bytes)), || HASH.into())?;
        encrypt(&encrypting_key(), to);
        let changed = from != to;
        let key = DecryptingKey::ctr(UnboundCipherKey::new(&AES_256, &KEY).expect("the key has 32 bytes"));
        let decrypted = key.is_ok_and(|key| {
            key.decrypt(bytemuck::cast_slice_mut(to), DecryptionContext::Iv128(IV.into())).is_ok()
        });
        verified(changed && decrypted && from == to, || CIPHER.into())
    }
}

fn lines(buffer: &Buffer) -> &[Line] {
    bytemuck::cast_slice(buffer.blocks()[0])
}

fn lines_mut(buffer: &mut Buffer) -> &mut [Line] {
    bytemuck::cast_slice_mut(buffer.blocks_mut().remove(0))
}

fn encrypting_key() -> EncryptingKey {
    let key = UnboundCipherKey::new(&AES_256, &KEY).expect("the key has 32 bytes");
    EncryptingKey::ctr(key).expect("AES-256 has a counter mode")
}

fn encrypt(key: &EncryptingKey, lines: &mut [Line]) {
    let context = EncryptionContext::Iv128(FixedLength::from(IV));
    let done = key.less_safe_encrypt(bytemuck::cast_slice_mut(lines), context);
    done.expect("counter mode takes any length");
}

/// Nothing is hidden by it.
const KEY: [u8; 32] = [7; 32];
const IV: [u8; 16] = [0; 16];

pub(super) const READ: &str = "memory read";
pub(super) const COPY: &str = "copy";
pub(super) const COPY_STREAMING: &str = "non-temporal copy";
pub(super) const HASH: &str = "hash (BLAKE3)";
pub(super) const CIPHER: &str = "cipher (AES-256-CTR)";
