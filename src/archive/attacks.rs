//! Archives made by hand, which nobody may unpack to anywhere but where they are told to.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tar::{EntryType, Header};

use super::{Unpack, Unpacked};
use crate::error::Error;
use crate::resources::Stop;
use crate::stream::Stream;

/// An entry whose names are taken as they are.
fn entry(name: &str, kind: EntryType, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(7);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let padding = vec![0; data.len().next_multiple_of(512) - data.len()];
    [header.as_bytes(), data, &padding].concat()
}

fn file(name: &str) -> Vec<u8> {
    entry(name, EntryType::Regular, "", 0o644, b"evil")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(name, EntryType::Symlink, target, 0o777, b"")
}

fn directory(name: &str, mode: u32) -> Vec<u8> {
    entry(name, EntryType::Directory, "", mode, b"")
}

/// Unpacks into `out` below a directory, beside which there is something precious.
fn unpack(place: &Path, entries: &[Vec<u8>], allow_setid: bool) -> Result<Unpacked, Error> {
    fs::create_dir_all(place.join("precious")).unwrap();
    fs::write(place.join("precious/file"), "precious").unwrap();
    let mut archive = tempfile::tempfile().unwrap();
    archive.write_all(&[entries.concat(), vec![0; 1024]].concat()).unwrap();
    Unpack { directory: place.join("out/"), allow_setid }.run(&archive, &Stop::default())
}

/// Refused by its name, and not a trace of any of it is left.
#[track_caller]
fn refused(entries: &[Vec<u8>], of: &str, why: &str) {
    let place = tempfile::tempdir().unwrap();
    let error = unpack(place.path(), entries, false).unwrap_err();
    let Error::Archive { name, what } = &error else { panic!("{error}") };
    assert!(name == of && what.contains(why), "{error}");
    assert_eq!(error.exit_code(), 1);
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["precious"]);
    let precious: Vec<_> = fs::read_dir(place.path().join("precious")).unwrap().collect();
    assert_eq!(precious.len(), 1);
    assert_eq!(fs::read(place.path().join("precious/file")).unwrap(), b"precious");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["/etc/passwd", "//x", "../precious/file", "a/../../precious/x", "a/..", ".."] {
        let why = if name.starts_with('/') { "absolute" } else { "leads out" };
        refused(&[file(name)], name, why);
        refused(&[directory(name, 0o755)], name, why);
        refused(&[link(name, "x")], name, why);
    }
    refused(&[file("./")], "./", "no name");
}

/// The oldest trick: a link first, and then something through it.
#[test]
fn nothing_is_written_through_a_link() {
    for target in ["../precious", "/", ".", "x"] {
        let through = "leads through something that is no directory";
        refused(&[link("x", target), file("x/file")], "x/file", through);
        refused(&[link("x", target), directory("x/y", 0o755)], "x/y", through);
        refused(&[link("x", target), directory("x", 0o777)], "x", through);
        refused(&[link("x", target), file("x")], "x", "is there already");
        refused(&[directory("d", 0o755), link("d/x", target), file("d/x/y/file")], "d/x/y/file", through);
    }
    refused(&[link("x", "../precious/file"), link("x", "y")], "x", "is there already");
    refused(&[file("x"), link("x", "../precious/file")], "x", "is there already");
    refused(&[file("x"), file("x/y")], "x/y", "leads through");
    refused(&[directory("x", 0o755), link("x", "../precious")], "x", "is there already");
}

#[test]
fn what_no_backup_of_tanner_holds_is_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        refused(&[entry("x", kind, "", 0o666, b"")], "x", "device");
    }
    refused(&[entry("x", EntryType::Link, "../precious/file", 0o644, b"")], "x", "another name");
    refused(&[entry("x", EntryType::Link, "/etc/passwd", 0o644, b"")], "x", "another name");
    refused(&[entry("x", EntryType::new(b'V'), "", 0o644, b"")], "x", "kind");
    refused(&[link("x", "")], "x", "link to nothing");
}

