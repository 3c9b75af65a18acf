//! Peeling: which lost symbol follows next from those before it, and which to set aside when none does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::horizon::Horizon;

/// How far peeling has come. A symbol is settled once it is peeled, or set aside for elimination.
pub(super) struct Peel<'a> {
    horizon: &'a Horizon,
    /// For each unknown, the equations that contain it.
    contained: Vec<Vec<usize>>,
    /// Unsettled unknowns left in each equation.
    left: Vec<usize>,
    settled: Vec<bool>,
    /// Equations with one unsettled unknown, the best first.
    ready: BinaryHeap<Reverse<(usize, usize)>>,
    /// Equations whose unknowns were all settled by others.
    spare: Vec<usize>,
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
            Self { horizon, contained, settled, ready: BinaryHeap::new(), spare: Vec::new(), front: 0, left };
        (0..horizon.equations.len()).for_each(|equation| this.enqueue(equation));
        this
    }

    pub(super) fn is_settled(&self, unknown: usize) -> bool {
        self.settled[unknown]
    }

    /// An equation that gives one more unknown, and that unknown.
    pub(super) fn ready(&mut self) -> Option<(usize, usize)> {
        loop {
            let Reverse((_, equation)) = self.ready.pop()?;
            let mut unknowns = self.horizon.equations[equation].unknowns.iter().copied();
            // Another equation may have given the unknown since this one became ready.
            if let Some(unknown) = unknowns.find(|&unknown| !self.settled[unknown]) {
                return Some((equation, unknown));
            }
            self.spare.push(equation);
        }
    }

    /// An equation that no unknown was peeled from, all of whose unknowns are settled.
    pub(super) fn spare(&mut self) -> Option<usize> {
        self.spare.pop()
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

    /// The unknown that helps most: of the lightest equation near the front, the one in most equations.
    pub(super) fn choose_inactive(&mut self) -> Option<usize> {
        while self.front < self.settled.len()
            && (self.settled[self.front] || self.contained[self.front].is_empty())
        {
            self.front += 1;
        }
        let step = (self.front < self.settled.len()).then(|| self.front / self.horizon.per_step)?;
        let start = self.horizon.equations.partition_point(|line| line.step < step);
        let end = self.horizon.equations.partition_point(|line| line.step <= step + self.horizon.reach);
        let lightest =
            (start..end).filter(|&equation| self.left[equation] > 1).min_by_key(|&eq| self.left[eq])?;
        let weight = |unknown: usize| self.contained[unknown].iter().filter(|&&eq| self.left[eq] > 1).count();
        let candidates =
            self.horizon.equations[lightest].unknowns.iter().filter(|&&unknown| !self.settled[unknown]);
        candidates.copied().max_by_key(|&unknown| (weight(unknown), Reverse(unknown)))
    }
}
