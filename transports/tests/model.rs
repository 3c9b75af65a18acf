//! Whatever is done in whatever order, a directory does what the reference in memory does.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use proptest::prelude::*;
use tanner_transports::{Disk, Kept, Memory, ObjectName, Put, Result, Transport, TransportError};

#[derive(Clone, Debug)]
enum Step {
    Put { name: usize, length: Option<u64> },
    Write { put: usize, length: usize },
    Commit { put: usize },
    Abandon { put: usize },
    Drop { put: usize },
    Keep { put: usize },
    Resume { kept: usize },
    Get { name: usize, range: Range<u64> },
    GetRanges { name: usize, ranges: Vec<Range<u64>> },
    Prove { name: usize, range: Range<u64> },
    Stat { name: usize },
    List { prefix: usize },
    Delete { name: usize },
}

const NAMES: [&str; 5] = ["id/0", "id/1", "other/0", "lonely", "id/manifest"];
const PREFIXES: [&str; 5] = ["", "id", "other", "unknown", "../id"];

/// Short enough that ranges meet the ends of objects, in every way.
fn range() -> impl Strategy<Value = Range<u64>> {
    (0..40_u64, 0..40_u64).prop_map(|(start, end)| start..end)
}

fn step() -> impl Strategy<Value = Step> {
    let (name, put) = (0..NAMES.len(), 0..8_usize);
    prop_oneof![
        3 => (name.clone(), proptest::option::of(0..30_u64)).prop_map(|(name, length)| Step::Put { name, length }),
        5 => (put.clone(), 0..30_usize).prop_map(|(put, length)| Step::Write { put, length }),
        4 => put.clone().prop_map(|put| Step::Commit { put }),
        1 => put.clone().prop_map(|put| Step::Abandon { put }),
        2 => put.clone().prop_map(|put| Step::Drop { put }),
        3 => put.prop_map(|put| Step::Keep { put }),
        3 => (0..4_usize).prop_map(|kept| Step::Resume { kept }),
        3 => (name.clone(), range()).prop_map(|(name, range)| Step::Get { name, range }),
        2 => (name.clone(), prop::collection::vec(range(), 0..4))
            .prop_map(|(name, ranges)| Step::GetRanges { name, ranges }),
        1 => (name.clone(), range()).prop_map(|(name, range)| Step::Prove { name, range }),
        1 => name.clone().prop_map(|name| Step::Stat { name }),
        2 => (0..PREFIXES.len()).prop_map(|prefix| Step::List { prefix }),
        2 => name.prop_map(|name| Step::Delete { name }),
    ]
}

/// A store and the puts under way, and what each step came to: a value, or the kind of error.
struct Run {
    store: Arc<dyn Transport>,
    puts: Vec<(Begun, Box<dyn Put>)>,
    /// What was kept last of each put that ever was.
    kept: Vec<(Begun, Kept)>,
    written: usize,
}

/// What a put began with.
type Begun = (ObjectName, Option<u64>);

impl Run {
    /// Starts with a store that exists, as what exists not differs on purpose.
    async fn new(store: Arc<dyn Transport>) -> Self {
        let name = ObjectName::new("id/0").expect("a valid name");
        let put = store.put(&name, None).await.expect("put");
        put.commit().await.expect("commit");
        Self { store, puts: Vec::new(), kept: Vec::new(), written: 0 }
    }

    async fn step(&mut self, step: &Step) -> String {
        match self.try_step(step).await {
            Ok(value) => value,
            Err(error) => kind(&error).to_owned(),
        }
    }

    async fn try_step(&mut self, step: &Step) -> Result<String> {
        let named = |name: &usize| ObjectName::new(NAMES[*name]).expect("a valid name");
        let store = &*self.store;
        Ok(match step {
            Step::Put { name, length } => {
                let begun = (named(name), *length);
                self.puts.push((begun.clone(), store.put(&begun.0, begun.1).await?));
                "a put".to_owned()
            }
            Step::Keep { put } => {
                let Some((begun, put)) = self.puts.get_mut(*put) else { return Ok("no put".to_owned()) };
                let kept = put.keep().await?.expect("both keep");
                let bytes = kept.bytes;
                self.kept.retain(|(_, earlier)| earlier.token != kept.token);
                self.kept.push((begun.clone(), kept));
                format!("{bytes} bytes kept")
            }
            Step::Resume { kept } => {
                let Some((begun, kept)) = self.kept.get(*kept) else { return Ok("nothing kept".to_owned()) };
                self.puts.push((begun.clone(), store.resume(&begun.0, begun.1, kept).await?));
                "a put again".to_owned()
            }
            Step::Write { put, length } => {
                let Some((_, put)) = self.puts.get_mut(*put) else { return Ok("no put".to_owned()) };
                let bytes: Bytes = (self.written..self.written + length).map(|i| (i % 251) as u8).collect();
                self.written += length;
                put.write(bytes).await?;
                "written".to_owned()
            }
            Step::Commit { put } | Step::Abandon { put } | Step::Drop { put } => {
                if *put >= self.puts.len() {
                    return Ok("no put".to_owned());
                }
                let (_, put) = self.puts.remove(*put);
                match step {
                    Step::Commit { .. } => put.commit().await?,
                    Step::Abandon { .. } => put.abandon().await?,
                    _ => drop(put),
                }
                "the end of a put".to_owned()
            }
            Step::Get { name, range } => {
                let pieces: Vec<_> = store.get(&named(name), range.clone()).await?.try_collect().await?;
                format!("{:?}", pieces.concat())
            }
            Step::GetRanges { name, ranges } => {
                format!("{:?}", store.get_ranges(&named(name), ranges).await?)
            }
            Step::Prove { name, range } => {
                store.prove(&named(name), range.clone(), &[7; 32]).await?.to_string()
            }
            Step::Stat { name } => format!("{:?}", store.stat(&named(name)).await?),
            Step::List { prefix } => {
                let mut names: Vec<_> = store.list(PREFIXES[*prefix]).await?.try_collect().await?;
                names.sort();
                format!("{names:?}")
            }
            Step::Delete { name } => format!("{:?}", store.delete(&named(name)).await?),
        })
    }
}

fn kind(error: &TransportError) -> &'static str {
    match error {
        TransportError::Missing { .. } => "missing",
        TransportError::Exists { .. } => "exists",
        TransportError::Busy { .. } => "busy",
        TransportError::WrongLength { .. } => "wrong length",
        TransportError::OutOfRange { .. } => "out of range",
        TransportError::BadName { .. } => "bad name",
        TransportError::Other { .. } => "other",
        error => panic!("neither store has a reason to say: {error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_directory_does_what_the_reference_does(steps in prop::collection::vec(step(), 1..60)) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut memory = Run::new(Arc::new(Memory::new())).await;
            let mut disk = Run::new(Arc::new(Disk::open(place.path()).expect("a path"))).await;
            for (number, step) in steps.iter().enumerate() {
                let (wanted, mut got) = (memory.step(step).await, disk.step(step).await);
                // A file is closed a moment after its put was dropped.
                for _ in 0..1000 {
                    if got == wanted || got != "busy" {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    got = disk.step(step).await;
                }
                assert_eq!(wanted, got, "step {number}: {step:?}");
            }
        });
    }
}
