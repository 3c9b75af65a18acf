//! Work shared among a few threads.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

/// Runs `work` where it may block or compute for long, and waits for it; a panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))
}

/// Runs `work` on every item, on up to `threads` threads with a state of their own each, and hands the results to
/// `take` as they come. After an error no further item is begun.
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
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run().inspect_err(|_| end()))).collect();
        let results: Vec<_> =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|p| resume_unwind(p))).collect();
        results.into_iter().collect()
    })
}

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
