//! What a manifest records of a placement: the store of each block, and the labels of each store. `format.md` §2.

use std::collections::BTreeSet;

use minicbor::bytes::ByteVec;

use crate::manifest::{ManifestError, encode, malformed};
use crate::scheduler::{Labels, check_labels};

/// Where the blocks of a backup were put. Stores are numbered in the order of their first blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The store of each block.
    pub of: Vec<u16>,
    /// The labels of each store.
    pub labels: Vec<Labels>,
}

impl Places {
    /// The record of a placement by the store of each block and the labels of each store. Labels for which a manifest
    /// has no room are left out as a whole; those in `first` come first. None if there is but one store.
    #[must_use]
    pub fn new(places: &[usize], labels: &[Labels], first: &[String]) -> Option<Self> {
        let mut stores: Vec<usize> = Vec::new();
        let mut number = vec![None; labels.len()];
        let of = places.iter().map(|&store| {
            *number[store].get_or_insert_with(|| {
                stores.push(store);
                u16::try_from(stores.len() - 1).expect("no more stores than blocks")
            })
        });
        let of: Vec<u16> = of.collect();
        let budget = labels_bytes_max(of.len());
        let mut kept = vec![Labels::new(); stores.len()];
        let rest = stores.iter().flat_map(|&store| labels[store].keys());
        let rest: BTreeSet<&String> = rest.filter(|label| !first.contains(label)).collect();
        for label in first.iter().chain(rest) {
            let mut more = kept.clone();
            for (kept, &store) in more.iter_mut().zip(&stores) {
                kept.extend(
                    labels[store].get_key_value(label).map(|(label, value)| (label.clone(), value.clone())),
                );
            }
            if encode(&more).len() <= budget && check_labels(&more).is_ok() {
                kept = more;
            }
        }
        (stores.len() > 1).then_some(Self { of, labels: kept })
    }

    /// The store that most of these blocks were put to: whoever has them is that store, as far as one can tell. None if no
    /// block was put anywhere.
    #[must_use]
    pub fn store_of(&self, blocks: impl Iterator<Item = usize>) -> Option<usize> {
        let mut counts = vec![0_usize; self.labels.len()];
        blocks.for_each(|block| counts[usize::from(self.of[block])] += 1);
        let most = counts.iter().copied().max().filter(|&most| most > 0)?;
        counts.iter().position(|&count| count == most)
    }

    /// Its labels.
    #[must_use]
    pub fn labels_of(&self, blocks: impl Iterator<Item = usize>) -> Option<&Labels> {
        self.store_of(blocks).map(|store| &self.labels[store])
    }

    pub(crate) fn to_bytes(&self) -> ByteVec {
        self.of.iter().flat_map(|store| store.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    pub(crate) fn read(bytes: &[u8], labels: Vec<Labels>, blocks: usize) -> Result<Self, ManifestError> {
        let (of, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || of.len() != blocks {
            return Err(malformed(format!("{} bytes of places for {blocks} blocks", bytes.len())));
        }
        let of: Vec<u16> = of.iter().map(|&place| u16::from_le_bytes(place)).collect();
        let mut stores = 0;
        for &store in &of {
            match usize::from(store) {
                store if store == stores => stores += 1,
                store if store < stores => {}
                _ => return Err(malformed("stores are not in the order of their first blocks")),
            }
        }
        if stores < 2 || stores != labels.len() {
            return Err(malformed(format!("labels of {} stores for {stores}", labels.len())));
        }
        if encode(&labels).len() > labels_bytes_max(blocks) {
            return Err(malformed("more labels than there is room for"));
        }
        check_labels(&labels).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { of, labels })
    }
}

/// The most bytes of all labels in a manifest: with it and the longest name there is room left below the cap.
fn labels_bytes_max(blocks: usize) -> usize {
    1024 + 16 * blocks
}

#[cfg(test)]
mod tests {
    use super::{Labels, Places, encode, labels_bytes_max};
    use crate::manifest::ManifestError;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(label, value)| (label.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn stores_are_numbered_by_their_first_blocks_and_those_without_are_left_out() {
        let all = [labels(&[("host", "a")]), labels(&[("host", "b")]), labels(&[("host", "c")])];
        let places = Places::new(&[2, 0, 2, 0], &all, &[]).unwrap();
        assert_eq!(places.of, [0, 1, 0, 1]);
        assert_eq!(places.labels, [all[2].clone(), all[0].clone()]);
        assert_eq!(places.labels_of([0, 1, 2].into_iter()), Some(&all[2]));
        assert_eq!(places.labels_of([3].into_iter()), Some(&all[0]));
        assert_eq!(places.labels_of([].into_iter()), None);
        assert_eq!(Places::new(&[1, 1, 1], &all, &[]), None);
    }

    /// What was demanded must be there to be checked later, whatever else is.
    #[test]
    fn labels_without_room_are_left_out_whole_and_the_demanded_ones_last() {
        let long = "x".repeat(60);
        let all: Vec<Labels> = (0..12)
            .map(|store| labels(&[("a", &long), ("b", &long), ("zone", &format!("{store}{long}"))]))
            .collect();
        let of: Vec<usize> = (0..12).collect();
        let names = |first: &[String]| {
            let places = Places::new(&of, &all, first).unwrap();
            assert!(encode(&places.labels).len() <= labels_bytes_max(12));
            places.labels.iter().map(|labels| labels.keys().cloned().collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert!(names(&[]).iter().all(|names| names == &["a"]));
        assert!(names(&["zone".into()]).iter().all(|names| names == &["zone"]));
    }

    #[test]
    fn records_that_no_writer_makes_are_refused() {
        let two = || vec![Labels::new(), labels(&[("host", "b")])];
        let read = |bytes: &[u8], labels| Places::read(bytes, labels, 3);
        assert!(read(&[0, 0, 1, 0, 0, 0], two()).is_ok());
        let refused = [
            (vec![0, 0, 1, 0], two()),
            (vec![0, 0, 1, 0, 0], two()),
            (vec![1, 0, 0, 0, 0, 0], two()),
            (vec![0, 0, 2, 0, 0, 0], two()),
            (vec![0, 0, 0, 0, 0, 0], two()),
            (vec![0, 0, 0, 0, 0, 0], vec![Labels::new()]),
            (vec![0, 0, 1, 0, 2, 0], two()),
            (vec![0, 0, 1, 0, 0, 0], vec![Labels::new(); 3]),
            (vec![0, 0, 1, 0, 0, 0], vec![Labels::new(), labels(&[("store", "b")])]),
            (vec![0, 0, 1, 0, 0, 0], vec![Labels::new(), labels(&[("", "b")])]),
            (vec![0, 0, 1, 0, 0, 0], vec![Labels::new(), labels(&[("host", &"b".repeat(65))])]),
        ];
        for (bytes, labels) in refused {
            let read = read(&bytes, labels.clone());
            assert!(matches!(read, Err(ManifestError::Malformed { .. })), "{bytes:?} {labels:?}");
        }
        let many =
            |store: usize| (0..16).map(|l| (format!("{l:>60}"), format!("{store:>64}"))).collect::<Labels>();
        assert!(Places::read(&[0, 0, 1, 0, 0, 0], vec![many(0), many(1)], 3).is_err(), "over budget");
    }
}
