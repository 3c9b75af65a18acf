//! Whole operations out of partial ones: short counts go on, what was interrupted is tried again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

/// What to do with a file, and the memory for it.
pub(super) enum Work {
    /// Write all of it.
    Write(Bytes),
    /// Fill all of it, or up to the end of the file.
    Read(Vec<u8>),
    /// Make what was written durable.
    Sync,
}

/// One operation on its way. Owns all that the kernel uses meanwhile.
pub(super) struct Operation {
    /// Tells its owner which one it is.
    pub(super) tag: u64,
    pub(super) file: Arc<File>,
    pub(super) work: Work,
    /// Where in the file it begins, in bytes.
    pub(super) offset: u64,
    /// Bytes done.
    pub(super) done: usize,
    /// Bytes of the next try at most.
    pub(super) try_bytes: usize,
    /// Tries in a row that did nothing.
    pub(super) stalled: u32,
}

/// An operation that ended: the bytes that were read are in its work, which is cut to them.
pub(super) struct Ended {
    pub(super) tag: u64,
    pub(super) result: io::Result<Work>,
}

/// What carries out operations: the kernel, and in tests something less reliable.
pub(super) trait System: Send {
    /// Takes charge of an operation, or gives it back when there is no place.
    fn push(&mut self, operation: Operation) -> Result<(), Operation>;

    /// Lets the operations begin that were pushed, and waits until at least `least` are done.
    fn enter(&mut self, least: usize) -> io::Result<()>;

    /// An operation that is done with, and bytes or, below zero, an error number.
    fn pop(&mut self) -> Option<(Operation, i32)>;
}

/// Any number of operations, of which the system is given as many as it takes.
pub(super) struct Queue {
    system: Box<dyn System>,
    waiting: VecDeque<Operation>,
}

enum Step {
    Again(Operation),
    Ended(Ended),
}

impl Queue {
    pub(super) fn new(system: Box<dyn System>) -> Self {
        Self { system, waiting: VecDeque::new() }
    }

    pub(super) fn push(&mut self, operation: Operation) {
        self.waiting.push_back(operation);
    }

    /// Lets everything begin that waits and has a place, all at once.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.hand_over();
        self.system.enter(0)
    }

    /// The same, and waits until something ended. Blocks for ever if nothing is under way.
    pub(super) fn wait(&mut self) -> io::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            self.hand_over();
            self.system.enter(1)?;
            while let Some((operation, result)) = self.system.pop() {
                match operation.step(result) {
                    Step::Again(operation) => self.waiting.push_back(operation),
                    Step::Ended(operation) => ended.push(operation),
                }
            }
        }
        Ok(ended)
    }

    fn hand_over(&mut self) {
        while let Some(operation) = self.waiting.pop_front() {
            if let Err(operation) = self.system.push(operation) {
                return self.waiting.push_front(operation);
            }
        }
    }
}

impl Operation {
    pub(super) fn new(tag: u64, file: Arc<File>, work: Work, offset: u64) -> Self {
        Self { tag, file, work, offset, done: 0, try_bytes: CALL_BYTES_MAX, stalled: 0 }
    }

    /// Bytes of all of it.
    pub(super) fn len(&self) -> usize {
        match &self.work {
            Work::Write(bytes) => bytes.len(),
            Work::Read(bytes) => bytes.len(),
            Work::Sync => 0,
        }
    }

    /// The bytes of the buffer that are next, as a range of it.
    pub(super) fn next(&self) -> std::ops::Range<usize> {
        self.done..self.len().min(self.done.saturating_add(self.try_bytes))
    }

    /// What follows from one answer of the system.
    fn step(mut self, result: i32) -> Step {
        let Ok(count) = usize::try_from(result) else {
            let error = io::Error::from_raw_os_error(result.saturating_neg());
            if self.may_pass(&error) && self.stalled < STALLED_MAX {
                self.stalled += 1;
                return Step::Again(self);
            }
            return self.end(Err(error));
        };
        if count > self.next().len() {
            return self.end(Err(io::Error::other("more bytes were done than asked for")));
        }
        self.done += count;
        match self.work {
            Work::Write(_) if count == 0 && self.done < self.len() => {
                self.end(Err(ErrorKind::WriteZero.into()))
            }
            // The file ends here.
            Work::Read(_) if count == 0 => self.end(Ok(())),
            _ if self.done < self.len() => {
                (self.try_bytes, self.stalled) = (CALL_BYTES_MAX, 0);
                Step::Again(self)
            }
            _ => self.end(Ok(())),
        }
    }

    /// Whether this error says nothing about the file. Of a sync, almost every error is final: the kernel may have
    /// dropped the bytes, and would call a second one a success.
    fn may_pass(&self, error: &io::Error) -> bool {
        match Errno::from_io_error(error) {
            Some(Errno::INTR) => true,
            Some(Errno::AGAIN) => !matches!(self.work, Work::Sync),
            _ => false,
        }
    }

    fn end(self, result: io::Result<()>) -> Step {
        let done = self.done;
        let work = match self.work {
            Work::Read(mut bytes) => {
                bytes.truncate(done);
                Work::Read(bytes)
            }
            work => work,
        };
        Step::Ended(Ended { tag: self.tag, result: result.map(|()| work) })
    }
}

/// Bytes of one call. The kernel takes 2 GiB less a page, and cuts longer ones short.
const CALL_BYTES_MAX: usize = 1 << 30;
/// After the first, each try may wait inside the kernel: so many in a row that did not are no accident.
const STALLED_MAX: u32 = 1000;
