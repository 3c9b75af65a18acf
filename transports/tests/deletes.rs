//! Who may delete what on a server, and for how long it can be undone.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use tanner_transports::net::{DeleteToken, Identity, Remote, TokenHash};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::wire::{Answer, Welcome};
use tanner_transports::{Disk, Result, Transport, TransportError, Trash};

use self::common::gate::Gate;
use self::common::script::{Script, Step, frame, play, welcome};
use self::common::{name, patience, put, words};

const SCHEMES: [&str; 2] = ["tcp", "quic"];
/// What room is counted in.
const UNIT: usize = 4096;

/// A server and clients with these rights, who share an area.
async fn serve<const N: usize>(
    scheme: &str,
    area: Area,
    rights: [impl FnOnce(Client) -> Client; N],
) -> [Remote; N] {
    let (limits, mut clients, area) = (Limits::default(), Clients::default(), Arc::new(area));
    let keys = rights.map(|right| {
        let key = Identity::generate();
        clients.allow(key.pin(), right(Client::new(area.clone(), &limits)));
        key
    });
    let listen = [format!("{scheme}://127.0.0.1:0")];
    let server = Server::bind(&listen, Arc::new(Identity::generate()), clients, limits).await.unwrap();
    let url = server.urls().remove(0);
    tokio::spawn(server.run(std::future::pending()));
    keys.map(|key| Remote::open(&url, &key, patience()).unwrap())
}

type Grant = Box<dyn FnOnce(Client) -> Client>;

fn appends() -> Grant {
    Box::new(Client::append_only)
}

fn with_token(hash: TokenHash) -> Grant {
    Box::new(move |client| client.delete_tokens([hash]))
}

fn everything() -> Grant {
    Box::new(|client| client)
}

fn disk_in(place: &tempfile::TempDir) -> Disk {
    Disk::open(place.path()).unwrap()
}

/// A token in a file, and its hash.
fn token(place: &Path, file: &str) -> (PathBuf, TokenHash) {
    let (path, token) = (place.join(file), DeleteToken::generate());
    token.save(&path).unwrap();
    (path, token.hash())
}

async fn all(store: &dyn Transport, objects: &[&str]) {
    for object in objects {
        put(store, object, 3).await.unwrap();
    }
}

async fn delete(store: &dyn Transport, object: &str) -> Result<()> {
    store.delete(&name(object)).await
}

