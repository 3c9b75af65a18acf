use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tanner_kernels::{BlockSet, Codec, Profile};

use super::{Action, Passed, Request, Seen, Verdict, Writing};
use crate::scheduler::{Blocks, Facts, Placed};

/// Ten data and five parity blocks on five stores.
const STORES: usize = 5;
const BLOCKS: usize = 15;

/// A writing whose stores do as the test says.
struct Played {
    writing: Writing,
    now: Duration,
    /// Requests that get no answer.
    hangs: Box<dyn Fn(Request) -> bool>,
    /// Requests that fail.
    fails: Box<dyn Fn(Request) -> bool>,
    /// How passes end that do not end well.
    unwell: Passed,
    /// All that was done, in order.
    done: Vec<Action>,
}

fn nothing(_: Request) -> bool {
    false
}

impl Played {
    fn new(quorum: usize) -> Self {
        let codec = Arc::new(Codec::new(Profile::for_source(10, 5, 1 << 30).unwrap()));
        let blocks = Blocks { codec, empty: BlockSet::none(BLOCKS), block_bytes: 1 };
        let stores: Vec<Facts> = (0..STORES).map(|store| Facts::of(&format!("memory:{store}"))).collect();
        let places = (0..BLOCKS).map(|block| block % STORES).collect();
        let placed = Placed { places, why: Vec::new(), kept: Vec::new() };
        Self {
            writing: Writing::new(&blocks, &stores, &placed, quorum),
            now: Duration::ZERO,
            hangs: Box::new(nothing),
            fails: Box::new(nothing),
            unwell: Passed::Failed,
            done: Vec::new(),
        }
    }

    /// Answers everything, until it ends or nothing more happens for an hour. A pass takes as long as `pass` says and
    /// ends as it says.
    fn play(&mut self, pass: impl Fn(&mut Writing, &mut Duration) -> bool) -> Option<Verdict> {
        let mut quiet_until = self.now + Duration::from_secs(3600);
        while self.now < quiet_until {
            let actions = self.writing.next(self.now);
            if let Some(verdict) = self.writing.verdict() {
                self.done.extend(actions);
                return Some(verdict.clone());
            }
            if actions.is_empty() {
                self.now += Duration::from_secs(1);
                continue;
            }
            for action in actions {
                self.done.push(action.clone());
                match action {
                    Action::Begin(request) => self.answer(request),
                    Action::GiveUp(_) => {}
                    Action::Pass { .. } => {
                        let is_good = pass(&mut self.writing, &mut self.now);
                        let passed = if is_good { Passed::Well } else { self.unwell };
                        self.writing.passed(self.now, passed);
                        let streams: Vec<_> = self.writing.streams().collect();
                        for (block, store) in streams {
                            self.answer(Request::Write { block, store });
                        }
                    }
                }
            }
            quiet_until = self.now + Duration::from_secs(3600);
        }
        None
    }

    fn answer(&mut self, request: Request) {
        if !(self.hangs)(request) {
            self.writing.ended(self.now + Duration::from_millis(5), request, !(self.fails)(request));
        }
    }

    fn began(&self, what: impl Fn(Request) -> bool) -> usize {
        self.done.iter().filter(|action| matches!(action, Action::Begin(request) if what(*request))).count()
    }

    fn passes(&self) -> Vec<usize> {
        let of_pass = |action: &Action| match action {
            Action::Pass { make } => Some(make.len()),
            _ => None,
        };
        self.done.iter().filter_map(of_pass).collect()
    }
}

/// A pass that takes a minute.
fn good(_: &mut Writing, now: &mut Duration) -> bool {
    *now += Duration::from_secs(60);
    true
}

