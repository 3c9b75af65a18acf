//! Which store gets which block, and what the loss of stores would mean.
//!
//! * **facts**: what is known of a store, and what was measured of it.
//! * **domain**: the stores that share the value of a *label*, such as a disk, a host or a zone, and are lost together.
//! * **demand**: so many domains of a label are to be lost without loss of the backup.
//! * **policy**: which of the stores that may have a block is the best.
//!
//! A policy only has wishes. Whatever it wishes, [`Task::place`] keeps the demands, by the real code on what losses
//! would leave, and never gives a store more than it has room for. Nothing in here does I/O or owns a clock.
#![doc = include_str!("makespan.md")]

mod domains;
mod facts;
mod limits;
mod moving;
mod need;
mod place;
mod policy;
pub(crate) mod reading;
mod survive;
pub(crate) mod writing;

pub use domains::{Demand, DemandError, Domains};
pub use facts::{
    Facts, Free, LABEL_BYTES_MAX, LABELS_MAX, LabelError, Labels, Measured, STORE, check_labels,
};
pub use need::{Need, Refusal};
pub(crate) use place::widest_first;
pub use place::{Blocks, Placed, Task};
pub use policy::{Cheapest, Even, Fastest, Policy, SoFar, Survive};
pub use survive::{DomainLosses, Margin, Placement, Proof, Spread};

#[cfg(test)]
mod makespan;
#[cfg(test)]
mod tests;
