//! The tenant path: where in the tree an event, a row or a cache key belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bug, planted};

/// `/1/4/30/`: the numbers of the organisations from the provider down to the one concerned.
///
/// Numbers are assigned once and never reused, so a path never means anybody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantPath(String);

impl TenantPath {
    /// The provider's path.
    #[must_use]
    pub fn provider() -> Self {
        Self("/1/".to_owned())
    }

    /// The path, if `text` is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('/')?.strip_suffix('/')?;
        inner
            .split('/')
            .all(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
            .then(|| Self(text.to_owned()))
    }

    /// The path of the organisation `number` directly below.
    #[must_use]
    pub fn child(&self, number: u32) -> Self {
        Self(format!("{}{number}/", self.0))
    }

    /// The path one level up; none above the provider.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let above = self.0.trim_end_matches('/').rfind('/')?;
        (above > 0).then(|| Self(self.0[..=above].to_owned()))
    }

    /// The number of the organisation itself.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.numbers().last()
    }

    /// The place that this one has once what lies at `from` lies at `to`; none where it does not lie there.
    #[must_use]
    pub fn relocated(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&from.0)?;
        Some(Self(format!("{}{rest}", to.0)))
    }

    /// Whether `other` is this organisation or one below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if planted(Bug::ScopeByText) {
            return other.0.starts_with(self.0.trim_end_matches('/'));
        }
        other.0.starts_with(&self.0)
    }

    /// The numbers from the provider down to this organisation.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.split('/').filter_map(|number| number.parse().ok())
    }

    /// How many organisations lie on the path: 1 for the provider.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.numbers().count()
    }

    /// This path, and each above it, the provider's first.
    #[must_use]
    pub fn lineage(&self) -> Vec<Self> {
        let mut paths: Vec<_> = std::iter::successors(Some(self.clone()), Self::parent).collect();
        paths.reverse();
        paths
    }

    /// The least text above every path that this one contains, for range queries:
    /// `path >= self and path < self.end()`.
    #[must_use]
    pub fn end(&self) -> String {
        let mut end = self.0.clone();
        end.pop();
        end.push(if planted(Bug::ScopeByText) { ':' } else { '0' });
        end
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_contains_itself_and_what_is_below_and_nothing_else() {
        let reseller = TenantPath::provider().child(3);
        let customer = reseller.child(30);
        assert!(reseller.contains(&reseller) && reseller.contains(&customer));
        assert!(!reseller.contains(&TenantPath::provider()));
        assert!(!reseller.contains(&TenantPath::provider().child(30)));
        assert!(!customer.contains(&reseller.child(301)));
        assert_eq!(customer.parent(), Some(reseller.clone()));
        assert_eq!(TenantPath::provider().parent(), None);
        assert_eq!(customer.numbers().collect::<Vec<_>>(), [1, 3, 30]);
        assert_eq!(customer.number(), Some(30));
        let other = TenantPath::provider().child(4).child(30);
        assert_eq!(customer.relocated(&customer, &other), Some(other.clone()));
        assert_eq!(customer.child(7).relocated(&customer, &other), Some(other.child(7)));
        assert_eq!(reseller.child(301).relocated(&customer, &other), None);
        assert_eq!(customer.lineage(), [TenantPath::provider(), reseller, customer]);
    }

    #[test]
    fn a_path_is_numbers_between_slashes() {
        for good in ["/1/", "/1/4/30/"] {
            assert_eq!(TenantPath::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "/", "//", "1", "/1", "1/", "/1//4/", "/1/x/", "/1/-4/", "/1/ 4/"] {
            assert_eq!(TenantPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_is_as_deep_as_it_has_organisations() {
        let provider = TenantPath::provider();
        assert_eq!((provider.as_str(), provider.depth()), ("/1/", 1));
        assert_eq!((provider.child(4).depth(), provider.child(4).child(30).depth()), (2, 3));
    }

    #[test]
    fn the_end_closes_the_range_of_what_is_contained() {
        let path = TenantPath::provider().child(3);
        for below in [path.child(1), path.child(999)] {
            assert!(below.as_str() >= path.as_str() && *below.as_str() < *path.end());
        }
        assert!(
            *TenantPath::provider().child(30).as_str() < *path.as_str()
                || *TenantPath::provider().child(30).as_str() >= *path.end()
        );
    }
}
