//! Calls of the system that fail where a test wants it.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

use std::collections::BTreeMap;
use std::panic::resume_unwind;

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Runs `work` where this call fails: in the thread itself, and in all threads and programs that it starts.
pub(crate) fn where_fails<T: Send>(call: i64, errno: Errno, work: impl FnOnce() -> T + Send) -> T {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.raw_os_error().unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    let filtered = || {
        seccompiler::apply_filter(&filter).expect("a thread may forbid itself what it wants");
        work()
    };
    std::thread::scope(|scope| scope.spawn(filtered).join()).unwrap_or_else(|panic| resume_unwind(panic))
}
