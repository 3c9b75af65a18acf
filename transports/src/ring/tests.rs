//! Faults between the driver and the kernel, from a seed; and futures that are dropped while the kernel works.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use rustix::io::Errno;

use super::queue::{Operation, System, Work};
use super::{Driver, ReadQueue, open};
use crate::{Disk, ObjectName, Transport, TransportError};

/// The kernel, or a word why it is not tried.
pub(super) fn kernel() -> Option<Box<super::sys::Uring>> {
    open(8).inspect_err(|error| eprintln!("skipped: no io_uring: {error}")).ok()
}

/// What goes wrong on the way to the kernel and back.
#[derive(Default)]
pub(super) struct Faults {
    /// Of 100 tries, so many are cut short, interrupted, or told to come again.
    pub(super) passing: u64,
    /// The try, counted over all, that fails for good, and how.
    pub(super) fatal: Option<(u64, Errno)>,
    /// The try in which the thread of the driver panics.
    pub(super) panic: Option<u64>,
    /// The try from which on the ring itself fails.
    pub(super) broken: Option<u64>,
}

/// A kernel with faults.
pub(super) struct Faulty<S> {
    system: S,
    faults: Faults,
    seed: u64,
    tries: Arc<AtomicU64>,
    /// Answers of operations that never reached the kernel.
    answers: VecDeque<(Operation, i32)>,
}

impl<S: System + 'static> Faulty<S> {
    pub(super) fn driver(system: S, faults: Faults, seed: u64) -> (Driver, Arc<AtomicU64>) {
        let tries = Arc::new(AtomicU64::new(0));
        let faulty = Self { system, faults, seed, tries: tries.clone(), answers: VecDeque::new() };
        (Driver::start(Box::new(faulty)).unwrap(), tries)
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % below
    }
}

impl<S: System + 'static> System for Faulty<S> {
    fn push(&mut self, mut operation: Operation) -> Result<(), Operation> {
        // Reading the bell is not I/O that anybody asked for.
        if operation.tag == 0 {
            return self.system.push(operation);
        }
        let tried = self.tries.fetch_add(1, Ordering::Relaxed);
        assert!(self.faults.panic != Some(tried), "a panic on purpose");
        if let Some((_, errno)) = self.faults.fatal.filter(|(at, _)| *at == tried) {
            self.answers.push_back((operation, -errno.raw_os_error()));
            return Ok(());
        }
        if self.draw(100) < self.faults.passing {
            let errno = match self.draw(3) {
                0 => Errno::INTR,
                1 if !matches!(operation.work, Work::Sync) => Errno::AGAIN,
                _ => {
                    let left = operation.next().len().max(1) as u64;
                    operation.try_bytes = 1 + self.draw(left) as usize;
                    return self.system.push(operation);
                }
            };
            self.answers.push_back((operation, -errno.raw_os_error()));
            return Ok(());
        }
        self.system.push(operation)
    }

    fn enter(&mut self, least: usize) -> io::Result<()> {
        if self.faults.broken.is_some_and(|at| self.tries.load(Ordering::Relaxed) > at) {
            return Err(Errno::BADF.into());
        }
        self.system.enter(if self.answers.is_empty() { least } else { 0 })
    }

    fn pop(&mut self) -> Option<(Operation, i32)> {
        self.answers.pop_front().or_else(|| self.system.pop())
    }
}

pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

pub(super) const FILE_BYTES: usize = 100_000;

/// Writes a file in pieces, all at the same time, and makes it durable.
async fn write(driver: &Driver, file: &Arc<File>, piece: usize) -> io::Result<()> {
    let bytes = Bytes::from(pattern(FILE_BYTES));
    let writes = (0..FILE_BYTES)
        .step_by(piece)
        .map(|start| driver.write_at(file, bytes.slice(start..FILE_BYTES.min(start + piece)), start as u64));
    join_all(writes).await.into_iter().collect::<io::Result<()>>()?;
    driver.sync(file).await
}

