//! What the project promises about its dependencies, held against the lock file.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Versions below these have known holes that a hostile file or peer can reach; each row names the advisory. Where more
/// than one series was mended, each has a row.
const FLOORS: [(&str, [u64; 3], &str); 20] = [
    ("aes-gcm", [0, 10, 3], "RUSTSEC-2023-0096"),
    ("age", [0, 12, 1], "RUSTSEC-2024-0433, and a hang on what is cut off"),
    ("anyhow", [1, 0, 103], "RUSTSEC-2026-0190"),
    ("aws-lc-sys", [0, 39, 0], "RUSTSEC-2026-0044 to 0048"),
    ("bytes", [1, 11, 1], "RUSTSEC-2026-0007"),
    ("crossbeam-channel", [0, 5, 15], "RUSTSEC-2025-0024"),
    ("crossbeam-epoch", [0, 9, 20], "RUSTSEC-2026-0204"),
    ("curve25519-dalek", [4, 1, 3], "RUSTSEC-2024-0344"),
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258"),
    ("memmap2", [0, 9, 11], "RUSTSEC-2026-0186"),
    ("object_store", [0, 10, 2], "RUSTSEC-2024-0358"),
    ("quick-xml", [0, 41, 0], "RUSTSEC-2026-0194, 0195"),
    ("quinn-proto", [0, 11, 15], "RUSTSEC-2026-0185"),
    ("rand", [0, 8, 6], "RUSTSEC-2026-0097"),
    ("rand", [0, 9, 3], "RUSTSEC-2026-0097"),
    ("rustls", [0, 23, 18], "RUSTSEC-2024-0399"),
    ("rustls-webpki", [0, 103, 13], "RUSTSEC-2026-0104"),
    ("slab", [0, 4, 11], "RUSTSEC-2025-0047"),
    ("time", [0, 3, 47], "RUSTSEC-2026-0009"),
    ("tokio", [1, 44, 2], "RUSTSEC-2025-0023"),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All packages that are resolved, or, with `built`, those that a build of the program takes: what only tests need is
/// not among them.
fn packages(built: bool) -> Vec<Value> {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut found: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    if built {
        found =
            metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let mut rest: Vec<&str> = found.iter().copied().collect();
        while let Some(id) = rest.pop() {
            let node = nodes.iter().find(|node| node["id"] == id).unwrap();
            for dependency in node["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                let id = dependency["pkg"].as_str().unwrap();
                if kinds.iter().any(|kind| kind["kind"] != "dev") && found.insert(id) {
                    rest.push(id);
                }
            }
        }
    }
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| found.contains(package["id"].as_str().unwrap())).cloned().collect()
}

/// "1.2.3" or "1.2" as numbers; what follows a dash or plus does not count.
fn version(text: &str) -> [u64; 3] {
    let mut parts = text.split(['-', '+']).next().unwrap().split('.').map(|part| part.parse().unwrap());
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[test]
fn no_dependency_is_below_its_floor() {
    let mut found = BTreeMap::new();
    for package in packages(false) {
        let (name, got) =
            (package["name"].as_str().unwrap().to_owned(), version(package["version"].as_str().unwrap()));
        let floors = FLOORS.iter().filter(|(floor, ..)| *floor == name);
        // That of its own series, else the highest below it, else the lowest of all.
        let least = floors.clone().rfind(|(_, least, _)| least[..2] <= got[..2]).or(floors.clone().next());
        if let Some((_, least, advisory)) = least {
            assert!(got >= *least, "{name} {got:?} is below {least:?}: {advisory}");
        }
        found.insert(name, got);
    }
    assert!(
        ["bytes", "memmap2", "object_store", "tokio"].iter().all(|name| found.contains_key(*name)),
        "the lock file was read"
    );
}

/// Whoever has the stated compiler must be able to build.
#[test]
fn every_dependency_builds_on_the_stated_compiler() {
    let packages = packages(true);
    let stated = |package: &Value| package["rust_version"].as_str().map(version);
    let ours = packages.iter().find(|package| package["name"] == "tanner").and_then(stated).unwrap();
    for package in &packages {
        if let Some(wanted) = stated(package) {
            assert!(wanted <= ours, "{} {} wants rustc {wanted:?}", package["name"], package["version"]);
        }
    }
}
