//! The rank test of one loss: the planner's answer without its program.
//!
//! Given the past, the equations near the front are the same in every period. If those of some periods determine the
//! first of them, everything before known, then by induction all symbols of a frame are determined, of whatever
//! length: behind its end all symbols are zero.
//!
//! Symbols are settled in a wave. One that no equation gives is set aside, and those after it may lack it; as soon as
//! enough equations behind the front are complete it is found, and from then on costs nothing. So the rows of bits that
//! say who lacks whom stay a few words long however many blocks are lost.

use crate::block_set::BlockSet;
use crate::code::Code;
use crate::plan::{chunk_steps, look_ahead_max};

/// Tests losses of one code, one after the other. Its tables and its scratch are made once.
pub struct RankTest<'a> {
    code: &'a Code,
    /// The parity block of each row of a period and whether it continues the row before, in the accumulator's order.
    rows: Vec<(usize, bool)>,
    /// The rows of each phase end before this one.
    phase_ends: Vec<usize>,
    /// For each phase and data block, the rows that its symbol of that phase is in: so many periods later, which row.
    taps: Vec<Vec<(u32, u32)>>,
    taps_max: usize,
    periods_max: usize,
    chunk: usize,
    look_ahead: Option<usize>,
    lost: Vec<usize>,
    wave: Wave,
}

impl<'a> RankTest<'a> {
    /// Builds the tables of a code.
    #[must_use]
    pub fn new(code: &'a Code) -> Self {
        let (period, data) = (code.phases().len(), code.profile().data());
        let (mut rows, mut phase_ends) = (Vec::new(), Vec::new());
        let mut taps = vec![Vec::new(); period * data];
        for (phase, of_phase) in code.phases().iter().enumerate() {
            for row in of_phase {
                let index = u32::try_from(rows.len()).expect("capped by TAPS_MAX");
                for tap in &row.taps {
                    // The phase of the symbol, from which `delay` steps lead to this one.
                    let from = (phase + tap.delay * (period - 1)) % period;
                    let periods = u32::try_from((from + tap.delay) / period).expect("capped by DEPTH_MAX");
                    taps[from * data + tap.block].push((periods, index));
                }
                rows.push((row.parity, row.chained));
            }
            phase_ends.push(rows.len());
        }
        let taps_max = taps.iter().map(Vec::len).max().unwrap_or(0);
        let periods_max = taps.iter().flatten().map(|tap| tap.0 as usize).max().unwrap_or(0);
        let chunk = chunk_steps(code);
        Self {
            code,
            rows,
            phase_ends,
            taps,
            taps_max,
            periods_max,
            chunk,
            look_ahead: None,
            lost: Vec::new(),
            wave: Wave::default(),
        }
    }

    /// The same test with a look-ahead of so many steps at most. It may call more losses open than the decoder does, and
    /// says so sooner: what it finds determined is.
    #[must_use]
    pub fn with_look_ahead(self, steps: usize) -> Self {
        Self { look_ahead: Some(steps), ..self }
    }

    /// Whether the live blocks determine all data: what [`crate::DecodePlan::new`] would say.
    pub fn determines(&mut self, live: &BlockSet) -> bool {
        self.undetermined(live) == 0
    }

    /// How many symbols of a few periods the live blocks leave open, everything before known.
    pub fn undetermined(&mut self, live: &BlockSet) -> usize {
        self.lost.clear();
        self.lost.extend((0..self.code.profile().data()).filter(|&block| !live.contains(block)));
        if self.lost.is_empty() {
            return 0;
        }
        if live.len() < self.code.profile().data() {
            return self.chunk * self.lost.len();
        }
        self.find_windows(live);
        let look_ahead = look_ahead_max(self.code, self.lost.len());
        let look_ahead = self.look_ahead.map_or(look_ahead, |most| most.min(look_ahead));
        let words_max = match self.code.profile().stripe() {
            // Without a chain equations say nothing sooner than their delays differ: so many steps may be set aside.
            1 if !self.code.is_chained() => {
                (self.code.profile().depth() * self.lost.len() / 16).max(WORDS_MAX_LEAST)
            }
            1 => (self.lost.len() / 16).max(WORDS_MAX_LEAST),
            // A stripe has no known edge to begin at, so much of it may be set aside: room for all, as it grows by four.
            _ => (self.chunk * self.lost.len() / 16).clamp(WORDS_MAX_LEAST, WORDS_MAX_STRIPE),
        };
        let words = std::iter::successors(Some(WORDS_MIN), |words| {
            Some(4 * words).filter(|&words| words <= words_max)
        });
        // Where still more is set aside, it is not found later: far more than any loss took that is determined.
        words
            .into_iter()
            .find_map(|words| self.run(self.chunk + look_ahead, words))
            .unwrap_or(self.chunk * self.lost.len())
    }