#[tokio::test]
async fn bytes_are_right_whatever_the_kernel_does_in_part_or_not_yet() {
    let mut tries = 0;
    for seed in 1..=20_u64 {
        let Some(kernel) = kernel() else { return };
        let faults = Faults { passing: 60, ..Faults::default() };
        let (driver, tried) = Faulty::driver(*kernel, faults, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let file = Arc::new(tempfile::tempfile().unwrap());
        write(&driver, &file, 1000).await.unwrap();
        let read = driver.read_at(&file, vec![0; FILE_BYTES + 7], 0).await.unwrap();
        assert!(read == pattern(FILE_BYTES), "seed {seed}: {} bytes", read.len());
        tries += tried.load(Ordering::Relaxed);
    }
    // 20 × 102 operations were asked for.
    assert!(tries > 5000, "{tries} tries: too few faults to prove anything");
}

#[tokio::test]
async fn an_error_at_any_operation_is_reported_and_ends_nothing_else() {
    // Ten writes, one sync.
    for at in 0..11 {
        for errno in [Errno::IO, Errno::NOSPC] {
            let Some(kernel) = kernel() else { return };
            let faults = Faults { fatal: Some((at, errno)), ..Faults::default() };
            let (driver, _) = Faulty::driver(*kernel, faults, 1);
            let file = Arc::new(tempfile::tempfile().unwrap());
            let error = write(&driver, &file, FILE_BYTES / 10).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "operation {at}");
            write(&driver, &file, FILE_BYTES).await.unwrap();
        }
    }
}

/// Puts an object of [`FILE_BYTES`] in ten writes.
pub(super) async fn put(disk: &Disk, name: &ObjectName) -> crate::Result<()> {
    let mut put = disk.put(name, Some(FILE_BYTES as u64)).await?;
    for piece in pattern(FILE_BYTES).chunks(FILE_BYTES / 10) {
        put.write(Bytes::copy_from_slice(piece)).await?;
    }
    put.commit().await
}

#[tokio::test]
async fn an_object_is_whole_after_every_fault_that_passes() {
    for seed in 1..=20 {
        let Some(kernel) = kernel() else { return };
        let (driver, _) = Faulty::driver(*kernel, Faults { passing: 60, ..Faults::default() }, seed);
        let (place, name) = (tempfile::tempdir().unwrap(), ObjectName::new("id/0").unwrap());
        let disk = Disk::open(place.path()).unwrap().with_driver(driver, false);
        put(&disk, &name).await.unwrap();
        let read = disk.get_ranges(&name, &[0..FILE_BYTES as u64, 7..8]).await.unwrap();
        assert!(read[0] == pattern(FILE_BYTES) && read[1] == [7][..], "seed {seed}");
    }
}

#[tokio::test]
async fn an_object_whose_write_or_sync_failed_is_never_acknowledged_and_leaves_nothing() {
    // Ten writes, one sync; after them all is well.
    for at in 0..12 {
        let Some(kernel) = kernel() else { return };
        let faults = Faults { fatal: Some((at, Errno::IO)), ..Faults::default() };
        let (driver, tries) = Faulty::driver(*kernel, faults, 1);
        let (place, name) = (tempfile::tempdir().unwrap(), ObjectName::new("id/0").unwrap());
        let disk = Disk::open(place.path()).unwrap().with_driver(driver, false);
        let result = put(&disk, &name).await;
        if at == 11 {
            result.unwrap();
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, TransportError::Other { .. }) && !error.is_retryable(), "{error:?}");
        assert_eq!(tries.load(Ordering::Relaxed), at + 1, "it went on after an error");
        assert!(matches!(disk.stat(&name).await, Err(TransportError::Missing { .. })));
        let staged = std::fs::read_dir(place.path().join(".tanner-stage")).unwrap();
        assert_eq!(staged.count(), 0);
        put(&disk, &name).await.unwrap();
    }
}

/// A second fsync would succeed, and the bytes be gone.
#[tokio::test]
async fn a_sync_that_failed_is_not_tried_again() {
    for errno in [Errno::IO, Errno::AGAIN] {
        let Some(kernel) = kernel() else { return };
        let (driver, tries) =
            Faulty::driver(*kernel, Faults { fatal: Some((0, errno)), ..Faults::default() }, 1);
        let file = Arc::new(tempfile::tempfile().unwrap());
        let error = driver.sync(&file).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }
}

/// Answers everything with this.
struct Answers(i32, VecDeque<Operation>, Arc<Mutex<Option<Operation>>>);

impl System for Answers {
    fn push(&mut self, operation: Operation) -> Result<(), Operation> {
        if operation.tag == 0 {
            *self.2.lock().unwrap() = Some(operation);
        } else {
            self.1.push_back(operation);
        }
        Ok(())
    }

