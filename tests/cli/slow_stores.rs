//! Restores from stores of which one stalls, drips, dies or lies: exact all the same, and not kept waiting.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Run, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::stored::Stored;

/// Two data blocks and one parity block of half a MB in each of five stores.
fn five_stores() -> Stored {
    Stored::new(5_000_000, "-k 10 -m 5", 5)
}

impl Stored {
    /// Restores with these words put before the URLs of some stores.
    fn restore_with(&self, faults: &[(usize, &str)]) -> Tanner {
        let mut run = tanner("restore --json -f").arg(&self.id).arg("-o").arg(self.place.output());
        for (index, store) in self.stores.iter().enumerate() {
            let fault = faults.iter().find(|(of, _)| *of == index).map_or("", |(_, fault)| fault);
            run = run.words("--from").arg(format!("{fault}{}", store.display()));
        }
        run
    }

    #[track_caller]
    fn is_restored(&self, run: &Run) -> Value {
        let json = objects(run);
        assert!(fs::read(self.place.output()).unwrap() == self.bytes, "other bytes: {run:#?}");
        assert_eq!(files_below(&self.place.join("out")), ["restored"]);
        summary(&json).clone()
    }
}

fn urls(summary: &Value, key: &str) -> Vec<String> {
    let urls = summary[key].as_array().unwrap().iter();
    urls.map(|url| url.as_str().unwrap().to_owned()).collect()
}

/// Without a deadline anywhere: what waits for the store waits for ever, and the harness calls that a hang.
#[test]
fn a_store_that_stalls_does_not_keep_the_file() {
    let stored = five_stores();
    // It gives nothing, or its manifest and its list, or then a piece or two.
    for calls in [0, 3, 5, 6, 8, 12] {
        let fault = format!("fault:hangs={calls},piece=100k+");
        let run = stored.restore_with(&[(1, &fault)]).run().expect(0);
        let summary = stored.is_restored(&run);
        let slow = urls(&summary, "slow_stores");
        assert!(slow.len() == 1 && slow[0].starts_with("fault:"), "{calls}: {slow:?}");
        assert_eq!(summary["blocks_decoded"].as_array().unwrap().len(), 2, "{summary}");
        assert_eq!(summary["blocks_damaged"].as_array().unwrap().len(), 0, "{summary}");
        let read = &summary["read"].as_array().unwrap()[1];
        assert_eq!((&read["store"], &read["blocks"]), (&slow[0].as_str().into(), &0.into()));
    }
}

#[test]
fn a_store_that_drips_does_not_keep_the_file() {
    let stored = five_stores();
    // Its two blocks alone would take half an hour, and a piece comes in time for any deadline.
    for fault in ["limit:rate=500+", "fault:rate=500,piece=20+"] {
        let summary = stored.is_restored(&stored.restore_with(&[(0, fault)]).run().expect(0));
        let slow = urls(&summary, "slow_stores");
        assert!(slow.len() == 1 && slow[0].ends_with("store0"), "{slow:?}");
        assert_eq!(summary["blocks_decoded"], json!([0, 5]));
    }
}

#[test]
fn a_store_that_dies_or_lies_costs_its_blocks_and_not_the_file() {
    let stored = five_stores();
    // Before it lists its blocks, and when it has given half a block.
    for (fault, failed) in [("fault:dies=0+", 0), ("fault:dies=12,piece=100k+", 1)] {
        let summary = stored.is_restored(&stored.restore_with(&[(2, fault)]).run().expect(0));
        assert_eq!(urls(&summary, "failed_stores").len(), failed, "{summary}");
    }
    let summary = stored.is_restored(&stored.restore_with(&[(2, "fault:corrupt=1+")]).run().expect(0));
    assert_eq!(summary["blocks_decoded"], json!([2, 7]));
}

/// A copy that came too late or was wrong has no place in the file, whichever of two ended first.
#[test]
fn of_two_copies_a_stalled_or_wrong_one_spoils_nothing() {
    let stored = Stored::new(3_000_000, "-k 4 -m 2", 3);
    let copies = stored.place.join("copies");
    for (index, store) in stored.stores.iter().enumerate() {
        let to = copies.join(index.to_string()).join(&stored.id);
        fs::create_dir_all(&to).unwrap();
        for other in stored.stores.iter().filter(|other| *other != store).map(|other| other.join(&stored.id))
        {
            for file in fs::read_dir(other).unwrap().map(|entry| entry.unwrap()) {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
    for fault in
        ["fault:hangs=12,piece=100k+", "fault:corrupt=1,rate=600k,piece=50k+", "fault:rate=300k,piece=30k+"]
    {
        let mut run = tanner("restore --json -f").arg(&stored.id).arg("-o").arg(stored.place.output());
        for store in &stored.stores {
            run = run.words("--from").arg(format!("{fault}{}", store.display()));
        }
        for index in 0..3 {
            run = run.words("--from").arg(copies.join(index.to_string()));
        }
        stored.is_restored(&run.run().expect(0));
    }
}

/// Some stores charge for every byte that is read.
#[test]
fn the_cheaper_of_two_copies_is_read() {
    let stored = Stored::new(1_000_000, "-k 2 -m 1", 1);
    let copy = stored.place.join("copy");
    fs::create_dir_all(copy.join(&stored.id)).unwrap();
    for file in fs::read_dir(stored.stores[0].join(&stored.id)).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(file.path(), copy.join(&stored.id).join(file.file_name())).unwrap();
    }
    for (dear, cheap) in [(&stored.stores[0], &copy), (&copy, &stored.stores[0])] {
        let run = stored.restore_with(&[]).words("--from").arg(&copy).words("--fact");
        let summary = stored.is_restored(&run.arg(dear).arg("cost=5").run().expect(0));
        for read in summary["read"].as_array().unwrap() {
            let is_cheap = read["store"].as_str().unwrap().ends_with(cheap.to_str().unwrap());
            assert_eq!(read["blocks"], if is_cheap { 2 } else { 0 }, "{summary}");
        }
    }
}

/// The next restore would find out anew what this one found out.
#[test]
fn a_store_that_was_slow_to_be_read_is_asked_last_the_next_time() {
    let stored = five_stores();
    let url = |store: usize| format!("file://{}", stored.stores[store].display());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let known = |store: usize| {
        let bytes = if store == 1 { 1e5 } else { 1e8 };
        (url(store), json!({ "at": now, "bytes": bytes, "busy_seconds": 1 }))
    };
    let known: serde_json::Map<_, _> = (0..5).map(known).collect();
    let state = stored.place.file("state", json!({ "read": known }).to_string().as_bytes());
    let run = stored.restore_with(&[]).words("--state").arg(&state).run().expect(0);
    let summary = stored.is_restored(&run);
    assert_eq!(summary["blocks_decoded"], json!([1, 6]), "{summary}");
    assert_eq!((&summary["read"][1]["blocks"], urls(&summary, "slow_stores").len()), (&json!(0), 0));
    let after: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!(after["read"][url(1)]["tries"], 0.0);
    assert_eq!(after["read"][url(0)]["tries"], 1.0, "{after}");
}
