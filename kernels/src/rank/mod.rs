//! Whether live blocks restore a file, for every length: a matter of the rank of polynomial matrices.
//!
//! Two engines. [`RankTest`] takes any code and any loss and runs as a wave over a few periods. [`Minors`] takes all
//! losses of a shift code at once. Both give proofs, not samples of one length. And two searches for what random losses
//! seldom meet: [`Climb`] for the worst loss, [`LightKernels`] for what the draws of a seed put too close together.

mod climb;
mod light;
mod minors;
mod wave;

pub use climb::Climb;
pub use light::LightKernels;
pub use minors::Minors;
pub use wave::RankTest;
