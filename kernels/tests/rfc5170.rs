//! Another reader of RFC 5170 blocks: it knows packets, ESIs and the RFC's own pseudo-code, and nothing of tanner.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::source;
use tanner_kernels::{Codec, Construction, Profile};

/// What the object transmission information says.
#[derive(Clone, Copy)]
struct Oti {
    k: usize,
    n: usize,
    n1: usize,
    group: usize,
    seed: u64,
}

/// All rows of the matrix over the n encoding symbols, and the RFC's `txseqToID` and `IDtoTxseq`.
struct Scheme {
    rows: Vec<BTreeSet<usize>>,
    txseq_to_id: Vec<usize>,
    id_to_txseq: Vec<usize>,
}

impl Scheme {
    fn new(oti: Oti) -> Self {
        let (k, repair) = (oti.k, oti.n - oti.k);
        let mut state = oti.seed;
        // In doubles, as the RFC words it.
        let mut rand = |bound: usize| {
            state = 16_807 * state % 2_147_483_647;
            (bound as f64 * state as f64 / 2_147_483_647.0) as usize
        };
        let mut rows = vec![BTreeSet::new(); repair];
        let mut u: Vec<usize> = (0..oti.n1 * k).map(|h| h % repair).collect();
        let mut t = 0;
        for column in 0..k {
            for _ in 0..oti.n1 {
                if (t..u.len()).any(|i| !rows[u[i]].contains(&column)) {
                    let mut i = t + rand(u.len() - t);
                    while !rows[u[i]].insert(column) {
                        i = t + rand(u.len() - t);
                    }
                    u[i] = u[t];
                    t += 1;
                } else {
                    while !rows[rand(repair)].insert(column) {}
                }
            }
        }
        for row in &mut rows {
            while row.len() < 2 {
                row.insert(rand(k));
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            row.insert(k + i);
            row.insert(k + i.saturating_sub(1));
        }
        let mut txseq_to_id: Vec<usize> = (0..repair).collect();
        let mut id_to_txseq = txseq_to_id.clone();
        for i in 0..repair {
            let other = rand(repair);
            id_to_txseq.swap(i, other);
            txseq_to_id[id_to_txseq[i]] = i;
            txseq_to_id[id_to_txseq[other]] = other;
        }
        Self { rows, txseq_to_id, id_to_txseq }
    }

    /// The symbols in a packet, from the ESI of the first.
    fn group(&self, oti: Oti, esi: usize) -> Vec<usize> {
        let repair = oti.n - oti.k;
        match esi.checked_sub(oti.k) {
            None => (0..oti.group).map(|g| (esi + g) % oti.k).collect(),
            Some(id) => {
                let place = |g: usize| (self.id_to_txseq[id] + g) % repair;
                (0..oti.group).map(|g| oti.k + self.txseq_to_id[place(g)]).collect()
            }
        }
    }

    /// The source symbols, by plain elimination over everything that did not arrive.
    fn decode(&self, oti: Oti, packets: &[(usize, &[u8])]) -> Option<Vec<Vec<u8>>> {
        let mut symbols: Vec<Option<Vec<u8>>> = vec![None; oti.n];
        for &(esi, payload) in packets {
            let parts = payload.chunks(payload.len() / oti.group);
            self.group(oti, esi)
                .into_iter()
                .zip(parts)
                .for_each(|(id, part)| symbols[id] = Some(part.to_vec()));
        }
        let length = packets[0].1.len() / oti.group;
        let xor = |to: &mut Vec<u8>, from: &[u8]| to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
        let mut solved: Vec<(BTreeSet<usize>, Vec<u8>)> = Vec::new();
        for row in &self.rows {
            let (mut unknown, mut sum) = (BTreeSet::new(), vec![0; length]);
            for &id in row {
                match &symbols[id] {
                    Some(symbol) => xor(&mut sum, symbol),
                    None => _ = unknown.insert(id),
                }
            }
            for (others, value) in &solved {
                if unknown.contains(others.first().unwrap()) {
                    unknown = &unknown ^ others;
                    xor(&mut sum, value);
                }
            }
            let Some(&first) = unknown.first() else { continue };
            for (others, value) in solved.iter_mut().filter(|(others, _)| others.contains(&first)) {
                *others = &*others ^ &unknown;
                xor(value, &sum);
            }
            solved.push((unknown, sum));
        }
        for (unknown, value) in solved.into_iter().filter(|(unknown, _)| unknown.len() == 1) {
            symbols[*unknown.first().unwrap()] = Some(value);
        }
        symbols.into_iter().take(oti.k).collect()
    }
}

/// The whole point of the profile: whoever has a decoder of the RFC needs nothing of ours.
#[test]
fn a_decoder_of_the_rfc_reads_our_blocks_as_packets() {
    for (data, parity, n1, group, unit, lost) in [
        (10_usize, 6_usize, 9, 24, 64, [0, 4, 9, 12]),
        (5, 7, 7, 16, 8, [1, 2, 3, 4]),
        (4, 6, 3, 31, 1, [0, 2, 5, 7]),
    ] {
        let seed = 99;
        let construction = Construction::Rfc5170 { n1, group, seed };
        let profile = Profile::new(data as u64, parity as u64, construction, unit, 16 * group).unwrap();
        let group = group as usize;
        let packet = group * usize::from(unit);
        let file = source(data * packet * 5 - 3);
        let blocks = Codec::new(profile).encode_all(&file);
        let oti = Oti { k: data * group, n: (data + parity) * group, n1: n1 as usize, group, seed };
        let scheme = Scheme::new(oti);
        let mut restored = vec![Vec::new(); data];
        for source_block in 0..5 {
            let mut padded = blocks.clone();
            padded.iter_mut().for_each(|block| block.resize(5 * packet, 0));
            let packets: Vec<(usize, &[u8])> = (0..data + parity)
                .filter(|block| !lost.contains(block))
                .map(|block| {
                    let esi = match block.checked_sub(data) {
                        None => block * group,
                        Some(repair) => oti.k + scheme.txseq_to_id[repair * group],
                    };
                    (esi, &padded[block][source_block * packet..][..packet])
                })
                .collect();
            let symbols = scheme.decode(oti, &packets).expect("enough packets");
            for (block, symbols) in restored.iter_mut().zip(symbols.chunks(group)) {
                symbols.iter().for_each(|symbol| block.extend_from_slice(symbol));
            }
        }
        let mut restored = restored.concat();
        restored.truncate(file.len());
        assert!(restored == file, "{profile:?}");
    }
}
