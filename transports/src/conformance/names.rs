//! Trials of names: listed, deleted, kept apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Place, assert_absent, assert_whole, lacks, name, names, pattern, store, stored};
use crate::{NAME_BYTES_MAX, ObjectName, Transport, TransportError};

/// A store with an object for each name, if it can be listed.
async fn listed(place: &Place, objects: &[&str]) -> Option<Arc<dyn Transport>> {
    let transport = place();
    if lacks(transport.capabilities().list, "list") {
        return None;
    }
    for object in objects {
        stored(&*transport, &name(object), &pattern(0, 3)).await;
    }
    Some(transport)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().copied().map(str::to_owned).collect()
}

pub(super) async fn a_list_shows_one_backup_or_all(place: &Place) {
    let all = ["ab/0", "ab/1", "ab/manifest", "abc/0", "b/ab", "ab.x/0"];
    let Some(transport) = listed(place, &all).await else { return };
    assert_eq!(names(&*transport, "").await, set(&all));
    assert_eq!(names(&*transport, "ab").await, set(&all[..3]));
    assert_eq!(names(&*transport, "abc").await, set(&["abc/0"]));
    assert_eq!(names(&*place(), "").await, set(&all));
}

pub(super) async fn a_list_of_a_thousand_objects_is_complete(place: &Place) {
    let Some(transport) = listed(place, &[]).await else { return };
    let all: Vec<_> =
        (0..1100).map(|i| format!("{}/{i}", ["id", "other"][usize::from(i % 11 == 0)])).collect();
    for some in all.chunks(50) {
        join_all(some.iter().map(async |object| stored(&*transport, &name(object), &pattern(0, 1)).await))
            .await;
    }
    assert_eq!(names(&*transport, "").await, all.iter().cloned().collect());
    assert_eq!(names(&*transport, "other").await.len(), 100);
}

pub(super) async fn a_list_does_not_show_what_is_not_committed(place: &Place) {
    let Some(transport) = listed(place, &["id/0"]).await else { return };
    let mut put = transport.put(&name("id/1"), None).await.expect("put");
    put.write(pattern(0, 5000)).await.expect("write");
    for prefix in ["", "id"] {
        assert_eq!(names(&*transport, prefix).await, set(&["id/0"]));
    }
    put.commit().await.expect("commit");
    for prefix in ["", "id"] {
        assert_eq!(names(&*transport, prefix).await, set(&["id/0", "id/1"]));
    }
}

pub(super) async fn an_unknown_prefix_is_an_empty_list(place: &Place) {
    let Some(transport) = listed(place, &["id/0"]).await else { return };
    for prefix in ["i", "id0", "0", "unknown"] {
        assert_eq!(names(&*transport, prefix).await, set(&[]));
    }
}

pub(super) async fn no_hostile_prefix_leaves_the_store(place: &Place) {
    let Some(transport) = listed(place, &["id/0"]).await else { return };
    for prefix in ["..", ".", "/", "/etc", "id/", "id/0", "../x", ".tanner-stage", "ID", "a\0", "*", "%2e%2e"]
    {
        let result = transport.list(prefix).await.map(drop);
        assert!(matches!(result, Err(TransportError::BadName { .. })), "{prefix:?}: {result:?}");
    }
}

pub(super) async fn a_deleted_object_is_missing(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    stored(&*transport, &name, &pattern(0, 10)).await;
    transport.delete(&name).await.expect("delete");
    assert_absent(&*transport, &name).await;
    assert_absent(&*place(), &name).await;
}

pub(super) async fn a_delete_can_be_repeated(place: &Place) {
    let transport = place();
    stored(&*transport, &name("id/7"), &pattern(0, 10)).await;
    for object in ["id/7", "id/7", "id/8", "never/0", "never"] {
        transport.delete(&name(object)).await.expect("delete");
    }
}

pub(super) async fn a_delete_spares_all_other_objects(place: &Place) {
    let transport = place();
    let others = [name("id/1"), name("id/10"), name("ie/0")];
    for name in others.iter().chain([&name("id/0")]) {
        stored(&*transport, name, &pattern(1, 10)).await;
    }
    transport.delete(&name("id/0")).await.expect("delete");
    transport.delete(&name("id")).await.unwrap_or_default();
    for name in &others {
        assert_whole(&*transport, name, &pattern(1, 10)).await;
    }
}

pub(super) async fn a_deleted_name_can_be_put_again(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    for seed in 0..3 {
        stored(&*transport, &name, &pattern(seed, 100 - seed)).await;
        assert_whole(&*transport, &name, &pattern(seed, 100 - seed)).await;
        transport.delete(&name).await.expect("delete");
    }
}

pub(super) async fn puts_and_deletes_of_one_backup_may_race(place: &Place) {
    let transport = place();
    let rounds = (0..8).map(|task| {
        let transport = transport.clone();
        tokio::spawn(async move {
            let name = name(&format!("id/{task}"));
            for seed in 0..20 {
                stored(&*transport, &name, &pattern(seed, 50)).await;
                transport.delete(&name).await.expect("delete");
            }
            stored(&*transport, &name, &pattern(task, 50)).await;
        })
    });
    for round in join_all(rounds).await {
        round.expect("no put is lost to a delete beside it");
    }
    for task in 0..8 {
        assert_whole(&*transport, &name(&format!("id/{task}")), &pattern(task, 50)).await;
    }
}

