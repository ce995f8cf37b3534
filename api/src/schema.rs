//! The JSON Schema of a service's definition, for editors: the very one that bodies are checked against.

use serde_json::{Map, Value, json};

/// The schema of the document that defines a service (JSON Schema 2020-12).
#[must_use]
pub fn definition() -> Value {
    let description = serde_json::to_value(crate::rest::openapi()).expect("it has a JSON form");
    let schemas = description["components"]["schemas"].as_object().expect("bodies have schemas");
    let mut wanted = vec!["DefinitionDocument".to_owned()];
    let mut parts = Map::new();
    while let Some(name) = wanted.pop() {
        if parts.contains_key(&name) {
            continue;
        }
        let mut schema = schemas[&name].clone();
        lead_to_parts(&mut schema, &mut wanted);
        parts.insert(name, schema);
    }
    let mut whole = parts.remove("DefinitionDocument").expect("it was wanted");
    whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    whole["title"] = json!("Definition of a service of Atrium");
    whole["$defs"] = Value::Object(parts);
    whole
}

/// Lets references lead to `$defs`, and notes where they lead.
fn lead_to_parts(schema: &mut Value, wanted: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                wanted.push(name.to_owned());
                *reference = format!("#/$defs/{name}");
            }
            object.values_mut().for_each(|part| lead_to_parts(part, wanted));
        }
        Value::Array(items) => items.iter_mut().for_each(|part| lead_to_parts(part, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_this_one() {
        let ours = serde_json::to_string_pretty(&definition()).unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/service.schema.json");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &ours).unwrap();
        }
        let published = std::fs::read_to_string(file).unwrap_or_default();
        assert!(published == ours, "docs/service.schema.json is another: UPDATE_DOCS=1 writes it");
    }

    #[test]
    fn every_service_that_comes_with_atrium_fits_it_and_a_mistake_does_not() {
        let validator = jsonschema::validator_for(&definition()).unwrap();
        for (key, text) in crate::population::SERVICES {
            let mut document: Value = serde_json::from_str(text).unwrap();
            assert!(validator.is_valid(&document), "{key}");
            document["properties"][0]["typ"] = json!("text");
            assert!(!validator.is_valid(&document), "{key}");
        }
    }
}
