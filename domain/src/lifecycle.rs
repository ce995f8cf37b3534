//! The life of an organisation or a user (service-model.md, section 1).

use serde::{Deserialize, Serialize};

use crate::Refusal;

/// Where somebody or something is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// In use.
    #[default]
    Active,
    /// Nobody signs in here or below; services are frozen and still billed.
    Disabled,
    /// Its services are gone; the record is kept.
    Deprovisioned,
    /// Hidden, and can be restored.
    Deleted,
    /// Hidden for good; what was personal is gone.
    Purged,
}

/// A step from one status to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Block sign-in and changes, here and below.
    Disable,
    /// Have it in use again.
    Enable,
    /// Take its services away, which has happened by then; the record is kept.
    Deprovision,
    /// Hide it.
    Delete,
    /// Undo that.
    Restore,
    /// Hide it for good, once nobody restores it any more.
    Purge,
}

impl Status {
    /// Where a step leads; none where it is there already.
    ///
    /// # Errors
    /// Where the step cannot be taken from here.
    pub fn after(self, step: Transition) -> Result<Option<Self>, Refusal> {
        use Status as S;
        use Transition as T;
        let next = match (self, step) {
            (S::Purged, T::Purge) => return Ok(None),
            (S::Purged, _) => return Err(gone(self)),
            (S::Deleted, T::Purge) => S::Purged,
            (S::Active | S::Disabled | S::Deprovisioned, T::Purge) => {
                return Err(Refusal::conflict("not_deleted", "Only what is deleted is purged."));
            }
            (S::Deleted, T::Disable | T::Enable | T::Deprovision) => return Err(gone(self)),
            (S::Deprovisioned, T::Disable) => {
                return Err(Refusal::conflict(
                    "deprovisioned",
                    "It is deprovisioned, and blocked already; enable it to use it again.",
                ));
            }
            (S::Active | S::Disabled, T::Delete) => {
                return Err(Refusal::conflict(
                    "not_deprovisioned",
                    "Deprovision it first: only what has no services is deleted.",
                ));
            }
            (S::Active, T::Disable) => S::Disabled,
            (S::Disabled | S::Deprovisioned, T::Enable) => S::Active,
            (S::Active | S::Disabled, T::Deprovision) | (S::Deleted, T::Restore) => {
                S::Deprovisioned
            }
            (S::Deprovisioned, T::Delete) => S::Deleted,
            (S::Disabled, T::Disable)
            | (S::Active, T::Enable)
            | (S::Deprovisioned, T::Deprovision)
            | (S::Deleted, T::Delete)
            | (S::Active | S::Disabled | S::Deprovisioned, T::Restore) => return Ok(None),
        };
        Ok(Some(next))
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deprovisioned => "deprovisioned",
            Self::Deleted => "deleted",
            Self::Purged => "purged",
        }
    }

    /// Whether it is hidden.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Purged)
    }
}

/// What is deleted cannot be changed.
pub(crate) fn gone(status: Status) -> Refusal {
    match status {
        Status::Purged => Refusal::conflict(
            "purged",
            "It was deleted, and the days are over in which it could be restored.",
        ),
        _ => Refusal::conflict("deleted", "It is deleted; restore it first."),
    }
}

/// The fact that each step is, of those who have such a life.
macro_rules! transitions_of {
    ($event:ident) => {
        impl From<Transition> for $event {
            fn from(step: Transition) -> Self {
                match step {
                    Transition::Disable => Self::Disabled {},
                    Transition::Enable => Self::Enabled {},
                    Transition::Deprovision => Self::Deprovisioned {},
                    Transition::Delete => Self::Deleted {},
                    Transition::Restore => Self::Restored {},
                    Transition::Purge => Self::Purged {},
                }
            }
        }
    };
}
pub(crate) use transitions_of;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] =
        [Status::Active, Status::Disabled, Status::Deprovisioned, Status::Deleted, Status::Purged];
    const STEPS: [Transition; 6] = [
        Transition::Disable,
        Transition::Enable,
        Transition::Deprovision,
        Transition::Delete,
        Transition::Restore,
        Transition::Purge,
    ];

    #[test]
    fn every_step_from_every_status_leads_where_the_table_says() {
        let table = ALL.map(|status| {
            STEPS.map(|step| match status.after(step) {
                Ok(Some(next)) => next.name(),
                Ok(None) => "-",
                Err(refusal) => refusal.code,
            })
        });
        let (lost, kept, early) = ("not_deprovisioned", "deprovisioned", "not_deleted");
        assert_eq!(
            table,
            [
                ["disabled", "-", "deprovisioned", lost, "-", early],
                ["-", "active", "deprovisioned", lost, "-", early],
                [kept, "active", "-", "deleted", "-", early],
                ["deleted", "deleted", "deleted", "-", "deprovisioned", "purged"],
                ["purged", "purged", "purged", "purged", "purged", "-"],
            ]
        );
        assert!(Status::Deleted.after(Transition::Enable).is_err(), "not a step, a refusal");
    }

    #[test]
    fn a_status_has_the_name_that_it_is_stored_by() {
        for status in ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
