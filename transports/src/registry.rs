//! Opens a store from its URL. Everyone may add schemes, so no list of transports is closed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Disk, DiskIo, Exec, Fault, Limit, Memory, Result, Transport, TransportError, WeekClock};

/// Maps the schemes of URLs to what opens them.
///
/// The default one knows:
/// - `file:///PATH` and everything without a scheme: a [`Disk`];
/// - `s3://BUCKET/PREFIX?endpoint=URL`: a bucket behind the S3 protocol (feature `s3`);
/// - `exec:/PROGRAM?arg=TEXT`: an [`Exec`], a program that is the store;
/// - `fault:OPTIONS+URL`: a [`Fault`] around what opens from the URL;
/// - `memory:NAME`, short `mem:NAME`: the [`Memory`] of that name in this process, a private one without a name.
///
/// A [`Limit`] needs to know the local time: [`register_limit`](Self::register_limit) adds it.
#[derive(Clone)]
pub struct Registry {
    openers: BTreeMap<String, Arc<Opener>>,
    /// How the disks are read and written that are opened here.
    disk_io: DiskIo,
}

impl Registry {
    /// A registry that opens nothing but what is registered.
    pub fn empty() -> Self {
        Self { openers: BTreeMap::new(), disk_io: DiskIo::Auto }
    }

    /// A registry of the stores that outlive the process, all but memory, and of what is put around them.
    pub fn lasting() -> Self {
        let mut registry = Self::empty();
        registry.disk_io(DiskIo::Auto);
        registry.register("exec", |url| Ok(Arc::new(Exec::from_url(url)?)));
        #[cfg(feature = "s3")]
        registry.register("s3", |url| Ok(Arc::new(crate::S3::from_url(url)?)));
        registry.register_wrapper("fault", |registry, url| Ok(Arc::new(Fault::from_url(registry, url)?)));
        registry
    }

    /// From here on, opens `file:` URLs and paths as disks that are read and written in this way.
    pub fn disk_io(&mut self, io: DiskIo) -> &mut Self {
        self.disk_io = io;
        self.register("file", move |url| Ok(Arc::new(Disk::from_url(url)?.with_io(io)?)))
    }

    /// Opens URLs of `scheme` (what stands before the first colon, in any case) with `opener`, which is given
    /// the whole URL. Replaces an earlier opener of the scheme. An opener does not wait: it connects when the
    /// transport is first used.
    pub fn register<F>(&mut self, scheme: &str, opener: F) -> &mut Self
    where
        F: Fn(&str) -> Result<Arc<dyn Transport>> + Send + Sync + 'static,
    {
        self.register_wrapper(scheme, move |_, url| opener(url))
    }

    /// As [`register`](Self::register), for what opens a transport around another: the opener is also given the
    /// registry, to open the inner URL with.
    pub fn register_wrapper<F>(&mut self, scheme: &str, opener: F) -> &mut Self
    where
        F: Fn(&Self, &str) -> Result<Arc<dyn Transport>> + Send + Sync + 'static,
    {
        self.openers.insert(scheme.to_ascii_lowercase(), Arc::new(opener));
        self
    }

    /// Opens `limit:OPTIONS+URL` as a [`Limit`], with `clock` for the local time of its timetable.
    pub fn register_limit(&mut self, clock: WeekClock) -> &mut Self {
        self.register_wrapper("limit", move |registry, url| {
            Ok(Arc::new(Limit::from_url(registry, url, clock.clone())?))
        })
    }

    /// Opens the store at `url`, which may also be a path.
    ///
    /// # Errors
    /// `UnknownScheme`, or what the opener reports, such as `BadUrl`.
    pub fn open(&self, url: &str) -> Result<Arc<dyn Transport>> {
        if url.len() > URL_BYTES_MAX {
            let url = url.chars().take(80).collect();
            return Err(TransportError::BadUrl { url, reason: "it is longer than 16 KiB" });
        }
        let Some(scheme) = scheme(url) else {
            return Ok(Arc::new(Disk::open(url)?.with_io(self.disk_io)?));
        };
        match self.openers.get(&scheme) {
            Some(opener) => opener(self, url),
            None => {
                let known: Vec<_> = self.schemes().collect();
                Err(TransportError::UnknownScheme { scheme, known: known.join(", ") })
            }
        }
    }

    /// The schemes that can be opened, in order.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.openers.keys().map(String::as_str)
    }
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self::lasting();
        registry.register("memory", open_memory).register("mem", open_memory);
        registry
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.openers.keys()).finish()
    }
}

/// Bytes of the longest URL or path: it may be a wrapper around a wrapper and so on, and each takes some of the stack.
const URL_BYTES_MAX: usize = 16 * 1024;

type Opener = dyn Fn(&Registry, &str) -> Result<Arc<dyn Transport>> + Send + Sync;

/// What stands before the first colon, if it can be a scheme. Nothing else can: `./a:b` and `/a:b` are paths.
fn scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once(':')?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(allowed);
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

fn open_memory(url: &str) -> Result<Arc<dyn Transport>> {
    let memory = match url.split_once(':') {
        None | Some((_, "")) => Memory::new(),
        Some((_, name)) => Memory::named(name),
    };
    Ok(Arc::new(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(url: &str) -> String {
        Registry::default().open(url).unwrap().url().to_owned()
    }

    #[test]
    fn paths_and_file_urls_open_the_same_directory() {
        assert_eq!(url_of("/mnt/a b/"), "file:///mnt/a%20b");
        assert_eq!(url_of("file:///mnt/a%20b"), "file:///mnt/a%20b");
        assert_eq!(url_of("/mnt/a:b"), "file:///mnt/a%3Ab");
        let here = url_of(".");
        assert_eq!(url_of("./a"), format!("{here}/a"));
        assert_eq!(url_of("stores/a"), format!("{here}/stores/a"));
        assert_eq!(url_of("./mem:a"), format!("{here}/mem%3Aa"));
    }

    #[test]
    fn what_a_transport_calls_itself_opens_it_again() {
        for url in ["/mnt/ü%41", "memory:", "mem:again"] {
            assert_eq!(url_of(&url_of(url)), url_of(url));
        }
    }

    #[tokio::test]
    async fn named_memory_is_one_store_and_unnamed_memory_is_private() {
        let registry = Registry::default();
        let name = crate::ObjectName::new("id/7").unwrap();
        for url in ["mem:shared", "memory:"] {
            registry.open(url).unwrap().put(&name, None).await.unwrap().commit().await.unwrap();
        }
        assert!(registry.open("memory:shared").unwrap().stat(&name).await.is_ok());
        assert!(registry.open("mem:other").unwrap().stat(&name).await.is_err());
        assert!(registry.open("memory:").unwrap().stat(&name).await.is_err());
    }

    #[test]
    fn users_add_their_own_schemes() {
        let mut registry = Registry::default();
        registry.register("Tape+x", |url| Ok(Arc::new(Memory::named(url))));
        assert_eq!(registry.open("tape+X:3").unwrap().url(), "memory:tape+X:3");
        assert!(registry.schemes().any(|scheme| scheme == "tape+x"));
    }

    #[test]
    fn an_unknown_scheme_names_the_known_ones_and_no_secret() {
        let message = Registry::default().open("s4://user:secret@host/bucket").unwrap_err().to_string();
        assert!(message.contains("\"s4\"") && message.contains("mem, memory"), "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(matches!(Registry::default().open(""), Err(TransportError::BadUrl { .. })));
    }
}
