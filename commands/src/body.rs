//! What callers send: parsed at the edge, judged only after the caller is known to be allowed.

use std::fmt;

use domain::{Fault, Reason, Refusal};
use serde::Deserialize;
use utoipa::ToSchema;

/// A body that was parsed at the edge, or what is wrong with its shape.
///
/// Authorisation comes before validation (api.md, section 4), and only the unit can authorise; so
/// a malformed body travels to the use case, which looks at it once the caller is permitted.
pub type Input<T> = Result<T, ShapeFault>;

/// What is wrong with a body's shape or values, all of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeFault {
    /// Whether it is the shape ([`Reason::Malformed`]) or only values ([`Reason::Invalid`]).
    pub reason: Reason,
    /// Each fault with its JSON pointer.
    pub faults: Vec<Fault>,
}

impl From<ShapeFault> for Refusal {
    fn from(fault: ShapeFault) -> Self {
        let detail = match fault.faults.as_slice() {
            [one] => one.detail.clone(),
            several => format!("{} things are wrong with the body; see errors.", several.len()),
        };
        let code = if fault.reason == Reason::Malformed { "malformed" } else { "invalid" };
        Self { reason: fault.reason, code, detail, faults: fault.faults, lacking: None }
    }
}

impl From<ShapeFault> for crate::error::Stop {
    fn from(fault: ShapeFault) -> Self {
        Self::Refused(fault.into())
    }
}

/// A password as it was typed. Never printed, never stored.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl Password {
    /// Shortest password, in characters (NIST SP 800-63B asks for 8 or more).
    pub const MIN_CHARS: usize = 10;
    /// Longest password, in characters.
    pub const MAX_CHARS: usize = 200;

    /// Whether it is long enough, and not too long to be hashed in bounded time.
    #[must_use]
    pub fn is_acceptable(&self) -> bool {
        (Self::MIN_CHARS..=Self::MAX_CHARS).contains(&self.0.chars().count())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Tells a field that is `null` from one that is not there: for edits that clear a value.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
