//! Work shared among a few threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, Scope};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::Error;

/// Runs `work` where it may block or compute for long, and waits for it; a panic in it goes on here.
///
/// It has a thread of its own: work that waits for stores must not hold one that the stores wait for.
///
/// # Errors
/// Those of `work`, and [`Error::Threads`].
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let mut tries = 0;
    let (work_to, answered) = loop {
        let (runtime, (work_to, given)) = (Handle::current(), mpsc::channel());
        let (answer, answered) = oneshot::channel();
        let run = move || {
            let _runtime = runtime.enter();
            let Ok(work) = given.recv() else { return };
            // Whoever waited may have given up.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
        };
        match thread::Builder::new().name("tanner-work".into()).spawn(run) {
            Ok(_) => break (work_to, answered),
            Err(source) if tries == REFUSALS_MAX => return Err(Error::Threads { source }.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(REFUSAL_WAIT).await;
    };
    work_to.send(work).expect("the thread waits for it");
    let result = answered.await.expect("a panic is an answer, too");
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// `threads` threads of computation; 0: one for each core.
///
/// # Errors
/// [`Error::Threads`].
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, Error> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("tanner-cpu-{i}"));
    pool.build().map_err(|error| Error::Threads { source: io::Error::other(error) })
}

/// Runs `work` on every item, on up to `threads` threads with a state of their own each, and hands the results to
/// `take` as they come. This thread is one of them; where the system starts no others, it does all. After an error no
/// further item is begun.
///
/// # Errors
/// The first error of `state` or `work`, by thread.
pub(crate) fn each<I, S, T, E: Send>(
    items: impl Iterator<Item = I> + Send,
    threads: usize,
    state: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, I) -> Result<T, E> + Sync,
    take: impl FnMut(T) + Send,
) -> Result<(), E> {
    let (items, take) = (Mutex::new(Some(items)), Mutex::new(take));
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(Iterator::next);
    let end = || *items.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let run = || {
        let mut state = state()?;
        while let Some(item) = next() {
            let result = work(&mut state, item)?;
            take.lock().unwrap_or_else(PoisonError::into_inner)(result);
        }
        Ok(())
    };
    let run = || run().inspect_err(|_| end());
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
        let workers: Vec<_> = (1..threads).map_while(start).collect();
        let mine = run();
        let results: Vec<_> =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|p| resume_unwind(p))).collect();
        results.into_iter().fold(mine, Result::and)
    })
}

/// Runs `work` on a thread of its own within the scope, or here and now where the system starts none.
pub(crate) fn beside<'scope, W>(scope: &'scope Scope<'scope, '_>, work: W)
where
    W: FnOnce() + Send + 'scope,
{
    let (give, given) = mpsc::channel::<W>();
    let run = move || given.recv().map_or((), |work| work());
    match thread::Builder::new().name("tanner-read".into()).spawn_scoped(scope, run) {
        Ok(_) => give.send(work).expect("the thread waits for it"),
        Err(_) => work(),
    }
}

/// How often a thread is asked for: those that just ended still count for the system.
const REFUSALS_MAX: u32 = 100;
const REFUSAL_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn every_item_is_worked_on_once() {
        let mut seen = Vec::new();
        let result: Result<(), ()> = each(0..1000, 5, || Ok(0), |_, item| Ok(item), |item| seen.push(item));
        seen.sort_unstable();
        assert_eq!((result, seen), (Ok(()), (0..1000).collect()));
    }

    #[test]
    fn an_error_ends_the_work() {
        let work = |(): &mut (), item| if item == 10 { Err(item) } else { Ok(item) };
        let mut last = 0;
        assert_eq!(each(0.., 3, || Ok(()), work, |item: i32| last = last.max(item)), Err(10));
    }
}
