//! What only a program can get wrong: it dies, hangs, babbles, floods, or breaks the protocol.
//!
//! Each ends with one typed error that names the program, in time, and leaves no process behind.
#![expect(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tanner_transports::{Exec, ObjectName, Result, Transport, TransportError};
use tempfile::TempDir;

/// A program in `sh`, and its directory, where it runs its life.
struct Rig {
    place: TempDir,
    store: Exec,
}

/// A program that greets, and then runs `script`.
fn greeted(script: &str) -> Rig {
    program(&format!("read -r hello; echo TANNER-EXEC 1 durable exclusive-create ranges list\n{script}"))
}

fn program(script: &str) -> Rig {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("program");
    // Everything that it starts is found by this.
    fs::write(&path, format!("cd {}\necho $$ >> pids\n{script}", place.path().display())).unwrap();
    let store = open(&format!("exec:/bin/sh?arg={}", path.display()));
    Rig { place, store }
}

fn open(url: &str) -> Exec {
    Exec::open(url, Duration::from_secs(3)).expect("a URL")
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The processes that were started and still run, or are ours and not reaped.
    fn alive(&self) -> Vec<String> {
        let pids = fs::read_to_string(self.path("pids")).unwrap_or_default();
        let lives = |pid: &&str| {
            let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
            let ours = format!("Z {} ", std::process::id());
            stat.rsplit_once(") ").is_some_and(|(_, stat)| !stat.starts_with('Z') || stat.starts_with(&ours))
        };
        pids.lines().filter(lives).map(str::to_owned).collect()
    }

    #[track_caller]
    fn all_are_gone(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..300 {
                if self.alive().is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{caller}: still there: {:?}", self.alive());
        }
    }
}

fn name() -> ObjectName {
    ObjectName::new("id/7").expect("a valid name")
}

async fn stat(rig: &Rig) -> Result<u64> {
    within(async { Ok(rig.store.stat(&name()).await?.length) }).await
}

async fn read(rig: &Rig, length: u64) -> Result<Vec<u8>> {
    within(async {
        let pieces = rig.store.get(&name(), 0..length).await?.try_collect::<Vec<_>>().await?;
        Ok(pieces.concat())
    })
    .await
}

async fn list(rig: &Rig) -> Result<Vec<ObjectName>> {
    within(async { rig.store.list("id").await?.try_collect().await }).await
}

async fn store(rig: &Rig, bytes: &'static [u8]) -> Result<()> {
    within(async {
        let mut put = rig.store.put(&name(), None).await?;
        put.write(Bytes::from_static(bytes)).await?;
        put.commit().await
    })
    .await
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it ends in time")
}

/// The error with all its causes.
macro_rules! assert_fails {
    ($result:expr, $variant:ident) => {{
        let error = $result.map(drop).expect_err("it cannot succeed");
        assert!(matches!(error, TransportError::$variant { .. }), "{error:?}");
        let text = format!(
            "{error}: {}",
            std::error::Error::source(&error).map_or(String::new(), ToString::to_string)
        );
        assert!(
            text.contains("exec:/") && text.len() < 600 && text.is_ascii() && !text.contains('\n'),
            "{text}"
        );
        text
    }};
}

#[tokio::test]
async fn a_program_that_ends_says_how_and_its_last_words() {
    let rig = program("echo the disk is on fire >&2; exit 3");
    let text = assert_fails!(stat(&rig).await, Unreachable);
    assert!(text.contains("exit status: 3") && text.contains("the disk is on fire"), "{text}");
    let rig = greeted("read -r request; kill -9 $$");
    assert!(assert_fails!(stat(&rig).await, Unreachable).contains("signal: 9"));
    rig.all_are_gone().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("no-program"), "").unwrap();
    let nowhere = open(&format!("exec:{}/nowhere", place.path().display()));
    assert!(matches!(nowhere.stat(&name()).await, Err(TransportError::Missing { .. })));
    let not_executable = open(&format!("exec:{}/no-program", place.path().display()));
    assert_fails!(not_executable.stat(&name()).await, Refused);
}

#[tokio::test]
async fn a_program_that_hangs_is_given_up_and_killed_with_all_it_started() {
    for script in ["sleep 1000 & echo $! >> pids; wait", "trap '' TERM INT HUP; while :; do sleep 1000; done"]
    {
        for rig in [program(script), greeted(&format!("read -r request\n{script}"))] {
            assert_fails!(stat(&rig).await, Slow);
            rig.all_are_gone().await;
        }
    }
}

