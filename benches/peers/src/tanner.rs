//! tanner itself: the only file here that knows the interface of its kernels.

use std::ops::Range;
use std::thread;

use tanner_kernels::{Arena, BlockSet, Bound, Codec, Level, Profile, Role, Stores};

use crate::contestant::{Contestant, Layout, WHOLE};

/// Each thread has a frame of its own: a range of every block, and arenas for it.
struct Tanner {
    layout: Layout,
    codec: Codec,
    level: Level,
    frames: Vec<Frame>,
}

struct Frame {
    /// Which bytes of every block.
    range: Range<usize>,
    encoder: Bound,
    encoded: Arena,
    decoding: Option<Decoding>,
}

struct Decoding {
    programs: Vec<Bound>,
    arena: Arena,
    roles: Vec<Role>,
    back: usize,
    groups: usize,
}

pub fn enter(layout: Layout, threads: usize) -> Result<Box<dyn Contestant>, String> {
    let (k, m) = (layout.shape.data as u64, layout.shape.parity as u64);
    let profile =
        Profile::for_source(k, m, layout.source_bytes() as u64).map_err(|error| error.to_string())?;
    let level = Level::from_env().map_err(|error| error.to_string())?;
    let codec = Codec::new(profile);
    let lines = layout.block_bytes / UNIT;
    let starts: Vec<usize> = (0..=threads).map(|thread| lines * thread / threads * UNIT).collect();
    let frames = starts.windows(2).map(|range| Frame::new(&codec, range[0]..range[1])).collect();
    Ok(Box::new(Tanner { layout, codec, level, frames }))
}

impl Frame {
    fn new(codec: &Codec, range: Range<usize>) -> Self {
        let depth = codec.profile().depth();
        let encoder = Bound::new(codec.encoder(), range.len() + 2 * depth * UNIT, UNIT).expect("below 2 GiB");
        Self { encoded: encoder.arena(), encoder, range, decoding: None }
    }

    fn plan(&mut self, codec: &Codec, live: &BlockSet) {
        let plan = codec.decoder(live).expect("within the promise");
        let (back, depth, steps) = (plan.reach_back(), codec.profile().depth(), self.range.len() / UNIT);
        let groups = steps.div_ceil(plan.advance());
        let symbols = (back + groups * plan.advance() + plan.reach_ahead()).max(back + steps + depth);
        let bind = |program| Bound::new(program, symbols * UNIT, UNIT).expect("below 2 GiB");
        let programs: Vec<Bound> = plan.programs().iter().map(bind).collect();
        let arena = programs[0].arena();
        self.decoding = Some(Decoding { programs, arena, roles: plan.roles().to_vec(), back, groups });
    }

    fn load(&mut self, depth: usize, layout: Layout, data: &[u8]) {
        let from = |block: usize| &data[layout.block(block)][self.range.clone()];
        let Some(decoding) = &mut self.decoding else {
            for block in 0..layout.shape.data {
                self.encoded.stream_mut(block)[depth * UNIT..][..self.range.len()]
                    .copy_from_slice(from(block));
            }
            return;
        };
        for (stream, role) in decoding.roles.iter().enumerate() {
            let into = &mut decoding.arena.stream_mut(stream)[decoding.back * UNIT..];
            match *role {
                Role::Input(block) if block < layout.shape.data => {
                    into[..self.range.len()].copy_from_slice(from(block));
                }
                Role::Input(block) => {
                    let parity = &self.encoded.stream(block)[depth * UNIT..];
                    into[..parity.len()].copy_from_slice(parity);
                }
                // So that bytes of the round before cannot pass for this one's.
                Role::Output(_) => into[..self.range.len()].copy_from_slice(from(0)),
                _ => {}
            }
        }
    }

    fn encode(&mut self, depth: usize, level: Level) {
        let steps = self.range.len() / UNIT + depth;
        self.encoder.run(&mut self.encoded, depth, 0..steps, level, Stores::Streaming);
    }

    fn decode(&mut self, level: Level) {
        let Decoding { programs, arena, back, groups, .. } = self.decoding.as_mut().expect("planned");
        for (index, program) in programs.iter().enumerate() {
            let end = if index + 1 == programs.len() { *groups } else { (index + 1).min(*groups) };
            program.run(arena, *back, index.min(end)..end, level, Stores::Cached);
        }
    }

    fn unload(&self, layout: Layout, data: &mut [u8]) {
        let Some(Decoding { arena, roles, back, .. }) = &self.decoding else { return };
        for (stream, role) in roles.iter().enumerate() {
            let Role::Output(block) = *role else { continue };
            let into = &mut data[layout.block(block)][self.range.clone()];
            into.copy_from_slice(&arena.stream(stream)[back * UNIT..][..into.len()]);
        }
    }
}

impl Tanner {
    /// Does `work` with all frames, each on its own thread.
    fn each(&mut self, work: impl Fn(&mut Frame) + Sync) {
        let Some((first, others)) = self.frames.split_first_mut() else { return };
        thread::scope(|scope| {
            others.iter_mut().for_each(|frame| drop(scope.spawn(|| work(frame))));
            work(first);
        });
    }
}

impl Contestant for Tanner {
    fn threshold(&self) -> usize {
        self.codec.profile().threshold()
    }

    fn pieces(&self) -> &'static [usize] {
        &[WHOLE]
    }

    fn level(&self) -> &'static str {
        self.level.name()
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn load(&mut self, data: &[u8]) {
        let (depth, layout) = (self.codec.profile().depth(), self.layout);
        self.frames.iter_mut().for_each(|frame| frame.load(depth, layout, data));
    }

    fn encode(&mut self, _data: &[u8], _piece: usize) {
        let (depth, level) = (self.codec.profile().depth(), self.level);
        self.each(|frame| frame.encode(depth, level));
    }

    fn plan(&mut self, lost: usize, _piece: usize) {
        let mut live = BlockSet::all(self.layout.shape.blocks());
        (0..lost).for_each(|block| live.remove(block));
        self.frames.iter_mut().for_each(|frame| frame.plan(&self.codec, &live));
    }

    fn decode(&mut self, _data: &mut [u8], _piece: usize) {
        let level = self.level;
        self.each(|frame| frame.decode(level));
    }

    fn unload(&mut self, data: &mut [u8]) {
        self.frames.iter().for_each(|frame| frame.unload(self.layout, data));
    }
}

/// Bytes of a symbol; sources as large as those measured always get these.
const UNIT: usize = 64;
