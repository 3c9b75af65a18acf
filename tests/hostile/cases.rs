//! The files of cases: what is in them is explained at the top of each, and how it is written in `data/README.md`.

use std::fmt;
use std::path::{Path, PathBuf};

/// One input, and what is to become of it.
pub(crate) struct Case {
    /// File and line.
    pub(crate) place: String,
    /// Whose input it is.
    pub(crate) reader: String,
    pub(crate) name: String,
    /// The lines that describe it.
    pub(crate) lines: Vec<String>,
    /// Words of the refusal; none if it is to be taken.
    pub(crate) refused: Option<String>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.reader, self.name)
    }
}

/// All cases of all files.
pub(crate) fn all() -> Vec<Case> {
    let files = std::fs::read_dir(below_tests("hostile/data")).unwrap().map(|file| file.unwrap().file_name());
    let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
    files.retain(|name| name.ends_with(".txt"));
    files.sort();
    let text = |name: &String| String::from_utf8(file(&format!("hostile/data/{name}"))).unwrap();
    files.iter().flat_map(|name| parse(name, &text(name))).collect()
}

fn parse(file: &str, text: &str) -> Vec<Case> {
    let (mut cases, mut reader, mut name, mut lines) = (Vec::new(), "", "", Vec::new());
    for (number, line) in text.lines().enumerate() {
        let place = format!("tests/hostile/data/{file}:{}", number + 1);
        if let Some(title) = line.strip_prefix('[') {
            reader = title.strip_suffix(']').unwrap_or_else(|| panic!("{place}: no `]`"));
        } else if let Some(step) = line.strip_prefix("  ") {
            match step.strip_prefix("! ").map(str::to_owned) {
                None if step != "taken" => {
                    lines.push(step.to_owned());
                    continue;
                }
                refused => {
                    let (reader, name, lines) =
                        (reader.to_owned(), name.to_owned(), std::mem::take(&mut lines));
                    cases.push(Case { place, reader, name, lines, refused });
                }
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            assert!(lines.is_empty(), "{place}: the case before has no end");
            name = line;
        }
    }
    assert!(lines.is_empty(), "{file}: the last case has no end");
    cases
}

/// The bytes that the lines of a case make; many, if it has the step `each cut`.
pub(crate) fn bytes(lines: &[String]) -> Vec<Vec<u8>> {
    let (mut made, mut cut) = (Vec::new(), false);
    for line in lines {
        let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("`{line}`: no number"));
        match line.split_once(' ').unwrap_or((line, "")) {
            ("|", text) => made.extend([text.as_bytes(), b"\n"].concat()),
            ("from", path) => made.extend(file(path)),
            ("cut", count) => made.truncate(made.len() - number(count)),
            ("put", rest) => {
                let (at, bytes) = rest.split_once(' ').expect("put AT BYTES");
                let (at, bytes) = (number(at), notation(bytes));
                made[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            ("record", bytes) => {
                let body = notation(bytes);
                made.extend((body.len() as u32).to_le_bytes());
                made.extend(&blake3::hash(&body).as_bytes()[..16]);
                made.extend(body);
            }
            ("each", "cut") => cut = true,
            _ => made.extend(notation(line)),
        }
    }
    if cut { (0..made.len()).map(|length| made[..length].to_vec()).collect() } else { vec![made] }
}

/// Pairs of hexadecimal digits and "text", each as often as a `*` behind it says.
pub(crate) fn notation(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        let word_end = |text: &str| text.find([' ', '*', '"']).unwrap_or(text.len());
        let (item, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, after) =
                    quoted.split_once('"').unwrap_or_else(|| panic!("`{line}`: no end of the text"));
                (text.as_bytes().to_vec(), after)
            }
            None => (hex(&rest[..word_end(rest)]), &rest[word_end(rest)..]),
        };
        let (times, after) = match after.strip_prefix('*') {
            Some(after) => {
                (after[..word_end(after)].parse().expect("a number behind *"), &after[word_end(after)..])
            }
            None => (1, after),
        };
        bytes.extend(item.repeat(times));
        rest = after.trim_start();
    }
    bytes
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let pair = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len())
        .step_by(2)
        .map(|at| pair(at).unwrap_or_else(|| panic!("`{text}`: not hexadecimal")))
        .collect()
}

/// A file below `tests/`.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let path = below_tests(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn below_tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}
