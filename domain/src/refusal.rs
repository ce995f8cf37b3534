//! What the domain says when it does not do what was asked.

use serde::Serialize;

/// What kind of no: decides, at the edge, which status the caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// What was sent has not the promised shape: a field is missing, unknown or of another type.
    Malformed,
    /// The values are not acceptable; `faults` names each.
    Invalid,
    /// The values are fine, the state is not: already provisioned, name taken, wrong version.
    Conflict,
    /// The caller's `If-Match` names another version than the one there is.
    Stale,
    /// Not there, or not for this caller to see: the same answer.
    NotFound,
    /// The caller sees it and may not do this to it.
    Forbidden,
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the body; empty for the body itself.
    pub pointer: String,
    /// For programs; never changes its meaning.
    pub code: &'static str,
    /// For people: what is wrong and what would be right.
    pub detail: String,
}

/// A field's name as a part of a JSON pointer (RFC 6901, section 3).
#[must_use]
pub fn pointer_token(field: &str) -> String {
    field.replace('~', "~0").replace('/', "~1")
}

/// Why a command is refused. Nothing of it has been done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The kind of no.
    pub reason: Reason,
    /// For programs; never changes its meaning.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// Every fault of the fields at once; empty where no field is to blame.
    pub faults: Vec<Fault>,
    /// What the caller lacks, where that is why.
    pub lacking: Option<Box<Lacking>>,
}

/// Which permission is missing, where, and which roles would have to have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lacking {
    /// The permission's name.
    pub permission: String,
    /// The number of the organisation at which it is missing.
    pub organization: u32,
    /// The caller's roles: one of them would have to have it there.
    pub roles: Vec<RoleLacking>,
}

/// A role that does not give what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleLacking {
    /// What names it.
    pub role: String,
    /// As people read it.
    pub name: String,
    /// Why it does not give it.
    pub why: String,
}

impl Refusal {
    /// The state does not allow it.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::Conflict,
            code,
            detail: detail.into(),
            faults: Vec::new(),
            lacking: None,
        }
    }

    /// One field's value is not acceptable.
    #[must_use]
    pub fn invalid(pointer: &str, code: &'static str, detail: impl Into<String>) -> Self {
        let mut faults = Faults::default();
        faults.add(pointer, code, detail);
        faults.refusal()
    }

    /// Not there, as far as this caller is concerned.
    #[must_use]
    pub fn not_found() -> Self {
        Self {
            reason: Reason::NotFound,
            code: "not_found",
            detail: "There is nothing here that you can see.".to_owned(),
            faults: Vec::new(),
            lacking: None,
        }
    }

    /// The caller may not, and it is no question of roles alone.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::Forbidden,
            code: "forbidden",
            detail: detail.into(),
            faults: Vec::new(),
            lacking: None,
        }
    }

    /// The caller lacks a permission.
    #[must_use]
    pub fn lacking(lacking: Lacking) -> Self {
        let Lacking { permission, organization, roles, .. } = &lacking;
        let which = match roles.as_slice() {
            [] => "you have no role at all".to_owned(),
            roles => {
                let roles = roles.iter().map(|role| format!("{}: {}", role.name, role.why));
                format!(
                    "one of your roles would have to have it ({})",
                    roles.collect::<Vec<_>>().join("; ")
                )
            }
        };
        let detail = format!(
            "This takes the permission {permission} at organisation {organization}; {which}."
        );
        Self { lacking: Some(Box::new(lacking)), ..Self::forbidden(detail) }
    }
}

/// Collects what is wrong, so that a caller learns every fault at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes one fault.
    pub fn add(&mut self, pointer: &str, code: &'static str, detail: impl Into<String>) {
        self.0.push(Fault { pointer: pointer.to_owned(), code, detail: detail.into() });
    }

    /// Notes a fault unless `holds`.
    pub fn ensure(&mut self, holds: bool, pointer: &str, code: &'static str, detail: &str) {
        if !holds {
            self.add(pointer, code, detail);
        }
    }

    /// The value, or nothing and a fault.
    pub fn take<T>(&mut self, pointer: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|Invalid { code, detail }| self.add(pointer, code, detail)).ok()
    }

    /// Nothing was wrong, or the refusal that names it all.
    ///
    /// # Errors
    /// Where a fault was noted.
    pub fn check(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(self.refusal()) }
    }

    fn refusal(self) -> Refusal {
        let detail = match self.0.as_slice() {
            [one] => one.detail.clone(),
            several => format!("{} fields are not acceptable; see errors.", several.len()),
        };
        Refusal { reason: Reason::Invalid, code: "invalid", detail, faults: self.0, lacking: None }
    }
}

/// Why a text or number is not a value of some type; the caller knows the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl Invalid {
    /// A reason with its code.
    #[must_use]
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let mut faults = Faults::default();
        faults.ensure(true, "/fine", "never", "This is fine.");
        faults.ensure(false, "/plans", "no_plan", "A plan is missing.");
        let taken: Option<u32> = faults.take("/name", Err(Invalid::new("empty", "Give a name.")));
        assert_eq!(taken, None);
        assert_eq!(faults.take("/number", Ok(7)), Some(7));
        let refusal = faults.check().unwrap_err();
        assert_eq!((refusal.reason, refusal.code), (Reason::Invalid, "invalid"));
        assert_eq!(refusal.detail, "2 fields are not acceptable; see errors.");
        let told: Vec<_> = refusal.faults.iter().map(|it| (it.pointer.as_str(), it.code)).collect();
        assert_eq!(told, [("/plans", "no_plan"), ("/name", "empty")]);
    }

    #[test]
    fn one_fault_is_told_in_its_own_words() {
        let refusal = Refusal::invalid("/name", "empty", "Give a name.");
        assert_eq!(refusal.detail, "Give a name.");
        assert_eq!(refusal.faults.len(), 1);
    }

    #[test]
    fn without_a_fault_nothing_is_refused() {
        assert_eq!(Faults::default().check(), Ok(()));
    }
}
