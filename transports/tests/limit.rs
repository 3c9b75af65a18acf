//! What a limit promises to whoever shares the line, in time that the tests turn themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tanner_transports::{
    Fault, Faults, Limit, Limiter, Limits, Memory, ObjectName, Registry, Result, Transport, TransportError,
    WeekClock,
};
use tokio::time::{Instant, sleep, timeout};

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).expect("a valid name")
}

/// A clock that shows `start`, in minutes of the week, when it is made.
fn clock(start: u16) -> WeekClock {
    let began = Instant::now();
    Arc::new(move || start + (began.elapsed().as_secs() / 60) as u16)
}

fn limiter(rate: &str, start: u16) -> Limiter {
    Limiter::new(Limits { rate: rate.parse().expect("a timetable"), ..Limits::default() }, clock(start))
}

fn limited(limiter: &Limiter) -> Limit {
    Limit::new(Arc::new(Memory::new()), limiter.clone())
}

async fn store(transport: &dyn Transport, object: &str, length: usize) -> Result<()> {
    let mut put = transport.put(&name(object), Some(length as u64)).await?;
    put.write(vec![7; length].into()).await?;
    put.commit().await
}

/// Writes pieces of `piece` bytes for ever, and counts what was taken charge of.
async fn write_for_ever(transport: Limit, object: String, piece: usize, written: Arc<AtomicU64>) {
    let mut put = transport.put(&name(&object), None).await.expect("put");
    loop {
        put.write(vec![7; piece].into()).await.expect("write");
        written.fetch_add(piece as u64, Ordering::Relaxed);
    }
}

fn assert_near(got: u64, wanted: f64, tolerance: f64) {
    assert!((got as f64 / wanted - 1.0).abs() <= tolerance, "{got} instead of {wanted}");
}