#[test]
fn files_that_run_as_somebody_else_are_refused_unless_asked_for() {
    for mode in [0o4755, 0o2755, 0o6711] {
        refused(&[entry("x", EntryType::Regular, "", mode, b"")], "x", "--setid");
        let place = tempfile::tempdir().unwrap();
        unpack(place.path(), &[entry("x", EntryType::Regular, "", mode, b"")], true).unwrap();
        let metadata = place.path().join("out/x").metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
    }
    refused(&[directory("x", 0o2755)], "x", "--setid");
}

#[test]
fn archives_that_are_cut_off_broken_or_boundless_are_refused() {
    let mut cut_off = entry("x", EntryType::Regular, "", 0o644, &[1; 4096]);
    cut_off.truncate(1024);
    refused(&[cut_off], "x", "cut off");
    refused(&[vec![1; 1024]], "a broken entry", "");
    // Of a name of gigabytes all would be read into memory.
    let mut header = Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    refused(&[header.as_bytes().to_vec(), vec![b'a'; 9 << 20]], "a broken entry", "longer than any");
    let time = |text: &str| {
        let record = format!("mtime={text}\n");
        let length =
            (1..).find(|length: &usize| length.to_string().len() + 1 + record.len() == *length).unwrap();
        let record = format!("{length} {record}");
        [entry("t", EntryType::XHeader, "", 0o644, record.as_bytes()), file("x")]
    };
    for text in ["", "soon", "1e9", "9999999999999999999999", "1.2.3", "--1"] {
        refused(&time(text), "x", "time");
    }
}

/// What is there belongs to somebody.
#[test]
fn nothing_is_unpacked_over_what_is_there() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("out")).unwrap();
    unpack(place.path(), &[file("x")], false).unwrap();
    assert_eq!(fs::read(place.path().join("out/x")).unwrap(), b"evil");
    let error = unpack(place.path(), &[file("y")], false).unwrap_err();
    assert!(matches!(error, Error::OutputNotEmpty { .. }), "{error}");
    assert!(!place.path().join("out/y").exists());
    fs::remove_dir_all(place.path().join("out")).unwrap();
    symlink("precious", place.path().join("out")).unwrap();
    // With a slash behind it, the link is what it leads to.
    assert!(unpack(place.path(), &[file("y")], false).is_err());
    assert_eq!(fs::read_dir(place.path().join("precious")).unwrap().count(), 1);
}

/// Packs with the archive's own code.
fn packed(paths: &[&Path]) -> Result<File, Error> {
    let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    let mut stream = Stream::archive(&paths)?;
    let stop = Stop::default();
    let mut archive = tempfile::tempfile().unwrap();
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.fill(&mut buffer, &stop)? {
            0 => break,
            count => archive.write_all(&buffer[..count]).unwrap(),
        }
    }
    stream.end(&stop)?;
    Ok(archive)
}

