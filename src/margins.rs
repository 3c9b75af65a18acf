//! How many domains of each label a stored backup can lose: as it was placed, and as it lies now.

use tanner_kernels::BlockSet;

use crate::fetch::Found;
use crate::scheduler::{Labels, Margin, Spread};

/// What may be lost of a backup, by label.
#[derive(Clone, Debug)]
pub struct Margins {
    /// As it was placed, by its manifest alone; none if that does not say, or not to whoever has no key.
    pub placed: Option<PlacedMargins>,
    /// As it lies in the stores named now, of each label.
    pub now: Vec<Margin>,
}

/// What might have been lost when nothing was.
#[derive(Clone, Debug)]
pub struct PlacedMargins {
    /// Stores that got blocks.
    pub stores: usize,
    /// How many of them.
    pub stores_survivable: Option<usize>,
    /// How many domains, of each label.
    pub margins: Vec<Margin>,
}

impl Margins {
    /// The margins of a backup by what its stores list.
    #[must_use]
    pub fn of(found: &Found) -> Self {
        let now = margins_of(found, &found.listed, &found.has_manifest, &labels_of(found));
        Self { placed: placed(found), now }
    }
}

/// The labels of the stores of a backup: those that their blocks were placed under, and what their facts say besides. Of a
/// store without blocks, and of a backup whose manifest says nothing, all that is known now.
pub(crate) fn labels_of(found: &Found) -> Vec<Labels> {
    let places = found.opened().and_then(|manifest| manifest.places.as_ref());
    let labels = found.stores.iter().zip(&found.listed).map(|(store, listed)| {
        let Some(placed) = places.and_then(|places| places.labels_of(listed.iter())) else {
            return store.facts.all_labels();
        };
        let mut labels = placed.clone();
        labels.extend(store.facts.labels.clone());
        labels
    });
    labels.collect()
}

/// What may be lost of blocks that lie so, by label.
pub(crate) fn margins_of(
    found: &Found,
    held: &[BlockSet],
    has_manifest: &[bool],
    labels: &[Labels],
) -> Vec<Margin> {
    let (codec, always) = (&found.codec, &found.manifest.geometry.empty_blocks());
    Spread { codec, always, held, has_manifest, labels }.margins()
}

/// What might have been lost when nothing was; none if the manifest does not say.
pub(crate) fn placed(found: &Found) -> Option<PlacedMargins> {
    let places = found.opened()?.places.as_ref()?;
    let (of, empty) = (places.of.iter().copied().map(usize::from), found.manifest.geometry.empty_blocks());
    Some(Spread::of_places(&found.codec, &empty, of, &places.labels, |spread| PlacedMargins {
        stores: places.labels.len(),
        stores_survivable: spread.stores_survivable(),
        margins: spread.margins(),
    }))
}
