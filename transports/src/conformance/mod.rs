//! The contract of [`Transport`] as named trials: what passes them all is a transport.
//!
//! ```
//! # use std::sync::Arc;
//! use tanner_transports::{Memory, Transport, conformance_tests};
//!
//! // One test for each trial, all in the module `memory`. The expression is evaluated in each test: it makes
//! // a place of its own, and gives a closure that opens this place again and again.
//! conformance_tests!(memory, {
//!     let store = Memory::new();
//!     move || Arc::new(store.clone()) as Arc<dyn Transport>
//! });
//! ```
//!
//! The crate with the tests needs `tokio` with its macros. The expression may `await`, so that it can start a
//! server. Trials that need what [`Capabilities`](crate::Capabilities) deny say so on stderr and pass, and so does the
//! one that stores 5 GiB, unless `TANNER_CONFORMANCE_LARGE=1` is set. The example `conformance` runs the suite: on all
//! transports of this crate (two are wrappers, here around memory; a block server, a bucket and a program are started for
//! them), or on the stores that URLs name, as in `… conformance -- disk=/mnt/a 's3://BUCKET?endpoint=https://HOST'`. What
//! it says of the former, and the tests make sure that it still does:
//!
//! ```text
//! cargo run --example conformance -p tanner-transports --features conformance
//! ```
//!
#![doc = include_str!("results.md")]

mod cancels;
mod gets;
mod keeps;
mod many;
mod names;
mod puts;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;

#[allow(clippy::wildcard_imports, reason = "the list of trials names each of them")]
use self::{cancels::*, gets::*, keeps::*, many::*, names::*, puts::*};
use crate::{ObjectName, Result, Transport, TransportError};

/// Opens one place, which was empty when the trial began. Each call opens it anew: nothing but the place itself
/// may be shared between two of the transports.
pub type Place = dyn Fn() -> Arc<dyn Transport> + Send + Sync;

/// How a trial ended that did not panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The transport keeps what the trial is about.
    Passed,
    /// The trial does not apply: the store has not this.
    Skipped(&'static str),
}

/// Runs one trial.
///
/// # Panics
/// When the transport breaks the contract, or there is no such trial.
pub async fn run(trial: &str, place: &Place) -> Verdict {
    let (_, run) = TRIALS.iter().find(|(name, _)| *name == trial).expect("the trial is one of trials()");
    let trial = async {
        run(place).await;
        VERDICT.with(Cell::get)
    };
    VERDICT.scope(Cell::new(Verdict::Passed), trial).await
}

tokio::task_local! {
    static VERDICT: Cell<Verdict>;
}

/// The names of all trials, for a test harness other than [`conformance_tests`](crate::conformance_tests).
pub fn trials() -> impl Iterator<Item = &'static str> {
    TRIALS.iter().map(|(name, _)| *name)
}

