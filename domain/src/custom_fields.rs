//! Fields that an installation adds to its organisations and users, for its own systems.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::line;
use crate::{Faults, pointer_token};

/// Most fields of one organisation or user.
pub const FIELDS_MAX: usize = 50;
/// Longest name of a field, in characters.
const NAME_MAX_CHARS: usize = 64;
/// Longest value of a field, in characters.
const VALUE_MAX_CHARS: usize = 500;

/// Texts by the names of their fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomFields(BTreeMap<String, String>);

impl CustomFields {
    /// Sets fields, or removes those that are nothing now; the others stay as they are.
    pub fn change(
        &mut self,
        faults: &mut Faults,
        pointer: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) {
        for (name, value) in changes {
            let at = format!("{pointer}/{}", pointer_token(name));
            let Some(name) = faults.take(&at, line(name, NAME_MAX_CHARS)) else { continue };
            match value.as_deref().map(|value| line(value, VALUE_MAX_CHARS)) {
                None => {
                    self.0.remove(&name);
                }
                Some(value) => {
                    if let Some(value) = faults.take(&at, value) {
                        self.0.insert(name, value);
                    }
                }
            }
        }
        let detail = format!("There can be {FIELDS_MAX} of these at most.");
        faults.ensure(self.0.len() <= FIELDS_MAX, pointer, "too_many", &detail);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By name.
    #[must_use]
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(of: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
        of.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn fields_are_set_and_removed_one_by_one() {
        let (mut fields, mut faults) = (CustomFields::default(), Faults::default());
        fields.change(
            &mut faults,
            "/customFields",
            &changes(&[("crmId", Some(" 42 ")), ("x", Some("y"))]),
        );
        fields.change(&mut faults, "/customFields", &changes(&[("x", None), ("never", None)]));
        assert!(faults.check().is_ok());
        assert_eq!(
            fields.all().iter().collect::<Vec<_>>(),
            [(&"crmId".to_owned(), &"42".to_owned())]
        );
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let (mut fields, mut faults) = (CustomFields::default(), Faults::default());
        let long = "v".repeat(VALUE_MAX_CHARS + 1);
        fields.change(
            &mut faults,
            "/customFields",
            &changes(&[("a/b", Some(&long)), ("", Some("v"))]),
        );
        let refusal = faults.check().unwrap_err();
        let at: Vec<_> = refusal.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(at, ["/customFields/", "/customFields/a~1b"]);
        let many: BTreeMap<_, _> =
            (0..=FIELDS_MAX).map(|field| (format!("f{field}"), Some("v".to_owned()))).collect();
        let mut faults = Faults::default();
        fields.change(&mut faults, "/customFields", &many);
        assert_eq!(faults.check().unwrap_err().faults[0].code, "too_many");
    }
}
