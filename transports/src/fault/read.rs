//! What is read from a store with faults.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};

use super::put::flipped;
use super::roll::Roll;
use super::{Core, Faults};
use crate::{ByteStream, NameStream, ObjectName, Result, Target};

/// The pieces of an object, as they come.
struct Pieces {
    core: Arc<Core>,
    at: Target,
    inner: ByteStream,
    /// What came and was not handed on.
    rest: Bytes,
    /// Bytes handed on.
    offset: u64,
    /// Where the stream ends although it should not.
    end: Option<u64>,
    /// Which byte is wrong.
    wrong: Option<u64>,
}

pub(super) fn distort(
    core: Arc<Core>,
    roll: Roll,
    name: &ObjectName,
    range: &Range<u64>,
    inner: ByteStream,
) -> ByteStream {
    let length = range.end.saturating_sub(range.start);
    let (end, wrong) = (cut(&core.faults, &roll, length), wrong(&core.faults, &roll, length));
    let at = core.at(Some(name));
    let pieces = Pieces { core, at, inner, rest: Bytes::new(), offset: 0, end, wrong };
    stream::try_unfold(pieces, Pieces::next).boxed()
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        if self.end.is_some_and(|end| self.offset >= end) {
            return Ok(None);
        }
        self.core.alive(&self.at).await?;
        if self.rest.is_empty() {
            let Some(piece) = self.inner.try_next().await? else { return Ok(None) };
            self.rest = piece;
        }
        let left = self.end.map_or(u64::MAX, |end| end - self.offset);
        let most = left.min(self.core.faults.piece_bytes.unwrap_or(u64::MAX));
        let length = self.rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let mut piece = self.rest.split_to(length);
        if let Some(offset) = self.wrong.and_then(|wrong| wrong.checked_sub(self.offset)) {
            piece = flipped(piece, offset);
        }
        self.core.pace(length).await;
        self.offset += length as u64;
        Ok(Some((piece, self)))
    }
}

/// As the pieces of a stream, but in one of the answers.
pub(super) fn distort_ranges(faults: &Faults, roll: &Roll, mut answers: Vec<Bytes>) -> Vec<Bytes> {
    let which = roll.then("which answer").below(answers.len() as u64) as usize;
    let Some(answer) = answers.get_mut(which) else { return answers };
    let length = answer.len() as u64;
    if let Some(wrong) = wrong(faults, roll, length) {
        *answer = flipped(answer.clone(), wrong);
    }
    if let Some(end) = cut(faults, roll, length) {
        answer.truncate(end as usize);
    }
    answers
}

fn cut(faults: &Faults, roll: &Roll, length: u64) -> Option<u64> {
    roll.then("truncate").chance(faults.truncate).then(|| roll.then("end").below(length))
}

fn wrong(faults: &Faults, roll: &Roll, length: u64) -> Option<u64> {
    roll.then("corrupt").chance(faults.corrupt).then(|| roll.then("wrong").below(length))
}

pub(super) async fn distort_list(
    core: Arc<Core>,
    roll: &Roll,
    prefix: &str,
    names: NameStream,
) -> Result<NameStream> {
    let is_lie = roll.then("lie").chance(core.faults.lie);
    let is_shuffled = !core.faults.reorder.is_zero();
    let there = names.try_filter(move |name| future::ready(!core.is_lost(name)));
    if !is_lie && !is_shuffled {
        return Ok(there.boxed());
    }
    let mut names: Vec<ObjectName> = there.try_collect().await?;
    if is_lie {
        names.retain(|name| roll.then("hidden").then(name.as_str()).chance(0.5));
        let backup = if prefix.is_empty() { "0000000000000000" } else { prefix };
        let invented =
            (0..3).map(|i| format!("{backup}/{}", 1_000_000 + roll.then("invented").below(1000) + i));
        names.extend(invented.filter_map(|name| ObjectName::new(name).ok()));
    }
    if is_shuffled {
        names.sort_by_cached_key(|name| roll.then("shuffle").then(name.as_str()).bytes());
    }
    Ok(stream::iter(names.into_iter().map(Ok)).boxed())
}