#[tokio::test(start_paused = true)]
async fn the_line_keeps_what_it_was_promised_for_a_whole_minute() {
    for rate in [1_000, 77_777, 2_000_000_u64] {
        let transport = limited(&limiter(&rate.to_string(), 0));
        let written = Arc::new(AtomicU64::new(0));
        let piece = (rate / 100) as usize;
        let writing = write_for_ever(transport, "id/0".into(), piece, written.clone());
        timeout(Duration::from_secs(60), writing).await.expect_err("it never ends");
        assert_near(written.load(Ordering::Relaxed), rate as f64 * 60.0, 0.02);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_keep_the_rate_too_streamed_or_not() {
    let memory = Memory::new();
    store(&memory, "id/0", 10_000_000).await.unwrap();
    let transport = Limit::new(Arc::new(memory), limiter("1M", 0));
    let began = Instant::now();
    let pieces = transport.get(&name("id/0"), 0..10_000_000).await.unwrap();
    let length: usize = pieces.map_ok(|piece| piece.len()).try_fold(0, async |a, b| Ok(a + b)).await.unwrap();
    assert_eq!(length, 10_000_000);
    assert_near(began.elapsed().as_millis() as u64, 10_000.0, 0.02);

    let began = Instant::now();
    transport.get_ranges(&name("id/0"), &[0..5_000_000, 0..5_000_000]).await.unwrap();
    assert_near(began.elapsed().as_millis() as u64, 10_000.0, 0.02);
}

#[tokio::test(start_paused = true)]
async fn the_office_gets_its_line_back_at_eight() {
    // 7:58, so two minutes of each rate in four.
    let transport = limited(&limiter("08:00,100k 19:00,300k", 7 * 60 + 58));
    let written = Arc::new(AtomicU64::new(0));
    let writing = tokio::spawn(write_for_ever(transport, "id/0".into(), 100_000, written.clone()));
    sleep(Duration::from_secs(120)).await;
    let at_night = written.swap(0, Ordering::Relaxed);
    sleep(Duration::from_secs(120)).await;
    writing.abort();
    assert_near(at_night, 300_000.0 * 120.0, 0.02);
    assert_near(written.load(Ordering::Relaxed), 100_000.0 * 120.0, 0.02);
}

#[tokio::test(start_paused = true)]
async fn no_stream_takes_the_share_of_another_however_large_its_pieces() {
    // Two stores, four streams, one budget.
    let limiter = limiter("1M", 0);
    let stores = [limited(&limiter), limited(&limiter)];
    let counts: Vec<_> = (0..4).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let streams: Vec<_> = (0..4)
        .map(|i| {
            let piece = [1_000, 20_000, 100_000, 500_000][i];
            tokio::spawn(write_for_ever(stores[i % 2].clone(), format!("id/{i}"), piece, counts[i].clone()))
        })
        .collect();
    sleep(Duration::from_secs(120)).await;
    streams.iter().for_each(tokio::task::JoinHandle::abort);
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_near(counts.iter().sum(), 120e6, 0.02);
    // Those whose pieces are portions or larger; one that offers less than its share at a time cannot use it all.
    for &count in &counts[2..] {
        assert_near(count, counts[2] as f64, 0.05);
    }
    assert!(counts[0] > 0 && counts[0] <= counts[1] && counts[1] <= counts[2] * 11 / 10, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_stops_waiting_gives_its_share_back() {
    let limits = Limits {
        rate: "1000".parse().unwrap(),
        requests_at_a_time: Some(1),
        inflight_bytes: Some(1_000_000),
    };
    let transport = limited(&Limiter::new(limits, clock(0)));
    store(&transport, "id/0", 1_000).await.unwrap();
    for i in 0..100 {
        let object = format!("gone/{i}");
        let waiting = store(&transport, &object, 10_000);
        // Less than the time of one portion.
        timeout(Duration::from_millis(1), waiting).await.expect_err("there is no time for it");
    }
    let began = Instant::now();
    timeout(Duration::from_secs(60), store(&transport, "id/1", 1_000))
        .await
        .expect("no turn was kept")
        .unwrap();
    assert_near(began.elapsed().as_millis() as u64, 1_000.0, 0.1);
}

/// Milliseconds that forty reads of 100 bytes take together from a store that takes its time for each.
async fn forty_reads(limits: Option<Limits>) -> f64 {
    let memory = Memory::new();
    store(&memory, "id/0", 100).await.expect("stored");
    let faults = Faults { delay: Duration::from_millis(200), ..Faults::none() };
    let mut slow: Arc<dyn Transport> = Arc::new(Fault::new(Arc::new(memory), 7, faults));
    if let Some(limits) = limits {
        slow = Arc::new(Limit::new(slow, Limiter::new(limits, clock(0))));
    }
    let began = Instant::now();
    let whole = 0..100;
    let reads = join_all((0..40).map(|_| slow.get_ranges(&OBJECT, std::slice::from_ref(&whole)))).await;
    reads.into_iter().collect::<Result<Vec<_>>>().expect("read");
    began.elapsed().as_secs_f64() * 1000.0
}

static OBJECT: LazyLock<ObjectName> = LazyLock::new(|| name("id/0"));

#[tokio::test(start_paused = true)]
async fn no_more_calls_wait_for_a_store_than_it_was_said_to_bear() {
    let requests = |most| Limits { requests_at_a_time: Some(most), ..Limits::default() };
    let inflight = |most| Limits { inflight_bytes: Some(most), ..Limits::default() };
    let alone = forty_reads(Some(requests(1))).await;
    assert!((alone / 40.0 - 100.0).abs() < 30.0, "the sum of forty delays of up to 200 ms: {alone}");
    for limits in [requests(4), inflight(400), inflight(499)] {
        let four = forty_reads(Some(limits)).await;
        assert!((alone / 4.0..alone / 3.5).contains(&four), "{four} of {alone}");
    }
    for limits in [inflight(1), inflight(199)] {
        let one = forty_reads(Some(limits)).await;
        assert!((one - alone).abs() < 100.0, "{one} of {alone}");
    }
    for limits in [None, Some(requests(40)), Some(inflight(4000)), Some(Limits::default())] {
        assert!(forty_reads(limits).await < 202.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_each_store_stands_beside_one_for_all() {
    let all = limiter("1M", 0);
    let slow = Limit::new(Arc::new(limited(&limiter("100k", 0))), all.clone());
    let quick = limited(&all);
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let slow = tokio::spawn(write_for_ever(slow, "id/0".into(), 50_000, counts[0].clone()));
    let quick = tokio::spawn(write_for_ever(quick, "id/1".into(), 50_000, counts[1].clone()));
    sleep(Duration::from_secs(60)).await;
    slow.abort();
    quick.abort();
    assert_near(counts[0].load(Ordering::Relaxed), 6e6, 0.02);
    assert_near(counts[1].load(Ordering::Relaxed), 54e6, 0.02);
}

#[tokio::test]
async fn a_url_says_the_limits_and_a_slip_in_it_is_named() {
    let mut registry = Registry::default();
    registry.register_limit(clock(0));
    for options in
        ["", "rate=5M", "rate=08:00,5M%2019:00,off,requests=4,inflight=8MiB", "rate=Mon-08:00,5M 19:00,off"]
    {
        let opened = registry.open(&format!("limit:{options}+file:///mnt/a")).unwrap();
        assert_eq!(opened.url(), "file:///mnt/a");
    }
    assert_eq!(registry.open("limit:rate=5M+fault:seed=7+mem:").unwrap().url(), "fault:seed=7+memory:");
    let slips = [
        ("rate=0", "off"),
        ("rate=5M 19:00,off", "08:00,5M"),
        ("requests=0", "requests=4"),
        ("inflight=0", "inflight=8MiB"),
        ("inflight=5G", "4 GiB"),
        ("speed=5M", "rate, requests and inflight"),
    ];
    for (options, hint) in slips {
        let error = registry.open(&format!("limit:{options}+memory:")).unwrap_err();
        assert!(matches!(error, TransportError::BadUrl { .. }));
        assert!(error.to_string().contains(hint), "{error}");
    }
    assert!(matches!(registry.open("limit:+s4:x"), Err(TransportError::UnknownScheme { .. })));
}
