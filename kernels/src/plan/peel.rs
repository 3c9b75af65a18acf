//! Peeling with inactivation: an order in which each lost symbol follows from those before it, with as few
//! symbols as possible set aside for elimination.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The equations of one horizon, as lists of the unknowns they contain. Equations and unknowns are numbered
/// in the order of their steps.
pub(super) struct Unknowns {
    /// Unknowns of each equation.
    pub(super) equations: Vec<Vec<usize>>,
    /// The step of each equation.
    pub(super) steps: Vec<usize>,
    /// Unknowns in each step: unknown v belongs to step v / `per_step`.
    pub(super) per_step: usize,
    /// How many unknowns there are, those that are known already included.
    pub(super) count: usize,
    /// How many steps an unknown's equations may lie after it.
    pub(super) reach: usize,
}

/// How an unknown is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Not at all: no equation contains it.
    Never,
    /// From this equation, given the unknowns found before.
    Peeled(usize),
    /// By elimination; the number counts these.
    Inactive(usize),
}

pub(super) struct Peeling {
    pub(super) found: Vec<Found>,
    /// The peeled unknowns, in order.
    pub(super) order: Vec<usize>,
    /// The inactive unknowns, in order.
    pub(super) inactive: Vec<usize>,
    /// Whether an equation was used to peel.
    pub(super) used: Vec<bool>,
}

pub(super) fn peel(unknowns: &Unknowns) -> Peeling {
    let mut state = State::new(unknowns);
    loop {
        while let Some(Reverse(equation)) = state.ready.pop() {
            state.peel(equation);
        }
        let Some(unknown) = state.choose_inactive() else { break };
        state.peeling.found[unknown] = Found::Inactive(state.peeling.inactive.len());
        state.peeling.inactive.push(unknown);
        state.settle(unknown);
    }
    state.peeling
}

struct State<'a> {
    unknowns: &'a Unknowns,
    /// For each unknown, the equations that contain it.
    contained: Vec<Vec<usize>>,
    /// Unsettled unknowns left in each equation.
    left: Vec<usize>,
    /// Equations with one unsettled unknown, earliest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// No unknown below is unsettled, but for those in no equation.
    front: usize,
    peeling: Peeling,
}

impl<'a> State<'a> {
    fn new(unknowns: &'a Unknowns) -> Self {
        let mut contained = vec![Vec::new(); unknowns.count];
        for (equation, list) in unknowns.equations.iter().enumerate() {
            list.iter().for_each(|&unknown| contained[unknown].push(equation));
        }
        let left: Vec<usize> = unknowns.equations.iter().map(Vec::len).collect();
        let ready =
            left.iter().enumerate().filter(|&(_, &left)| left == 1).map(|(eq, _)| Reverse(eq)).collect();
        let peeling = Peeling {
            found: vec![Found::Never; unknowns.count],
            order: Vec::new(),
            inactive: Vec::new(),
            used: vec![false; unknowns.equations.len()],
        };
        Self { unknowns, contained, left, ready, front: 0, peeling }
    }

    fn is_unsettled(&self, unknown: usize) -> bool {
        self.peeling.found[unknown] == Found::Never
    }

    fn peel(&mut self, equation: usize) {
        let unsettled = self.unknowns.equations[equation].iter().find(|&&unknown| self.is_unsettled(unknown));
        // Another equation may have given the unknown since this one became ready.
        let Some(&unknown) = unsettled else { return };
        self.peeling.found[unknown] = Found::Peeled(equation);
        self.peeling.order.push(unknown);
        self.peeling.used[equation] = true;
        self.settle(unknown);
    }

    fn settle(&mut self, unknown: usize) {
        for &equation in &self.contained[unknown] {
            self.left[equation] -= 1;
            if self.left[equation] == 1 {
                self.ready.push(Reverse(equation));
            }
        }
    }

    /// The unknown that helps most: of the lightest equation near the front, the one in most equations.
    fn choose_inactive(&mut self) -> Option<usize> {
        while self.front < self.unknowns.count
            && (!self.is_unsettled(self.front) || self.contained[self.front].is_empty())
        {
            self.front += 1;
        }
        let step = (self.front < self.unknowns.count).then(|| self.front / self.unknowns.per_step)?;
        let start = self.unknowns.steps.partition_point(|&at| at < step);
        let end = self.unknowns.steps.partition_point(|&at| at <= step + self.unknowns.reach);
        let lightest =
            (start..end).filter(|&equation| self.left[equation] > 1).min_by_key(|&eq| self.left[eq])?;
        let weight = |unknown: usize| self.contained[unknown].iter().filter(|&&eq| self.left[eq] > 1).count();
        let candidates =
            self.unknowns.equations[lightest].iter().filter(|&&unknown| self.is_unsettled(unknown));
        candidates.copied().max_by_key(|&unknown| (weight(unknown), Reverse(unknown)))
    }
}
