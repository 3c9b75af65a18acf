//! The equations that the live parity symbols give in the lost data symbols.

use crate::block_set::BlockSet;
use crate::code::Code;

/// A symbol in an equation: `symbol` counts from the equation's own step and is never positive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Term {
    pub(super) block: usize,
    pub(super) symbol: i32,
}

/// Terms whose XOR is zero, at every step of one phase.
#[derive(Clone, Default, Debug)]
pub(super) struct Equation {
    /// Symbols of lost data blocks; `block` is the place in [`System::lost`].
    pub(super) lost: Vec<Term>,
    /// Symbols of live blocks.
    pub(super) live: Vec<Term>,
}

/// All equations of one period.
#[derive(Debug)]
pub(super) struct System {
    /// The lost data blocks, ascending.
    pub(super) lost: Vec<usize>,
    /// Equations of each phase, in the accumulator's order.
    pub(super) phases: Vec<Vec<Equation>>,
    /// The longest delay.
    pub(super) depth: usize,
}

impl System {
    pub(super) fn new(code: &Code, live: &BlockSet) -> Self {
        Self::with(code, live, &BlockSet::all(code.profile().blocks()))
    }

    /// Without the symbols of live blocks, which do not matter to the rank.
    pub(super) fn of_lost(code: &Code, live: &BlockSet) -> Self {
        let mut lost = BlockSet::all(code.profile().blocks());
        live.iter().for_each(|block| lost.remove(block));
        Self::with(code, live, &lost)
    }

    /// With the symbols of the blocks in `kept`.
    fn with(code: &Code, live: &BlockSet, kept: &BlockSet) -> Self {
        let data = code.profile().data();
        let lost: Vec<usize> = (0..data).filter(|&block| !live.contains(block)).collect();
        let mut windows = Windows { code, live, kept, lost: &lost, open: Vec::new() };
        if code.is_chained() {
            // What is open when phase 0 begins, was left open by the last phase, one step before.
            windows.phase(code.phases().len() - 1);
        }
        let phases = (0..code.phases().len()).map(|phase| windows.phase(phase)).collect();
        Self { phases, depth: code.profile().depth(), lost }
    }
}

/// Walks the accumulator: each live parity symbol closes the window of rows since the one before it, and the
/// XOR of both is the XOR of the window's taps.
struct Windows<'a> {
    code: &'a Code,
    live: &'a BlockSet,
    kept: &'a BlockSet,
    lost: &'a [usize],
    /// Terms of the open window: taps, and the parity symbol that closed the window before.
    open: Vec<Term>,
}

impl Windows<'_> {
    /// The equations that phase `phase` closes, given what the phase before left open.
    fn phase(&mut self, phase: usize) -> Vec<Equation> {
        let data = self.code.profile().data();
        self.open.iter_mut().for_each(|term| term.symbol -= 1);
        let mut equations = Vec::new();
        for row in &self.code.phases()[phase] {
            let parity = Term { block: data + row.parity, symbol: 0 };
            let back = |delay: usize| -i32::try_from(delay).expect("capped by DEPTH_MAX");
            let taps = row.taps.iter().filter(|tap| self.kept.contains(tap.block));
            self.open.extend(taps.map(|tap| Term { block: tap.block, symbol: back(tap.delay) }));
            if self.live.contains(parity.block) {
                let kept = self.kept.contains(parity.block).then_some(parity);
                self.open.extend(kept);
                equations.push(self.close());
                self.open.extend(kept.filter(|_| self.code.is_chained()));
            } else if !self.code.is_chained() {
                self.open.clear();
            }
        }
        equations
    }

    fn close(&mut self) -> Equation {
        let mut terms = std::mem::take(&mut self.open);
        terms.sort_unstable();
        let mut equation = Equation::default();
        for same in terms.chunk_by(|a, b| a == b).filter(|same| same.len() % 2 == 1) {
            let term = same[0];
            match self.lost.binary_search(&term.block) {
                Ok(block) => equation.lost.push(Term { block, ..term }),
                Err(_) => equation.live.push(term),
            }
        }
        equation
    }
}
