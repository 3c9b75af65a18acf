//! Names of objects: checked once, so that nothing hostile ever becomes a path, a URL or a line of a log.

use std::fmt;
use std::sync::Arc;

/// The name of an object: `PART` or `PREFIX/PART`, such as `0123456789abcdef/7`.
///
/// A component is made of `[a-z0-9._-]`, is not empty and does not start with a dot; the whole has at most
/// [`NAME_BYTES_MAX`] bytes. Names differ in more than case and hold no `..`, so every store can keep them as
/// they are. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] says which rule `name` breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { length: name.len() });
        }
        if name.split('/').count() > 2 {
            return Err(NameError::TooDeep { name });
        }
        match name.split('/').find_map(|component| broken_rule(component, &name)) {
            Some(error) => Err(error),
            None => Ok(Self(name.into())),
        }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the slash, if there is one.
    pub fn prefix(&self) -> Option<&str> {
        self.0.split_once('/').map(|(prefix, _)| prefix)
    }

    /// What stands after the slash, or the whole name where there is none.
    pub fn part(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, part)| part)
    }

    /// Checks what [`list`](crate::Transport::list) is asked for: nothing, or one component.
    ///
    /// # Errors
    /// [`NameError`] says why no name can have this prefix.
    pub fn check_prefix(prefix: &str) -> Result<(), NameError> {
        if prefix.is_empty() {
            return Ok(());
        }
        match Self::new(prefix)?.prefix() {
            None => Ok(()),
            Some(_) => Err(NameError::TooDeep { name: prefix.to_owned() }),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a string is not the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("an object name has at most {NAME_BYTES_MAX} bytes, this one has {length}")]
    TooLong {
        /// Bytes of the name.
        length: usize,
    },
    /// More components than there may be.
    #[error("an object name is PART or PREFIX/PART, and a prefix has no slash: {name:?}")]
    TooDeep {
        /// The name as given.
        name: String,
    },
    /// An empty component: `""`, `"a/"`, `"/a"`.
    #[error("an object name has no empty component: {name:?}")]
    Empty {
        /// The name as given.
        name: String,
    },
    /// A component that starts with a dot.
    #[error("no component of an object name starts with a dot: {name:?}")]
    Dot {
        /// The name as given.
        name: String,
    },
    /// A character outside of `[a-z0-9._-]`.
    #[error("an object name is made of a-z, 0-9, '.', '_' and '-', not {character:?}: {name:?}")]
    Character {
        /// The first such character.
        character: char,
        /// The name as given.
        name: String,
    },
}

fn broken_rule(component: &str, name: &str) -> Option<NameError> {
    let name = || name.to_owned();
    if component.is_empty() {
        return Some(NameError::Empty { name: name() });
    }
    if component.starts_with('.') {
        return Some(NameError::Dot { name: name() });
    }
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let character = component.chars().find(|c| !allowed(c))?;
    Some(NameError::Character { character, name: name() })
}

/// Bytes of the longest name: two components fit every file system and every object store.
pub const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blocks_and_manifests_are_accepted() {
        for name in ["0123456789abcdef/7", "00/manifest", "a", "a.b_c-d/e.f", "-", "a..b", &"a".repeat(128)] {
            assert_eq!(ObjectName::new(name).unwrap().as_str(), name);
        }
        let name = ObjectName::new("id/7").unwrap();
        assert_eq!((name.prefix(), name.part()), (Some("id"), "7"));
        let name = ObjectName::new("lonely").unwrap();
        assert_eq!((name.prefix(), name.part()), (None, "lonely"));
    }

    #[test]
    fn each_broken_rule_is_named() {
        let error = |name: &str| ObjectName::new(name).unwrap_err();
        let owned = str::to_owned;
        assert_eq!(error(&"é".repeat(65)), NameError::TooLong { length: 130 });
        assert_eq!(error("a/b/c"), NameError::TooDeep { name: owned("a/b/c") });
        assert_eq!(error("a/"), NameError::Empty { name: owned("a/") });
        assert_eq!(error("a/.."), NameError::Dot { name: owned("a/..") });
        assert_eq!(error("aB"), NameError::Character { character: 'B', name: owned("aB") });
    }

    #[test]
    fn a_prefix_is_nothing_or_one_component() {
        for prefix in ["", "a", "0123"] {
            assert_eq!(ObjectName::check_prefix(prefix), Ok(()));
        }
        for prefix in ["/", "a/", "a/b", "..", ".tanner-stage", "A"] {
            ObjectName::check_prefix(prefix).expect_err(prefix);
        }
    }
}
