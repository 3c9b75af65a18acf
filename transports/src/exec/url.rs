//! `exec:` URLs: a program and its arguments. Both are any bytes, so both ways go through percent encoding.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::{Result, TransportError};

/// What an `exec:` URL says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    /// Words of the greeting that are not expected.
    pub(super) without: Vec<&'static str>,
}

impl Command {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let bad = |reason| TransportError::BadUrl { url: url.to_owned(), reason };
        let rest = match url.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("exec") => rest,
            _ => return Err(bad("it does not start with exec:")),
        };
        if rest.contains('#') {
            return Err(bad("# is written %23"));
        }
        let (program, query) = rest.split_once('?').unwrap_or((rest, ""));
        let program = decoded(program).ok_or_else(|| bad(BAD_ESCAPE))?;
        let has_slash = program.as_bytes().contains(&b'/');
        if program.is_empty() || (has_slash && !program.as_bytes().starts_with(b"/")) {
            return Err(bad(
                "a program is an absolute path, as in exec:/usr/bin/store, or a name to look up in PATH",
            ));
        }
        let mut command = Self { program, ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("arg", arg)) => command.args.push(decoded(arg).ok_or_else(|| bad(BAD_ESCAPE))?),
                Some(("without", word)) => {
                    let word = WORDS.into_iter().find(|known| *known == word);
                    let word =
                        word.ok_or_else(|| bad("without= takes durable, exclusive-create, list and ranges"))?;
                    command.without.push(word);
                }
                _ => {
                    return Err(bad(
                        "it takes arg=TEXT and without=WORD only, and & in a text is written %26",
                    ));
                }
            }
        }
        command.without.sort_unstable();
        command.without.dedup();
        Ok(command)
    }

    /// One spelling for one command.
    pub(super) fn url(&self) -> String {
        let args = self.args.iter().map(|arg| format!("arg={}", encoded(arg)));
        let query: Vec<_> = args.chain(self.without.iter().map(|word| format!("without={word}"))).collect();
        let query = query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("exec:{}{mark}{query}", encoded(&self.program))
    }

    /// Whether the program has to promise `word`.
    pub(super) fn expects(&self, word: &str) -> bool {
        !self.without.contains(&word)
    }
}

fn encoded(text: &OsStr) -> String {
    percent_encode(text.as_bytes(), ESCAPED).to_string()
}

/// `None` where the escapes are wrong, or hide a NUL, which no argument can have.
fn decoded(text: &str) -> Option<OsString> {
    let is_escape =
        |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    let good = text.split('%').skip(1).all(is_escape) && !bytes.contains(&0);
    good.then(|| OsString::from_vec(bytes))
}

/// What a program promises when it greets.
pub(super) const WORDS: [&str; 4] = ["durable", "exclusive-create", "list", "ranges"];

const BAD_ESCAPE: &str = "% is followed by two hexadecimal digits that are not 00, and written %25";

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_again_whatever_bytes_it_has() {
        for text in [&b"/opt/a b"[..], b"/x?y&z=1#%41+", b"/\xff\n\x01", "/ü".as_bytes()] {
            let text = OsString::from_vec(text.to_vec());
            let args = vec![text.clone(), OsString::new(), "-x=1".into()];
            let command = Command { program: text, args, without: vec!["list"] };
            let url = command.url();
            assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
            assert_eq!(Command::parse(&url).unwrap(), command);
        }
    }

    #[test]
    fn a_url_that_names_no_program_is_refused() {
        let bad = [
            "exec:",
            "exec:?arg=1",
            "exec:./here",
            "exec:a/b",
            "exec:/a#b",
            "exec:/a?b",
            "exec:/a?env=1",
            "exec:/a%",
            "exec:/a%zz",
            "exec:/a%00",
            "exec:/a?arg=%0",
            "exec:/a?without=love",
            "file:/a",
            "exec:/a?arg=%é",
        ];
        for url in bad {
            assert!(matches!(Command::parse(url), Err(TransportError::BadUrl { .. })), "{url}");
        }
        assert_eq!(Command::parse("EXEC:prog?arg=a&arg=b").unwrap().url(), "exec:prog?arg=a&arg=b");
    }
}
