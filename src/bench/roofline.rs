//! Which ceiling binds, and how much of it is reached.

use super::ceilings::{CIPHER, COPY, COPY_STREAMING, HASH, READ};
use super::codec::decode_name;
use super::e2e;
use super::report::{Kind, Measurement, ProfileFacts, Report, median};

/// One kind of work under its ceilings, all in source bytes a second.
#[derive(Clone, PartialEq, Debug)]
pub struct Roof {
    /// The work, as in `encode 10+5`.
    pub what: String,
    /// Threads that it was measured on.
    pub threads: usize,
    /// How fast it was. `None` if this run did not do the work and the ceilings are all there is to say.
    pub reached: Option<f64>,
    /// What would allow how much by itself; the lowest binds.
    pub ceilings: Vec<(&'static str, f64)>,
}

impl Roof {
    /// The ceiling that binds.
    ///
    /// # Panics
    /// Never: a roof has a ceiling.
    #[must_use]
    pub fn binding(&self) -> (&'static str, f64) {
        let lowest = self.ceilings.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        *lowest.expect("a roof has a ceiling")
    }

    /// The share of the ceiling that binds.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        self.reached.map(|reached| reached / self.binding().1)
    }
}

/// One job without encryption and with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Paired {
    /// The job, as in `backup 10+5`.
    pub what: String,
    /// Source bytes a second without.
    pub plain: f64,
    /// Source bytes a second with it.
    pub encrypted: f64,
    /// The speed with it, of that without: the median of all rounds, the least and the most.
    pub ratio: [f64; 3],
}

impl Report {
    /// The jobs that were done both ways in the same rounds.
    #[must_use]
    pub fn encryption_costs(&self) -> Vec<Paired> {
        let paired = |encrypted: &Measurement| {
            let what = encrypted.subject.name.strip_prefix(e2e::ENCRYPTED)?;
            let plain = self.find(Kind::E2e, what, encrypted.subject.threads)?;
            let ratios = plain.ratios_to(encrypted);
            let least = ratios.iter().copied().reduce(f64::min)?;
            let most = ratios.iter().copied().reduce(f64::max)?;
            let ratio = [median(ratios), least, most];
            Some(Paired { what: what.into(), plain: plain.rate(), encrypted: encrypted.rate(), ratio })
        };
        self.of(Kind::E2e).filter_map(paired).collect()
    }

    /// What was measured under its ceilings, as far as this run knows both.
    #[must_use]
    pub fn roofs(&self) -> Vec<Roof> {
        let most = self.threads(Kind::Encode);
        let threads = if most > 1 { vec![1, most] } else { vec![1] };
        let mut roofs = Vec::new();
        for profile in &self.profiles {
            for &threads in &threads {
                roofs.extend(self.encode_roof(profile, threads));
            }
            for (loss, &threads) in
                (0..profile.losses.len()).flat_map(|loss| threads.iter().map(move |t| (loss, t)))
            {
                roofs.extend(self.decode_roof(profile, loss, threads));
            }
        }
        for profile in &self.profiles {
            roofs.extend(self.job_roofs(profile));
        }
        roofs
    }

    /// What memory allows a work that reads and writes so many bytes for each byte of its source. A write costs what
    /// a copy costs more than a read.
    pub(super) fn traffic(
        &self,
        threads: usize,
        read: f64,
        written: f64,
        work: Option<&Measurement>,
    ) -> Option<f64> {
        let rate = |name| {
            let ceiling = self.find(Kind::Ceiling, name, threads)?;
            Some(work.map_or_else(|| ceiling.rate(), |work| ceiling.rate_during(work)))
        };
        let (reads, copies) = (rate(READ)?, rate(COPY_STREAMING).or_else(|| rate(COPY))?);
        Some(1.0 / (read / reads + written * (1.0 / copies - 1.0 / reads).max(0.0)))
    }

