//! Golden lines: of every kind and schema of event that was ever stored, one line as it is in the
//! log. They are never changed and never removed; a new kind or schema adds its line.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::{KINDS, Recorded};
use domain::upcast::Upcasters;
use serde_json::Value;

const LINES: &str = include_str!("golden/events.jsonl");

/// Each line with its number, which serves as its position.
fn lines() -> impl Iterator<Item = (u64, &'static str)> {
    (1..).zip(LINES.lines())
}

fn shape(line: &str) -> (String, u32) {
    let stored: Value = serde_json::from_str(line).expect("a golden line is JSON");
    let kind = stored["kind"].as_str().expect("an event has a kind").to_owned();
    let schema = stored["schema"].as_u64().and_then(|it| u32::try_from(it).ok());
    (kind, schema.expect("an event has a schema"))
}

/// RFC 8785, for JSON with ASCII keys and whole numbers: keys sorted at every level, no blanks.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            let fields = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[test]
fn every_line_ever_stored_can_be_read() {
    for (number, line) in lines() {
        let read = Recorded::from_bytes(number, line.as_bytes());
        let event = read.unwrap_or_else(|error| panic!("line {number}: {error:?}"));
        assert_eq!(event.position, number);
    }
}

#[test]
fn a_line_of_todays_schema_is_written_as_it_was() {
    for (number, line) in lines() {
        let (kind, schema) = shape(line);
        let event = Recorded::from_bytes(number, line.as_bytes()).expect("a golden line is read");
        let stored = event.to_stored();
        assert_eq!(stored.kind, kind, "line {number}");
        if schema == Upcasters::OURS.current(&kind) {
            let written = String::from_utf8(stored.body).expect("events are text");
            assert_eq!(written, line, "line {number}");
        }
        // Whatever the schema, what would be written today reads as the same event.
        let again = Recorded::from_bytes(number, &event.to_stored().body).expect("reads back");
        assert_eq!(again, event, "line {number}");
    }
}

#[test]
fn every_line_is_canonical_json() {
    for (number, line) in lines() {
        let value: Value = serde_json::from_str(line).expect("a golden line is JSON");
        assert_eq!(canonical(&value), line, "line {number}");
    }
    assert!(LINES.ends_with('\n') && !LINES.contains('\r'));
}

#[test]
fn every_kind_and_schema_has_a_line() {
    let there: BTreeSet<_> = lines().map(|(_, line)| shape(line)).collect();
    let expected: BTreeSet<_> = KINDS
        .iter()
        .flat_map(|kind| (1..=Upcasters::OURS.current(kind)).map(|it| ((*kind).to_owned(), it)))
        .collect();
    let missing: Vec<_> = expected.difference(&there).collect();
    let unknown: Vec<_> = there.difference(&expected).collect();
    assert!(missing.is_empty(), "add a golden line for {missing:?}");
    assert!(unknown.is_empty(), "the program has forgotten {unknown:?}");
    assert!(KINDS.is_sorted() && BTreeSet::from_iter(KINDS).len() == KINDS.len());
}
