//! What the fuzzers feed.

pub mod readers;
