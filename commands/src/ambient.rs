//! What the surroundings provide: time, ids and randomness, so that tests can provide others.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Time, ids and randomness.
pub trait Ambient: Send + Sync + 'static {
    /// Now, in whole microseconds.
    fn now(&self) -> DateTime<Utc>;
    /// A new id: UUIDv7 (RFC 9562).
    fn id(&self) -> Uuid;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    #[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
