//! Puts, gets, lists and deletes named objects in places that may fail.
//!
//! A backup is a set of objects, and where they live should matter to nothing but this crate. So there is one
//! small trait, [`Transport`], whose documentation is a contract; [`Memory`] and [`Disk`] keep it, [`Fault`] and
//! [`Limit`] are put around any of them, a [`Registry`] opens them from a URL, and anybody may plug in another from Rust. The module `conformance`
//! (feature `conformance`) turns the contract into named trials: a new transport starts by running them.
//!
//! ```
//! # use tanner_transports::{ObjectName, Registry, Result};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let store = Registry::default().open("memory:")?;
//! let name = ObjectName::new("00c0ffee/manifest")?;
//!
//! let mut put = store.put(&name, Some(5)).await?;
//! put.write("bytes".into()).await?;
//! put.commit().await?;
//!
//! assert_eq!(store.stat(&name).await?.length, 5);
//! assert_eq!(store.get_ranges(&name, &[1..3, 0..1]).await?, ["yt", "b"]);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "conformance")]
pub mod conformance;
mod disk;
mod error;
mod exec;
mod exposed;
mod fault;
mod limit;
mod memory;
mod name;
pub mod net;
mod registry;
pub mod ring;
#[cfg(feature = "s3")]
mod s3;
pub mod server;
mod token;
mod transport;
pub mod wire;
mod wrapped;

/// A proof, as [`Transport::prove`] gives it.
pub use blake3::Hash;
pub use disk::{Disk, DiskIo, Trash, TrashClock, Trashed};
pub use error::{Result, Target, TransportError};
pub use exec::Exec;
pub use exposed::exposed_mode;
pub use fault::{Fault, Faults};
pub use limit::{Limit, Limiter, Limits, Timetable, TimetableError, WeekClock};
pub use memory::Memory;
pub use name::{NAME_BYTES_MAX, NameError, ObjectName};
pub use registry::Registry;
#[cfg(feature = "s3")]
pub use s3::{Patience, S3, S3Keys};
pub use transport::{
    ByteStream, Capabilities, KEPT_TIME, KEPT_TOKEN_BYTES_MAX, Kept, NameStream, Nonce, ObjectMeta,
    PIECE_BYTES_MAX, Put, Transport,
};
