//! Copies of a backup's manifest, and which is believed if the stores' differ.

use std::collections::BTreeMap;

use crate::manifest::{Manifest, ManifestError, SealedManifest, newest};

/// The copies that stores have of a manifest, each read with [`SealedManifest::from_bytes_of`].
#[derive(Default)]
pub(crate) struct Copies(Vec<(usize, SealedManifest)>);

impl Copies {
    pub(crate) fn add(&mut self, store: usize, manifest: SealedManifest) {
        self.0.push((store, manifest));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is believed, and who has it: of signed ones the newest, of plain ones that which most stores have; none
    /// if two have as many. Nobody but the user can tell then which store lies.
    ///
    /// # Errors
    /// If two signed ones are as new and differ.
    pub(crate) fn best(&self) -> Result<Option<(SealedManifest, Vec<usize>)>, ManifestError> {
        let Some(newest) = newest(self.0.iter().map(|(_, manifest)| manifest), None)? else {
            return Ok(self.most());
        };
        let holders = self.0.iter().filter(|(_, manifest)| manifest == newest);
        Ok(Some((newest.clone(), holders.map(|(store, _)| *store).collect())))
    }

    /// The plain one that most stores have, and these. Copies are alike by what they say but for where the blocks were put: a
    /// backup that was killed while it was published, and gone on with while other stores were well, leaves two that
    /// differ in this, and both are right.
    fn most(&self) -> Option<(SealedManifest, Vec<usize>)> {
        let mut all: BTreeMap<Vec<u8>, Vec<&(usize, SealedManifest)>> = BTreeMap::new();
        for copy in &self.0 {
            let same = Manifest { places: None, ..copy.1.plain()?.clone() }.to_bytes();
            all.entry(same).or_default().push(copy);
        }
        let most = all.values().map(Vec::len).max()?;
        let mut best = all.into_values().filter(|copies| copies.len() == most);
        let (Some(copies), None) = (best.next(), best.next()) else { return None };
        let alike =
            |(_, copy): &&&(usize, SealedManifest)| copies.iter().filter(|(_, other)| other == copy).count();
        let (_, manifest) = copies.iter().max_by_key(alike)?;
        Some((manifest.clone(), copies.iter().map(|(store, _)| *store).collect()))
    }
}

#[cfg(test)]
mod tests {
    use tanner_kernels::Profile;

    use super::Copies;
    use crate::crypto::Epochs;
    use crate::geometry::Geometry;
    use crate::id::BackupId;
    use crate::manifest::{Manifest, SealedManifest};
    use crate::places::Places;
    use crate::scheduler::Labels;

    fn manifest(source: &[u8], places: &[usize]) -> Manifest {
        Manifest {
            id: BackupId::from_bytes([7; 16]),
            geometry: Geometry::new(Profile::for_source(2, 1, 1000).unwrap(), 1000),
            hashes: vec![blake3::hash(source); 3],
            name: "a".into(),
            created: 1,
            modified: None,
            source_hash: blake3::hash(source),
            epochs: Epochs::default(),
            places: Places::new(places, &[Labels::new(), Labels::new(), Labels::new()], &[]),
            is_archive: false,
        }
    }

    fn most(copies: &[Manifest]) -> Option<(Manifest, Vec<usize>)> {
        let mut all = Copies::default();
        let sealed = |copy: &Manifest| SealedManifest::from_bytes(&copy.to_bytes()).unwrap();
        copies.iter().enumerate().for_each(|(store, copy)| all.add(store, sealed(copy)));
        all.best().unwrap().map(|(best, stores)| (best.into_plain().unwrap(), stores))
    }

    #[test]
    fn a_manifest_that_fewer_stores_have_is_not_believed_and_none_of_two_that_as_many_have() {
        let (right, lie) = (manifest(b"right", &[0, 1, 2]), manifest(b"lie", &[0, 1, 2]));
        let copies = [lie.clone(), right.clone(), right.clone()];
        assert_eq!(most(&copies), Some((right, vec![1, 2])));
        assert_eq!(most(&copies[..2]), None);
        assert_eq!(most(&[]), None);
    }

    /// A backup that was killed amid its manifests, and gone on with, was acknowledged and could not be restored.
    #[test]
    fn manifests_that_differ_in_where_blocks_were_put_are_of_one_backup() {
        let (before, after) = (manifest(b"a", &[0, 1, 2]), manifest(b"a", &[0, 1, 1]));
        assert_eq!(most(&[before.clone(), after.clone()]).map(|(_, stores)| stores), Some(vec![0, 1]));
        assert_eq!(most(&[before, after.clone(), after.clone()]), Some((after, vec![0, 1, 2])));
    }
}
