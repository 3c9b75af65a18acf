//! Each fault does what it says, to the objects and calls that the seed says, and to no others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tanner_transports::{Fault, Faults, Memory, ObjectName, Registry, Result, Transport, TransportError};
use tokio::time::{Instant, timeout};

const OBJECTS: usize = 200;
const LENGTH: usize = 1000;

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).expect("a valid name")
}

fn block(i: usize) -> ObjectName {
    name(&format!("id/{i}"))
}

fn bytes(i: usize) -> Bytes {
    (0..LENGTH).map(|at| ((i + at) % 251) as u8).collect()
}

async fn put(store: &dyn Transport, i: usize) -> Result<()> {
    let mut put = store.put(&block(i), Some(LENGTH as u64)).await?;
    for piece in [bytes(i).slice(..300), bytes(i).slice(300..)] {
        put.write(piece).await?;
    }
    put.commit().await
}

async fn read(store: &dyn Transport, i: usize) -> Result<Bytes> {
    let pieces: Vec<_> = store.get(&block(i), 0..LENGTH as u64).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

async fn read_range(store: &dyn Transport, i: usize) -> Result<Bytes> {
    let all = 0..LENGTH as u64;
    Ok(store.get_ranges(&block(i), std::slice::from_ref(&all)).await?.remove(0))
}

async fn list(store: &dyn Transport) -> Vec<String> {
    let names = store.list("id").await.expect("a list").map_ok(|name| name.to_string());
    names.try_collect().await.expect("a whole list")
}

/// A sound store with all objects, and the same one with faults.
async fn stored(faults: Faults) -> (Memory, Fault) {
    let memory = Memory::new();
    for i in 0..OBJECTS {
        put(&memory, i).await.expect("stored");
    }
    let fault = Fault::new(Arc::new(memory.clone()), 7, faults);
    (memory, fault)
}

/// A store with faults, into which all objects were put, and what is behind it.
async fn put_into(faults: Faults) -> (Memory, Fault) {
    let memory = Memory::new();
    let fault = Fault::new(Arc::new(memory.clone()), 7, faults);
    for i in 0..OBJECTS {
        put(&fault, i).await.expect("a success, or what is said to be one");
    }
    (memory, fault)
}

/// Of this many, how many are wrong; it is to be about 3 in 10, as the probability 0.3 has it.
fn assert_some(wrong: usize) {
    assert!((OBJECTS * 2 / 10..OBJECTS * 4 / 10).contains(&wrong), "{wrong} of {OBJECTS}");
}

fn differing(found: &Bytes, i: usize) -> usize {
    found.iter().zip(bytes(i)).filter(|(found, wanted)| **found != *wanted).count()
}

#[tokio::test]
async fn what_is_lost_is_lost_to_every_call_and_for_ever() {
    let loss = Faults { loss: 0.3, ..Faults::none() };
    let ((_, before), (behind, after)) = (stored(loss).await, put_into(loss).await);
    let mut lost = 0;
    let (listed_before, listed_after) = (list(&before).await, list(&after).await);
    for i in 0..OBJECTS {
        let is_lost = before.stat(&block(i)).await.is_err();
        lost += usize::from(is_lost);
        assert_eq!(behind.stat(&block(i)).await.is_err(), is_lost, "a commit stored what is lost");
        for (fault, listed) in [(&before, &listed_before), (&after, &listed_after)] {
            for _ in 0..3 {
                let results = [
                    read(fault, i).await,
                    read_range(fault, i).await,
                    fault.stat(&block(i)).await.map(|_| bytes(i)),
                ];
                for result in results {
                    match result {
                        Ok(found) => assert!(!is_lost && found == bytes(i)),
                        Err(error) => assert!(is_lost && matches!(error, TransportError::Missing { .. })),
                    }
                }
                assert_eq!(fault.prove(&block(i), 0..1, &[7; 32]).await.is_err(), is_lost);
            }
            assert_eq!(listed.contains(&block(i).to_string()), !is_lost);
        }
    }
    assert_some(lost);
}

#[tokio::test]
async fn the_same_seed_brings_the_same_faults_however_the_calls_interleave() {
    let faults = Faults { corrupt: 0.3, truncate: 0.3, error: 0.3, lie: 0.1, ..Faults::none() };
    let run = async |together: bool, seed| {
        let (memory, _) = stored(faults).await;
        let fault = &Fault::new(Arc::new(memory), seed, faults);
        let each = (0..OBJECTS).map(|i| async move {
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                outcomes.push(read(fault, i).await.map_err(|error| error.to_string()));
                outcomes.push(read_range(fault, i).await.map_err(|error| error.to_string()));
            }
            outcomes
        });
        if together {
            return join_all(each).await;
        }
        let mut outcomes = Vec::new();
        for one in each.rev() {
            outcomes.push(one.await);
        }
        outcomes.reverse();
        outcomes
    };
    let first = run(true, 7).await;
    assert!(first == run(false, 7).await, "other faults in another order");
    assert!(first != run(true, 8).await, "a seed that changes nothing");
    assert!(first.iter().any(|outcomes| outcomes[0] != outcomes[2]), "each call has a fate of its own");
}

