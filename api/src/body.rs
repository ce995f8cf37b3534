//! Bodies: checked against the very schema that `docs/openapi.json` publishes, so that the two
//! cannot drift apart, and every fault is told at once.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::OnceLock;

use commands::{Input, ShapeFault};
use domain::{Fault, Reason, pointer_token};
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, Registry, RegistryBuilder, Validator};
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Most faults that are told of one body.
const FAULTS_MAX: usize = 100;

/// Reads a body as `T`, or says all that is wrong with it. An empty body is an empty object.
pub fn parse<T: DeserializeOwned + ToSchema>(bytes: &[u8]) -> Input<T> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let (value, duplicates) = read(bytes).map_err(|error| malformed(vec![fault("", &error)]))?;
    if !duplicates.is_empty() {
        return Err(malformed(duplicates));
    }
    let name = T::name();
    let validator = validators().get(name.as_ref()).expect("every body is in the API description");
    // Much quicker than to look for every fault.
    if !validator.is_valid(&value) {
        return Err(faults(validator, &value));
    }
    serde_json::from_value(value).map_err(|error| malformed(vec![fault("", &error)]))
}

/// All that is wrong with a body.
fn faults(validator: &Validator, value: &Value) -> ShapeFault {
    let mut faults = Vec::new();
    let mut shape_is_right = true;
    for error in validator.iter_errors(value).take(FAULTS_MAX) {
        let at = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                shape_is_right = false;
                faults.extend(unexpected.iter().map(|field| Fault {
                    pointer: format!("{at}/{}", pointer_token(field)),
                    code: "unknown_field",
                    detail: "There is no such field.".to_owned(),
                }));
            }
            ValidationErrorKind::Required { property } => {
                shape_is_right = false;
                faults.push(Fault {
                    pointer: format!(
                        "{at}/{}",
                        pointer_token(property.as_str().unwrap_or_default())
                    ),
                    code: "missing",
                    detail: "This field is missing.".to_owned(),
                });
            }
            ValidationErrorKind::Enum { options } => faults.push(Fault {
                pointer: at,
                code: "not_a_choice",
                detail: format!("This must be one of {options}."),
            }),
            ValidationErrorKind::Type { kind } => {
                shape_is_right = false;
                let detail = format!("This must be {}.", type_name(kind));
                faults.push(Fault { pointer: at, code: "wrong_type", detail });
            }
            ValidationErrorKind::OneOfNotValid { .. } => {
                shape_is_right = false;
                faults.push(Fault {
                    pointer: at,
                    code: "wrong_type",
                    detail: "This has none of the forms that are known here.".to_owned(),
                });
            }
            _ => faults.push(Fault {
                pointer: at,
                code: "invalid",
                detail: format!("{}.", error.masked()),
            }),
        }
    }
    let reason = if shape_is_right { Reason::Invalid } else { Reason::Malformed };
    ShapeFault { reason, faults }
}

/// What a field must be, for people. That it may also be left out or `null` goes without saying.
fn type_name(kind: &TypeKind) -> String {
    let name = |kind: JsonType| match kind {
        JsonType::String => "a text",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::Boolean => "true or false",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
        JsonType::Null => "null",
    };
    let wanted: Vec<_> = match kind {
        TypeKind::Single(kind) => vec![name(*kind)],
        TypeKind::Multiple(kinds) => {
            kinds.iter().filter(|kind| *kind != JsonType::Null).map(name).collect()
        }
    };
    wanted.join(" or ")
}

fn malformed(faults: Vec<Fault>) -> ShapeFault {
    ShapeFault { reason: Reason::Malformed, faults }
}

fn fault(pointer: &str, error: &serde_json::Error) -> Fault {
    let detail = format!("The body is not the JSON that is wanted: {error}.");
    Fault { pointer: pointer.to_owned(), code: "malformed", detail }
}

/// What the schemas of the API description are called among themselves. Each validator reads its own and those that it
/// refers to; with a copy of all in each, the first command of a process waited for all these copies.
const SCHEMAS: &str = "urn:atrium:api";

/// A validator for each schema of the API description, by name.
fn validators() -> &'static HashMap<String, Validator> {
    static VALIDATORS: OnceLock<HashMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let description = serde_json::to_value(crate::rest::openapi());
        let mut description = description.expect("it has a JSON form");
        nullable_as_condition(&mut description["components"]);
        let names =
            description["components"]["schemas"].as_object().into_iter().flat_map(Map::keys);
        let names: Vec<_> = names.cloned().collect();
        let registry = Registry::new().add(SCHEMAS, description);
        let registry = registry.and_then(RegistryBuilder::prepare);
        let registry = registry.expect("the API description refers to itself only");
        let options = jsonschema::options().with_registry(&registry);
        let validator = |name: String| {
            let schema = json!({ "$ref": format!("{SCHEMAS}#/components/schemas/{name}") });
            let validator = options.build(&schema);
            (name, validator.expect("the API description is a valid schema"))
        };
        names.into_iter().map(validator).collect()
    })
}

