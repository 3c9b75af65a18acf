//! What would show secrets to others: core files, debuggers, and the list of processes.

use std::ffi::OsString;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From here on no core file is written of this process, and nobody but root reads its memory or environment. Whoever
/// looks for a fault in it says `TANNER_ALLOW_DUMP=1`.
pub(super) fn refuse_dumps() {
    if std::env::var_os(ALLOW).is_some_and(|value| value == "1") {
        return;
    }
    // Programs that it starts may hold a passphrase: the limit is theirs, too. A system that knows neither writes none.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The place of an argument that is a secret itself, where the name of its file belongs.
pub(super) fn secret_argument(args: &[OsString]) -> Option<usize> {
    let is_secret = |text: &str| {
        let mut rests = SECRETS.iter().flat_map(|begin| text.split(begin).skip(1));
        rests.any(|rest| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= SECRET_CHARS_MIN)
    };
    args.iter().position(|arg| is_secret(&arg.to_string_lossy().to_ascii_lowercase()))
}

const ALLOW: &str = "TANNER_ALLOW_DUMP";
/// How the text of a secret begins, in lower case.
const SECRETS: [&str; 3] = ["age-secret-key-1", "tanner-read1", "tanner-token1"];
/// Fewer characters behind that are no secret, but part of some name.
const SECRET_CHARS_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::secret_argument;

    #[test]
    fn a_secret_is_noticed_wherever_it_stands_in_an_argument() {
        let place = |args: &[&str]| secret_argument(&args.iter().map(Into::into).collect::<Vec<_>>());
        let rest = "gq9778vqxmmjve8sk7j6vt8uj4hdqajuvsfcwcm02d8gewq72pvq2y5j33";
        for begin in ["AGE-SECRET-KEY-1", "age-secret-key-1", "tanner-read1", "tanner-token1"] {
            assert_eq!(place(&["tanner", "restore", &format!("{begin}{rest}")]), Some(2));
            assert_eq!(place(&["tanner", &format!("--identity={begin}{}", rest.to_uppercase())]), Some(1));
            assert_eq!(place(&["tanner", &format!("printf {begin}{rest}")]), Some(1));
            assert_eq!(place(&["tanner", &format!("/keys/{begin}.txt")]), None);
        }
        assert_eq!(place(&["tanner", "--recipient", &format!("age1{rest}")]), None);
    }
}
