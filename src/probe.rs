//! What can be seen of a store without asking it: which machine, which disk, how much is free there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use rustix::fs::{major, minor, statvfs};

use crate::scheduler::{Facts, Free, check_labels};

/// What the URL of a store tells, and the file system below it.
pub(crate) fn facts_of(url: &str) -> Facts {
    let mut facts = Facts::of(url);
    let (inner, here) = (inside(url), this_host());
    if let Some(path) = path_of(inner) {
        facts.derived.insert("host".into(), here.clone());
        // A store that is not there yet will be made where the nearest directory above it is.
        let there = path.ancestors().find_map(|path| Some((path, path.metadata().ok()?)));
        if let Some((path, metadata)) = there {
            let device = metadata.dev();
            facts.derived.insert("disk".into(), format!("{here}:{}:{}", major(device), minor(device)));
            // What has no blocks at all does not count them.
            let room = statvfs(path).ok().filter(|room| room.f_blocks > 0);
            facts.free = room.map(|room| Free { device, bytes: room.f_bavail.saturating_mul(room.f_frsize) });
        }
    } else if let Some(host) = host_of(inner) {
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
        facts.derived.insert("host".into(), if is_here { here } else { host });
    }
    // Whatever a machine is called: what could not be kept counts as unknown.
    facts.derived.retain(|label, value| check_labels([&[(label.clone(), value.clone())].into()]).is_ok());
    facts
}

/// The URL within `limit:…+URL` and `fault:…+URL`, which are where that is.
pub(crate) fn inside(url: &str) -> &str {
    let wrapped = url.split_once(':').filter(|(scheme, _)| ["limit", "fault"].contains(scheme));
    wrapped.and_then(|(_, rest)| rest.split_once('+')).map_or(url, |(_, url)| inside(url))
}

fn path_of(url: &str) -> Option<PathBuf> {
    let bytes: Vec<u8> = percent_decode_str(url.strip_prefix("file://")?).collect();
    Some(PathBuf::from(OsString::from_vec(bytes))).filter(|path| path.is_absolute())
}

/// The host that a URL names, in lower case.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = match scheme {
        "tcp" | "quic" => rest,
        "s3" => {
            rest.split(['?', '&']).find_map(|option| option.strip_prefix("endpoint="))?.split_once("://")?.1
        }
        _ => return None,
    };
    let authority = authority.split(['/', '?', '#']).next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host.to_ascii_lowercase()).filter(|host| !host.is_empty())
}

fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{facts_of, host_of, inside, this_host};

    /// Two directories of one disk would be taken for two disks.
    #[test]
    fn directories_of_one_disk_share_it_and_its_room_whether_they_are_there_or_not() {
        let place = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("file://{}", place.path().join(name).display());
        std::fs::create_dir(place.path().join("a")).unwrap();
        let (one, other) = (facts_of(&url("a")), facts_of(&format!("limit:rate=5M+{}", url("not/yet"))));
        assert_eq!(one.derived, other.derived);
        assert!(one.derived.contains_key("disk") && one.derived["host"] == this_host());
        assert_eq!(one.free.map(|free| free.device), other.free.map(|free| free.device));
        assert!(one.free.is_some());
        // What says that it has no blocks says nothing of room.
        assert_eq!(facts_of("file:///proc/tanner").free, None);
    }

    #[test]
    fn hosts_are_those_of_the_url() {
        for (url, host) in [
            ("tcp://NAS:7000#pin", Some("nas")),
            ("quic://[fe80::1]:7000/x", Some("[fe80::1]")),
            ("tcp://nas", Some("nas")),
            ("s3://bucket/prefix?endpoint=https://s3.example.net:9000&region=eu", Some("s3.example.net")),
            ("s3://bucket/prefix?region=eu", None),
            ("exec:/bin/x?arg=a", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
        assert_eq!(inside("limit:rate=1M+fault:seed=1,loss=0.3+tcp://nas:1"), "tcp://nas:1");
        assert_eq!(facts_of("tcp://localhost:7000").derived["host"], this_host());
        assert!(facts_of("exec:/bin/x?arg=a").derived.is_empty());
    }
}