/// Makes a module with one test for each trial: `conformance_tests!(module, expression of a Place)`.
#[macro_export]
macro_rules! conformance_tests {
    ($module:ident, $place:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $crate::__each_trial! { [$crate::__trial_tests] $place }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __trial_tests {
    ($place:expr; $($trial:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $trial() {
            let place = $place;
            $crate::conformance::run(stringify!($trial), &place).await;
        }
    )*};
}

/// The only list of trials. One that is written and not listed is dead code, and the compiler says so.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_trial {
    ([$($then:tt)*] $($argument:tt)*) => {
        $($then)*! { $($argument)*;
            an_empty_object_comes_back
            one_byte_comes_back
            objects_around_a_page_come_back_exactly
            several_mebibytes_come_back_exactly
            thousands_of_small_writes_join_without_a_gap
            empty_writes_change_nothing
            a_declared_length_is_kept
            a_put_is_invisible_before_its_commit
            an_abandoned_put_leaves_nothing
            a_dropped_put_leaves_nothing
            a_cancelled_write_leaves_nothing
            a_cancelled_commit_leaves_all_or_nothing
            a_put_shorter_than_declared_leaves_nothing
            a_put_longer_than_declared_leaves_nothing
            what_cannot_fit_is_refused_before_it_is_sent
            a_second_put_never_overwrites_the_first
            a_put_waits_for_its_commit_with_an_object_in_its_way
            a_name_taken_meanwhile_is_not_overwritten
            of_racing_puts_one_wins_whole
            concurrent_puts_do_not_mix_their_bytes
            committed_objects_survive_reopening
            puts_of_two_openings_do_not_disturb_each_other
            what_is_kept_is_no_object
            a_kept_put_is_gone_on_with_by_another_opening
            bytes_behind_what_was_kept_are_written_again
            a_put_is_kept_as_often_as_one_likes
            a_put_is_kept_before_its_first_byte
            a_kept_put_goes_on_as_any_other
            what_is_abandoned_is_kept_no_more
            of_two_that_go_on_with_one_put_one_wins
            a_resumed_put_has_its_declared_length
            an_error_leaves_what_was_kept_before
            bytes_that_were_never_written_are_not_made_up
            no_token_leads_to_anything_else
            a_keep_cancelled_at_any_await_leaves_what_was_kept_before
            many_kept_puts_are_gone_on_with_at_once
            every_part_of_an_object_can_be_read_alone
            an_empty_range_is_no_error
            a_range_past_the_end_is_never_cut_short
            an_inverted_range_is_refused
            pieces_are_never_empty_nor_huge
            many_ranges_come_in_the_order_asked
            one_bad_range_fails_them_all
            no_ranges_give_no_bytes
            a_missing_object_is_missing_to_every_read
            a_dropped_read_harms_nobody
            concurrent_reads_see_the_same_bytes
            an_object_deleted_while_read_is_never_cut_short
            a_proof_is_of_the_bytes_that_are_there
            stat_tells_the_exact_length
            a_list_shows_one_backup_or_all
            a_list_of_a_thousand_objects_is_complete
            a_list_does_not_show_what_is_not_committed
            an_unknown_prefix_is_an_empty_list
            no_hostile_prefix_leaves_the_store
            a_deleted_object_is_missing
            a_delete_can_be_repeated
            a_delete_spares_all_other_objects
            a_deleted_name_can_be_put_again
            puts_and_deletes_of_one_backup_may_race
            the_longest_names_are_kept
            names_without_a_prefix_are_kept
            a_store_says_the_same_of_itself_when_reopened
            a_put_cancelled_at_any_await_leaves_nothing
            a_commit_cancelled_at_any_await_is_all_or_nothing
            a_read_cancelled_at_any_await_harms_nobody
            a_delete_cancelled_at_any_await_can_be_repeated
            blocks_written_in_step_do_not_wait_for_each_other
            blocks_read_in_step_do_not_wait_for_each_other
            a_delete_beside_reads_never_changes_what_they_read
            what_one_opening_did_the_other_sees_at_once
            random_ranges_come_back_exactly
            stat_and_list_agree_after_every_change
            a_list_of_ten_thousand_objects_is_complete_and_quick
            five_gibibytes_come_back_exactly
            no_hostile_name_is_a_name
            names_that_mean_something_elsewhere_are_only_names
            an_object_and_a_prefix_of_one_name_do_no_harm_to_each_other
        }
    };
}

type Trial = fn(&Place) -> BoxFuture<'_, ()>;

macro_rules! table {
    (; $($trial:ident)*) => { &[$((stringify!($trial), |place| Box::pin($trial(place)))),*] };
}

const TRIALS: &[(&str, Trial)] = __each_trial! { [table] };

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).expect("a trial uses valid names")
}

/// Bytes of period 251, so that swapped and shifted pieces show; another `seed` gives other bytes.
fn pattern(seed: usize, length: usize) -> Bytes {
    (seed..seed + length).map(|i| (i % 251) as u8).collect()
}

/// Puts and commits one object, each piece with a write of its own.
async fn store(
    store: &dyn Transport,
    name: &ObjectName,
    length: Option<u64>,
    pieces: &[Bytes],
) -> Result<()> {
    let mut put = store.put(name, length).await?;
    for piece in pieces {
        put.write(piece.clone()).await?;
    }
    put.commit().await
}

async fn stored(transport: &dyn Transport, name: &ObjectName, bytes: &Bytes) {
    store(transport, name, None, std::slice::from_ref(bytes)).await.expect("the object is stored");
}

async fn read(store: &dyn Transport, name: &ObjectName, range: Range<u64>) -> Result<Bytes> {
    let pieces = store.get(name, range).await?.try_collect::<Vec<_>>().await?;
    Ok(pieces.concat().into())
}

async fn assert_whole(store: &dyn Transport, name: &ObjectName, bytes: &Bytes) {
    let length = store.stat(name).await.expect("the object is there").length;
    assert_eq!(length, bytes.len() as u64, "length of {name}");
    let found = read(store, name, 0..length).await.expect("the object is read");
    assert!(found == *bytes, "{name} has other bytes than were stored");
}

async fn assert_absent(store: &dyn Transport, name: &ObjectName) {
    assert_missing(store.stat(name).await);
    assert_missing(read(store, name, 0..0).await);
    if store.capabilities().list {
        match store.list("").await {
            Ok(names) => {
                let names: Vec<_> = names.try_collect().await.expect("the list ends well");
                assert!(!names.contains(name), "{name} is listed");
            }
            Err(error) => assert_missing(Err::<(), _>(error)),
        }
    }
}

fn assert_missing<T>(result: Result<T>) {
    assert!(matches!(result.map(drop), Err(TransportError::Missing { .. })), "not missing");
}

async fn names(store: &dyn Transport, prefix: &str) -> BTreeSet<String> {
    let names: Vec<_> = store.list(prefix).await.expect("a list").try_collect().await.expect("a whole list");
    let set: BTreeSet<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(set.len(), names.len(), "a name is listed twice");
    set
}

/// Whether to skip a trial, which the runner is told.
fn lacks(capability: bool, what: &'static str) -> bool {
    if !capability {
        eprintln!("skipped: this store has no {what}");
        VERDICT.with(|verdict| verdict.set(Verdict::Skipped(what)));
    }
    !capability
}