#[tokio::test]
async fn a_program_of_another_protocol_is_not_used() {
    for greeting in [
        "echo TANNER-EXEC 2 durable exclusive-create ranges list",
        "echo HTTP/1.1 400 Bad Request",
        "echo",
        "printf 'TANNER-EXEC 1 durable\\000\\n'",
        "head -c 100000 /dev/zero",
        "yes | head -c 1000000 | tr -d '\\n'",
        "echo MISSING",
    ] {
        let rig = program(&format!("{greeting}\nsleep 1000"));
        let text = assert_fails!(stat(&rig).await, Other);
        assert!(text.contains("protocol"), "{text}");
        rig.all_are_gone().await;
    }
}

#[tokio::test]
async fn a_program_that_promises_too_little_is_told_to_say_so() {
    let script = "read -r hello; echo TANNER-EXEC 1 durable ranges list; read -r request; echo LENGTH 7";
    let rig = program(script);
    assert!(assert_fails!(stat(&rig).await, Other).contains("without=exclusive-create"));
    let store = open(&format!("{}&without=exclusive-create", rig.store.url()));
    assert!(!store.capabilities().exclusive_create && store.capabilities().durable);
    assert_eq!(store.stat(&name()).await.unwrap().length, 7);
}

#[tokio::test]
async fn an_answer_to_something_else_is_not_taken_for_one() {
    for answer in [
        "OK",
        "END",
        "LENGTH",
        "LENGTH -1",
        "LENGTH +1",
        "LENGTH 99999999999999999999",
        "LENGTH 1 2",
        "length 7",
        "DATA 1",
        " LENGTH 7",
        "NAME id/7",
        "MISS",
        "OUT-OF-RANGE 7",
    ] {
        let rig = greeted(&format!("read -r request; echo '{answer}'; sleep 1000"));
        let error = stat(&rig).await.unwrap_err();
        let expected = matches!(error, TransportError::Other { .. })
            || (answer == "DATA 1"
                && matches!(error, TransportError::Slow { .. } | TransportError::Other { .. }));
        assert!(expected, "{answer}: {error:?}");
        rig.all_are_gone().await;
    }
}

#[tokio::test]
async fn bytes_that_were_not_asked_for_are_not_taken() {
    for answer in [
        "DATA 0",
        "DATA 1048577",
        "DATA 99999999999",
        "DATA x",
        "DATA 11\\nabcdefghijk",
        "DATA 10\\nabcdefghijDATA 1\\nk",
        "OUT-OF-RANGE 10",
        "LENGTH 10",
        "OK",
    ] {
        let rig = greeted(&format!("read -r request; printf '{answer}\\n'; sleep 1000"));
        assert_fails!(read(&rig, 10).await, Other);
        rig.all_are_gone().await;
    }
}