/// Names, order, modes, times, links and holes: what the words promise.
#[test]
fn what_was_packed_is_unpacked_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    let long = "n".repeat(200);
    fs::create_dir_all(from.join("a/closed")).unwrap();
    fs::create_dir(from.join(&long)).unwrap();
    fs::write(from.join("a/closed/file"), "text").unwrap();
    fs::write(from.join(&long).join(&long), b"").unwrap();
    symlink("../../nowhere", from.join("a/link")).unwrap();
    symlink("/absolute", from.join("z")).unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"middle", 32 << 20).unwrap();
    drop(sparse);
    let odd = from.join("odd");
    fs::write(&odd, b"odd").unwrap();
    let times = [
        (odd.clone(), UNIX_EPOCH - Duration::new(10, 250)),
        (from.join("a/closed"), UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789)),
    ];
    for (path, time) in &times {
        File::open(path).unwrap().set_modified(*time).unwrap();
    }
    for (path, mode) in [("a/closed/file", 0o400), ("a/closed", 0o500), ("odd", 0o640), ("a", 0o1777)] {
        fs::set_permissions(from.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let archive = packed(&[&from]).unwrap();
    let unpack = Unpack { directory: place.path().join("to"), allow_setid: false };
    let unpacked = unpack.run(&archive, &Stop::default()).unwrap();
    assert_eq!(unpacked, Unpacked { files: 4, directories: 4, links: 2 });
    let absolute = |path: &Path| path.strip_prefix("/").unwrap().to_owned();
    let to = place.path().join("to").join(absolute(&from));
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(&from).sort_by_file_name() {
        let entry = entry.unwrap();
        let there = to.join(entry.path().strip_prefix(&from).unwrap());
        let (was, is) = (entry.metadata().unwrap(), there.symlink_metadata().unwrap());
        let all = |m: &fs::Metadata| (m.mode(), m.mtime(), m.mtime_nsec());
        assert_eq!(all(&was), all(&is), "{}", there.display());
        match () {
            () if was.is_symlink() => {
                assert_eq!(fs::read_link(&there).unwrap(), fs::read_link(entry.path()).unwrap());
            }
            () if was.is_file() => {
                assert!(fs::read(&there).unwrap() == fs::read(entry.path()).unwrap(), "{}", there.display());
                assert!(is.blocks() <= was.blocks().max(8), "{} has no holes", there.display());
            }
            () => {}
        }
        seen += 1;
    }
    assert_eq!(seen, 10);
    // Any tar reads it.
    let path = place.path().join("archive.tar");
    let mut whole = vec![0; archive.metadata().unwrap().len() as usize];
    archive.read_exact_at(&mut whole, 0).unwrap();
    fs::write(&path, whole).unwrap();
    if let Ok(run) =
        std::process::Command::new("tar").arg("--compare").arg("-f").arg(&path).arg("-C").arg("/").output()
    {
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    fs::set_permissions(to.join("a/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(from.join("a/closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// Half of it would be of one moment and half of another.
#[test]
fn a_file_that_changes_while_it_is_packed_ends_the_archive() {
    let place = tempfile::tempdir().unwrap();
    let (path, stop) = (place.path().join("file"), Stop::default());
    for change in [0, (1 << 20) - 1, (1 << 20) + 1, 2 << 20] {
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        let mut stream = Stream::archive(std::slice::from_ref(&path)).unwrap();
        // The pipe does not take it all, so it is not read yet.
        let mut buffer = vec![0; 1024];
        stream.fill(&mut buffer, &stop).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(change).unwrap();
        while stream.fill(&mut buffer, &stop).unwrap() > 0 {}
        let error = stream.end(&stop).unwrap_err();
        assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
        assert_eq!(error.exit_code(), 7);
    }
    // Its size is 0 and its content is not.
    let error = packed(&[Path::new("/proc/cpuinfo")]).unwrap_err();
    assert!(matches!(error, Error::SourceChanged { .. }), "{error}");
}

#[test]
fn two_files_of_one_name_in_the_archive_are_refused_before_anything_is_read() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("a")).unwrap();
    fs::write(place.path().join("a/x"), b"").unwrap();
    for paths in [["a", "a"], ["a", "a/x"], ["a/x", "a"], ["a/./x", "b/../a/x"]] {
        let paths = paths.map(|path| place.path().join(path));
        let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
        let refused = packed(&paths);
        assert!(matches!(refused, Err(Error::ArchivedTwice { .. } | Error::Source { .. })), "{paths:?}");
    }
}

/// Sockets and pipes hold nothing that could be kept.
#[test]
fn what_cannot_be_packed_is_left_out_and_named() {
    let place = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
    fs::write(place.path().join("file"), b"").unwrap();
    let (mut stream, stop) = (Stream::archive(&[place.path().to_owned()]).unwrap(), Stop::default());
    let whole = stream.whole_within(1 << 20, &stop).unwrap().unwrap();
    let left_out = stream.left_out().unwrap().lock().unwrap().clone();
    assert_eq!(left_out, [place.path().canonicalize().unwrap().join("socket")]);
    let mut archive = tar::Archive::new(whole.as_slice());
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    assert_eq!(names.filter(|name| name.ends_with("file")).count(), 1);
}
