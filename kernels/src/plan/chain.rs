//! Order of rows: one that reads what the row before it wrote takes the sum from there, which saves a load.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::program::{Slot, XorRow};

/// Reorders rows such that many continue the row before. Each reads and writes the same values as it did.
pub(super) fn chain(rows: Vec<XorRow>) -> Vec<XorRow> {
    let (after, mut left) = dependencies(&rows);
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..rows.len()).filter(|&row| left[row] == 0).map(Reverse).collect();
    let mut rows: Vec<Option<XorRow>> = rows.into_iter().map(Some).collect();
    let mut chained: Vec<XorRow> = Vec::with_capacity(rows.len());
    let mut next = None;
    while let Some((index, place)) = next.take().or_else(|| Some((ready.pop()?.0, None))) {
        // It may have run already, as the next of another.
        let Some(mut row) = rows[index].take() else { continue };
        if let Some(place) = place {
            row.from.swap_remove(place);
            row.chained = true;
        }
        for &later in &after[index] {
            left[later] -= 1;
            if left[later] == 0 {
                ready.push(Reverse(later));
            }
        }
        let continues = |&later: &usize| {
            let from = &rows[later].as_ref().filter(|_| left[later] == 0)?.from;
            Some((later, Some(from.iter().position(|&slot| slot == row.to)?)))
        };
        next = after[index].iter().filter_map(continues).min();
        chained.push(row);
    }
    chained
}

/// For each row, those that must run after it; and for each, how many must run before.
fn dependencies(rows: &[XorRow]) -> (Vec<Vec<usize>>, Vec<usize>) {
    // Who wrote a slot last, and who has read it since.
    let mut users: HashMap<Slot, (Option<usize>, Vec<usize>)> =
        rows.iter().map(|row| (row.to, (None, Vec::new()))).collect();
    let (mut after, mut left) = (vec![Vec::new(); rows.len()], vec![0; rows.len()]);
    for (index, row) in rows.iter().enumerate() {
        let mut depend = |before: usize| {
            if before != index && after[before].last() != Some(&index) {
                after[before].push(index);
                left[index] += 1;
            }
        };
        for slot in &row.from {
            if let Some((writer, readers)) = users.get_mut(slot) {
                writer.iter().for_each(|&writer| depend(writer));
                readers.push(index);
            }
        }
        let (writer, readers) = users.get_mut(&row.to).expect("every written slot is in there");
        writer.replace(index).into_iter().chain(readers.drain(..)).for_each(depend);
    }
    (after, left)
}
