//! Measures in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// The labels of one measure.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Measures, each with what it means.
pub(crate) struct Metrics {
    registry: Registry,
    gauges: BTreeMap<&'static str, Family<Labels, Gauge<f64, AtomicU64>>>,
    counters: BTreeMap<&'static str, Family<Labels, Counter>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::with_prefix("tanner");
        Self { registry, gauges: BTreeMap::new(), counters: BTreeMap::new() }
    }

    /// Adds what goes up and down, once if it has no labels; `help` has no full stop.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, labels: &Labels, value: f64) {
        series(&mut self.registry, &mut self.gauges, (name, help), labels).set(value);
    }

    /// Adds what only goes up, once if it has no labels, for as long as a process lives; it is called `name` and `_total`.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, labels: &Labels, value: u64) {
        series(&mut self.registry, &mut self.counters, (name, help), labels).inc_by(value);
    }

    /// The whole, as [`CONTENT_TYPE`].
    pub(crate) fn exposition(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes every text");
        text
    }

    /// Replaces a file of the node exporter's, which reads what ends in `.prom` at any time and as another user.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        // A device in its place is not ours to replace.
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.registry).expect("a string takes every text");
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut unseen = tempfile::Builder::new();
        unseen.prefix(".tanner-metrics-");
        let mut file = unseen.tempfile_in(directory.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        // A unit's umask has taken the others' right to read.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    }
}

/// The measure with these labels, of the family of that name; it alone if it has none.
fn series<M: Metric + TypedMetric + Clone + Default>(
    registry: &mut Registry,
    families: &mut BTreeMap<&'static str, Family<Labels, M>>,
    (name, help): (&'static str, &str),
    labels: &Labels,
) -> M {
    if labels.is_empty() {
        let alone = M::default();
        registry.register(name, help, alone.clone());
        return alone;
    }
    let family = families.entry(name).or_insert_with(|| {
        let family = Family::default();
        registry.register(name, help, family.clone());
        family
    });
    family.get_or_create(labels).clone()
}

pub(crate) fn label(name: &'static str, value: impl Into<String>) -> (&'static str, String) {
    (name, value.into())
}

/// What the file says of the last success of the job, which outlives runs that fail.
pub(super) fn last_success(path: &Path, job: &str) -> Option<f64> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let line = format!("tanner_{LAST_SUCCESS}{{job=\"{job}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
}

pub(super) const LAST_SUCCESS: &str = "last_success_timestamp_seconds";
/// Of what [`Metrics::exposition`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// More is not read of a file of measures.
const FILE_BYTES_MAX: u64 = 1 << 20;
