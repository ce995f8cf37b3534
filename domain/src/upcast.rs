//! Old shapes of events, lifted on reading to today's. Stored bytes are never touched.

use serde_json::{Value, json};

use crate::event::Undecodable;

/// Lifts one shape to the next, `from -> from + 1`.
#[derive(Debug)]
pub struct Upcaster {
    /// The kind whose shape changed.
    pub kind: &'static str,
    /// The schema it reads.
    pub from: u32,
    /// Pure.
    pub lift: fn(Value) -> Value,
}

/// Persons stood in clear in schema 1, and were looked up by the login itself.
fn identified(mut old: Value) -> Value {
    let person = old["person"].take();
    let login = person["login"].as_str().unwrap_or_default().to_lowercase();
    old["person"] = json!({ "login": login, "sealed": person });
    old
}

/// A request's user and an organisation's contact may be sealed since schema 2; one in clear is read as it stands.
fn unchanged(old: Value) -> Value {
    old
}

/// Every step there is. Today's schema of a kind is one more than the number of its steps.
#[derive(Debug)]
pub struct Upcasters(&'static [Upcaster]);

impl Upcasters {
    /// The steps of this program.
    pub const OURS: Self = Self(&[
        Upcaster { kind: "organization.created", from: 1, lift: unchanged },
        Upcaster { kind: "organization.edited", from: 1, lift: unchanged },
        Upcaster { kind: "user.created", from: 1, lift: identified },
        Upcaster { kind: "user.edited", from: 1, lift: identified },
        Upcaster { kind: "subscription.provision_requested", from: 1, lift: unchanged },
        Upcaster { kind: "subscription.change_requested", from: 1, lift: unchanged },
    ]);

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Upcaster> {
        self.0.iter().filter(move |step| step.kind == kind)
    }

    /// The schema that is written today.
    #[must_use]
    pub fn current(&self, kind: &str) -> u32 {
        self.of(kind).map(|step| step.from).max().unwrap_or(0) + 1
    }

    /// Whether steps lead from `schema` to today's.
    ///
    /// # Errors
    /// [`Undecodable::Schema`] where they do not.
    pub fn reaches_today(&self, kind: &str, schema: u32) -> Result<(), Undecodable> {
        let known = self.current(kind);
        let step_at = |from| self.of(kind).any(|step| step.from == from);
        if schema <= known && (schema..known).all(step_at) {
            Ok(())
        } else {
            Err(Undecodable::Schema { kind: kind.to_owned(), schema, known })
        }
    }

    /// Today's content, or nothing where `payload` has today's shape already.
    ///
    /// # Errors
    /// [`Undecodable::Schema`] where no path of steps leads from `schema` to today's.
    pub fn lift(
        &self,
        kind: &str,
        schema: u32,
        payload: &str,
    ) -> Result<Option<String>, Undecodable> {
        self.reaches_today(kind, schema)?;
        let today = self.current(kind);
        if schema == today {
            return Ok(None);
        }
        let mut value = serde_json::from_str(payload).map_err(|source| Undecodable::Content {
            kind: kind.to_owned(),
            schema,
            source,
        })?;
        for from in schema..today {
            let mut steps = self.of(kind);
            let step = steps.find(|step| step.from == from).expect("reaches_today found each step");
            value = (step.lift)(value);
        }
        Ok(Some(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_STEPS: Upcasters = Upcasters(&[
        Upcaster { kind: "a.b", from: 2, lift: |old| json!({ "whole": old["full"] }) },
        Upcaster { kind: "a.b", from: 1, lift: |old| json!({ "full": old["name"] }) },
    ]);

    #[test]
    fn an_old_shape_is_lifted_step_by_step() {
        assert_eq!(TWO_STEPS.current("a.b"), 3);
        let lifted = TWO_STEPS.lift("a.b", 1, r#"{"name":"x"}"#).unwrap();
        assert_eq!(lifted.as_deref(), Some(r#"{"whole":"x"}"#));
        assert_eq!(TWO_STEPS.lift("a.b", 3, "{}").unwrap(), None);
    }

    #[test]
    fn a_shape_is_lifted_from_where_it_stands() {
        let lifted = TWO_STEPS.lift("a.b", 2, r#"{"full":"x"}"#).unwrap();
        assert_eq!(lifted.as_deref(), Some(r#"{"whole":"x"}"#));
        assert_eq!(TWO_STEPS.current("c.d"), 1);
        assert_eq!(TWO_STEPS.lift("c.d", 1, "{}").unwrap(), None);
        let broken = TWO_STEPS.lift("a.b", 2, "{");
        assert!(matches!(broken, Err(Undecodable::Content { schema: 2, .. })));
    }

    #[test]
    fn a_shape_without_a_path_to_today_is_refused() {
        let gap = Upcasters(&[Upcaster { kind: "a.b", from: 2, lift: |old| old }]);
        assert!(matches!(gap.lift("a.b", 1, "{}"), Err(Undecodable::Schema { .. })));
        assert!(matches!(gap.lift("a.b", 4, "{}"), Err(Undecodable::Schema { known: 3, .. })));
        assert_eq!(gap.lift("a.b", 2, "{}").unwrap().as_deref(), Some("{}"));
        assert!(matches!(gap.lift("c.d", 0, "{}"), Err(Undecodable::Schema { .. })));
    }

    #[test]
    fn a_person_in_clear_is_looked_up_by_his_login_in_lower_case() {
        let old = r#"{"person":{"email":"a@b.c","firstName":"A","lastName":"B","login":"A@b.c"}}"#;
        for kind in ["user.created", "user.edited"] {
            let lifted = Upcasters::OURS.lift(kind, 1, old).unwrap().unwrap();
            let lifted: Value = serde_json::from_str(&lifted).unwrap();
            let person = serde_json::from_str::<Value>(old).unwrap()["person"].clone();
            assert_eq!(lifted, json!({ "person": { "login": "a@b.c", "sealed": person } }));
        }
    }
}