    /// Which window each row of a period belongs to: the one that the next live parity symbol closes.
    fn find_windows(&mut self, live: &BlockSet) {
        let wave = &mut self.wave;
        let is_live = |&(parity, _): &(usize, bool)| live.contains(self.code.profile().data() + parity);
        wave.windows = self.rows.iter().filter(|row| is_live(row)).count();
        wave.closed.clear();
        let mut closed = 0;
        for (phase, &end) in self.phase_ends.iter().enumerate() {
            let start = phase.checked_sub(1).map_or(0, |before| self.phase_ends[before]);
            closed += self.rows[start..end].iter().filter(|row| is_live(row)).count();
            wave.closed.push(closed);
        }
        // Rows after the last live one belong to the first window of the next period, unless nothing leads there.
        let runs_on = self.code.is_chained() && wave.windows > 0;
        let mut window = if runs_on { wave.windows } else { NONE };
        let mut next = wave.windows;
        wave.of_row.clear();
        wave.of_row.resize(self.rows.len(), NONE);
        for (index, row) in self.rows.iter().enumerate().rev() {
            if is_live(row) {
                next -= 1;
                window = next;
            }
            wave.of_row[index] = window;
            if !row.1 {
                window = NONE;
            }
        }
    }

    /// The open symbols, of a horizon of so many steps; `None` if more had to be set aside than rows have bits.
    fn run(&mut self, horizon: usize, words: usize) -> Option<usize> {
        let per_step = self.lost.len();
        let chunk = self.chunk * per_step;
        let reach = self.code.profile().depth() + 1;
        self.wave.reset(words, self.taps_max);
        let (mut steps, mut look_again) = (0, chunk + reach * per_step);
        loop {
            self.wave.peel();
            let wave = &mut self.wave;
            wave.front += wave.settled[wave.front..].iter().take_while(|&&settled| settled).count();
            if wave.front >= chunk && wave.inactive == 0 {
                return Some(0);
            }
            if wave.front >= look_again {
                // Something may be open all the time, but not the same.
                look_again *= 2;
                if (0..chunk).all(|unknown| wave.is_found(unknown)) {
                    return Some(0);
                }
            }
            if steps < horizon && wave.front + reach * per_step >= steps * per_step {
                if !self.add_step(steps) {
                    // A symbol in no equation.
                    return Some(chunk);
                }
                steps += 1;
            } else if wave.front < wave.settled.len() {
                wave.set_aside(per_step)?;
            } else {
                let open = |&unknown: &usize| !wave.is_found(unknown);
                return Some((0..chunk).filter(open).count());
            }
        }
    }

    /// Adds the lost symbols of a step and the equations that end with it; whether all of them are in any.
    fn add_step(&mut self, step: usize) -> bool {
        let (period, data) = (self.phase_ends.len(), self.code.profile().data());
        let wave = &mut self.wave;
        let first = step / period * wave.windows;
        wave.make_room(self.lost.len(), first + (self.periods_max + 1) * wave.windows + 1);
        for (place, &block) in self.lost.iter().enumerate() {
            let unknown = step * self.lost.len() + place;
            if !wave.add(unknown, &self.taps[step % period * data + block], first) {
                return false;
            }
        }
        wave.complete(first + wave.closed[step % period]);
        true
    }
}

/// The equations and symbols of one loss, in the order of their steps.
#[derive(Default)]
struct Wave {
    /// Equations in a period: one for each live parity symbol.
    windows: usize,
    /// The window of each row, of the next period where it is not below `windows`.
    of_row: Vec<usize>,
    /// Windows of a period that end with a phase or before.
    closed: Vec<usize>,

