//! What a command answers, in a form that can be kept and given again.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Done, or true already.
    Done,
    /// Something new is there.
    Created,
    /// Somebody will do it, and report what came of it.
    Accepted,
    /// Done, and there is nothing to say.
    Nothing,
}

/// A command's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// What came of it.
    pub outcome: Outcome,
    /// Where the resource is, below `/api/v2`.
    pub location: Option<String>,
    /// The resource's version.
    pub version: Option<u64>,
    /// The resource, as JSON.
    pub body: Box<RawValue>,
}

impl Reply {
    /// Done, or true already.
    #[must_use]
    pub fn done(resource: &impl Serialize, version: u64) -> Self {
        Self {
            outcome: Outcome::Done,
            location: None,
            version: Some(version),
            body: json(resource),
        }
    }

    /// Done, or true already; of what has no version.
    #[must_use]
    pub fn unversioned(resource: &impl Serialize) -> Self {
        Self { outcome: Outcome::Done, location: None, version: None, body: json(resource) }
    }

    /// Something new is there.
    #[must_use]
    pub fn created(location: String, resource: &impl Serialize, version: u64) -> Self {
        Self {
            outcome: Outcome::Created,
            location: Some(location),
            version: Some(version),
            body: json(resource),
        }
    }

    /// Something new is there; of what has no version.
    #[must_use]
    pub fn created_unversioned(location: String, resource: &impl Serialize) -> Self {
        Self {
            outcome: Outcome::Created,
            location: Some(location),
            version: None,
            body: json(resource),
        }
    }

    /// Somebody will do it: this is the request.
    #[must_use]
    pub fn accepted(location: String, resource: &impl Serialize) -> Self {
        Self {
            outcome: Outcome::Accepted,
            location: Some(location),
            version: None,
            body: json(resource),
        }
    }

    /// Done, and there is nothing to say.
    #[must_use]
    pub fn nothing() -> Self {
        Self { outcome: Outcome::Nothing, location: None, version: None, body: json(&()) }
    }
}

fn json(resource: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(resource).expect("resources have text keys only")
}
