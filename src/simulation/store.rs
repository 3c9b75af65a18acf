//! A simulated store: what it keeps, what it forgets, and how it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::dice::Dice;
use super::faults::{Kind, Tally};

/// The objects of the one backup of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Name {
    Block(usize),
    Manifest,
}

/// What a store is asked.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Request {
    /// Begins an object of so many bytes.
    Put(Name, u64),
    /// Adds to an object that was begun.
    Write(u64, Bytes),
    Commit(u64),
    Abandon(u64),
    Stat(Name),
    Read(Name, Range<u64>),
    List,
    Delete(Name),
}

/// What it answers.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    Done,
    Begun(u64),
    Length(u64),
    Bytes(Bytes),
    Names(Vec<Name>),
}

/// Why it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum No {
    Missing,
    Exists,
    Full,
    /// Fewer bytes came than were asked for.
    Truncated,
    /// The put is not known: the store forgot it.
    Over,
    Unreachable,
    Slow,
}

pub(super) type Reply = Result<Answer, No>;

/// How a store lies about blocks. Manifests are the business of [`Store::forge`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    /// Now and then it gives wrong bytes.
    Bytes,
    /// It gives the bytes of another block.
    OtherBlock,
    /// It says that it stored what it did not.
    Stored,
    /// It denies what it has.
    Missing,
}

/// What a store is like as long as nothing happens to it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Nature {
    /// Bytes a second.
    pub(super) rate: f64,
    /// How long a message takes to it, and back.
    pub(super) latency: Duration,
    /// How long it takes to make an object durable.
    pub(super) sync: Duration,
    /// After so long its transport gives a call up; none if that waits for ever.
    pub(super) deadline: Option<Duration>,
    /// Bytes that it has room for.
    pub(super) room: u64,
    pub(super) lie: Option<Lie>,
}

/// A visible, durable object.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    /// Whether a fault, and not the program, made it what it is.
    pub(super) is_tainted: bool,
}

#[derive(Clone, Debug)]
struct Staged {
    name: Name,
    length: u64,
    bytes: Vec<u8>,
    is_tainted: bool,
}

pub(super) struct Store {
    pub(super) nature: Nature,
    pub(super) objects: BTreeMap<Name, Object>,
    /// Names whose commit came after they had been deleted: nobody can be blamed for what is left of them.
    pub(super) late: BTreeSet<Name>,
    staged: BTreeMap<u64, Staged>,
    committed: BTreeMap<u64, Name>,
    deleted: BTreeSet<Name>,
    begun: u64,
}

