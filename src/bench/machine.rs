//! The machine, as far as it tells.

use std::fs;

use serde::{Deserialize, Serialize};
use tanner_kernels::Level;

/// Where something was measured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its architecture.
    pub architecture: String,
    /// Cores that the run may use.
    pub cores: usize,
    /// Caches of the first core, as in `L2 Unified 1024K`.
    pub caches: Vec<String>,
    /// The largest of them in bytes.
    pub cache_bytes_max: u64,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system's kernel.
    pub kernel: String,
    /// SIMD levels, slowest first.
    pub levels: Vec<String>,
    /// The version of tanner.
    pub tanner: String,
    /// Whether tanner was built with optimisation and without assertions of tests.
    pub release: bool,
}

impl Machine {
    /// The machine that this runs on.
    pub(super) fn this() -> Self {
        let uname = rustix::system::uname();
        let (caches, cache_bytes_max) = caches();
        Self {
            cpu: cpu().unwrap_or_else(|| "unknown".into()),
            architecture: std::env::consts::ARCH.into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            caches,
            cache_bytes_max,
            memory_bytes: memory("MemTotal:"),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            levels: Level::all().iter().map(ToString::to_string).collect(),
            tanner: env!("CARGO_PKG_VERSION").into(),
            release: !cfg!(debug_assertions),
        }
    }
}

/// Memory that can be had without swapping, where the system tells.
pub(super) fn memory_available_bytes() -> Option<u64> {
    memory("MemAvailable:")
}

fn memory(label: &str) -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix(label))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let value = |label: &str| info.lines().find(|line| line.starts_with(label))?.split_once(':');
    value("model name").or_else(|| value("CPU part")).map(|(_, name)| name.trim().to_owned())
}

fn caches() -> (Vec<String>, u64) {
    let (mut caches, mut most) = (Vec::new(), 0);
    for index in 0.. {
        let of = |name: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
        };
        let (Some(level), Some(kind), Some(size)) = (of("level"), of("type"), of("size")) else { break };
        let kib = size.strip_suffix('K').and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        most = most.max(kib * 1024);
        caches.push(format!("L{level} {kind} {size}"));
    }
    (caches, most)
}