    fn encode_roof(&self, profile: &ProfileFacts, threads: usize) -> Option<Roof> {
        let work = self.find(Kind::Encode, &profile.shape, threads)?;
        let written = profile.parity as f64 / profile.data as f64;
        self.memory_roof(format!("encode {}", profile.shape), work, 1.0, written)
    }

    fn decode_roof(&self, profile: &ProfileFacts, loss: usize, threads: usize) -> Option<Roof> {
        let lost = profile.losses[loss];
        let name = decode_name(&profile.shape, lost);
        let work = self.find(Kind::Decode, &name, threads)?;
        let read = profile.losses_read_per_mille.get(loss).map_or(1.0, |&read| read as f64 / 1000.0);
        self.memory_roof(format!("decode {name}"), work, read, lost as f64 / profile.data as f64)
    }

    fn memory_roof(&self, what: String, work: &Measurement, read: f64, written: f64) -> Option<Roof> {
        let threads = work.subject.threads;
        let reads = self.find(Kind::Ceiling, READ, threads)?.rate_during(work);
        let ceilings =
            vec![(READ, reads / read), (TRAFFIC, self.traffic(threads, read, written, Some(work))?)];
        Some(Roof { what, threads, reached: Some(work.rate()), ceilings })
    }

    /// Whole backups and restores. A backup hashes every block and the source and writes every block; a restore
    /// hashes the data twice, as blocks and as a whole.
    fn job_roofs(&self, profile: &ProfileFacts) -> Vec<Roof> {
        let blocks = (profile.data + profile.parity) as f64 / profile.data as f64;
        let most = self.measurements.iter().map(|m| m.subject.threads).max().unwrap_or(1);
        let rate = |kind, name: &str| {
            let threads = self.of(kind).filter(|m| m.subject.name == name).map(|m| m.subject.threads).max();
            self.find(kind, name, threads.unwrap_or(most)).map(Measurement::rate)
        };
        let hash = rate(Kind::Ceiling, HASH).or_else(|| rate(Kind::E2e, e2e::HASH));
        let copy = rate(Kind::E2e, e2e::COPY);
        let net = rate(Kind::Net, "upload");
        let job = |name: String,
                   hashed: f64,
                   written: f64,
                   sent: f64,
                   codec: Option<(&'static str, Option<f64>)>| {
            let mut ceilings = vec![("hash", hash.map(|rate| rate / hashed))];
            ceilings.extend(codec);
            ceilings.push(("disk", copy.map(|rate| rate / written)));
            ceilings.push(("network", net.map(|rate| rate / sent)));
            let ceilings: Vec<_> =
                ceilings.into_iter().filter_map(|(name, rate)| Some((name, rate?))).collect();
            let measured = self.of(Kind::E2e).find(|m| m.subject.name == name);
            let reached = measured.map(Measurement::rate);
            let threads = measured.map_or(most, |m| m.subject.threads);
            (ceilings.len() > 1).then_some(Roof { what: name, threads, reached, ceilings })
        };
        let encode = rate(Kind::Encode, &profile.shape);
        let backup =
            job(format!("backup {}", profile.shape), 1.0 + blocks, blocks, blocks, Some(("encode", encode)));
        let restore = job(format!("restore {}", profile.shape), 2.0, 1.0, 1.0, None);
        let encrypted = rate(Kind::Ceiling, CIPHER).zip(backup.as_ref()).map(|(cipher, plain)| {
            let what = format!("{}{}", e2e::ENCRYPTED, plain.what);
            let reached = self.of(Kind::E2e).find(|m| m.subject.name == what).map(Measurement::rate);
            let mut ceilings = plain.ceilings.clone();
            ceilings.push(("cipher", cipher));
            Roof { what, reached, ceilings, ..*plain }
        });
        // Encryption that was not measured is worth a word only where it would bind.
        let encrypted = encrypted.filter(|roof| roof.reached.is_some() || roof.binding().0 == "cipher");
        backup.into_iter().chain(encrypted).chain(restore.filter(|roof| roof.reached.is_some())).collect()
    }
}

/// The bytes that the work has to move, read and written.
pub(super) const TRAFFIC: &str = "memory traffic";