impl Store {
    pub(super) fn new(nature: Nature) -> Self {
        let (objects, staged, committed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (late, deleted) = (BTreeSet::new(), BTreeSet::new());
        Self { nature, objects, late, staged, committed, deleted, begun: 0 }
    }

    /// How long it works on a request.
    pub(super) fn cost(&self, request: &Request) -> Duration {
        let bytes = match request {
            Request::Write(_, bytes) => bytes.len() as f64,
            Request::Read(_, range) => (range.end - range.start) as f64,
            _ => 0.0,
        };
        let sync = if matches!(request, Request::Commit(_)) { self.nature.sync } else { Duration::ZERO };
        sync + Duration::from_secs_f64(bytes / self.nature.rate)
    }

    pub(super) fn serve(&mut self, request: Request, dice: &mut Dice, tally: &mut Tally) -> Reply {
        match request {
            Request::Put(name, length) => {
                if self.used_bytes() + length > self.nature.room {
                    tally.count(Kind::Full);
                    return Err(No::Full);
                }
                self.begun += 1;
                let staged = Staged { name, length, bytes: Vec::new(), is_tainted: false };
                self.staged.insert(self.begun, staged);
                Ok(Answer::Begun(self.begun))
            }
            Request::Write(put, bytes) => {
                if self.used_bytes() > self.nature.room {
                    tally.count(Kind::Full);
                    self.staged.remove(&put);
                    return Err(No::Full);
                }
                let staged = self.staged.get_mut(&put).ok_or(No::Over)?;
                staged.bytes.extend_from_slice(&bytes);
                Ok(Answer::Done)
            }
            Request::Commit(put) => self.commit(put, tally),
            Request::Abandon(put) => {
                self.staged.remove(&put);
                Ok(Answer::Done)
            }
            Request::Stat(name) => Ok(Answer::Length(self.find(name, tally)?.bytes.len() as u64)),
            Request::Read(name, range) => self.read(name, &range, dice, tally),
            Request::List => {
                let hides = self.nature.lie == Some(Lie::Missing) && dice.chance(0.5);
                let is_shown = |name: &Name| !hides || *name == Name::Manifest;
                Ok(Answer::Names(self.objects.keys().copied().filter(is_shown).collect()))
            }
            Request::Delete(name) => {
                self.objects.remove(&name);
                self.deleted.insert(name);
                Ok(Answer::Done)
            }
        }
    }

    /// Makes a staged object durable and visible.
    pub(super) fn commit(&mut self, put: u64, tally: &mut Tally) -> Reply {
        let Some(staged) = self.staged.remove(&put) else {
            return Err(if self.committed.contains_key(&put) { No::Exists } else { No::Over });
        };
        let Staged { name, length, bytes, is_tainted } = staged;
        // What the transport's own check of lengths would say.
        if self.objects.contains_key(&name) || bytes.len() as u64 != length {
            return Err(if bytes.len() as u64 == length { No::Exists } else { No::Over });
        }
        self.committed.insert(put, name);
        if self.nature.lie == Some(Lie::Stored) && name != Name::Manifest {
            tally.count(Kind::LiedStored);
            return Ok(Answer::Done);
        }
        if self.deleted.contains(&name) {
            self.late.insert(name);
        }
        self.objects.insert(name, Object { bytes: bytes.into(), is_tainted });
        Ok(Answer::Done)
    }

    /// What is staged is gone, but for what is being committed.
    pub(super) fn forget(&mut self, committing: &BTreeSet<u64>) {
        self.staged.retain(|put, _| committing.contains(put));
    }

    /// Flips a bit of what is written next.
    pub(super) fn taint(&mut self, put: u64) {
        self.staged.entry(put).and_modify(|staged| staged.is_tainted = true);
    }

    /// Flips a bit of something that is stored.
    pub(super) fn flip(&mut self, dice: &mut Dice, tally: &mut Tally) {
        let names: Vec<Name> = self.objects.keys().copied().collect();
        if names.is_empty() {
            return;
        }
        let name = dice.pick(&names);
        let Some(object) = self.objects.get_mut(&name).filter(|object| !object.bytes.is_empty()) else {
            return;
        };
        object.bytes = flipped(&object.bytes, dice);
        object.is_tainted = true;
        tally.count(Kind::FlippedAtRest);
    }

    /// Puts another manifest in the place of the one it was given.
    pub(super) fn forge(&mut self, bytes: Bytes, tally: &mut Tally) {
        if let Some(object) = self.objects.get_mut(&Name::Manifest) {
            *object = Object { bytes, is_tainted: true };
            tally.count(Kind::LiedManifest);
        }
    }

    /// Somebody else takes all the room there is.
    pub(super) fn fill(&mut self) {
        self.nature.room = self.used_bytes().saturating_sub(1);
    }

    /// Whether it gives back what it was given, all of it.
    pub(super) fn is_honest(&self) -> bool {
        self.nature.lie.is_none() && self.objects.values().all(|object| !object.is_tainted)
    }

    fn find(&self, name: Name, tally: &mut Tally) -> Result<&Object, No> {
        let object = self.objects.get(&name).ok_or(No::Missing)?;
        if self.nature.lie == Some(Lie::Missing) && name != Name::Manifest {
            tally.count(Kind::LiedMissing);
            return Err(No::Missing);
        }
        Ok(object)
    }

    fn read(&self, name: Name, range: &Range<u64>, dice: &mut Dice, tally: &mut Tally) -> Reply {
        let mut bytes = self.find(name, tally)?.bytes.clone();
        let is_block = matches!(name, Name::Block(_));
        match self.nature.lie.filter(|_| is_block) {
            Some(Lie::Bytes) if !bytes.is_empty() && dice.chance(0.7) => {
                tally.count(Kind::LiedBytes);
                bytes = flipped(&bytes, dice);
            }
            Some(Lie::OtherBlock) => {
                let others =
                    self.objects.iter().filter(|(other, _)| **other != name && **other != Name::Manifest);
                if let Some((_, other)) = others.last() {
                    tally.count(Kind::LiedBlock);
                    bytes = other.bytes.clone();
                }
            }
            _ => {}
        }
        let end = range.end.min(bytes.len() as u64) as usize;
        let start = (range.start as usize).min(end);
        Ok(Answer::Bytes(bytes.slice(start..end)))
    }

    fn used_bytes(&self) -> u64 {
        let objects: usize = self.objects.values().map(|object| object.bytes.len()).sum();
        objects as u64 + self.staged.values().map(|staged| staged.length).sum::<u64>()
    }
}

/// The bytes with one bit that is not as it was.
pub(super) fn flipped(bytes: &[u8], dice: &mut Dice) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
    bytes.into()
}
