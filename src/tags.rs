//! Tags of what was read of a source: by them a second reading of it is known for the same, before any of it is encrypted.
//!
//! A row of tags, one for each data block, belongs to each chunk. Rows are added in order, in the first pass, and stay
//! what they are. They are in a file beside the journal, 16 bytes for each data block of a chunk; without a journal, or
//! where that file fails, in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was read of one data block in one chunk, as far as anybody has to know it.
pub(crate) type Tag = [u8; TAG_BYTES];

/// The tags of one backup.
pub(crate) struct Tags {
    /// Tags in a row; none if no row is kept.
    data: usize,
    file: Option<File>,
    /// Rows that an earlier run made.
    before: u64,
    rows: Mutex<Rows>,
}

struct Rows {
    count: u64,
    in_file: u64,
    /// Those behind the ones in the file.
    in_memory: Vec<Tag>,
    /// What became of the file.
    failed: Option<io::Error>,
}

impl Tags {
    /// For so many data blocks, with the rows of an earlier run that are durable in a file.
    ///
    /// # Errors
    /// If they are not.
    pub(crate) fn new(data: usize, file: Option<File>, before: u64) -> io::Result<Self> {
        if let Some(file) = &file
            && file.metadata()?.len() < before * row_bytes(data)
        {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "tags of what was read before are missing",
            ));
        }
        let in_file = if file.is_some() { u64::MAX } else { 0 };
        let rows = Rows { count: before, in_file, in_memory: Vec::new(), failed: None };
        Ok(Self { data, file, before, rows: Mutex::new(rows) })
    }

    /// Of a source that is read once.
    pub(crate) fn none() -> Self {
        let rows = Rows { count: 0, in_file: 0, in_memory: Vec::new(), failed: None };
        Self { data: 0, file: None, before: 0, rows: Mutex::new(rows) }
    }

    /// Whether an earlier run made the tags of a chunk.
    pub(crate) fn is_of_before(&self, chunk: u64) -> bool {
        chunk < self.before
    }

    /// The row of a chunk, if it was read before.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn row(&self, chunk: u64) -> io::Result<Option<Vec<Tag>>> {
        let rows = self.rows();
        match &self.file {
            _ if chunk >= rows.count => Ok(None),
            Some(file) if chunk < rows.in_file => {
                let mut row = vec![[0; TAG_BYTES]; self.data];
                file.read_exact_at(row.as_flattened_mut(), chunk * row_bytes(self.data))?;
                Ok(Some(row))
            }
            _ => {
                let first = usize::try_from(chunk - rows.in_file).expect("in memory") * self.data;
                Ok(Some(rows.in_memory[first..][..self.data].to_vec()))
            }
        }
    }

    /// Adds the row of the next chunk.
    ///
    /// # Panics
    /// If it is another's, or not whole.
    pub(crate) fn add(&self, chunk: u64, row: &[Tag]) {
        if self.data == 0 {
            return;
        }
        let mut rows = self.rows();
        assert_eq!((chunk, row.len()), (rows.count, self.data), "the first pass reads all, in order");
        if let Some(file) = &self.file
            && rows.in_memory.is_empty()
            && let Err(error) = file.write_all_at(row.as_flattened(), chunk * row_bytes(self.data))
        {
            (rows.in_file, rows.failed) = (chunk, Some(error));
        }
        if chunk >= rows.in_file {
            rows.in_memory.extend(row);
        }
        rows.count += 1;
    }

    /// Makes durable what is there; tells how many rows.
    ///
    /// # Errors
    /// If they cannot be made so.
    pub(crate) fn sync(&self) -> io::Result<u64> {
        let mut rows = self.rows();
        match (&self.file, rows.failed.take()) {
            (Some(file), None) if rows.in_memory.is_empty() => {
                let count = rows.count;
                drop(rows);
                file.sync_data().map(|()| count)
            }
            (_, Some(error)) => Err(error),
            _ => Err(io::Error::other("tags are in memory only")),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row_bytes(data: usize) -> u64 {
    (data * TAG_BYTES) as u64
}

pub(crate) const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{Tag, Tags};

    fn row(chunk: u64) -> [Tag; 3] {
        [0, 1, 2].map(|block| [chunk as u8 * 3 + block; 16])
    }

    #[test]
    fn rows_are_found_again_in_a_file_in_memory_and_where_the_file_failed() {
        let file = || tempfile::tempfile().unwrap();
        let full = || File::options().read(true).write(true).open("/dev/full").unwrap();
        for (tags, is_durable) in [
            (Tags::new(3, Some(file()), 0).unwrap(), true),
            (Tags::new(3, None, 0).unwrap(), false),
            (Tags::new(3, Some(full()), 0).unwrap(), false),
        ] {
            (0..5).for_each(|chunk| tags.add(chunk, &row(chunk)));
            (0..5).for_each(|chunk| assert_eq!(tags.row(chunk).unwrap().unwrap(), row(chunk)));
            assert_eq!(tags.row(5).unwrap(), None);
            assert_eq!(tags.sync().ok(), is_durable.then_some(5));
        }
    }

    /// What a killed run wrote behind its last checkpoint may be torn: it counts for nothing.
    #[test]
    fn rows_of_an_earlier_run_are_there_and_no_more_of_them_than_were_durable() {
        let file = tempfile::tempfile().unwrap();
        let first = Tags::new(3, Some(file.try_clone().unwrap()), 0).unwrap();
        (0..5).for_each(|chunk| first.add(chunk, &row(chunk)));
        let second = Tags::new(3, Some(file.try_clone().unwrap()), 3).unwrap();
        assert_eq!((second.row(2).unwrap().unwrap(), second.row(3).unwrap()), (row(2).to_vec(), None));
        second.add(3, &row(9));
        assert_eq!((second.row(3).unwrap().unwrap(), second.sync().unwrap()), (row(9).to_vec(), 4));
        assert!(second.is_of_before(2) && !second.is_of_before(3));
        assert!(Tags::new(3, Some(file), 6).is_err());
    }
}
