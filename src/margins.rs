//! How many domains of each label a stored backup can lose: as it was placed, and as it lies now.

use tanner_kernels::BlockSet;

use crate::fetch::Found;
use crate::places::Places;
use crate::scheduler::{Labels, Margin, Spread};

/// What may be lost of a backup, by label.
#[derive(Clone, Debug)]
pub struct Margins {
    /// As it was placed, by its manifest alone; none if that does not say.
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
    ///
    /// A store's labels are those that its blocks were placed under, and what its facts say besides; of a backup whose
    /// manifest says nothing, all that is known of the store now.
    #[must_use]
    pub fn of(found: &Found) -> Self {
        let places = found.manifest.places.as_ref();
        let labels = found.stores.iter().zip(&found.listed).map(|(store, listed)| {
            let Some(places) = places else { return store.facts.all_labels() };
            let mut labels = places.labels_of(listed.iter()).cloned().unwrap_or_default();
            labels.extend(store.facts.labels.clone());
            labels
        });
        let labels: Vec<Labels> = labels.collect();
        let (codec, empty) = (&found.codec, found.manifest.geometry.empty_blocks());
        let spread = Spread {
            codec,
            always: &empty,
            held: &found.listed,
            has_manifest: &found.has_manifest,
            labels: &labels,
        };
        Self { placed: places.map(|places| placed(found, &empty, places)), now: spread.margins() }
    }
}

fn placed(found: &Found, empty: &BlockSet, places: &Places) -> PlacedMargins {
    let of = places.of.iter().copied().map(usize::from);
    Spread::of_places(&found.codec, empty, of, &places.labels, |spread| PlacedMargins {
        stores: places.labels.len(),
        stores_survivable: spread.stores_survivable(),
        margins: spread.margins(),
    })
}