    /// The bell is looked at now and then.
    fn enter(&mut self, least: usize) -> io::Result<()> {
        if least > 0 && self.1.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<(Operation, i32)> {
        let answer = self.1.pop_front().map(|operation| (operation, self.0));
        answer.or_else(|| self.2.lock().unwrap().take().map(|bell| (bell, 8)))
    }
}

#[tokio::test]
async fn a_kernel_that_does_nothing_for_ever_is_an_error_and_not_a_hang() {
    let driver = |answer| Driver::start(Box::new(Answers(answer, VecDeque::new(), Arc::default()))).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    let bytes = || Bytes::from_static(b"abc");
    let error = driver(0).write_at(&file, bytes(), 0).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    let error = driver(-Errno::AGAIN.raw_os_error()).write_at(&file, bytes(), 0).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let error = driver(4).write_at(&file, bytes(), 0).await.unwrap_err();
    assert!(error.to_string().contains("more bytes"), "{error}");
}

#[tokio::test]
async fn a_driver_that_panics_fails_every_call_and_hangs_none() {
    let Some(kernel) = kernel() else { return };
    let (driver, _) = Faulty::driver(*kernel, Faults { panic: Some(5), ..Faults::default() }, 1);
    let file = Arc::new(tempfile::tempfile().unwrap());
    let calls = (0..20).map(|_| driver.write_at(&file, Bytes::from_static(b"abc"), 0));
    let failed = join_all(calls).await.into_iter().filter(Result::is_err).count();
    assert!(failed >= 15, "{failed} calls failed");
    let error = driver.sync(&file).await.unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}

/// Bytes that say when they are freed.
struct Watched(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

/// The kernel holds the write back because the pipe is full.
#[tokio::test]
async fn a_dropped_write_keeps_its_bytes_until_the_kernel_is_done() {
    let Some(kernel) = kernel() else { return };
    let driver = Driver::start(kernel).unwrap();
    let (read, write): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
    let room = rustix::pipe::fcntl_getpipe_size(&write).unwrap();
    rustix::io::write(&write, &vec![1; room]).unwrap();
    let freed = Arc::new(AtomicBool::new(false));
    let bytes = Bytes::from_owner(Watched(pattern(5000), freed.clone()));
    let write = Arc::new(File::from(write));

    let mut call = Box::pin(driver.write_at(&write, bytes, 0));
    assert!(call.as_mut().now_or_never().is_none(), "the pipe is full");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(call);
    drop(write);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!freed.load(Ordering::SeqCst), "freed while the kernel was to read it");

    let mut all = Vec::new();
    tokio::task::spawn_blocking(move || io::Read::read_to_end(&mut File::from(read), &mut all).map(|_| all))
        .await
        .unwrap()
        .map(|all| assert!(all[room..] == pattern(5000), "{} bytes came", all.len()))
        .unwrap();
    for _ in 0..500 {
        if freed.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the bytes are never freed");
}

#[tokio::test]
async fn more_calls_than_the_ring_has_places_all_end() {
    let Some(kernel) = kernel() else { return };
    let driver = Driver::start(kernel).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    write(&driver, &file, 100).await.unwrap();
    let reads = (0..1000).map(|i| driver.read_at(&file, vec![0; 100], i * 100));
    let read: Vec<u8> = join_all(reads).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(read == pattern(FILE_BYTES));
    assert_eq!(driver.read_at(&file, vec![0; 9], FILE_BYTES as u64 - 4).await.unwrap().len(), 4);
    assert_eq!(
        driver.read_at(&file, vec![0; 9], u64::MAX).await.unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn reads_ahead_come_back_in_the_order_asked() {
    if kernel().is_none() {
        return;
    }
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&pattern(FILE_BYTES), 0).unwrap();
    let mut queue = ReadQueue::new(Arc::new(file), 4).unwrap();
    let starts: Vec<u64> = (0..100).map(|i| i * 7919 % FILE_BYTES as u64).collect();
    starts.iter().for_each(|&start| queue.push(start, vec![0; 3]));
    for start in starts {
        let read = queue.pop().unwrap().unwrap();
        let wanted = &pattern(FILE_BYTES)[start as usize..];
        assert_eq!(read, wanted[..wanted.len().min(3)]);
    }
    assert!(queue.pop().is_none());
}