/// `oneOf [X, null]` says of a bad X only that neither fits. `if null, fine, else X` says what is
/// wrong with it.
fn nullable_as_condition(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(choices)) = object.get("oneOf")
                && let [wanted, null] = choices.as_slice()
                && null["type"] == "null"
            {
                let wanted = wanted.clone();
                object.remove("oneOf");
                object.insert("if".to_owned(), json!({ "type": "null" }));
                object.insert("else".to_owned(), wanted);
            }
            object.values_mut().for_each(nullable_as_condition);
        }
        Value::Array(items) => items.iter_mut().for_each(nullable_as_condition),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reads JSON and notes every field that is there twice: readers that take the first and readers
/// that take the last must not disagree on what was asked.
///
/// # Errors
/// Where it is no JSON.
pub fn read(bytes: &[u8]) -> Result<(Value, Vec<Fault>), serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let reader = Reader { at: String::new(), duplicates: &mut duplicates };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates))
}

struct Reader<'a> {
    at: String,
    duplicates: &'a mut Vec<Fault>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let at = format!("{}/{}", self.at, array.len());
            let next = Reader { at, duplicates: &mut *self.duplicates };
            match items.next_element_seed(next)? {
                Some(item) => array.push(item),
                None => break,
            }
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut told = BTreeSet::new();
        while let Some(field) = fields.next_key::<String>()? {
            let at = format!("{}/{}", self.at, pointer_token(&field));
            let value = fields
                .next_value_seed(Reader { at: at.clone(), duplicates: &mut *self.duplicates })?;
            if object.insert(field, value).is_some() && told.insert(at.clone()) {
                self.duplicates.push(Fault {
                    pointer: at,
                    code: "duplicate_field",
                    detail: "This field is there more than once.".to_owned(),
                });
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use commands::usecase::organizations::CreateOrganization;
    use commands::usecase::users::EditUser;

    use super::*;

    fn faults(json: &str) -> (Reason, Vec<(String, &'static str)>) {
        let fault = parse::<CreateOrganization>(json.as_bytes()).unwrap_err();
        let faults = fault.faults.into_iter().map(|fault| (fault.pointer, fault.code));
        (fault.reason, faults.collect())
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let (reason, mut faults) =
            faults(r#"{"nmae":"x","code":5,"contact":{"email":[],"fax":"1"},"type":"odd"}"#);
        faults.sort();
        assert_eq!(reason, Reason::Malformed);
        assert_eq!(
            faults,
            [
                ("/code".to_owned(), "wrong_type"),
                ("/contact/email".to_owned(), "wrong_type"),
                ("/contact/fax".to_owned(), "unknown_field"),
                ("/name".to_owned(), "missing"),
                ("/nmae".to_owned(), "unknown_field"),
                ("/type".to_owned(), "not_a_choice"),
            ]
        );
    }

    #[test]
    fn a_wrong_value_of_the_right_shape_is_not_malformed() {
        assert_eq!(faults(r#"{"name":"x","type":"odd"}"#).0, Reason::Invalid);
    }

    #[test]
    fn duplicate_fields_are_found_at_any_depth() {
        let (reason, faults) =
            faults(r#"{"name":"x","contact":{"email":"a@b.c","email":"d@e.f"},"name":"y"}"#);
        assert_eq!(reason, Reason::Malformed);
        assert_eq!(
            faults,
            [
                ("/contact/email".to_owned(), "duplicate_field"),
                ("/name".to_owned(), "duplicate_field")
            ]
        );
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for bad in ["{", "[]", "null", "1", "{\"name\":\"x\"} {}", "\u{0}", "{\"name\":NaN}"] {
            assert_eq!(faults(bad).0, Reason::Malformed, "{bad}");
        }
        assert_eq!(faults(&"[".repeat(100_000)).0, Reason::Malformed);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(parse::<EditUser>(b" ").is_ok());
    }

    #[test]
    fn null_is_told_from_absent_where_it_clears() {
        use commands::usecase::organizations::EditOrganization;
        let cleared = parse::<EditOrganization>(br#"{"billingIdentifier":null}"#).unwrap();
        assert_eq!(cleared.billing_identifier, Some(None));
        assert_eq!(parse::<EditOrganization>(b"{}").unwrap().billing_identifier, None);
    }
}
