//! What a run may use of the machine, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rayon::ThreadPool;
use tanner_kernels::{Codec, Level};

use crate::error::Error;
use crate::parallel::pool;

/// Threads, memory and SIMD level of a run.
pub struct Resources {
    threads: ThreadPool,
    memory_bytes: u64,
    level: Level,
}

impl Resources {
    /// `threads` threads of computation (0: one for each core), at most `memory_bytes` of memory in all, and the
    /// level that the environment names or the machine has.
    ///
    /// # Errors
    /// If the environment names a level that this machine does not have, or the system refuses to start the threads.
    pub fn new(threads: usize, memory_bytes: u64) -> Result<Self, Error> {
        Ok(Self { threads: pool(threads)?, memory_bytes, level: Level::from_env()? })
    }

    /// The SIMD level in use.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Threads of computation.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.current_num_threads()
    }

    pub(crate) fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// Bytes for buffers, all of a pass together.
    pub(crate) fn buffer_bytes(&self, codec: &Codec) -> u64 {
        self.memory_bytes.saturating_sub(reserved_bytes(codec))
    }

    /// Refuses a pass that needs this much for its buffers.
    pub(crate) fn too_little(&self, codec: &Codec, buffer_bytes: u64) -> Error {
        let needed = buffer_bytes.saturating_add(reserved_bytes(codec));
        Error::Memory { needed }
    }
}

/// Tells a run to stop soon, from any thread.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Asks for a stop because of this signal.
    pub fn request(&self, signal: u8) {
        self.0.store(signal, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// # Errors
    /// [`Error::Stopped`] if a stop was asked for.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Stopped { signal }),
        }
    }
}

/// Set aside for everything that is no chunk buffer.
fn reserved_bytes(codec: &Codec) -> u64 {
    (codec.memory_bytes() + codec.profile().blocks() * BLOCK_BYTES) as u64 + BASE_BYTES
}

/// The program itself, its libraries, stacks and queues.
const BASE_BYTES: u64 = 24 << 20;
/// A block's hasher, task, channel and open object.
const BLOCK_BYTES: usize = 16 << 10;
/// What a run may use of memory unless told otherwise.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;