#[tokio::test]
async fn an_object_that_ends_early_is_truncated_and_not_short() {
    let rig = greeted("read -r request; printf 'DATA 4\\nabcdEND\\n'; read -r request");
    let error = read(&rig, 10).await.unwrap_err();
    assert!(matches!(error, TransportError::Truncated { wanted: 10, got: 4, .. }), "{error:?}");
    let rig = greeted("read -r request; printf 'DATA 10\\nabcd'");
    assert_fails!(read(&rig, 10).await, Unreachable);
    let rig = greeted("read -r request; echo OUT-OF-RANGE 4");
    let error = read(&rig, 10).await.unwrap_err();
    assert!(matches!(error, TransportError::OutOfRange { length: 4, .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_that_attacks_is_not_listed() {
    for name in ["../../etc/passwd", "/etc/passwd", "other/7", "id", "id/..", "id/a b", "ID/7", "", "id/7/8"]
    {
        let rig = greeted(&format!("read -r request; echo 'NAME {name}'; echo END; sleep 1000"));
        assert_fails!(list(&rig).await, Other);
    }
    let rig = greeted("read -r request; while :; do echo NAME id/7; done");
    let mut names = rig.store.list("id").await.unwrap();
    for _ in 0..1000 {
        assert_eq!(names.try_next().await.unwrap().unwrap(), name());
    }
    drop(names);
    rig.all_are_gone().await;
}

#[tokio::test]
async fn a_program_that_dies_in_a_put_ends_the_put() {
    for script in
        ["", "read -r put; echo OK", "read -r put; echo OK; read -r data; head -c 2 >/dev/null; echo OK"]
    {
        let rig = greeted(script);
        assert_fails!(store(&rig, b"hi").await, Unreachable);
    }
    let rig =
        greeted("read -r put; echo OK; read -r data; head -c 2 >/dev/null; echo FULL the tape is at its end");
    assert!(assert_fails!(store(&rig, b"hi").await, Full).contains("the tape is at its end"));
}

#[tokio::test]
async fn a_program_that_takes_no_bytes_is_slow() {
    let rig = greeted("read -r put; echo OK; sleep 1000");
    let began = Instant::now();
    assert_fails!(store(&rig, &[7; 1 << 20]).await, Slow);
    assert!(began.elapsed() < Duration::from_secs(20));
    rig.all_are_gone().await;
}

#[tokio::test]
async fn a_program_that_complains_without_end_is_still_heard() {
    let rig = greeted("read -r request; yes complaint | head -c 3000000 >&2; echo LENGTH 7; read -r request");
    assert_eq!(stat(&rig).await.unwrap(), 7);
}

#[tokio::test]
async fn a_refusal_is_what_it_says_and_the_program_goes_on() {
    let rig = greeted("while read -r request; do read -r answer < answer; echo \"$answer\"; done");
    macro_rules! refusals {
        ($($answer:literal $variant:ident)*) => {$(
            fs::write(rig.path("answer"), concat!($answer, "\n")).unwrap();
            let error = stat(&rig).await.unwrap_err();
            assert!(matches!(error, TransportError::$variant { .. }), "{}: {error:?}", $answer);
        )*};
    }
    refusals! {
        "MISSING" Missing  "MISSING-STORE" Missing  "EXISTS" Exists  "FULL" Full  "CORRUPT a directory" Corrupt
        "REFUSED read-only" Refused  "UNREACHABLE no route" Unreachable  "SLOW tape" Slow  "FAILED x" Other
    }
    assert_eq!(fs::read_to_string(rig.path("pids")).unwrap().lines().count(), 1, "one process did it all");
    fs::write(rig.path("answer"), "MISSING\n").unwrap();
    rig.store.delete(&name()).await.unwrap();
}

#[tokio::test]
async fn what_a_program_says_cannot_draw_on_the_terminal() {
    for answer in ["FAILED \\033[2J", "FAILED a\\rb", "\\033]0;x\\007", "\\303\\274"] {
        let rig = greeted(&format!("read -r request; printf '{answer}\\n'; sleep 1000"));
        assert_fails!(stat(&rig).await, Other);
    }
}

#[tokio::test]
async fn a_put_that_is_dropped_is_abandoned_and_the_program_goes_on() {
    let rig = greeted(
        "while read -r request; do echo \"$request\" >> log; case $request in DATA*) head -c 2 > /dev/null;; esac; echo OK; done",
    );
    let mut put = rig.store.put(&name(), Some(4)).await.unwrap();
    put.write("hi".into()).await.unwrap();
    drop(put);
    for _ in 0..500 {
        if fs::read_to_string(rig.path("log")).unwrap().ends_with("ABANDON\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.store.delete(&name()).await.unwrap();
    assert_eq!(fs::read_to_string(rig.path("log")).unwrap(), "PUT id/7 4\nDATA 2\nABANDON\nDELETE id/7\n");
    assert_eq!(rig.alive().len(), 1);
}

#[tokio::test]
async fn a_program_for_one_request_is_started_for_each() {
    let rig = greeted("read -r request; echo LENGTH 7");
    for _ in 0..3 {
        assert_eq!(stat(&rig).await.unwrap(), 7);
        // Its end is seen when the next request comes.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_store_that_is_closed_leaves_no_process() {
    let rig = greeted("while read -r request; do echo OK; done; sleep 1000");
    let puts = [rig.store.put(&name(), None).await.unwrap(), rig.store.put(&name(), None).await.unwrap()];
    assert_eq!(rig.alive().len(), 2, "a put has a process of its own");
    drop(puts);
    let Rig { place, store } = rig;
    drop(store);
    let rig = Rig { place, store: open("exec:/bin/false") };
    rig.all_are_gone().await;
}