    equations: Vec<Equation>,
    /// Equations below have all their symbols.
    complete: usize,
    /// Complete equations with one unsettled symbol, which another may have given since.
    ready: Vec<usize>,
    settled: Vec<bool>,
    /// The equations of each symbol, `taps_max` places for each.
    contained: Vec<usize>,
    taps_max: usize,
    /// No symbol below is unsettled.
    front: usize,

    /// Words in a row of bits.
    words: usize,
    /// What each symbol, and what is settled of each equation, lacks: one bit for each inactive symbol.
    lacks: Vec<u64>,
    residues: Vec<u64>,
    /// The symbols that lack anything.
    lacking: Vec<usize>,
    inactive: usize,
    /// Independent equations of the inactive symbols; none has the first one of a row before it.
    pivots: Vec<u64>,
    /// The first bit of each.
    leading: Vec<usize>,
    row: Vec<u64>,
}

#[derive(Clone, Default)]
struct Equation {
    /// Unsettled symbols left; [`USED`] once one was peeled from it.
    left: usize,
    /// XOR of their numbers: of the last one, its number.
    unknowns: usize,
    /// The symbol that was added last, counted from 1.
    last: usize,
}

impl Wave {
    fn reset(&mut self, words: usize, taps_max: usize) {
        (self.words, self.taps_max) = (words, taps_max);
        (self.complete, self.front, self.inactive) = (0, 0, 0);
        self.equations.clear();
        self.ready.clear();
        self.settled.clear();
        self.contained.clear();
        self.lacks.clear();
        self.residues.clear();
        self.lacking.clear();
        self.pivots.clear();
        self.leading.clear();
    }

    /// Makes room for so many more symbols, and for equations before `end`.
    fn make_room(&mut self, symbols: usize, end: usize) {
        let symbols = self.settled.len() + symbols;
        self.settled.resize(symbols, false);
        self.contained.resize(symbols * self.taps_max, NONE);
        self.lacks.resize(symbols * self.words, 0);
        if end > self.equations.len() {
            self.equations.resize(end, Equation::default());
            self.residues.resize(end * self.words, 0);
        }
    }

    /// Adds a symbol with its taps, `first` being the first equation of its period; whether it is in any equation.
    fn add(&mut self, unknown: usize, taps: &[(u32, u32)], first: usize) -> bool {
        let contained = &mut self.contained[unknown * self.taps_max..][..self.taps_max];
        let mut count = 0;
        for &(periods, row) in taps {
            let window = self.of_row[row as usize];
            if window == NONE {
                continue;
            }
            let index = first + periods as usize * self.windows + window;
            let equation = &mut self.equations[index];
            equation.unknowns ^= unknown;
            if equation.last == unknown + 1 {
                // Two taps in one window cancel.
                equation.last = 0;
                equation.left -= 1;
                count -= 1;
                let same = contained.iter().position(|&other| other == index).expect("it was just added");
                contained[same] = contained[count];
                contained[count] = NONE;
            } else {
                equation.last = unknown + 1;
                equation.left += 1;
                contained[count] = index;
                count += 1;
            }
        }
        count > 0
    }

    /// Equations before `end` have all their symbols.
    fn complete(&mut self, end: usize) {
        for equation in std::mem::replace(&mut self.complete, end)..end {
            self.look_at(equation);
        }
    }

    fn look_at(&mut self, equation: usize) {
        match self.equations[equation].left {
            0 => self.spare(equation),
            1 => self.ready.push(equation),
            _ => {}
        }
    }

    fn peel(&mut self) {
        while let Some(equation) = self.ready.pop() {
            if self.equations[equation].left == 1 {
                // Used up: it says nothing more about the inactive ones.
                self.equations[equation].left = USED;
                let unknown = self.equations[equation].unknowns;
                let (from, to) = (equation * self.words, unknown * self.words);
                self.lacks[to..to + self.words].copy_from_slice(&self.residues[from..from + self.words]);
                self.settle(unknown);
            }
        }
    }

