//! The service manager is told that the program still runs: one that hangs is started again.

use sd_notify::NotifyState;

/// Tells it twice as often as it wants to hear, if it does, as long as tasks get their turns.
pub(super) fn start() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut turns = tokio::time::interval(patience / 2);
        loop {
            turns.tick().await;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    });
}
