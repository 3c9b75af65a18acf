//! Reads of one file in a known order, many of them under way at a time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::queue::{Operation, Queue, Work};

/// Reads of one file that are done at the same time and come back in the order asked. Blocks, so it is for threads.
///
/// Dropping it waits for what is under way.
pub struct ReadQueue {
    file: Arc<File>,
    queue: Queue,
    asked: VecDeque<u64>,
    ended: HashMap<u64, io::Result<Work>>,
    next_tag: u64,
}

impl ReadQueue {
    /// A ring of its own that works on up to `depth` reads at a time; more wait.
    ///
    /// # Errors
    /// If this process cannot have one.
    pub fn new(file: Arc<File>, depth: u32) -> io::Result<Self> {
        let queue = Queue::new(super::open(depth)?);
        Ok(Self { file, queue, asked: VecDeque::new(), ended: HashMap::new(), next_tag: 0 })
    }

    /// Asks for as many bytes from `offset` on as `buffer` is long.
    pub fn push(&mut self, offset: u64, buffer: Vec<u8>) {
        self.queue.push(Operation::new(self.next_tag, self.file.clone(), Work::Read(buffer), offset));
        self.asked.push_back(self.next_tag);
        self.next_tag += 1;
    }

    /// Waits for the first read that was not taken yet: the buffer, cut to what the file has. `None` if there is none.
    ///
    /// # Errors
    /// What the system reports of this read.
    pub fn pop(&mut self) -> Option<io::Result<Vec<u8>>> {
        let tag = *self.asked.front()?;
        let result = self.wait_for(tag);
        self.asked.pop_front();
        Some(result)
    }

    fn wait_for(&mut self, tag: u64) -> io::Result<Vec<u8>> {
        self.queue.submit()?;
        loop {
            match self.ended.remove(&tag) {
                Some(Ok(Work::Read(bytes))) => return Ok(bytes),
                Some(Ok(Work::Write(_) | Work::Sync)) => unreachable!("only reads are asked for"),
                Some(Err(error)) => return Err(error),
                None => self.ended.extend(self.queue.wait()?.into_iter().map(|one| (one.tag, one.result))),
            }
        }
    }
}

impl fmt::Debug for ReadQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadQueue({} under way)", self.asked.len())
    }
}