pub(super) async fn the_longest_names_are_kept(place: &Place) {
    let transport = place();
    let longest = format!("{}/{}", "a".repeat(64), "b".repeat(NAME_BYTES_MAX - 65));
    let odd = "0-_.9/-a..z_";
    for (seed, object) in [&longest, odd].into_iter().enumerate() {
        stored(&*transport, &name(object), &pattern(seed, 20)).await;
        assert_whole(&*place(), &name(object), &pattern(seed, 20)).await;
    }
    if transport.capabilities().list {
        assert_eq!(names(&*transport, "").await, set(&[&longest, odd]));
    }
}

pub(super) async fn names_without_a_prefix_are_kept(place: &Place) {
    let Some(transport) = listed(place, &["lonely", "id/0"]).await else { return };
    assert_whole(&*transport, &name("lonely"), &pattern(0, 3)).await;
    assert_eq!(names(&*transport, "").await, set(&["lonely", "id/0"]));
    assert_eq!(names(&*transport, "id").await, set(&["id/0"]));
    transport.delete(&name("lonely")).await.expect("delete");
    assert_absent(&*transport, &name("lonely")).await;
}

pub(super) async fn a_store_says_the_same_of_itself_when_reopened(place: &Place) {
    let (first, second) = (place(), place());
    assert!(
        first.url().contains(':') && first.url().bytes().all(|byte| byte.is_ascii_graphic()),
        "{}",
        first.url()
    );
    assert_eq!(first.url(), second.url());
    let capabilities = first.capabilities();
    stored(&*first, &name("id/0"), &pattern(0, 1)).await;
    assert_eq!((first.capabilities(), second.capabilities()), (capabilities, capabilities));
}

/// What can be written in a list, a message or a request of a peer, and must not become a path.
pub(super) async fn no_hostile_name_is_a_name(place: &Place) {
    let long = ["a".repeat(NAME_BYTES_MAX + 1), "../".repeat(40) + "etc/passwd"];
    let spellings = [
        "",
        "/",
        "//",
        "a//b",
        "/a",
        "a/",
        "..",
        ".",
        "a/..",
        "../a",
        "a/../b",
        "a/b/c",
        "/etc/passwd",
        ".tanner-stage/a",
        "a/.b",
        "A",
        "id/É",
        "a\\b",
        "a\0",
        "a\nb",
        "a b",
        "a%2fb",
        "%2e%2e/a",
        "a:b",
        "c:\\a",
        "a?b",
        "a#b",
        "a*",
        "~",
        "$HOME",
        "`id`",
        "a;b",
        "a|b",
        "\u{202e}a",
        "\u{ff0e}\u{ff0e}/a",
        "a\u{2215}b",
        "-rf *",
    ];
    let transport = place();
    stored(&*transport, &name("id/0"), &pattern(0, 3)).await;
    for spelling in spellings.into_iter().chain(long.iter().map(String::as_str)) {
        assert!(ObjectName::new(spelling).is_err(), "{spelling:?}");
        // The only call that is given what is not a checked name; nothing but the empty prefix is all names.
        if transport.capabilities().list && !spelling.is_empty() {
            let result = transport.list(spelling).await.map(drop);
            assert!(matches!(result, Err(TransportError::BadName { .. })), "{spelling:?}: {result:?}");
        }
    }
    assert_whole(&*place(), &name("id/0"), &pattern(0, 3)).await;
}

/// To a shell, a disk of another system, a web server or the store's own book-keeping.
pub(super) async fn names_that_mean_something_elsewhere_are_only_names(place: &Place) {
    let all = [
        "--help",
        "-rf/-",
        "nul",
        "con/aux.txt",
        "index.html",
        "id/a..",
        "lost_found/0",
        "a.tmp",
        "id/0.part",
        "id/0.tmp",
        "0x0/1e9",
        "id/manifest.json",
        "tanner-stage/0",
        "uploads",
        "id/0.meta",
        "id/0.lock",
    ];
    let transport = place();
    for (seed, object) in all.iter().enumerate() {
        stored(&*transport, &name(object), &pattern(seed, 100 + seed)).await;
    }
    for (seed, object) in all.iter().enumerate() {
        assert_whole(&*place(), &name(object), &pattern(seed, 100 + seed)).await;
    }
    if transport.capabilities().list {
        assert_eq!(names(&*transport, "").await, set(&all));
    }
}

/// The second of the two may be refused, at the put or at the commit. What must not be is that one damages the other.
pub(super) async fn an_object_and_a_prefix_of_one_name_do_no_harm_to_each_other(place: &Place) {
    let transport = place();
    for (first, second) in [("a", "a/0"), ("b/0", "b")] {
        stored(&*transport, &name(first), &pattern(1, 5000)).await;
        let second = name(second);
        match store(&*transport, &second, None, &[pattern(2, 6000)]).await {
            Ok(()) => assert_whole(&*transport, &second, &pattern(2, 6000)).await,
            // Its file system's word for it: something else is where the object should be.
            Err(_) => assert!(transport.stat(&second).await.is_err(), "half of {second} is there"),
        }
        assert_whole(&*transport, &name(first), &pattern(1, 5000)).await;
        transport.delete(&second).await.unwrap_or_default();
        assert_whole(&*transport, &name(first), &pattern(1, 5000)).await;
        transport.delete(&name(first)).await.expect("delete");
        // Some servers keep a prefix for a while.
        if store(&*transport, &second, None, &[pattern(3, 10)]).await.is_ok() {
            assert_whole(&*transport, &second, &pattern(3, 10)).await;
        }
    }
}
