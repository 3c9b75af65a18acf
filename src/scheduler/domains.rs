//! What is lost together, and how much of it is to be survived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::facts::{LABEL_BYTES_MAX, Labels, STORE};

/// So many domains of a label are to be lost without loss of the backup: `1 host`, `2 stores`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demand {
    /// Domains lost at a time, at least 1.
    pub losses: usize,
    /// Their label.
    pub label: String,
}

/// Why text is no demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("wanted a number and a label, such as \"1 host\" or \"2 stores\"")]
pub struct DemandError;

impl FromStr for Demand {
    type Err = DemandError;

    fn from_str(text: &str) -> Result<Self, DemandError> {
        let (losses, label) = text.trim().split_once(' ').ok_or(DemandError)?;
        let (losses, label) = (losses.parse().map_err(|_| DemandError)?, label.trim().to_owned());
        let is_label = (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.chars().any(char::is_control);
        if losses > 0 && is_label { Ok(Self { losses, label }) } else { Err(DemandError) }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.losses, self.label, if self.losses == 1 { "" } else { "s" })
    }
}

impl Demand {
    /// The demand with its label as the stores have it, in the plural or not; none if no store has it.
    #[must_use]
    pub fn of_labels(&self, stores: &[Labels]) -> Option<Self> {
        let known = |label: &str| label == STORE || stores.iter().any(|labels| labels.contains_key(label));
        let singular = self.label.strip_suffix('s');
        let label = Some(self.label.as_str()).filter(|label| known(label)).or(singular.filter(|l| known(l)));
        label.map(|label| Self { losses: self.losses, label: label.to_owned() })
    }
}

/// Stores grouped by what they share of one label. A store without the label is a domain of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domains {
    /// The label.
    pub label: String,
    /// The domain of each store.
    pub of: Vec<usize>,
    /// How many there are.
    pub count: usize,
    /// Stores without the label, if others have it.
    pub unknown: Vec<usize>,
}

impl Domains {
    /// The domains of a label.
    #[must_use]
    pub fn of_label(label: &str, stores: &[Labels]) -> Self {
        let (mut values, mut count, mut unknown) = (BTreeMap::new(), 0, Vec::new());
        let mut next = || {
            count += 1;
            count - 1
        };
        let of = stores.iter().enumerate().map(|(store, labels)| match labels.get(label) {
            Some(value) if label != STORE => *values.entry(value).or_insert_with(&mut next),
            _ => {
                unknown.push(store);
                next()
            }
        });
        let of = of.collect();
        if values.is_empty() {
            unknown.clear();
        }
        Self { label: label.to_owned(), of, count, unknown }
    }

    /// How many domains have any of these stores.
    pub(super) fn having(&self, stores: &[bool]) -> usize {
        let with = self.of.iter().zip(stores).filter(|&(_, &has)| has).map(|(domain, _)| domain);
        with.collect::<BTreeSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, Domains, Labels};

    #[test]
    fn demands_are_a_number_and_a_label_in_the_singular_or_plural() {
        let parse = |text: &str| text.parse::<Demand>().map(|demand| (demand.losses, demand.label)).ok();
        assert_eq!(parse("1 host"), Some((1, "host".into())));
        assert_eq!(parse(" 2  power supplies "), Some((2, "power supplies".into())));
        for wrong in ["", "1", "host", "0 hosts", "-1 host", "1 ", "one host", "1 a\nb"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        let labels =
            [Labels::from([("host".to_owned(), "a".to_owned()), ("bus".to_owned(), "b".to_owned())])];
        let of = |text: &str| text.parse::<Demand>().unwrap().of_labels(&labels).map(|demand| demand.label);
        assert_eq!((of("2 hosts"), of("1 host")), (Some("host".into()), Some("host".into())));
        assert_eq!((of("1 bus"), of("2 stores")), (Some("bus".into()), Some("store".into())));
        assert_eq!((of("1 zone"), of("1 hostss")), (None, None));
    }

    /// Two stores of which nothing is known must not be taken for one, nor one for two.
    #[test]
    fn a_store_without_the_label_is_a_domain_of_its_own() {
        let host = |name: &str| Labels::from([("host".to_owned(), name.to_owned())]);
        let labels = [host("a"), Labels::new(), host("a"), Labels::new(), host("b")];
        let domains = Domains::of_label("host", &labels);
        assert_eq!((domains.of, domains.count, domains.unknown), (vec![0, 1, 0, 2, 3], 4, vec![1, 3]));
        let domains = Domains::of_label("store", &labels);
        assert_eq!((domains.count, domains.unknown), (5, vec![]));
    }
}
