//! Peeling: which lost symbol follows next from those before it, and which to set aside when none does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::horizon::Horizon;

/// Equations by weight.
type Queue = BinaryHeap<Reverse<(usize, usize)>>;

/// How far peeling has come. A symbol is settled once it is peeled, or set aside for elimination.
pub(super) struct Peel<'a> {
    horizon: &'a Horizon,
    /// For each unknown, the equations that contain it.
    contained: Vec<Vec<usize>>,
    /// Unsettled unknowns left in each equation.
    left: Vec<usize>,
    settled: Vec<bool>,
    /// Equations with one unsettled unknown, the lightest first.
    ready: Queue,
    /// Equations whose unknowns were all settled by others, the lightest first.
    spare: Queue,
    /// No unknown below is unsettled, but for those in no equation.
    front: usize,
}

impl<'a> Peel<'a> {
    pub(super) fn new(horizon: &'a Horizon) -> Self {
        let mut contained = vec![Vec::new(); horizon.count()];
        for (equation, line) in horizon.equations.iter().enumerate() {
            line.unknowns.iter().for_each(|&unknown| contained[unknown].push(equation));
        }
        let left: Vec<usize> = horizon.equations.iter().map(|line| line.unknowns.len()).collect();
        let settled = vec![false; horizon.count()];
        let mut this =
            Self { horizon, contained, settled, ready: Queue::new(), spare: Queue::new(), front: 0, left };
        (0..horizon.equations.len()).for_each(|equation| this.enqueue(equation));
        this
    }

    pub(super) fn is_settled(&self, unknown: usize) -> bool {
        self.settled[unknown]
    }

    /// An equation that gives one more unknown, and that unknown.
    pub(super) fn ready(&mut self) -> Option<(usize, usize)> {
        loop {
            let Reverse((weight, equation)) = self.ready.pop()?;
            let mut unknowns = self.horizon.equations[equation].unknowns.iter().copied();
            // Another equation may have given the unknown since this one became ready.
            if let Some(unknown) = unknowns.find(|&unknown| !self.settled[unknown]) {
                return Some((equation, unknown));
            }
            self.spare.push(Reverse((weight, equation)));
        }
    }

    /// An equation that no unknown was peeled from, all of whose unknowns are settled.
    pub(super) fn spare(&mut self) -> Option<usize> {
        self.spare.pop().map(|Reverse((_, equation))| equation)
    }

    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    pub(super) fn settle(&mut self, unknown: usize) {
        self.settled[unknown] = true;
        for at in 0..self.contained[unknown].len() {
            let equation = self.contained[unknown][at];
            self.left[equation] -= 1;
            self.enqueue(equation);
        }
    }

    fn enqueue(&mut self, equation: usize) {
        if self.left[equation] == 1 {
            self.ready.push(Reverse((self.horizon.equations[equation].weight, equation)));
        }
    }

    /// The unknown to set aside: of the earliest step that has any left, the one in most equations that it makes
    /// ready. None if all are settled, but for those in no equation.
    pub(super) fn choose_inactive(&mut self) -> Option<usize> {
        let is_open = |unknown: usize| !self.settled[unknown] && !self.contained[unknown].is_empty();
        self.front = (self.front..self.settled.len()).find(|&unknown| is_open(unknown))?;
        let end = (self.front + 1).next_multiple_of(self.horizon.per_step);
        let ready = |unknown: usize| self.contained[unknown].iter().filter(|&&eq| self.left[eq] == 2).count();
        let step = (self.front..end).filter(|&unknown| is_open(unknown));
        step.max_by_key(|&unknown| (ready(unknown), Reverse(unknown)))
    }
}
