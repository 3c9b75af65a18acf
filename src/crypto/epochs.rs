//! Key epochs: what may have been sent, of a source that may have changed since, is encrypted by another key when it is
//! sent again.

use std::fmt;

/// From a step of all data blocks on, another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Its first step.
    pub first_step: u64,
    /// Random, so that not even an old copy of a journal leads to a key that was used.
    pub name: EpochName,
}

/// What tells the keys of one backup apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EpochName(pub [u8; EPOCH_NAME_BYTES]);

/// The epochs of a backup after the first, which has no name and begins with the source; by their first steps, which
/// ascend. Those that later ones took the place of are not among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Epochs(Vec<Epoch>);

impl Epoch {
    /// A fresh one.
    ///
    /// # Panics
    /// When the system has no random numbers.
    #[must_use]
    pub fn random(first_step: u64) -> Self {
        let mut name = [0; EPOCH_NAME_BYTES];
        getrandom::fill(&mut name).expect("the system provides random numbers");
        Self { first_step, name: EpochName(name) }
    }
}

impl fmt::Debug for EpochName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Epochs {
    /// Begins an epoch, in the place of all that began there or later. Nothing is begun where too many would be left.
    #[must_use]
    pub fn begin(&mut self, epoch: Epoch) -> bool {
        let kept = self.0.partition_point(|before| before.first_step < epoch.first_step);
        let fits = kept + 1 < EPOCHS_MAX;
        if fits {
            self.0.truncate(kept);
            self.0.push(epoch);
        }
        fits
    }

    /// All but the first.
    pub fn iter(&self) -> impl Iterator<Item = &Epoch> {
        self.0.iter()
    }

    /// As a manifest has them; none if the first is the only one.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = |epoch: &Epoch| [epoch.first_step.to_le_bytes(), epoch.name.0].concat();
        (!self.0.is_empty()).then(|| self.0.iter().flat_map(bytes).collect())
    }

    /// The epochs of a source of so many steps, if these bytes are what [`Self::to_bytes`] makes of any.
    pub(crate) fn read(bytes: &[u8], steps: u64) -> Option<Self> {
        let (epochs, rest) = bytes.as_chunks::<EPOCH_BYTES>();
        let mut read = Self::default();
        for bytes in epochs {
            let (first_step, name) = bytes.split_first_chunk()?;
            let epoch =
                Epoch { first_step: u64::from_le_bytes(*first_step), name: EpochName(name.try_into().ok()?) };
            let follows = read.0.last().is_none_or(|last| last.first_step < epoch.first_step);
            if !(follows && epoch.first_step < steps && read.begin(epoch)) {
                return None;
            }
        }
        (rest.is_empty() && !read.0.is_empty()).then_some(read)
    }
}

/// The most epochs of one backup, with the first: so many runs that were cut off, each behind the one before, and that
/// another went on with.
pub const EPOCHS_MAX: usize = 256;
pub(crate) const EPOCH_NAME_BYTES: usize = 8;
const EPOCH_BYTES: usize = 8 + EPOCH_NAME_BYTES;

#[cfg(test)]
mod tests {
    use super::{EPOCHS_MAX, Epoch, EpochName, Epochs};

    fn epochs(first_steps: &[u64]) -> Epochs {
        let mut epochs = Epochs::default();
        for &first_step in first_steps {
            assert!(epochs.begin(Epoch { first_step, name: EpochName([first_step as u8; 8]) }));
        }
        epochs
    }

    #[test]
    fn a_later_epoch_takes_the_place_of_all_that_began_behind_it() {
        assert_eq!(epochs(&[5, 9, 7]), epochs(&[5, 7]));
        assert_eq!(epochs(&[5, 9, 5]), epochs(&[5]));
        assert_eq!(epochs(&[5, 9, 0]), epochs(&[0]));
        assert_ne!(Epoch::random(5).name, Epoch::random(5).name);
    }

    /// Else a manifest would not have room for them, after all was sent.
    #[test]
    fn there_is_an_end_to_epochs_but_not_to_those_that_take_anothers_place() {
        let mut many = epochs(&(1..EPOCHS_MAX as u64).collect::<Vec<_>>());
        let before = many.clone();
        assert!(!many.begin(Epoch::random(EPOCHS_MAX as u64)) && many == before);
        assert!(many.begin(Epoch::random(EPOCHS_MAX as u64 - 1)) && many != before);
        assert!(many.begin(Epoch::random(3)) && many.iter().count() == 3);
    }

    #[test]
    fn epochs_that_no_writer_would_write_are_refused() {
        for first_steps in [&[0][..], &[5], &[5, 7], &[0, 99]] {
            let epochs = epochs(first_steps);
            assert_eq!(Epochs::read(&epochs.to_bytes().unwrap(), 100), Some(epochs));
        }
        assert_eq!(Epochs::default().to_bytes(), None);
        let bytes = |first_steps: &[u64]| -> Vec<u8> {
            first_steps.iter().flat_map(|step| [step.to_le_bytes(), [1; 8]].concat()).collect()
        };
        let many: Vec<u64> = (0..EPOCHS_MAX as u64).collect();
        for wrong in [&[][..], &[100], &[7, 5], &[5, 5], &[u64::MAX], &many] {
            assert_eq!(
                Epochs::read(&bytes(wrong), 100.max(many.len() as u64 * (wrong.len() as u64 / 256))),
                None,
                "{wrong:?}"
            );
        }
        assert!(Epochs::read(&bytes(&many[..EPOCHS_MAX - 1]), 256).is_some());
        assert_eq!(Epochs::read(&bytes(&[5])[..15], 100), None);
    }
}