fn kept(verdict: Option<Verdict>) -> super::Standing {
    match verdict {
        Some(Verdict::Kept(standing)) => standing,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_that_nothing_happens_to_is_complete_after_one_pass_and_its_manifests_come_last() {
    let mut played = Played::new(5);
    let standing = kept(played.play(good));
    assert!(standing.is_complete && standing.stores_survivable == 1 && standing.blocks_survivable == 5);
    assert_eq!(played.passes(), [BLOCKS]);
    let last_commit =
        played.done.iter().rposition(|a| matches!(a, Action::Begin(Request::Commit { .. }))).unwrap();
    let first =
        played.done.iter().position(|a| matches!(a, Action::Begin(Request::Manifest { .. }))).unwrap();
    assert!(last_commit < first && played.began(|request| matches!(request, Request::Manifest { .. })) == 5);
}

/// A store that is down at the begin would cost every nightly backup a second reading of the file.
#[test]
fn a_store_that_is_down_costs_no_second_pass() {
    let mut played = Played::new(1);
    played.fails = Box::new(|request| request.store() == 2);
    let standing = kept(played.play(good));
    assert!(!standing.is_complete && standing.stores_survivable == 1);
    assert_eq!((played.passes(), played.writing.blocks_moved()), (vec![BLOCKS], 3));
    assert_eq!(played.writing.live().len(), BLOCKS);
}

#[test]
fn blocks_whose_commit_fails_are_made_again_by_a_narrow_pass() {
    let mut played = Played::new(1);
    played.fails = Box::new(|request| matches!(request, Request::Commit { store: 2, .. }));
    assert!(!kept(played.play(good)).is_complete);
    assert_eq!((played.passes(), played.writing.live().len()), (vec![BLOCKS, 3], BLOCKS));
}

/// A stream is over when it was read: another pass would find nothing.
#[test]
fn of_a_source_that_can_be_read_but_once_nothing_is_read_again() {
    let mut played = Played::new(1);
    played.writing.read_once(true);
    played.fails = Box::new(|request| matches!(request, Request::Commit { store: 2, .. }));
    let standing = kept(played.play(good));
    assert!(!standing.is_complete && standing.blocks_survivable == 2);
    assert_eq!((played.passes(), played.writing.live().len()), (vec![BLOCKS], BLOCKS - 3));
    // Before it is read, others take what a store does not.
    let mut played = Played::new(1);
    played.writing.read_once(true);
    played.fails = Box::new(|request| request.store() == 2);
    kept(played.play(good));
    assert_eq!((played.passes(), played.writing.live().len()), (vec![BLOCKS], BLOCKS));
    // Too little for a restore is no backup.
    let mut played = Played::new(1);
    played.writing.read_once(true);
    played.fails = Box::new(|request| matches!(request, Request::Commit { store: 0..=2, .. }));
    assert_eq!(played.play(good), Some(Verdict::TooFewBlocks));
}

/// Without a deadline one server that accepts everything and confirms nothing keeps all backups from being made.
#[test]
fn a_store_that_never_commits_loses_its_blocks_like_one_that_fails() {
    for hangs in [
        (|request| matches!(request, Request::Open { store: 3, .. })) as fn(Request) -> bool,
        |request| matches!(request, Request::Write { store: 3, .. }),
        |request| matches!(request, Request::Commit { store: 3, .. }),
        |request| matches!(request, Request::Manifest { store: 3 }),
        |request| request.store() == 3,
    ] {
        let mut played = Played::new(1);
        played.hangs = Box::new(hangs);
        let standing = kept(played.play(good));
        assert!(!standing.is_complete && played.writing.stores()[3].is_failing);
        assert_eq!(played.writing.live().len(), BLOCKS);
        assert!(played.now < Duration::from_secs(60 * 5), "{:?}", played.now);
        let given_up = played.done.iter().filter(|action| matches!(action, Action::GiveUp(_))).count();
        assert!((1..=4).contains(&given_up), "{given_up}");
    }
}

/// Where all disks take minutes to write back what they cached, that is no reason to write it anew.
#[test]
fn stores_that_are_all_slow_to_commit_are_all_waited_for() {
    let mut played = Played::new(1);
    played.hangs = Box::new(|request| matches!(request, Request::Commit { .. }));
    assert_eq!(played.play(good), None);
    assert!(!played.done.iter().any(|action| matches!(action, Action::GiveUp(_))));
    let commits: Vec<_> = played.writing.underway.keys().copied().collect();
    assert_eq!(commits.len(), BLOCKS);
    commits.into_iter().for_each(|request| _ = played.writing.ended(played.now, request, true));
    assert!(kept(played.play(good)).is_complete);
}

/// After a pass of an hour another one is the greater loss of time.
#[test]
fn a_store_is_waited_for_in_proportion_to_what_another_pass_would_take() {
    let mut played = Played::new(1);
    played.hangs = Box::new(|request| matches!(request, Request::Commit { store: 0, .. }));
    let hour = Duration::from_secs(3600);
    kept(played.play(|_, now| {
        *now += hour;
        true
    }));
    assert!(played.now > hour * 2 + hour / 2 && played.now < hour * 3, "{:?}", played.now);
}

#[test]
fn a_stream_that_still_moves_is_waited_for() {
    let mut played = Played::new(1);
    let slow = Request::Write { block: 4, store: 4 };
    played.hangs = Box::new(move |request| request == slow);
    for _ in 0..20 {
        played.now += Duration::from_secs(50);
        let at = played.now;
        if played.writing.streams().any(|(block, _)| block == 4) {
            played.writing.moves(at, slow);
        }
        for action in played.writing.next(at) {
            assert!(!matches!(action, Action::GiveUp(_)), "{action:?}");
            match action {
                Action::Begin(request) => played.answer(request),
                Action::Pass { .. } => {
                    played.writing.passed(at, Passed::Well);
                    let streams: Vec<_> = played.writing.streams().collect();
                    streams.into_iter().for_each(|(block, store)| {
                        played.answer(Request::Write { block, store });
                    });
                }
                Action::GiveUp(_) => {}
            }
        }
    }
    assert_eq!(played.writing.live().len(), BLOCKS - 1);
}

#[test]
fn what_is_refused_is_taken_back_manifests_first() {
    // Only one store gives its manifest back.
    let mut played = Played::new(2);
    played.fails = Box::new(|request| matches!(request, Request::Manifest { store } if store > 0));
    assert_eq!(played.play(good), Some(Verdict::TooFewBlocks));
    let removed: Vec<_> = played
        .done
        .iter()
        .filter_map(|action| match action {
            Action::Begin(Request::Remove { block, store }) => Some((*block, *store)),
            _ => None,
        })
        .collect();
    let manifests: BTreeSet<_> = removed[..STORES].iter().copied().collect();
    assert_eq!(manifests, (0..STORES).map(|store| (None, store)).collect());
    let blocks: BTreeSet<_> = removed[STORES..].iter().copied().collect();
    assert_eq!(blocks, (0..BLOCKS).map(|block| (Some(block), block % STORES)).collect());
}

#[test]
fn a_quorum_counts_manifests_and_not_blocks() {
    let mut played = Played::new(5);
    played.fails = Box::new(|request| matches!(request, Request::Manifest { store: 1 }));
    assert_eq!(played.play(good), Some(Verdict::TooFewStores { manifests: 4 }));
    let mut played = Played::new(4);
    played.fails = Box::new(|request| matches!(request, Request::Manifest { store: 1 }));
    assert!(!kept(played.play(good)).is_complete);
}

/// Blocks that moved would stay where they were first, for ever.
#[test]
fn what_a_block_left_in_its_first_store_is_taken_back_too() {
    let mut played = Played::new(1);
    // What was committed by the second pass is visible although the store said it failed.
    played.fails = Box::new(|request| match request {
        Request::Commit { store, .. } => store == 2,
        Request::Manifest { .. } => true,
        _ => false,
    });
    assert_eq!(played.play(good), Some(Verdict::TooFewBlocks));
    for block in [2, 7, 12] {
        let removed = |request| matches!(request, Request::Remove { block: Some(of), .. } if of == block);
        assert_eq!(played.began(removed), 2, "block {block}");
    }
}

#[test]
fn a_pass_that_fails_publishes_nothing_and_abandons_what_was_written() {
    let mut played = Played::new(1);
    assert_eq!(played.play(|_, _| false), Some(Verdict::Failed));
    assert_eq!(played.began(|request| matches!(request, Request::Abandon { .. })), BLOCKS);
    assert_eq!(played.began(|r| matches!(r, Request::Commit { .. } | Request::Remove { .. })), 0);
}

#[test]
fn a_store_that_hangs_does_not_keep_a_run_that_failed_from_ending() {
    let mut played = Played::new(1);
    played.hangs = Box::new(|request| request.store() == 1 && !matches!(request, Request::Open { .. }));
    assert_eq!(played.play(|_, _| false), Some(Verdict::Failed));
    assert!(played.now < Duration::from_secs(20), "{:?}", played.now);
}

#[test]
fn a_run_that_is_to_stop_while_a_store_hangs_stops() {
    let mut played = Played::new(1);
    played.hangs = Box::new(|request| matches!(request, Request::Open { .. }));
    assert_eq!(played.play(good), None);
    assert!(played.writing.stop(played.now));
    assert_eq!(played.play(good), Some(Verdict::Failed));
}

/// A store a hundred times slower than the others, whose three streams write all the time.
fn looks(stalled: Duration) -> (Vec<usize>, Played) {
    let mut played = Played::new(1);
    let taken = std::cell::RefCell::new(Vec::new());
    kept(played.play(|writing, now| {
        if writing.passes() == 1 {
            let zero = *now;
            for _ in 0..3 {
                *now += Duration::from_secs(1);
                let of_store_4 = |block: usize| block % STORES == 4;
                let span = *now - zero;
                let busy = |block| if of_store_4(block) { span } else { span / 100 };
                let seen = Seen { waited: span * 99 / 100, stalled, left: 0.9, busy: &busy };
                taken.borrow_mut().extend(writing.look(*now, &seen));
            }
        }
        true
    }));
    (taken.into_inner(), played)
}

#[test]
fn a_store_that_holds_up_the_pass_loses_its_blocks_to_the_others() {
    let (taken, played) = looks(Duration::ZERO);
    assert_eq!(taken, [4, 9, 14]);
    assert_eq!((played.passes(), played.writing.blocks_moved()), (vec![BLOCKS, 3], 3));
    let stores = played.writing.stores();
    assert!(stores[4].is_slow && !stores[4].is_failing && stores[4].has_manifest);
}

/// Blocks that a failed store lost need the same room and the same promise.
#[test]
fn a_slow_store_keeps_its_blocks_if_the_promise_would_go_with_them() {
    let mut played = Played::new(1);
    played.fails = Box::new(|request| request.store() < 2 && matches!(request, Request::Open { .. }));
    let taken = std::cell::RefCell::new(Vec::new());
    let standing = kept(played.play(|writing, now| {
        for _ in 0..3 {
            *now += Duration::from_secs(1);
            let (span, slow) = (*now, writing.homes().of.clone());
            let busy = |block: usize| if slow[block] == 4 { span } else { span / 100 };
            let seen = Seen { waited: span * 99 / 100, stalled: Duration::ZERO, left: 0.9, busy: &busy };
            taken.borrow_mut().extend(writing.look(*now, &seen));
        }
        true
    }));
    assert_eq!((taken.into_inner(), standing.stores_survivable), (vec![], 1));
}

#[test]
fn a_store_that_takes_nothing_for_a_minute_is_given_up_whatever_was_promised() {
    let (taken, _) = looks(Duration::from_secs(61));
    assert_eq!(taken, [4, 9, 14]);
}

#[test]
fn a_run_that_is_to_stop_and_can_be_gone_on_with_takes_nothing_back() {
    for resumable in [true, false] {
        let mut played = Played::new(1);
        played.unwell = Passed::Early;
        if resumable {
            played.writing.be_resumable(true);
        }
        assert_eq!(played.play(|_, _| false), Some(Verdict::Failed));
        assert_eq!(played.writing.is_suspended(), resumable);
        let undone = |r| matches!(r, Request::Abandon { .. } | Request::Remove { .. });
        assert_eq!(played.began(undone), if resumable { 0 } else { BLOCKS });
    }
    // A store that hangs is not waited for.
    let mut played = Played::new(1);
    played.unwell = Passed::Early;
    played.writing.be_resumable(true);
    played.hangs = Box::new(|request| matches!(request, Request::Write { store: 2, .. }));
    assert_eq!(played.play(|_, _| false), Some(Verdict::Failed));
    assert!(played.writing.is_suspended());
    assert!(played.now < Duration::from_secs(10), "{:?}", played.now);
}

#[test]
fn what_an_earlier_run_stored_is_read_again_and_not_written_again() {
    let mut played = Played::new(1);
    let mut live = BlockSet::all(BLOCKS);
    live.remove(7);
    played.writing.resume(&live, (0..BLOCKS).map(|block| (block, block % STORES)));
    assert!(kept(played.play(good)).is_complete);
    assert_eq!((played.passes(), played.began(|r| matches!(r, Request::Open { .. }))), (vec![BLOCKS], 1));
    // And all of it is taken back, if that is how it ends.
    let mut played = Played::new(1);
    played.writing.resume(&BlockSet::all(BLOCKS), (0..BLOCKS).map(|block| (block, block % STORES)));
    assert_eq!(played.play(|_, _| false), Some(Verdict::Failed));
    assert_eq!(played.began(|r| matches!(r, Request::Remove { .. })), BLOCKS + STORES);
    assert!(!played.writing.is_untidy());
}

/// Else nobody would ever come back for it.
#[test]
fn what_cannot_be_taken_back_is_told() {
    let mut played = Played::new(5);
    played.fails = Box::new(|request| {
        matches!(request, Request::Manifest { store: 1 } | Request::Remove { block: Some(3), .. })
    });
    assert_eq!(played.play(good), Some(Verdict::TooFewStores { manifests: 4 }));
    assert!(played.writing.is_untidy());
}

/// A network that is down for an hour would cost what was sent in the ten before.
#[test]
fn what_was_stored_before_stores_were_out_of_reach_is_left_to_another_run() {
    for (mends, resumable, opens) in
        [(true, true, true), (false, true, true), (true, false, true), (true, true, false)]
    {
        let mut played = Played::new(1);
        played.writing.be_resumable(resumable);
        if mends {
            played.writing.may_mend();
        }
        played.fails = Box::new(move |request| !opens || matches!(request, Request::Write { .. }));
        assert_eq!(played.play(good), Some(Verdict::TooFewBlocks));
        assert_eq!(played.writing.is_suspended(), mends && resumable && opens);
    }
    // What an earlier run stored is not given up because nobody is there now.
    let mut played = Played::new(1);
    played.writing.be_resumable(true);
    played.writing.may_mend();
    played.writing.resume(&BlockSet::none(BLOCKS), []);
    played.fails = Box::new(|_| true);
    assert_eq!(played.play(good), Some(Verdict::TooFewBlocks));
    assert!(played.writing.is_suspended() && played.passes().is_empty());
}
