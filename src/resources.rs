//! What a run may use of the machine, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rayon::ThreadPool;
use tanner_kernels::Level;

use crate::error::Error;

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
    /// If the environment names a level that this machine does not have.
    ///
    /// # Panics
    /// If the system refuses to start threads.
    pub fn new(threads: usize, memory_bytes: u64) -> Result<Self, Error> {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("tanner-cpu-{i}"));
        let threads = pool.build().expect("the system starts a handful of threads");
        Ok(Self { threads, memory_bytes, level: Level::from_env()? })
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
    pub(crate) fn buffer_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(RESERVED_BYTES)
    }

    pub(crate) fn too_little(&self, buffer_bytes: u64) -> Error {
        Error::Memory { allowed: self.memory_bytes, needed: buffer_bytes.saturating_add(RESERVED_BYTES) }
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

    /// # Errors
    /// [`Error::Stopped`] if a stop was asked for.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Stopped { signal }),
        }
    }
}

/// Set aside for everything that is no chunk buffer: programs, tasks, stacks, the libraries.
const RESERVED_BYTES: u64 = 48 << 20;
/// What a run may use of memory unless told otherwise.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;