    /// Sets aside that unsettled symbol of the first step which makes most equations ready; `None` if there are no
    /// more bits.
    fn set_aside(&mut self, per_step: usize) -> Option<()> {
        let end = (self.front + 1).next_multiple_of(per_step);
        let makes_ready = |unknown: &usize| {
            let is_next =
                |&&equation: &&usize| equation < self.complete && self.equations[equation].left == 2;
            self.of(*unknown).iter().filter(is_next).count()
        };
        let unknown = (self.front..end).filter(|&unknown| !self.settled[unknown]).max_by_key(makes_ready)?;
        if self.inactive == self.words * 64 {
            return None;
        }
        self.lacks[unknown * self.words + self.inactive / 64] |= 1 << (self.inactive % 64);
        self.inactive += 1;
        self.settle(unknown);
        Some(())
    }

    /// The equations of a symbol.
    fn of(&self, unknown: usize) -> &[usize] {
        let all = &self.contained[unknown * self.taps_max..][..self.taps_max];
        let count = all.iter().position(|&equation| equation == NONE).unwrap_or(all.len());
        &all[..count]
    }

    fn settle(&mut self, unknown: usize) {
        self.settled[unknown] = true;
        let at = unknown * self.words;
        let lacks = self.lacks[at..at + self.words].iter().any(|&word| word != 0);
        if lacks {
            self.lacking.push(unknown);
        }
        for place in unknown * self.taps_max..(unknown + 1) * self.taps_max {
            let equation = self.contained[place];
            if equation == NONE {
                break;
            }
            if self.equations[equation].left == USED {
                continue;
            }
            self.equations[equation].left -= 1;
            self.equations[equation].unknowns ^= unknown;
            if lacks {
                let residue = &mut self.residues[equation * self.words..][..self.words];
                residue.iter_mut().zip(&self.lacks[at..]).for_each(|(word, lacks)| *word ^= lacks);
            }
            if equation < self.complete {
                self.look_at(equation);
            }
        }
    }

    /// An equation in settled symbols only is one in the inactive ones.
    fn spare(&mut self, equation: usize) {
        if self.inactive == 0 {
            return;
        }
        let from = equation * self.words;
        if !self.reduce(|wave| &wave.residues[from..]) {
            return;
        }
        let word = self.row.iter().position(|&word| word != 0).expect("something is left");
        self.leading.push(word * 64 + self.row[word].trailing_zeros() as usize);
        self.pivots.extend_from_slice(&self.row);
        if self.leading.len() == self.inactive {
            // All are found.
            for unknown in std::mem::take(&mut self.lacking) {
                self.lacks[unknown * self.words..][..self.words].fill(0);
                for place in unknown * self.taps_max..(unknown + 1) * self.taps_max {
                    let equation = self.contained[place];
                    if equation != NONE {
                        self.residues[equation * self.words..][..self.words].fill(0);
                    }
                }
            }
            self.pivots.clear();
            self.leading.clear();
            self.inactive = 0;
        }
    }

    fn is_found(&mut self, unknown: usize) -> bool {
        let at = unknown * self.words;
        !self.reduce(|wave| &wave.lacks[at..])
    }

    /// Puts what is left of a row of bits by the pivots into `row`; whether that is anything.
    fn reduce(&mut self, of: impl Fn(&Self) -> &[u64]) -> bool {
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        row.extend_from_slice(&of(self)[..self.words]);
        for (pivot, leading) in self.pivots.chunks_exact(self.words).zip(&self.leading) {
            if row[leading / 64] >> (leading % 64) & 1 == 1 {
                row.iter_mut().zip(pivot).for_each(|(word, pivot)| *word ^= pivot);
            }
        }
        self.row = row;
        self.row.iter().any(|&word| word != 0)
    }
}

const NONE: usize = usize::MAX;
const USED: usize = usize::MAX;
const WORDS_MIN: usize = 2;
const WORDS_MAX_LEAST: usize = 8;
const WORDS_MAX_STRIPE: usize = 512;

#[cfg(test)]
mod tests {
    use super::RankTest;
    use crate::plan::DecodePlan;
    use crate::{BlockSet, Code, CodeChoice, Construction, Losses, Profile};

