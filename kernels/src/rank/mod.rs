//! Whether live blocks restore a file, for every length: a matter of the rank of polynomial matrices.
//!
//! Two engines. [`RankTest`] takes any code and any loss and runs as a wave over a few periods. [`Minors`] takes all
//! losses of a shift code at once. Both give proofs, not samples of one length.

mod minors;
mod wave;

pub use minors::Minors;
pub use wave::RankTest;
