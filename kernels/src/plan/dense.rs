//! The dense rest of peeling: what the symbols that were set aside are, by elimination over bits.

use super::bits::Bits;

/// Symbols set aside, as columns, and what is known of them. A column's slot holds nothing at first, then the
/// right-hand side of its pivot, then the symbol itself.
#[derive(Default)]
pub(super) struct Dense {
    /// The unknown of each column.
    pub(super) unknowns: Vec<usize>,
    /// The columns whose slots hold their symbols.
    pub(super) solved: Bits,
    /// Reduced rows: no pivot's column occurs in the row of another.
    pivots: Vec<Pivot>,
}

/// The XOR of the columns in `row` is the XOR of the slots of the columns in `sum`: its own, and of pivots that
/// came later.
struct Pivot {
    column: usize,
    row: Bits,
    sum: Bits,
}

impl Dense {
    /// A new column, for `unknown`.
    pub(super) fn add(&mut self, unknown: usize) -> usize {
        self.unknowns.push(unknown);
        self.unknowns.len() - 1
    }

    /// Replaces the pivots' columns in `row`; returns the columns whose slots must be added for that.
    pub(super) fn reduce(&self, row: &mut Bits) -> Bits {
        let mut sum = Bits::default();
        for pivot in &self.pivots {
            if row.get(pivot.column) {
                row.xor(&pivot.row);
                sum.xor(&pivot.sum);
            }
        }
        sum
    }

    /// Makes `column` a pivot whose slot holds the XOR of the columns in `row`, which is reduced.
    pub(super) fn pivot(&mut self, column: usize, row: Bits) {
        for pivot in self.pivots.iter_mut().filter(|pivot| pivot.row.get(column)) {
            pivot.row.xor(&row);
            pivot.sum.flip(column);
        }
        self.pivots.push(Pivot { column, row, sum: Bits::one(column) });
    }

    /// A column that has become known, and the columns whose slots' XOR it is, its own among them. It counts as
    /// solved from now on.
    pub(super) fn solve(&mut self) -> Option<(usize, Bits)> {
        let at = self.pivots.iter().rposition(|pivot| pivot.row.ones().nth(1).is_none())?;
        let Pivot { column, sum, .. } = self.pivots.remove(at);
        self.solved.flip(column);
        // Its slot changes: what was in there is what will be, and the rest of the sum.
        let mut rest = sum.clone();
        rest.flip(column);
        for pivot in self.pivots.iter_mut().filter(|pivot| pivot.sum.get(column)) {
            pivot.sum.xor(&rest);
        }
        Some((column, sum))
    }
}