#[track_caller]
fn refused(result: Result<()>, why: &str) {
    match result {
        Err(error @ TransportError::Refused { .. }) => {
            let said = words(&error);
            assert!(said.contains(why) && !said.contains('\n'), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

async fn names(store: &dyn Transport) -> Vec<String> {
    let listed = store.list("").await.unwrap().map_ok(|name| name.to_string());
    let mut names: Vec<_> = listed.try_collect().await.unwrap();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thief_of_a_key_destroys_no_finished_backup_and_a_failed_one_leaves_nothing() {
    let (secrets, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, hash) = token(secrets.path(), "token");
    for (scheme, grant) in
        SCHEMES.into_iter().flat_map(|scheme| [(scheme, appends()), (scheme, with_token(hash))])
    {
        let place = tempfile::tempdir_in(place.path()).unwrap();
        let [store] = serve(scheme, Area::new(Arc::new(disk_in(&place)), None), [grant]).await;
        let kept = ["id/0", "id/1", "id/manifest", "lonely"];
        all(&store, &kept).await;
        for object in kept {
            refused(delete(&store, object).await, "tanner key token");
        }
        // What was never there cannot be told from what is gone.
        refused(delete(&store, "id/2").await, "tanner key token");
        all(&store, &["failed/0", "failed/1"]).await;
        for object in ["failed/manifest", "failed/0", "failed/1", "failed/1", "failed/2"] {
            delete(&store, object).await.unwrap();
        }
        assert_eq!(names(&store).await, kept, "{scheme}");
    }
}

/// The thief waits until a block is durable, and deletes it before the manifest comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_blocks_were_stolen_on_the_way_is_never_called_finished() {
    for scheme in SCHEMES {
        let place = tempfile::tempdir().unwrap();
        let area = Area::new(Arc::new(disk_in(&place)), Some(100 * UNIT as u64));
        let [owner, thief] = serve(scheme, area, [everything(), appends()]).await;
        all(&owner, &["id/0", "other/0"]).await;
        let mut early = owner.put(&name("id/manifest"), Some(3)).await.unwrap();
        early.write("abc".into()).await.unwrap();
        let kept = early.keep().await.unwrap().unwrap();
        delete(&thief, "id/0").await.unwrap();
        refused(early.commit().await, "new backup");
        refused(put(&owner, "id/manifest", 3).await, "new backup");
        // Nor is what was kept of it.
        let again = owner.resume(&name("id/manifest"), Some(3), &kept).await;
        assert!(matches!(again.map(drop), Err(TransportError::Missing { .. })));
        assert!(owner.stat(&name("id/manifest")).await.is_err());
        all(&owner, &["other/manifest"]).await;
        assert_eq!(names(&owner).await, ["other/0", "other/manifest"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_back_beside_a_manifest_that_is_just_being_committed() {
    for scheme in SCHEMES {
        let place = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::new(Arc::new(disk_in(&place))));
        let [store] = serve(scheme, Area::new(gate.clone(), None), [appends()]).await;
        all(&store, &["id/0"]).await;
        gate.set_open(false);
        let before = gate.arrived();
        let committing = tokio::spawn({
            let store = store.clone();
            async move { put(&store, "id/manifest", 0).await }
        });
        // Its commit: nothing is written of what is empty.
        gate.arrival(before).await;
        let deleting = tokio::spawn({
            let store = store.clone();
            async move { delete(&store, "id/0").await }
        });
        // Long enough for the delete to come as far as it can.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!deleting.is_finished(), "{scheme}");
        gate.set_open(true);
        let (committed, deleted) = (committing.await.unwrap(), deleting.await.unwrap());
        assert!(committed.is_ok(), "{scheme}: {committed:?}");
        refused(deleted, "tanner key token");
        assert_eq!(names(&store).await, ["id/0", "id/manifest"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_clients_own_token_deletes_and_is_read_when_it_is_wanted() {
    let secrets = tempfile::tempdir().unwrap();
    let (old, old_hash) = token(secrets.path(), "old");
    let (new, new_hash) = token(secrets.path(), "new");
    let (others, others_hash) = token(secrets.path(), "others");
    let (exposed, garbage) = (secrets.path().join("exposed"), secrets.path().join("garbage"));
    fs::copy(&new, &exposed).unwrap();
    fs::set_permissions(&exposed, Permissions::from_mode(0o644)).unwrap();
    fs::write(&garbage, "tanner-token1qqqq").unwrap();
    fs::set_permissions(&garbage, Permissions::from_mode(0o600)).unwrap();
    for scheme in SCHEMES {
        let place = tempfile::tempdir().unwrap();
        let both: Grant = Box::new(move |client| client.delete_tokens([old_hash, new_hash]));
        let area = Area::new(Arc::new(disk_in(&place)), None);
        let rights = [both, with_token(others_hash), appends(), everything()];
        let [store, other, appender, free] = serve(scheme, area, rights).await;
        let with = |store: &Remote, file: &Path| {
            let file = file.to_owned();
            store.clone().with_token_file(move |_| Some(file.clone()))
        };
        all(&store, &["id/0", "id/1", "id/manifest", "failed/0"]).await;
        refused(delete(&with(&store, &others), "id/0").await, "none of those");
        // A wrong token is not taken for none, even where none is needed.
        refused(delete(&with(&store, &others), "failed/0").await, "none of those");
        refused(delete(&with(&store, &exposed), "id/0").await, "chmod 600");
        refused(delete(&with(&store, &garbage), "id/0").await, "does not hold a delete token");
        let nowhere = secrets.path().join("nowhere");
        refused(delete(&with(&store, &nowhere), "id/0").await, "nowhere");
        delete(&with(&store, &nowhere), "failed/0").await.unwrap();
        refused(delete(&with(&other, &new), "id/0").await, "none of those");
        refused(delete(&with(&appender, &new), "id/0").await, "tanner key token");
        assert_eq!(names(&store).await, ["id/0", "id/1", "id/manifest"]);
        // A server that has no token for a client is shown none: the file is not even opened.
        delete(&with(&free, &garbage), "failed/0").await.unwrap();
        delete(&with(&store, &old), "id/0").await.unwrap();
        delete(&with(&store, &new), "id/manifest").await.unwrap();
        delete(&with(&other, &others), "id/1").await.unwrap();
        assert!(names(&store).await.is_empty(), "{scheme}");
    }
}

/// It would end the lane at a frame that is too long for it, and learn the token.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_for_tokens_is_sent_none() {
    let Answer::Welcome(new) = welcome() else { panic!("a welcome") };
    let garbage = tempfile::NamedTempFile::new().unwrap();
    for scheme in SCHEMES {
        let hello = vec![Step::Send(frame(&Answer::Welcome(Welcome { delete_token: false, ..new })))];
        let script = Script { hello, requests: vec![vec![Step::Send(frame(&Answer::Ok))]] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        let path = garbage.path().to_owned();
        let store = store.with_token_file(move |url| Some(path.clone()).filter(|_| url.starts_with(scheme)));
        delete(&store, "id/0").await.unwrap();

        let hello = vec![Step::Send(frame(&Answer::Welcome(Welcome { delete_token: true, ..new })))];
        let script = Script { hello, requests: vec![vec![Step::Send(frame(&Answer::Ok))]] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        let path = garbage.path().to_owned();
        let store = store.with_token_file(move |_| Some(path.clone()));
        refused(delete(&store, "id/0").await, "does not hold a delete token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_by_mistake_comes_back_until_its_time_is_over_and_counts_until_then() {
    const DELAY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    for scheme in SCHEMES {
        let place = tempfile::tempdir().unwrap();
        let passed = Arc::new(Mutex::new(Duration::ZERO));
        let clock = passed.clone();
        let clock = move || {
            let passed = *clock.lock().unwrap();
            (SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + passed, passed)
        };
        let trash = Trash::with_clock(disk_in(&place), DELAY, Arc::new(clock));
        // Another server of the same files: what it purges is what this one would.
        let area = |quota| Area::new(Arc::new(disk_in(&place)), Some(quota)).with_trash(trash.clone());
        let quota = 10 * UNIT as u64;
        let server = Arc::new(area(quota));
        let (limits, mut clients, key) = (Limits::default(), Clients::default(), Identity::generate());
        clients.allow(key.pin(), Client::new(server.clone(), &limits));
        let own = Arc::new(Identity::generate());
        let bound = Server::bind(&[format!("{scheme}://127.0.0.1:0")], own, clients, limits).await.unwrap();
        let store = Remote::open(&bound.urls()[0], &key, patience()).unwrap();
        tokio::spawn(bound.run(std::future::pending()));

        put(&store, "id/0", 4 * UNIT).await.unwrap();
        put(&store, "id/1", 5 * UNIT).await.unwrap();
        delete(&store, "id/0").await.unwrap();
        delete(&store, "id/0").await.unwrap();
        assert_eq!(names(&store).await, ["id/1"]);
        assert!(matches!(store.stat(&name("id/0")).await, Err(TransportError::Missing { .. })));
        assert!(matches!(put(&store, "id/2", 2 * UNIT).await, Err(TransportError::Full { .. })));

        let deleted = trash.list().await.unwrap();
        assert_eq!(deleted.len(), 1);
        trash.restore(&deleted[0]).await.unwrap();
        assert_eq!(store.stat(&name("id/0")).await.unwrap().length, 4 * UNIT as u64);
        assert!(matches!(
            trash.restore(&deleted[0]).await,
            Err(TransportError::Exists { .. } | TransportError::Missing { .. })
        ));

        delete(&store, "id/0").await.unwrap();
        *passed.lock().unwrap() = DELAY;
        server.purge().await.unwrap();
        assert!(matches!(put(&store, "id/2", 2 * UNIT).await, Err(TransportError::Full { .. })), "too early");
        // A server that begins now counts what is in the trash, too.
        let (limits, mut clients) = (Limits::default(), Clients::default());
        clients.allow(key.pin(), Client::new(Arc::new(area(quota)), &limits));
        let own = Arc::new(Identity::generate());
        let second = Server::bind(&[format!("{scheme}://127.0.0.1:0")], own, clients, limits).await.unwrap();
        let other = Remote::open(&second.urls()[0], &key, patience()).unwrap();
        tokio::spawn(second.run(std::future::pending()));
        assert!(matches!(put(&other, "id/2", 2 * UNIT).await, Err(TransportError::Full { .. })));

        *passed.lock().unwrap() = DELAY + Duration::from_secs(1);
        server.purge().await.unwrap();
        assert!(trash.list().await.unwrap().is_empty());
        put(&store, "id/2", 5 * UNIT).await.unwrap();
        assert!(matches!(put(&store, "id/3", 1).await, Err(TransportError::Full { .. })), "room for nothing");
        assert_eq!(names(&store).await, ["id/1", "id/2"]);
    }
}
