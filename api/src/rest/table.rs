//! Tables (RFC 4180) as bodies: what many users are to have, a line for each.

use std::collections::BTreeMap;

use commands::usecase::bulk::{BULK_MAX, Item, Many};
use commands::usecase::definition::{InputDocument, ValueDocument};
use commands::usecase::subscriptions::Provision;
use commands::{Input, ShapeFault};
use domain::{Fault, Reason, pointer_token};

/// What a column begins with that has values of a property.
const PROPERTIES: &str = "properties.";
/// The columns that there have to be.
const NEEDED: [&str; 3] = ["user", "service", "plan"];
/// The others, beside those of properties.
const OTHERS: [&str; 4] = ["quantity", "instance", "effectiveAt", "reason"];

/// Reads a table, or says all that is wrong with its form; faults name the line, the first being that of the columns.
pub fn many(text: &[u8]) -> Input<Many> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let mut faults = Vec::new();
    let columns = match reader.headers() {
        Ok(columns) => columns.clone(),
        Err(error) => {
            return Err(malformed(vec![fault_of(&error, &mut Lines { text, read: 0, line: 1 })]));
        }
    };
    for needed in NEEDED {
        if !columns.iter().any(|column| column == needed) {
            faults.push(fault(1, needed, "missing", &format!("There is no column `{needed}`.")));
        }
    }
    let mut seen = Vec::new();
    for column in &columns {
        let is_known = NEEDED.contains(&column) || OTHERS.contains(&column);
        if !is_known && !column.starts_with(PROPERTIES) {
            faults.push(fault(
                1,
                column,
                "unknown_field",
                &format!("There is no column `{column}`."),
            ));
        }
        if seen.contains(&column) {
            faults.push(fault(
                1,
                column,
                "duplicate",
                &format!("The column `{column}` is there twice."),
            ));
        }
        seen.push(column);
    }
    if !faults.is_empty() {
        return Err(malformed(faults));
    }
    let mut items = Vec::new();
    let mut lines = Lines { text, read: 0, line: 1 };
    // One more than there can be, so that it is told that there are too many.
    for record in reader.records().take(BULK_MAX + 1) {
        match record {
            Err(error) => faults.push(fault_of(&error, &mut lines)),
            Ok(record) => {
                let line = lines.of(record.position());
                items.push(item(line, &columns, &record, &mut faults));
            }
        }
    }
    if faults.is_empty() { Ok(Many { items, reason: None }) } else { Err(malformed(faults)) }
}

/// What a line says.
fn item(
    line: u64,
    columns: &csv::StringRecord,
    record: &csv::StringRecord,
    faults: &mut Vec<Fault>,
) -> Item {
    let mut wish = Provision {
        service: String::new(),
        plan: String::new(),
        quantity: None,
        instance: None,
        properties: BTreeMap::new(),
        effective_at: None,
        reason: None,
    };
    let mut user = String::new();
    // An empty cell says nothing.
    for (column, cell) in columns.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let text = || Some(cell.to_owned());
        match column {
            "user" => user = cell.to_owned(),
            "service" => wish.service = cell.to_owned(),
            "plan" => wish.plan = cell.to_owned(),
            "instance" => wish.instance = text(),
            "effectiveAt" => wish.effective_at = text(),
            "reason" => wish.reason = text(),
            "quantity" => match cell.parse() {
                Ok(quantity) => wish.quantity = Some(quantity),
                Err(_) => {
                    faults.push(fault(line, column, "wrong_type", "This must be a whole number."));
                }
            },
            property => {
                let key = property.strip_prefix(PROPERTIES).unwrap_or(property).to_owned();
                let value = InputDocument::Value(ValueDocument::Text(cell.to_owned()));
                wish.properties.insert(key, value);
            }
        }
    }
    Item { at: format!("/lines/{line}"), line: usize::try_from(line).ok(), user, wish }
}

fn malformed(faults: Vec<Fault>) -> ShapeFault {
    ShapeFault { reason: Reason::Malformed, faults }
}

fn fault(line: u64, column: &str, code: &'static str, detail: &str) -> Fault {
    let pointer = format!("/lines/{line}/{}", pointer_token(column));
    Fault { pointer, code, detail: format!("Line {line}: {detail}") }
}

/// Which line a place in a text is in. (The reader's own count is behind where lines are empty or end as on Windows.)
struct Lines<'a> {
    text: &'a [u8],
    read: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a record, none of which is before the last one that was asked about.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let begin = position.and_then(|it| usize::try_from(it.byte()).ok()).unwrap_or(self.read);
        let rest = self.text.get(begin..).unwrap_or_default();
        let begin = begin + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.text.get(self.read..begin).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.read = self.read.max(begin);
        self.line
    }
}

fn fault_of(error: &csv::Error, lines: &mut Lines<'_>) -> Fault {
    let line = lines.of(error.position());
    let detail = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("Line {line}: this has {len} cells, and there are {expected_len} columns.")
        }
        _ => format!("Line {line}: this is not the text of a table (RFC 4180)."),
    };
    Fault { pointer: format!("/lines/{line}"), code: "malformed", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, &'static str)> {
        let faults = many(text.as_bytes()).expect_err("it is malformed").faults;
        faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    }

    #[test]
    fn each_line_says_what_one_user_is_to_have() {
        let text = "user,plan,service,quantity,properties.Name\r\n\
                    ann@x.test,a,mailbox,2,\"Lee, Ann\"\r\n\r\nben@x.test,b,mailbox,,\r\n";
        let Many { items, reason } = many(text.as_bytes()).expect("a table");
        assert_eq!((items.len(), reason), (2, None));
        assert_eq!((items[0].at.as_str(), items[1].at.as_str()), ("/lines/2", "/lines/4"));
        assert_eq!((items[0].wish.quantity, items[1].wish.quantity), (Some(2), None));
        let name = InputDocument::Value(ValueDocument::Text("Lee, Ann".to_owned()));
        assert_eq!(items[0].wish.properties.get("Name"), Some(&name));
        assert!(items[1].wish.properties.is_empty());
        assert_eq!((items[1].user.as_str(), items[1].wish.plan.as_str()), ("ben@x.test", "b"));
    }

    #[test]
    fn faults_name_the_line() {
        assert_eq!(
            faults("user,plan,colour,plan\n"),
            [
                ("/lines/1/service".to_owned(), "missing"),
                ("/lines/1/colour".to_owned(), "unknown_field"),
                ("/lines/1/plan".to_owned(), "duplicate"),
            ]
        );
        let text = "user,service,plan,quantity\na,b,c,1\na,b,c,many\na,b\n";
        assert_eq!(
            faults(text),
            [("/lines/3/quantity".to_owned(), "wrong_type"), ("/lines/4".to_owned(), "malformed")]
        );
        let line = "a,b,c\n".repeat(BULK_MAX + 5);
        let many = many(format!("user,service,plan\n{line}").as_bytes()).expect("a table");
        assert_eq!(many.items.len(), BULK_MAX + 1, "told by the use case");
    }
}
