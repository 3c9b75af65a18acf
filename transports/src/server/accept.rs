//! Letting connections in. Handshakes under way: so many, and the oldest makes room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, JoinSet};

use super::{Stopped, until_stopped};

/// Serves whoever comes `next` and is let in, until the server stops or there is nothing to listen on. Returns the
/// connections that are left.
pub(super) async fn accept<C, N, S>(
    handshakes_max: usize,
    mut stopped: Stopped,
    next: impl Fn() -> N,
    let_in: impl Fn(C, &mut Handshakes) -> Option<C>,
    serve: impl Fn(C, Done) -> S,
) -> JoinSet<()>
where
    N: Future<Output = Option<C>>,
    S: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut handshakes = Handshakes::new(handshakes_max);
    loop {
        tokio::select! {
            () = until_stopped(&mut stopped) => return connections,
            // One that panicked ended there, and nothing else did.
            Some(_) = connections.join_next() => {}
            came = next() => {
                let Some(came) = came else { return connections };
                let Some(came) = let_in(came, &mut handshakes) else { continue };
                let done = Done::default();
                let task = connections.spawn(serve(came, done.clone()));
                handshakes.add(done, task);
            }
        }
    }
}

/// The handshakes of one listener.
///
/// Whoever opens thousands of connections and says nothing pushes out nobody but others that say nothing: a handshake
/// that is spoken takes milliseconds, and is the oldest only after that many others came.
pub(super) struct Handshakes {
    most: usize,
    under_way: VecDeque<(Done, AbortHandle)>,
}

/// Set when a handshake has led to a connection that is served.
#[derive(Clone, Default)]
pub(super) struct Done(Arc<AtomicBool>);

impl Done {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Handshakes {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), under_way: VecDeque::new() }
    }

    /// Those under way.
    pub(super) fn count(&mut self) -> usize {
        self.under_way.retain(|(done, task)| !done.get() && !task.is_finished());
        self.under_way.len()
    }

    /// Adds one, and ends the oldest if there are too many.
    fn add(&mut self, done: Done, task: AbortHandle) {
        if self.under_way.len() >= self.most
            && self.count() >= self.most
            && let Some((_, oldest)) = self.under_way.pop_front()
        {
            oldest.abort();
        }
        self.under_way.push_back((done, task));
    }
}