#[tokio::test]
async fn a_corrupt_read_has_one_wrong_byte_and_the_store_none() {
    let (memory, fault) = stored(Faults { corrupt: 0.3, piece_bytes: Some(77), ..Faults::none() }).await;
    let mut wrong = [0; 2];
    for i in 0..OBJECTS {
        for (wrong, found) in wrong.iter_mut().zip([read(&fault, i).await, read_range(&fault, i).await]) {
            let found = found.unwrap();
            assert!(found.len() == LENGTH && differing(&found, i) <= 1);
            *wrong += differing(&found, i);
        }
        assert_eq!(read(&memory, i).await.unwrap(), bytes(i));
    }
    wrong.into_iter().for_each(assert_some);
}

#[tokio::test]
async fn a_truncated_read_ends_early_and_well() {
    let (_, fault) = stored(Faults { truncate: 0.3, ..Faults::none() }).await;
    let mut wrong = [0; 2];
    for i in 0..OBJECTS {
        for (wrong, found) in wrong.iter_mut().zip([read(&fault, i).await, read_range(&fault, i).await]) {
            let found = found.unwrap();
            assert_eq!(found, bytes(i).slice(..found.len()));
            *wrong += usize::from(found.len() < LENGTH);
        }
    }
    wrong.into_iter().for_each(assert_some);
}

#[tokio::test]
async fn what_was_stored_rotten_or_short_stays_so() {
    let (memory, fault) = put_into(Faults { rot: 0.3, ..Faults::none() }).await;
    let mut rotten = 0;
    for i in 0..OBJECTS {
        let found = read(&memory, i).await.unwrap();
        assert!(found.len() == LENGTH && differing(&found, i) <= 1);
        assert_eq!(read(&fault, i).await.unwrap(), found);
        rotten += differing(&found, i);
    }
    assert_some(rotten);

    let (memory, _) = put_into(Faults { short: 0.3, ..Faults::none() }).await;
    let mut short = 0;
    for i in 0..OBJECTS {
        let length = memory.stat(&block(i)).await.unwrap().length as usize;
        let all = 0..length as u64;
        let found = memory.get_ranges(&block(i), std::slice::from_ref(&all)).await.unwrap().remove(0);
        assert_eq!(found, bytes(i).slice(..length));
        short += usize::from(length < LENGTH);
    }
    assert_some(short);
}

#[tokio::test]
async fn a_liar_lies_to_every_question() {
    let (_, liar) = stored(Faults { lie: 1.0, ..Faults::none() }).await;
    let (mut missing, mut others) = (0, 0);
    for i in 0..OBJECTS {
        assert_ne!(liar.stat(&block(i)).await.unwrap().length, LENGTH as u64);
        let proof = liar.prove(&block(i), 0..LENGTH as u64, &[7; 32]).await.unwrap();
        assert_ne!(proof, tanner_transports::Hash::from_bytes([0; 32]));
        for result in [read(&liar, i).await, read_range(&liar, i).await] {
            match result {
                Ok(found) => {
                    let other = (0..OBJECTS).find(|&other| bytes(other) == found);
                    assert!(other.is_some_and(|other| other != i), "not the bytes of another object");
                    others += 1;
                }
                Err(error) => {
                    assert!(matches!(error, TransportError::Missing { .. }));
                    missing += 1;
                }
            }
        }
        liar.delete(&block(i)).await.unwrap();
    }
    assert!(missing > OBJECTS / 2 && others > OBJECTS / 2, "{missing} and {others}");
    let listed = list(&liar).await;
    let real = listed.iter().filter(|name| (0..OBJECTS).any(|i| block(i).to_string() == **name)).count();
    assert!(real < OBJECTS && real < listed.len(), "{real} of {}", listed.len());

    let (behind, _) = put_into(Faults { lie: 1.0, ..Faults::none() }).await;
    assert_eq!(list(&behind).await, [""; 0], "a commit that did what it said");
}

