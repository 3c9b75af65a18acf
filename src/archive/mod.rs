//! Several files and directories as one source: a tar archive, made and unpacked on the way.
//!
//! The archive is what any `tar` reads: GNU headers, with times to the nanosecond in pax records. Directories come before
//! what is in them, in the order of the names. Names, modes, times, symbolic links and the holes of sparse files come
//! back; a file of several names comes back as several files, and nothing is kept of owners but their numbers.

mod pack;
mod unpack;

pub use self::unpack::{Unpack, Unpacked};

#[cfg(test)]
mod attacks;
