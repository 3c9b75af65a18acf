//! A thread that keeps a ring for everybody: futures leave their operations with it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::event::EventfdFlags;
use tokio::sync::oneshot;

use super::queue::{Operation, Queue, System, Work};

/// A ring on a thread of its own, which ends after the driver is dropped and the last operation is done.
///
/// Any of the futures may be dropped: what the kernel has begun it ends, with memory and a file that the driver keeps
/// for it. If the thread fails, every call fails, those under way too.
#[derive(Debug)]
pub struct Driver {
    inbox: Arc<Inbox>,
}

/// What was asked for since the thread last looked.
struct Inbox {
    /// `None` once nobody looks any more.
    requests: Mutex<Option<Vec<Request>>>,
    /// A counter of the kernel's. The ring always reads it, and so wakes up when it is written.
    bell: Arc<File>,
}

struct Request {
    file: Arc<File>,
    work: Work,
    offset: u64,
    answer: Answer,
}

type Answer = oneshot::Sender<io::Result<Work>>;

/// The end of an operation that the thread did not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the thread that does input and output for this process has ended")]
pub(crate) struct Ended {
    /// Whether the kernel may have begun it, or still be at it.
    pub(crate) begun: bool,
}

impl Ended {
    /// Whether that is the error, and how.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> Self {
        Self::other(ended)
    }
}

impl Driver {
    pub(super) fn start(system: Box<impl System + 'static>) -> io::Result<Self> {
        let bell = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?.into());
        let inbox = Arc::new(Inbox { requests: Mutex::new(Some(Vec::new())), bell });
        let (seen, queue) = (inbox.clone(), Queue::new(system));
        std::thread::Builder::new().name("tanner-ring".into()).spawn(move || run(&seen, queue))?;
        Ok(Self { inbox })
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system reports; some of the bytes may be written then.
    pub async fn write_at(&self, file: &Arc<File>, bytes: Bytes, offset: u64) -> io::Result<()> {
        self.ask(file, Work::Write(bytes), offset).await.map(drop)
    }

    /// Reads into all of `bytes` from `offset` on, and cuts them to what the file has.
    ///
    /// # Errors
    /// What the system reports.
    pub async fn read_at(&self, file: &Arc<File>, bytes: Vec<u8>, offset: u64) -> io::Result<Vec<u8>> {
        match self.ask(file, Work::Read(bytes), offset).await? {
            Work::Read(bytes) => Ok(bytes),
            Work::Write(_) | Work::Sync => Err(io::Error::other("a read was answered as something else")),
        }
    }

    /// Makes durable what was written to the file before.
    ///
    /// # Errors
    /// What the system reports. Then the bytes may be gone, and a second sync would say that all is well.
    pub async fn sync(&self, file: &Arc<File>) -> io::Result<()> {
        self.ask(file, Work::Sync, 0).await.map(drop)
    }

    /// Whether the thread has ended: nothing that is asked for from now on is done.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inbox.lock().is_none()
    }

    async fn ask(&self, file: &Arc<File>, work: Work, offset: u64) -> io::Result<Work> {
        let (answer, answered) = oneshot::channel();
        self.inbox.put(Request { file: file.clone(), work, offset, answer })?;
        answered.await.unwrap_or_else(|_| Err(Ended { begun: true }.into()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

impl Inbox {
    fn put(&self, request: Request) -> io::Result<()> {
        let first = {
            let mut requests = self.lock();
            let requests = requests.as_mut().ok_or(Ended { begun: false })?;
            requests.push(request);
            requests.len() == 1
        };
        // Whoever is not the first was preceded by a ring of the bell that is not answered yet.
        if first { self.ring_bell() } else { Ok(()) }
    }

    fn close(&self) {
        *self.lock() = None;
        // Fails only when there is no memory; then the thread sleeps for ever, and holds up nobody.
        let _ = self.ring_bell();
    }

    fn ring_bell(&self) -> io::Result<()> {
        (&*self.bell).write_all(&1_u64.to_ne_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Request>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

/// Closes the inbox however the thread ends. The bell rings once more, so that nothing in the ring waits for it.
struct Closing<'a>(&'a Inbox);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run(inbox: &Inbox, mut queue: Queue) {
    // Dropped in reverse: the inbox, the answers, so that everybody hears of the end, and last the ring.
    let mut answers: HashMap<u64, Answer> = HashMap::new();
    let _closing = Closing(inbox);
    let mut tag = BELL;
    listen(inbox, &mut queue);
    // An error here is one of the ring itself, and nothing that is asked of it can be answered.
    while let Ok(ended) = queue.wait() {
        for operation in ended {
            if operation.tag != BELL {
                // Nobody may be waiting any more.
                let _ = answers.remove(&operation.tag).map(|answer| answer.send(operation.result));
                continue;
            }
            let Some(requests) = inbox.lock().as_mut().map(std::mem::take) else { return };
            listen(inbox, &mut queue);
            for Request { file, work, offset, answer } in requests {
                // What nobody waits for any more need not be begun.
                if answer.is_closed() {
                    continue;
                }
                tag += 1;
                answers.insert(tag, answer);
                queue.push(Operation::new(tag, file, work, offset));
            }
        }
    }
}

/// Lets the ring wait for the bell.
fn listen(inbox: &Inbox, queue: &mut Queue) {
    queue.push(Operation::new(BELL, inbox.bell.clone(), Work::Read(vec![0; 8]), 0));
}

/// The tag of reading the bell; all others count on from it.
const BELL: u64 = 0;
