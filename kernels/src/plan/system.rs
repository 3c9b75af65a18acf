//! The equations that the live and the wanted parity symbols give in the lost symbols.

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
    /// Symbols of lost blocks; `block` is the place in [`System::lost`].
    pub(super) lost: Vec<Term>,
    /// Symbols of live blocks.
    pub(super) live: Vec<Term>,
}

/// All equations of one period.
#[derive(Debug)]
pub(super) struct System {
    /// The lost data blocks and the wanted parity blocks, ascending.
    pub(super) lost: Vec<usize>,
    /// Those that somebody wants.
    pub(super) wanted: BlockSet,
    /// Equations of each phase, in the accumulator's order.
    pub(super) phases: Vec<Vec<Equation>>,
}

impl System {
    /// The equations in whatever of the `wanted` blocks is not in `live`, and in all lost data.
    pub(super) fn new(code: &Code, live: &BlockSet, wanted: &BlockSet) -> Self {
        let profile = code.profile();
        let is_unknown =
            |block: &usize| !live.contains(*block) && (*block < profile.data() || wanted.contains(*block));
        let lost: Vec<usize> = (0..profile.blocks()).filter(is_unknown).collect();
        let mut windows = Windows { code, live, lost: &lost, open: Vec::new() };
        if code.is_chained() {
            // What is open when phase 0 begins, was left open by the last phase, one step before.
            windows.phase(code.phases().len() - 1);
        }
        let phases = (0..code.phases().len()).map(|phase| windows.phase(phase)).collect();
        Self { phases, lost, wanted: wanted.clone() }
    }
}

/// Walks the accumulator: each live parity symbol, and each that is to be found, closes the window of rows since
/// the one before it, and the XOR of both is the XOR of the window's taps.
struct Windows<'a> {
    code: &'a Code,
    live: &'a BlockSet,
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
            if !row.chained {
                self.open.clear();
            }
            let back = |delay: usize| -i32::try_from(delay).expect("capped by DEPTH_MAX");
            let parity = Term { block: data + row.parity, symbol: back(row.back) };
            self.open.extend(row.taps.iter().map(|tap| Term { block: tap.block, symbol: back(tap.delay) }));
            if self.live.contains(parity.block) || self.lost.binary_search(&parity.block).is_ok() {
                self.open.push(parity);
                equations.push(self.close());
                self.open.push(parity);
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
