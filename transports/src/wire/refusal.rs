//! An error on its way: every [`TransportError`] that a server may say, as a code and fields.

use std::io::{self, ErrorKind};

use bytes::{BufMut, BytesMut};

use super::fields::Fields;
use super::{TEXT_BYTES_MAX, WireError};
use crate::{NameError, Target, TransportError};

/// Why a server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u8,
    /// Whether the object that was asked for is meant, or else the store.
    object: bool,
    /// The kind of the cause, where it decides whether to try again; of a bad name, the rule it breaks.
    detail: u8,
    numbers: [u64; 3],
    /// The words of the cause.
    text: String,
}

impl Refusal {
    /// What is said of an error. The store's own URL stays at home.
    pub fn of(error: &TransportError) -> Self {
        use TransportError as E;
        let says = |code, at: &Target, numbers, source: Option<&io::Error>| Self {
            code,
            object: at.name.is_some(),
            detail: source.map_or(0, kind_number),
            numbers,
            text: source.map_or_else(String::new, |source| clean(&source.to_string())),
        };
        match error {
            E::Missing { at } => says(MISSING, at, [0; 3], None),
            E::Exists { at } => says(EXISTS, at, [0; 3], None),
            E::Busy { at } => says(BUSY, at, [0; 3], None),
            E::Full { at, source } => says(FULL, at, [0; 3], Some(source)),
            E::Corrupt { at, source } => says(CORRUPT, at, [0; 3], Some(source)),
            E::Truncated { at, wanted, got } => says(TRUNCATED, at, [*wanted, *got, 0], None),
            E::WrongLength { at, declared, written } => {
                says(WRONG_LENGTH, at, [*declared, *written, 0], None)
            }
            E::OutOfRange { at, range, length } => {
                says(OUT_OF_RANGE, at, [range.start, range.end, *length], None)
            }
            E::BadName(error) => Self::of_name(error),
            E::Unreachable { at, source } => says(UNREACHABLE, at, [0; 3], Some(source)),
            E::Refused { at, source } => says(REFUSED, at, [0; 3], Some(source)),
            E::Slow { at, source } => says(SLOW, at, [0; 3], Some(source)),
            E::Other { at, source } => says(OTHER, at, [0; 3], Some(source)),
            // The server's own configuration, which is nobody's business.
            E::BadUrl { .. } | E::UnknownScheme { .. } => {
                let text = "the server's store cannot be opened".to_owned();
                Self { code: OTHER, object: false, detail: 0, numbers: [0; 3], text }
            }
        }
    }

    /// The error, as the client says it: about `object`, or about its store.
    pub fn into_error(self, object: &Target) -> TransportError {
        use TransportError as E;
        let at = if self.object { object.clone() } else { Target::store(object.store.clone()) };
        let [a, b, c] = self.numbers;
        let source = io::Error::new(number_kind(self.detail), format!("the server says: {}", self.text));
        match self.code {
            MISSING => E::Missing { at },
            EXISTS => E::Exists { at },
            FULL => E::Full { at, source },
            CORRUPT => E::Corrupt { at, source },
            TRUNCATED => E::Truncated { at, wanted: a, got: b },
            WRONG_LENGTH => E::WrongLength { at, declared: a, written: b },
            OUT_OF_RANGE => E::OutOfRange { at, range: a..b, length: c },
            BAD_NAME => E::BadName(self.into_name_error()),
            UNREACHABLE => E::Unreachable { at, source },
            REFUSED => E::Refused { at, source },
            SLOW => E::Slow { at, source },
            BUSY => E::Busy { at },
            _ => E::Other { at, source },
        }
    }

    fn of_name(error: &NameError) -> Self {
        let (detail, number, name) = match error {
            NameError::TooLong { length } => (0, *length as u64, ""),
            NameError::TooDeep { name } => (1, 0, name.as_str()),
            NameError::Empty { name } => (2, 0, name.as_str()),
            NameError::Dot { name } => (3, 0, name.as_str()),
            NameError::Character { character, name } => (4, u64::from(u32::from(*character)), name.as_str()),
        };
        Self { code: BAD_NAME, object: false, detail, numbers: [number, 0, 0], text: clean(name) }
    }

    fn into_name_error(self) -> NameError {
        let (number, name) = (self.numbers[0], self.text);
        match self.detail {
            0 => NameError::TooLong { length: usize::try_from(number).unwrap_or(usize::MAX) },
            1 => NameError::TooDeep { name },
            2 => NameError::Empty { name },
            3 => NameError::Dot { name },
            _ => {
                let character = u32::try_from(number).ok().and_then(char::from_u32);
                NameError::Character { character: character.unwrap_or(char::REPLACEMENT_CHARACTER), name }
            }
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[self.code, self.object.into(), self.detail, 0]);
        self.numbers.iter().for_each(|number| out.put_u64_le(*number));
        out.put_slice(self.text.as_bytes());
    }

    pub(super) fn decode(fields: &mut Fields) -> Result<Self, WireError> {
        let (code, object, detail) = (fields.u8()?, fields.bool()?, fields.u8()?);
        if !(MISSING..=BUSY).contains(&code) {
            return Err(fields.malformed("an unknown code"));
        }
        let most = if code == BAD_NAME { BROKEN_RULES } else { KINDS.len() } as u8;
        if detail >= most || fields.u8()? != 0 {
            return Err(fields.malformed("an unknown detail"));
        }
        let numbers = [fields.u64()?, fields.u64()?, fields.u64()?];
        let text = fields.rest.split_off(0);
        Ok(Self { code, object, detail, numbers, text: clean(&String::from_utf8_lossy(&text)) })
    }
}

/// Words of a peer as one short line: nothing of them may steer a terminal or fill a log.
fn clean(text: &str) -> String {
    let mut room = TEXT_BYTES_MAX;
    let cleaned =
        text.chars().map(|c| if c.is_control() || is_invisible(c) { char::REPLACEMENT_CHARACTER } else { c });
    let short = cleaned.take_while(|c| {
        let fits = c.len_utf8() <= room;
        room = room.saturating_sub(c.len_utf8());
        fits
    });
    short.collect()
}

/// Characters that turn the direction of text or break lines.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn kind_number(source: &io::Error) -> u8 {
    let position = KINDS.iter().position(|kind| *kind == source.kind()).unwrap_or(0);
    u8::try_from(position).expect("a handful of kinds")
}

fn number_kind(number: u8) -> ErrorKind {
    KINDS.get(usize::from(number)).copied().unwrap_or(ErrorKind::Other)
}

/// The kinds of causes that are told apart: those which decide whether to try again.
const KINDS: [ErrorKind; 4] =
    [ErrorKind::Other, ErrorKind::ResourceBusy, ErrorKind::Interrupted, ErrorKind::WouldBlock];
/// The rules that a name may break.
const BROKEN_RULES: usize = 5;

const MISSING: u8 = 1;
const EXISTS: u8 = 2;
const FULL: u8 = 3;
const CORRUPT: u8 = 4;
const TRUNCATED: u8 = 5;
const WRONG_LENGTH: u8 = 6;
const OUT_OF_RANGE: u8 = 7;
const BAD_NAME: u8 = 8;
const UNREACHABLE: u8 = 9;
const REFUSED: u8 = 10;
const SLOW: u8 = 11;
const OTHER: u8 = 12;
const BUSY: u8 = 13;
