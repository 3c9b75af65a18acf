//! Keys as text: Bech32, as age writes its own, so a mistyped character is noticed and a prefix says what it is.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

pub(super) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let prefix = Hrp::parse(prefix).expect("the prefixes of this crate are in lower case and short");
    bech32::encode::<Bech32>(prefix, bytes).expect("no key is near the longest text")
}

/// The bytes of a text, if it is exactly what [`encode`] makes of so many.
pub(super) fn decode<const N: usize>(prefix: &str, text: &str) -> Option<Zeroizing<[u8; N]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if checked.byte_iter().len() != N {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    bytes.iter_mut().zip(checked.byte_iter()).for_each(|(to, byte)| *to = byte);
    // Another prefix, capitals, bits behind the last byte.
    (*Zeroizing::new(encode(prefix, &*bytes)) == text).then_some(bytes)
}

/// As much of a text as an error may show: it may be a secret where something else belongs.
pub(super) fn beginning(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Enough for what tells keys apart, and too little of any.
const SHOWN_CHARS: usize = 12;

#[cfg(test)]
mod tests {
    use super::{beginning, decode, encode};

    #[test]
    fn a_secret_in_the_wrong_place_is_not_printed() {
        assert_eq!(beginning("AGE-SECRET-KEY-1GQ9778"), "AGE-SECRET-K…");
        assert_eq!(beginning("tanner-read1pqqq"), "tanner-read1…");
        assert_eq!(beginning("age1abc"), "age1abc");
    }

    #[test]
    fn a_key_with_any_character_changed_missing_or_added_is_none() {
        let text = encode("tanner-test", &[7; 9]);
        assert_eq!(decode::<9>("tanner-test", &text).as_deref(), Some(&[7; 9]));
        for at in 0..text.len() {
            let with = |c: &str| format!("{}{c}{}", &text[..at], &text[at + 1..]);
            for changed in ["", "q", "p", "1", "b", "é"].map(with) {
                assert!(changed == text || decode::<9>("tanner-test", &changed).is_none(), "{changed}");
            }
            let added = format!("{}q{}", &text[..at], &text[at..]);
            assert!(decode::<9>("tanner-test", &added).is_none(), "{added}");
        }
        assert!(decode::<9>("tanner-test", &text.to_uppercase()).is_none());
        assert!(decode::<9>("tanner", &text).is_none());
        assert!(decode::<8>("tanner-test", &text).is_none());
        assert!(decode::<9>("tanner-test", "").is_none());
    }
}
