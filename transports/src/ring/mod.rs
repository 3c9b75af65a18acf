//! Reads, writes and syncs of files through Linux's io_uring, with buffers that nobody can free too early.
//!
//! The kernel uses a buffer until it says that it is done, whatever became of the future that asked. So everything
//! that an operation uses (buffer and file) is moved into the ring, and comes out with the completion:
//!
//! - `sys` is the ring itself, the only code here that hands out addresses;
//! - `queue` makes whole operations of what the kernel does in part, or not yet;
//! - [`Driver`] is a thread with a queue, for futures; every [`Disk`](crate::Disk) of the process shares one;
//! - [`ReadQueue`] is a queue for a thread that reads one file in a known order.
//!
//! Containers and hardened systems forbid the ring, and old kernels lack parts of it. That is found out once, before
//! anything depends on it: [`refusal`] says why there is none.

mod driver;
mod queue;
mod read;
mod sys;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_its_end;

use std::io;
use std::sync::{Arc, LazyLock};

pub use self::driver::Driver;
pub(crate) use self::driver::Ended;
pub use self::read::ReadQueue;
use self::sys::Uring;

/// Why this process cannot use io_uring, or not any more; `None` if it can.
pub fn refusal() -> Option<&'static str> {
    shared().err()
}

/// How disks are read and written unless told otherwise, and why, for people.
pub fn status() -> String {
    refusal()
        .map_or_else(|| "io_uring".into(), |why| format!("positioned I/O, as io_uring cannot be used: {why}"))
}

/// The driver that all disks of this process share. The first call starts it, and finds out whether that is possible.
///
/// # Errors
/// Why it is not.
pub fn shared() -> Result<&'static Arc<Driver>, &'static str> {
    static SHARED: LazyLock<Result<Arc<Driver>, String>> = LazyLock::new(|| {
        let driver = open(DEPTH).and_then(Driver::start);
        driver.map(Arc::new).map_err(|error| error.to_string())
    });
    match &*SHARED {
        Ok(driver) if driver.has_ended() => Err(ENDED),
        Ok(driver) => Ok(driver),
        Err(why) => Err(why),
    }
}

/// A ring that was seen to work.
fn open(depth: u32) -> io::Result<Box<Uring>> {
    Ok(Box::new(Uring::new(depth)?))
}

const ENDED: &str = "it stopped working, and its thread has ended";
/// Operations that the kernel works on at a time; more wait in the queue. Costs 8 KiB of the kernel's memory, and as
/// many buffers as callers wait for.
const DEPTH: u32 = 64;
