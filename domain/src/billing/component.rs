//! The parts of what a plan costs (billing.md, section 4, Components).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::PlanKey;

/// Names a part of what a plan costs; never changes. Plans that have it in common exchange it when one is changed for
/// the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComponentKey(Cow<'static, str>);

impl ComponentKey {
    /// The plan's own price, by the month and in arrears: of every plan, whatever else it costs.
    pub const RECURRING: Self = Self(Cow::Borrowed("recurring"));

    /// The key, if `text` is one: made like other keys.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        PlanKey::parse(text).map(|_| Self(Cow::Owned(text.to_owned())))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the plan's own price.
    #[must_use]
    pub fn is_recurring(&self) -> bool {
        *self == Self::RECURRING
    }
}

impl Default for ComponentKey {
    fn default() -> Self {
        Self::RECURRING
    }
}

impl fmt::Display for ComponentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