    /// A backup that can be restored must not be called lost: of the wide stripes of RFC 5170 much is set aside.
    #[test]
    fn wide_stripes_are_determined_by_as_many_blocks_as_are_promised() {
        let profile = Profile::for_code(CodeChoice::Rfc5170, 200, 200, 1 << 32).unwrap();
        let code = Code::new(profile);
        let losses = Losses::new(&profile, profile.threshold(), 100).unwrap();
        let live = losses.sample(1, 0);
        assert!(DecodePlan::new(&code, &live).is_ok() && RankTest::new(&code).determines(&live));
    }

    /// What a shift code loses is determined by minors, whatever their leading terms are: where two pairs of the six cancel,
    /// the symbols come late, and many are set aside before.
    #[test]
    fn losses_of_wide_shift_codes_are_determined_however_late() {
        for (k, modulus, step) in [(499, 499, 1), (839, 839, 7), (1500, 1511, 37)] {
            let profile = Profile::new(k, 3, Construction::Shift { modulus }, 64, 1 << 16).unwrap();
            let code = Code::new(profile);
            let mut rank = RankTest::new(&code);
            let delay = |block: usize, row: usize| block * row % modulus as usize;
            let cancels = |lost: &[usize; 3]| {
                let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
                let mut degrees = pairs.map(|(one, two)| delay(lost[one], 1) + delay(lost[two], 2));
                degrees.sort_unstable();
                degrees[0] == degrees[1] && degrees[2] == degrees[3]
            };
            let triples = (0..k as usize).step_by(step).flat_map(|a| {
                (a + 1..k as usize).flat_map(move |b| (b + 1..k as usize).map(move |c| [a, b, c]))
            });
            let late: Vec<_> = triples.filter(cancels).collect();
            assert!(late.len() > 1000);
            for (index, lost) in late.iter().step_by(late.len().div_ceil(200)).enumerate() {
                let mut live = BlockSet::all(profile.blocks());
                lost.iter().for_each(|&block| live.remove(block));
                assert!(rank.determines(&live), "{k}+3 without {lost:?}");
                assert!(index % 20 > 0 || DecodePlan::new(&code, &live).is_ok(), "{k}+3 without {lost:?}");
            }
        }
    }

    /// Losses around the threshold, where the answer is not the same for all of them.
    #[test]
    fn the_rank_test_says_what_the_planner_says() {
        let coupled = |n1, period, depth| Construction::Coupled { n1, period, depth, seed: 7 };
        let rfc5170 = |n1, group| Construction::Rfc5170 { n1, group, seed: 7 };
        let shapes = [
            (3, 5, coupled(2, 4, 3), 14),
            (6, 6, coupled(4, 3, 5), 14),
            (10, 12, coupled(4, 8, 3), 7),
            (12, 8, coupled(6, 8, 7), 7),
            (20, 20, coupled(4, 4, 3), 4),
            (40, 12, coupled(8, 4, 7), 3),
            (8, 6, Construction::Shift { modulus: 11 }, 7),
            (7, 4, Construction::Shift { modulus: 0 }, 7),
            (4, 6, rfc5170(3, 1), 200),
            (6, 7, rfc5170(5, 4), 100),
            (10, 9, rfc5170(9, 24), 20),
            (20, 22, rfc5170(7, 8), 20),
        ];
        let (mut state, mut answers) = (1_u64, [0, 0]);
        for (k, m, construction, samples) in shapes {
            let code = Code::new(Profile::new(k, m, construction, 64, 1152).unwrap());
            let mut rank = RankTest::new(&code);
            for sample in 0..samples {
                let mut live = BlockSet::all((k + m) as usize);
                while live.len() > (k + sample % 4) as usize {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    live.remove((state >> 33) as usize % live.blocks());
                }
                let planned = DecodePlan::new(&code, &live).is_ok();
                assert_eq!(rank.determines(&live), planned, "{k}+{m} {construction:?} {live:?}");
                answers[usize::from(planned)] += 1;
            }
        }
        assert!(answers.iter().all(|&count| count > 5), "{answers:?}");
    }
}
