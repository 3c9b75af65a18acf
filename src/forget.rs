//! Forgetting a backup: its manifests go first, from all stores, and only then its blocks.
//!
//! As long as one manifest may be left no block is touched, so that whatever cuts a run off, a backup that can be seen
//! can be restored. A journal says that the rest is to go: a sweep, or the same command again, ends what was begun.

use std::io::ErrorKind;

use futures_util::{StreamExt, TryStreamExt, stream};
use tanner_transports::{ObjectName, TransportError};

use crate::error::Error;
use crate::fetch::{Trouble, chain, no_such_backup};
use crate::id::BackupId;
use crate::journal::{End, Header, Journal, Journals, Record, VERSION};
use crate::store::{MANIFEST, Store, manifest_name};
use crate::sweep::{AT_ONCE, in_time, unanswered};

/// A backup to forget.
pub struct Forget<'a> {
    /// Its id.
    pub id: BackupId,
    /// Its name, for whoever ends what was begun; empty if it is not known.
    pub name: &'a str,
    /// The stores that it is to be deleted from: all that have anything of it.
    pub stores: &'a [Store],
    /// Where to write down that it is to go; nowhere if there are no journals.
    pub journals: Option<&'a Journals>,
    /// Whether to do without a journal where none can be made.
    pub is_optional: bool,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// What stores have of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remains {
    /// Objects, manifests too.
    pub objects: usize,
    /// Manifests.
    pub manifests: usize,
}

impl Forget<'_> {
    /// What would be deleted.
    ///
    /// # Errors
    /// If there is nothing, or a store cannot be asked.
    pub async fn look(&self) -> Result<Remains, Error> {
        let mut remains = Remains::default();
        for store in self.stores {
            let names = names(store, self.id).await?;
            remains.objects += names.len();
            remains.manifests += names.iter().filter(|name| name.part() == MANIFEST).count();
        }
        if remains == Remains::default() {
            return Err(no_such_backup(self.id, self.stores));
        }
        Ok(remains)
    }

    /// Deletes all that the stores have of the backup, and says what kept anything from going.
    ///
    /// # Errors
    /// If there is nothing to delete, a store cannot be asked, or the backup is being made or taken back: then nothing was
    /// deleted.
    pub async fn run(&self) -> Result<Vec<Trouble>, Error> {
        self.look().await?;
        let journal = self.journals.map(|journals| self.journal(journals)).transpose()?.flatten();
        let mut troubles = delete(self.id, self.stores).await;
        if let (true, Some(journal)) = (troubles.is_empty(), journal)
            && let Err(error) = journal.remove()
        {
            troubles.push(Trouble {
                store: String::new(),
                what: format!("its journal cannot be removed: {error}"),
            });
        }
        Ok(troubles)
    }

    /// A journal that says what is to go, and where from.
    fn journal(&self, journals: &Journals) -> Result<Option<Journal>, Error> {
        let id = self.id;
        let begun = journals.open(id).and_then(|found| match found {
            // It may be of other stores: those that were named now are those that are left.
            Some(journal) if journal.contents.end == Some(End::Forgetting) => {
                journal.remove().map(|()| false)
            }
            other => Ok(other.is_some()),
        });
        let created = match begun {
            Ok(false) => journals.create(id, self.header()),
            Ok(true) => return Err(Error::ForgetUnfinished { id }),
            Err(error) => Err(error),
        };
        let written = created.and_then(|mut journal| {
            journal.append(Record::End(End::Forgetting))?;
            Ok(journal)
        });
        match written {
            Ok(journal) => Ok(Some(journal)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::JournalBusy { id }),
            Err(_) if self.is_optional => Ok(None),
            Err(source) => Err(Error::Journal { path: journals.directory().to_owned(), source }),
        }
    }

    fn header(&self) -> Header {
        Header {
            version: VERSION,
            created: self.now,
            source: self.name.into(),
            stamp: [0; 4],
            shape: String::new(),
            stores: self.stores.iter().map(|store| store.url().to_owned()).collect(),
            survive: Vec::new(),
            block_bytes: Vec::new(),
            readers: Vec::new(),
            keys: None,
            chunk_steps: 0,
        }
    }
}

/// Deletes the manifests, and when none is left everything else. Says what kept anything from going.
pub(crate) async fn delete(id: BackupId, stores: &[Store]) -> Vec<Trouble> {
    let (mut objects, mut troubles) = (Vec::new(), Vec::new());
    for store in stores {
        match names(store, id).await {
            Ok(names) => objects.extend(names.into_iter().map(|name| (store, name))),
            Err(error) => troubles.push(trouble(store, chain(&error))),
        }
    }
    objects.retain(|(_, name)| name.part() != MANIFEST);
    // Also where none is seen: an earlier run may have been cut off before that was durable, and its store tidy.
    let manifests = stores.iter().map(|store| (store, manifest_name(id))).collect();
    for objects in [manifests, objects] {
        if troubles.is_empty() {
            troubles = delete_objects(objects).await;
        }
    }
    troubles
}

/// The first trouble of each store.
async fn delete_objects(objects: Vec<(&Store, ObjectName)>) -> Vec<Trouble> {
    let delete = |(store, name): (_, ObjectName)| async move {
        let store: &Store = store;
        let deleted = in_time(store.transport.delete(&name)).await;
        deleted.err().map(|error| trouble(store, unanswered(store, &error)))
    };
    let deleted: Vec<_> = stream::iter(objects).map(delete).buffer_unordered(AT_ONCE).collect().await;
    let mut troubles: Vec<Trouble> = deleted.into_iter().flatten().collect();
    troubles.sort_by(|a, b| a.store.cmp(&b.store));
    troubles.dedup_by(|a, b| a.store == b.store);
    troubles
}

/// The names of all that a store has of a backup. A store that is not there may only not be mounted: that is an error.
async fn names(store: &Store, id: BackupId) -> Result<Vec<ObjectName>, TransportError> {
    store.transport.list(&id.to_string()).await?.try_collect().await
}

fn trouble(store: &Store, what: String) -> Trouble {
    Trouble { store: store.url().to_owned(), what }
}
