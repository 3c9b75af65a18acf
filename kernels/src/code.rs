//! The codes: which data symbols each parity symbol is the XOR of.
//!
//! A block is a sequence of symbols; x_b(t) is symbol t of data block b, zero outside the frame. All
//! constructions are rows of taps (block, delay) that repeat with a period; nothing outside this module
//! knows which construction a code is.
//!
//! * **shift** (m small): p_j(t) = XOR over b of x_b(t − s(b,j)), s(b,j) = b·j, or b·j mod q for a prime q.
//!   A Vandermonde matrix in the delay operator. Without the mod every minor has a unique lowest term, so
//!   any k of the n blocks restore, for every k and m.
//! * **coupled** (everything else): RFC 5170's staircase with taps at most D symbols back and rows that
//!   repeat with period P: a spatially coupled LDPC code. One accumulator runs through all rows of all
//!   steps; row (f, i) of phase f = t mod P adds its taps and stores the sum as the symbol of parity block
//!   π_f(i). An even number of taps for each data symbol makes the accumulator forget a symbol after D
//!   steps, so encoding may start anywhere.
//! * **rfc5170** (to be read by others): RFC 5170's LDPC-Staircase over stripes of P = G steps, each a source block
//!   of its own. All its rows sit in the stripe's last phase, where the whole stripe lies behind them.

use std::ops::Range;

use crate::prng::SplitMix64;
use crate::profile::{Construction, Profile};
use crate::rfc5170::Staircase;

/// One data symbol in a row: symbol `t − delay` of data block `block`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tap {
    /// Index of the data block.
    pub block: usize,
    /// Symbols back.
    pub delay: usize,
}

/// One parity symbol: at step t, symbol t − back of its block is the XOR of the taps, and of the row before if
/// chained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which parity block (0 to m−1) stores the sum.
    pub parity: usize,
    /// Symbols back that it is stored.
    pub back: usize,
    /// Whether the sum of the row before, in the step before too, is part of it.
    pub chained: bool,
    /// What the sum is of, besides the row before.
    pub taps: Vec<Tap>,
}

/// A code: the rows of each phase of its period, m of them a step on average.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    profile: Profile,
    phases: Vec<Vec<Row>>,
}

impl Code {
    /// Builds the rows that the profile fixes.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let phases = match profile.construction() {
            Construction::Shift { modulus } => vec![shift_rows(&profile, modulus)],
            Construction::Coupled { n1, period, depth, seed } => {
                coupled_rows(&profile, n1, period, depth, seed)
            }
            Construction::Rfc5170 { n1, group, seed } => rfc5170_rows(&profile, n1, group, seed),
        };
        Self { profile, phases }
    }

    /// The profile this code was built from.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The rows of each phase, in the order in which the accumulator runs through them.
    #[must_use]
    pub fn phases(&self) -> &[Vec<Row>] {
        &self.phases
    }

    /// Whether the accumulator runs on from step to step, so that any row may have sums of steps before in it.
    #[must_use]
    pub fn is_chained(&self) -> bool {
        self.phases[0].first().is_some_and(|row| row.chained)
    }
}

fn shift_rows(profile: &Profile, modulus: u32) -> Vec<Row> {
    let delay = |block: usize, parity: usize| match modulus as usize {
        0 => block * parity,
        q => block * parity % q,
    };
    let taps = |parity| (0..profile.data()).map(|block| Tap { block, delay: delay(block, parity) }).collect();
    let row = |parity| Row { parity, back: 0, chained: false, taps: taps(parity) };
    (0..profile.parity()).map(row).collect()
}

/// The order of draws below is frozen: orders of parity blocks, delays, then the deal of each phase.
fn coupled_rows(profile: &Profile, n1: u32, period: u32, depth: u32, seed: u64) -> Vec<Vec<Row>> {
    let mut prng = SplitMix64::new(seed);
    let orders: Vec<Vec<usize>> = (0..period)
        .map(|_| {
            let mut order: Vec<usize> = (0..profile.parity()).collect();
            prng.shuffle(&mut order);
            order
        })
        .collect();
    let mut taps = Vec::with_capacity(profile.data() * n1 as usize);
    for block in 0..profile.data() {
        for bin in 0..n1 {
            let delays = delays(bin, n1, depth);
            let delay = delays.start + prng.below(delays.end - delays.start);
            taps.push(Tap { block, delay: delay as usize });
        }
    }
    orders.into_iter().map(|order| deal(&mut prng, &taps, &order)).collect()
}

/// The delays that tap `bin` of a data symbol may have: one of N1 bins of 0..=D, so that two taps of a symbol can never
/// meet in one row.
pub(crate) fn delays(bin: u32, n1: u32, depth: u32) -> Range<u32> {
    let start = bin * (depth + 1) / n1;
    start..((bin + 1) * (depth + 1) / n1).max(start + 1)
}

/// Deals all taps, shuffled, to the rows of one phase; row weights differ by at most one. A row that already
/// has the tap's block is drawn again, at most [`REDRAWS_MAX`] times.
fn deal(prng: &mut SplitMix64, taps: &[Tap], order: &[usize]) -> Vec<Row> {
    let mut rows: Vec<Row> =
        order.iter().map(|&parity| Row { parity, back: 0, chained: true, taps: Vec::new() }).collect();
    let mut deck = taps.to_vec();
    prng.shuffle(&mut deck);
    let mut slots: Vec<usize> = (0..deck.len()).map(|slot| slot % rows.len()).collect();
    let blocks = taps.iter().map(|tap| tap.block + 1).max().unwrap_or(0);
    let mut has_block = vec![false; rows.len() * blocks];
    for tap in deck {
        let bound = u32::try_from(slots.len()).expect("capped by TAPS_MAX");
        let mut drawn = prng.below(bound) as usize;
        for _ in 0..REDRAWS_MAX {
            if !has_block[slots[drawn] * blocks + tap.block] {
                break;
            }
            drawn = prng.below(bound) as usize;
        }
        let row = slots.swap_remove(drawn);
        has_block[row * blocks + tap.block] = true;
        rows[row].taps.push(tap);
    }
    rows
}

/// Source symbol b·G + g is step g of the stripe in data block b; place q·G + g of the repair symbols is step g of
/// the stripe in parity block q.
fn rfc5170_rows(profile: &Profile, n1: u32, group: u32, seed: u64) -> Vec<Vec<Row>> {
    let (n1, group) = (n1 as usize, group as usize);
    let (k, n) = (profile.data() * group, profile.blocks() * group);
    let Staircase { rows, id_to_txseq } = Staircase::new(k, n, n1, seed);
    let back = |place: usize| group - 1 - place % group;
    let tap = |source: usize| Tap { block: source / group, delay: back(source) };
    let rows = rows.into_iter().zip(id_to_txseq).enumerate().map(|(id, (sources, txseq))| Row {
        parity: txseq / group,
        back: back(txseq),
        chained: id > 0,
        taps: sources.into_iter().map(tap).collect(),
    });
    let mut phases = vec![Vec::new(); group];
    phases[group - 1] = rows.collect();
    phases
}

const REDRAWS_MAX: usize = 200;
