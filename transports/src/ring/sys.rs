//! The ring as the kernel knows it. Safe to use: what an operation needs lives in here until the kernel is done.
#![expect(unsafe_code, reason = "hands addresses of buffers to the kernel")]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, Probe, opcode, types};
use rustix::io::Errno;

use super::queue::{Operation, System, Work};

/// A ring, and the operations that it works on.
pub(super) struct Uring {
    ring: IoUring,
    /// Each operation at the index that is its entry's user data. Only a completion takes one out.
    slots: Vec<Option<Operation>>,
    free: Vec<usize>,
}

impl Uring {
    /// A ring for `depth` operations at a time, once it has shown that it works: the kernel knows the operations, and
    /// one that does nothing came back.
    pub(super) fn new(depth: u32) -> io::Result<Self> {
        // A child process has nothing to do with it.
        let mut ring: IoUring = IoUring::builder().dontfork().build(depth)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        for (code, name) in NEEDED {
            if !probe.is_supported(code) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("this kernel's has no {name}"),
                ));
            }
        }
        // SAFETY: an entry that does nothing refers to nothing.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("an empty ring has room");
        ring.submit_and_wait(1)?;
        match ring.completion().next().map(|done| done.result()) {
            Some(0) => {}
            Some(error) => return Err(io::Error::from_raw_os_error(error.saturating_neg())),
            None => return Err(io::Error::other("what is submitted does not come back")),
        }
        let depth = depth as usize;
        Ok(Self { ring, slots: (0..depth).map(|_| None).collect(), free: (0..depth).collect() })
    }

    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl System for Uring {
    fn push(&mut self, operation: Operation) -> Result<(), Operation> {
        let Some(slot) = self.free.pop() else { return Err(operation) };
        let entry = entry(self.slots[slot].insert(operation)).user_data(slot as u64);
        // SAFETY: the entry refers to a file and to memory that the operation owns, and at addresses that do not move
        // with it. The operation stays in its slot until the completion of this entry; a ring that is dropped first
        // waits for that, or leaks the operation.
        unsafe { self.ring.submission().push(&entry) }
            .expect("the ring has as many entries as there are slots");
        Ok(())
    }

    fn enter(&mut self, least: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(least) {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => Ok(()),
                // The kernel lacks memory for requests, or wants completions taken first: both pass.
                Some(Errno::AGAIN | Errno::BUSY) => {
                    std::thread::sleep(BUSY_WAIT);
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn pop(&mut self) -> Option<(Operation, i32)> {
        let done = self.ring.completion().next()?;
        let slot = usize::try_from(done.user_data()).expect("it is an index");
        let operation = self.slots[slot].take().expect("the kernel completes an entry once");
        self.free.push(slot);
        Some((operation, done.result()))
    }
}

impl Drop for Uring {
    /// Waits for all that is under way: the kernel still uses its memory.
    fn drop(&mut self) {
        while self.under_way() > 0 {
            if self.enter(1).is_err() {
                // Nobody knows any more when the kernel is done.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            while self.pop().is_some() {}
        }
    }
}

/// The kernel's words for the next part of an operation, with addresses in it.
fn entry(operation: &mut Operation) -> Entry {
    let file = types::Fd(operation.file.as_raw_fd());
    let next = operation.next();
    // Beyond what a file can have the kernel refuses; and the last number of all means something else to it.
    let offset = operation.offset.saturating_add(operation.done as u64).min(i64::MAX as u64);
    let length = u32::try_from(next.len()).expect("a call is below 2 GiB");
    let entry = match &mut operation.work {
        Work::Write(bytes) => opcode::Write::new(file, bytes[next].as_ptr(), length).offset(offset).build(),
        Work::Read(bytes) => opcode::Read::new(file, bytes[next].as_mut_ptr(), length).offset(offset).build(),
        Work::Sync => opcode::Fsync::new(file).build(),
    };
    // Else the thread that submits would copy what is in the page cache, one after the other; and what could not be done
    // without waiting would be tried in vain again. So the kernel does both in threads of its own.
    let apart = length >= APART_BYTES || operation.stalled > 0;
    if apart { entry.flags(Flags::ASYNC) } else { entry }
}

const NEEDED: [(u8, &str); 3] =
    [(opcode::Read::CODE, "reads"), (opcode::Write::CODE, "writes"), (opcode::Fsync::CODE, "syncs")];
/// From here on a copy takes longer than to hand it to another thread. The example `disk_io` measures it.
const APART_BYTES: u32 = 64 << 10;
/// How long the kernel is left alone when it had no room for a request.
const BUSY_WAIT: Duration = Duration::from_millis(1);