#[tokio::test]
async fn an_error_may_be_retried_and_half_of_the_commits_were_done() {
    let memory = Memory::new();
    let fault = Fault::new(Arc::new(memory.clone()), 7, Faults { error: 0.3, ..Faults::none() });
    let (mut failed, mut done) = (0, 0);
    for i in 0..OBJECTS {
        while let Err(error) = put(&fault, i).await {
            failed += 1;
            if matches!(error, TransportError::Exists { .. }) {
                done += 1;
                break;
            }
            assert!(error.is_retryable(), "{error:?}");
        }
        assert_eq!(read(&memory, i).await.unwrap(), bytes(i));
    }
    assert!(failed > OBJECTS && (5..OBJECTS / 2).contains(&done), "{failed} failed, {done} of them done");
}

#[tokio::test]
async fn a_store_dies_in_the_midst_of_it_and_says_so_ever_after() {
    // Each object takes a put, two writes and a commit.
    let memory = Memory::new();
    let faults = Faults { dies_after: Some(4 * 10 + 2), ..Faults::none() };
    let fault = Fault::new(Arc::new(memory.clone()), 7, faults);
    for i in 0..20 {
        match put(&fault, i).await {
            Ok(()) => assert!(i < 10),
            Err(error) => {
                assert!(i >= 10 && matches!(error, TransportError::Unreachable { .. }), "{error:?}");
            }
        }
    }
    assert!(matches!(fault.list("").await.map(drop), Err(TransportError::Unreachable { .. })));
    assert_eq!(list(&memory).await.len(), 10);

    let pieces = Faults { dies_after: Some(5), piece_bytes: Some(100), ..Faults::none() };
    let (_, fault) = stored(pieces).await;
    let mut pieces = fault.get(&block(0), 0..LENGTH as u64).await.unwrap();
    for _ in 0..4 {
        assert_eq!(pieces.try_next().await.unwrap().unwrap().len(), 100);
    }
    assert!(matches!(pieces.try_next().await, Err(TransportError::Unreachable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_never_answers_again() {
    let (_, fault) = stored(Faults { hangs_after: Some(1), ..Faults::none() }).await;
    fault.stat(&block(0)).await.unwrap();
    timeout(Duration::from_secs(1_000_000), fault.stat(&block(0))).await.expect_err("it answered");
}

#[tokio::test]
async fn a_full_store_is_full_for_every_put_and_still_read() {
    let memory = Memory::new();
    let room = Faults { room_bytes: Some(10 * LENGTH as u64 + 500), ..Faults::none() };
    let fault = Fault::new(Arc::new(memory), 7, room);
    for i in 0..20 {
        match put(&fault, i).await {
            Ok(()) => assert!(i < 10),
            Err(error) => assert!(i >= 10 && matches!(error, TransportError::Full { .. }), "{error:?}"),
        }
    }
    // Undeclared, it is found out on the way.
    let mut late = fault.put(&block(50), None).await.unwrap();
    assert!(matches!(late.write(bytes(50)).await, Err(TransportError::Full { .. })));
    assert!(late.commit().await.is_err());
    assert_eq!(list(&fault).await.len(), 10);
    assert_eq!(read(&fault, 3).await.unwrap(), bytes(3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_drips_and_answers_overtake_each_other() {
    let (_, fault) =
        stored(Faults { bytes_per_second: Some(10), piece_bytes: Some(1), ..Faults::none() }).await;
    let began = Instant::now();
    let lengths = fault.get(&block(0), 0..100).await.unwrap().map_ok(|piece| piece.len());
    assert_eq!(lengths.try_collect::<Vec<_>>().await.unwrap(), [1; 100]);
    assert_eq!(began.elapsed().as_secs(), 10);

    let times = Faults { delay: Duration::from_secs(3), reorder: Duration::from_secs(2), ..Faults::none() };
    let (_, fault) = stored(times).await;
    let order = std::sync::Mutex::new(Vec::new());
    let (fault, order) = (&fault, &order);
    let began = Instant::now();
    join_all((0..OBJECTS).map(|i| async move {
        fault.stat(&block(i)).await.unwrap();
        order.lock().unwrap().push(i);
    }))
    .await;
    let elapsed = began.elapsed().as_secs_f64();
    assert!((4.0..5.1).contains(&elapsed), "{elapsed}");
    assert!(!order.lock().unwrap().is_sorted());
    let (listed, mut sorted) = (list(fault).await, list(fault).await);
    sorted.sort();
    assert!(!listed.is_sorted() && sorted.len() == OBJECTS);
}

#[tokio::test]
async fn a_url_says_the_faults_and_a_slip_in_it_is_named() {
    let registry = Registry::default();
    let all = "fault:seed=18446744073709551615,loss=0.1,rot=0.2,short=0.3,corrupt=0.4,truncate=0.5,lie=0.6,error=1,\
               delay=50000us,reorder=1500us,dies=100,hangs=200,room=5000000,rate=7,piece=1+memory:";
    for url in [all, "fault:seed=7+memory:", "fault:seed=0,loss=0.1+fault:seed=1,delay=1000us+memory:"] {
        assert_eq!(registry.open(url).unwrap().url(), url);
    }
    assert_eq!(
        registry.open("fault:delay=50ms,room=5M,loss=0.5+/mnt/a+b").unwrap().url(),
        "fault:seed=0,loss=0.5,delay=50000us,room=5000000+file:///mnt/a%2Bb"
    );
    let slips = [
        ("loss=1.1", "from 0 to 1"),
        ("loss=NaN", "from 0 to 1"),
        ("lie=x", "from 0 to 1"),
        ("delay=50", "delay=50ms"),
        ("piece=0", "at least 1"),
        ("room=-1", "room=5M"),
        ("seed=x", "a seed"),
        ("fire=0.1", "loss, rot"),
        ("loss", "KEY=VALUE"),
    ];
    for (options, hint) in slips {
        let error = registry.open(&format!("fault:{options}+memory:")).unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
    }
}

/// What is kept is of the store itself: it is there for whoever opens the store without the faults.
#[tokio::test]
async fn what_is_kept_meets_the_same_faults_as_everything_else() {
    let store = Memory::new();
    let faulty = |faults| Fault::new(Arc::new(store.clone()), 7, faults);
    let all = Some(LENGTH as u64);
    let keep = async |fault: &Fault, i: usize| {
        let mut put = fault.put(&block(i), all).await?;
        put.write(bytes(i).slice(..300)).await?;
        put.keep().await.map(|kept| kept.expect("memory keeps"))
    };
    let (errors, lies) = (Faults { error: 0.2, ..Faults::none() }, Faults { lie: 1.0, ..Faults::none() });
    let (errors, lies) = (faulty(errors), faulty(lies));
    let mut kept = Vec::new();
    for i in 0..OBJECTS {
        match keep(&errors, i).await {
            Ok(found) => kept.push((i, found)),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    assert!((1..OBJECTS).contains(&kept.len()), "{}", kept.len());
    let mut failed = 0;
    for (i, kept) in &kept {
        failed += usize::from(errors.resume(&block(*i), all, kept).await.is_err());
        let lie = lies.resume(&block(*i), all, kept).await.map(drop);
        assert!(matches!(lie, Err(TransportError::Missing { .. })), "{lie:?}");
        let mut put = store.resume(&block(*i), all, kept).await.expect("it is there");
        put.write(bytes(*i).slice(300..)).await.expect("write");
        put.commit().await.expect("commit");
        assert_eq!(read(&store, *i).await.expect("read"), bytes(*i));
    }
    assert!((1..kept.len()).contains(&failed), "{failed} of {}", kept.len());
}
