//! What a backup that can be gone on with writes down while it is made, and before anybody relies on it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tanner_transports::Kept;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::encode::Hashes;
use crate::encrypter::Encrypter;
use crate::fetch::chain;
use crate::job::SharedWriting;
use crate::journal::{End, Journal, Mark, Record};
use crate::scheduler::writing::Verdict;
use crate::store::Store;
use crate::streams::Keeping;
use crate::sweep::{take_back_kept, take_back_strays};
use crate::unfinished::{Begun, Left};

/// A backup's journal, and what an earlier run left.
pub(crate) struct Keeper {
    /// None once it could not be written: then the backup goes on without, and is taken back if it is cut off.
    journal: Option<Journal>,
    interval: Duration,
    pub(crate) left: Left,
    /// Whose tags are to be durable before another run goes on behind them.
    encrypter: Option<Arc<Encrypter>>,
    writing: SharedWriting,
    marks_to: UnboundedSender<Vec<Mark>>,
    marks: UnboundedReceiver<Vec<Mark>>,
    /// What went wrong with it, and what is left for a sweep.
    pub(crate) troubles: Vec<String>,
}

impl Keeper {
    pub(crate) fn new(begun: Begun, encrypter: Option<Arc<Encrypter>>, writing: SharedWriting) -> Self {
        let Begun { journal, interval, left } = begun;
        let (marks_to, marks) = unbounded_channel();
        writing.with(|_, writing| writing.be_resumable(true));
        let (journal, troubles) = (Some(journal), Vec::new());
        Self { journal, interval, left, encrypter, writing, marks_to, marks, troubles }
    }

    /// For the streams of a pass.
    pub(crate) fn keeping(&self) -> Option<Keeping> {
        self.journal.as_ref().map(|_| Keeping::new(self.interval, self.marks_to.clone()))
    }

    /// Whether this run goes on with an earlier one.
    pub(crate) fn is_resumed(&self) -> bool {
        self.left.live.is_some()
    }

    /// What a store keeps of a block, once.
    pub(crate) fn take_kept(&mut self, block: usize, store: usize) -> Option<Kept> {
        self.left.kept.remove(&(block, store))
    }

    /// Writes down where the blocks are to be, if that is new.
    pub(crate) fn homes(&mut self, homes: &[usize]) {
        let number = |&store: &usize| u32::try_from(store).expect("nobody has more stores");
        let homes: Vec<u32> = homes.iter().map(number).collect();
        if self.journal.as_ref().is_some_and(|journal| journal.contents.homes.last() != Some(&homes)) {
            self.record(Record::Homes(homes));
        }
    }

    /// Writes down what stores keep by now.
    pub(crate) fn marks(&mut self) {
        while let Ok(marks) = self.marks.try_recv() {
            if !marks.is_empty() {
                self.tagged();
                self.record(Record::Marks(marks));
            }
        }
    }

    /// Writes down what the blocks are. They may be committed then.
    pub(crate) fn made(&mut self, hashes: &Hashes) {
        self.tagged();
        self.record(Record::Made(hashes.blocks.iter().map(|hash| (*hash.as_bytes()).into()).collect()));
    }

    /// Writes down the manifest's bytes, if that is new.
    pub(crate) fn sealed(&mut self, bytes: &[u8]) {
        let is_new =
            |journal: &Journal| journal.contents.sealed.as_ref().is_none_or(|had| had.as_slice() != bytes);
        if self.journal.as_ref().is_some_and(is_new) {
            self.record(Record::Sealed(bytes.to_vec().into()));
        }
    }

    /// Writes down how far the end got, if that is new.
    pub(crate) fn reach(&mut self, end: End) {
        if self.journal.as_ref().is_some_and(|journal| journal.contents.end < Some(end)) {
            self.record(Record::End(end));
        }
    }

    /// Writes down how much of the source has durable tags. What comes behind that is encrypted by another key, if another
    /// run sends it again.
    fn tagged(&mut self) {
        match self.encrypter.as_ref().map(|encrypter| encrypter.tags.sync()) {
            None => {}
            Some(Ok(chunks)) => self.record(Record::Tagged(chunks)),
            Some(Err(error)) => self.lose(&error),
        }
    }

    fn record(&mut self, record: Record) {
        let appended = self.journal.as_mut().map(|journal| journal.append(record));
        if let Some(Err(error)) = appended {
            self.lose(&error);
        }
    }

    /// Goes on without a journal.
    fn lose(&mut self, error: &io::Error) {
        if self.journal.is_some() {
            self.troubles.push(format!("no journal any more: {}", chain(error)));
            self.writing.with(|_, writing| writing.be_resumable(false));
            // A journal that does not say all would be taken for one that does.
            if let Some(Err(error)) = self.journal.take().map(Journal::remove) {
                self.troubles.push(format!("the journal cannot be removed: {}", chain(&error)));
            }
        }
    }

    /// Takes back what is kept in vain, and the journal, if nothing is left to go on with or to take back.
    pub(crate) async fn end(&mut self, verdict: &Verdict, stores: &[Store]) {
        self.marks();
        let (homes, live, is_untidy) = self
            .writing
            .with(|_, writing| (writing.homes().of.clone(), writing.live().clone(), writing.is_untidy()));
        let stay: BTreeSet<(usize, usize)> = match verdict {
            _ if self.writing.with(|_, writing| writing.is_suspended()) => return,
            Verdict::Kept(_) => live.iter().map(|block| (block, homes[block])).collect(),
            _ => BTreeSet::new(),
        };
        let is_resumed = self.is_resumed();
        let is_in_vain = |mark: &Mark| !stay.contains(&(mark.block as usize, mark.store as usize));
        let journal = self.journal.as_ref();
        let has_more =
            is_resumed || journal.is_some_and(|journal| journal.contents.marks.values().any(is_in_vain));
        if matches!(verdict, Verdict::Kept(_)) && has_more {
            self.reach(End::Published);
        }
        let Some(journal) = self.journal.take() else { return };
        let stores: Vec<Option<Store>> = stores.iter().cloned().map(Some).collect();
        let mut troubles = take_back_kept(journal.id, &journal.contents, &stores, &stay).await;
        if is_resumed {
            troubles.extend(take_back_strays(journal.id, &journal.contents, &stores).await);
        }
        if troubles.is_empty() && !is_untidy {
            troubles.extend(journal.remove().err().map(|error| chain(&error)));
        }
        let left = |what| format!("something may be left, `tanner sweep` tries again: {what}");
        self.troubles.extend(troubles.into_iter().map(left));
    }
}
