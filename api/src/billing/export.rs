//! Tables as files: for spreadsheets and for programs, each with what it comes to at its end.
//!
//! They are written while they are read, some rows at a time, so that they take little memory whatever their length. The
//! digest is that of the table as CSV, up to its last row: the same for the same rows, in whichever form they came.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use domain::billing::Overflow;
use domain::money::{Currency, Money};
use eventstore::Error;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::format::Format;
use super::workbook;
use crate::keys::hex;
use crate::rest::Answer;
use crate::travel::Then;

/// A row, and the amount that it adds to what its table comes to.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) resource: T,
    pub(super) amount: Money,
}

/// Rows as they are read, some at a time.
pub(super) type Rows<T> = BoxStream<'static, Result<Vec<Row<T>>, Error>>;

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Date,
    Number,
    Text,
    Time,
}

/// The columns of a table, in order: each is a field of its rows.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Column)],
}

/// A table of a period as it was asked for.
///
/// # Errors
/// What cannot be read while nobody has been told anything yet.
pub(super) async fn answer<T: Serialize + Send + 'static>(
    format: Format,
    table: &'static Table,
    (period, then): (&str, Then),
    rows: Rows<T>,
) -> Answer {
    let rows = begun(rows).await?;
    let body = match format {
        Format::Json => Body::from_stream(lines(rows, None)),
        Format::Jsonl => Body::from_stream(lines(rows, Some((table, then)))),
        Format::Csv => Body::from_stream(csv((table, then), rows, true)),
        Format::Focus => Body::from_stream(csv((table, then), rows, false)),
        Format::Xlsx => workbook::body((table, then), rows).await?,
    };
    let mut response = body.into_response();
    let kind = HeaderValue::from_static(format.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if format != Format::Json {
        name_file(&mut response, format, table, period);
    }
    Ok(response)
}

/// Says what a file is called, for who saves it.
fn name_file(response: &mut Response, format: Format, table: &Table, period: &str) {
    let end = if format == Format::Focus { "focus.csv" } else { format.name() };
    let name = format!("attachment; filename=\"{}-{period}.{end}\"", table.name);
    let name = HeaderValue::from_str(&name).expect("a period's name is a date");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
}

/// Reads the first rows, so that what cannot be read is told in place of the answer.
async fn begun<T: Send + 'static>(mut rows: Rows<T>) -> Result<Rows<T>, Error> {
    let first = rows.try_next().await?;
    Ok(stream::iter(first.map(Ok)).chain(rows).boxed())
}

/// What a table comes to, so far.
#[derive(Clone, Debug)]
pub(super) struct Control {
    rows: u64,
    totals: BTreeMap<Currency, Money>,
    digest: Sha256,
    then: Then,
}

impl Control {
    /// Of a table without rows.
    pub(super) fn begin(table: &Table, then: Then) -> (Self, Vec<u8>) {
        let head = record(table.columns.iter().map(|(name, _)| Cow::Borrowed(*name)));
        let digest = Sha256::new_with_prefix(&head);
        (Self { rows: 0, totals: BTreeMap::new(), digest, then }, head)
    }

    /// Takes a row in; gives it as a line of CSV.
    ///
    /// # Errors
    /// Where the total is beyond what can be held.
    pub(super) fn add(
        &mut self,
        table: &Table,
        fields: &Value,
        amount: Money,
    ) -> Result<Vec<u8>, Error> {
        let cells = table.columns.iter().map(|(name, column)| text(&fields[*name], *column));
        let line = record(cells);
        self.digest.update(&line);
        self.rows += 1;
        let total = self.totals.entry(amount.currency).or_insert(Money::new(0, amount.currency));
        let too_large = || Error::Unsuitable(Overflow.to_string());
        *total = total.checked_add(amount).ok_or_else(too_large)?;
        Ok(line)
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// By currency.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.totals.iter().map(|(currency, total)| (currency.code(), total.to_string()))
    }

    /// SHA-256 of the table as CSV, in hex.
    pub(super) fn digest(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// As of when it was asked for, by name; nothing where that is now.
    pub(super) fn then(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.then.named()
    }

    fn totals_in_one(&self) -> String {
        let totals: Vec<_> = self.totals().map(|(code, total)| format!("{code}={total}")).collect();
        totals.join(" ")
    }

    /// As the last line of CSV: as many cells as the others have, so that it is read by everybody.
    fn line(&self, table: &Table) -> Vec<u8> {
        let own = [
            "#control".to_owned(),
            format!("rows={}", self.rows),
            self.totals_in_one(),
            format!("sha256={}", self.digest()),
        ];
        let then = self.then().map(|(name, value)| format!("{name}={value}"));
        let rest = std::iter::repeat(String::new());
        let cells = own.into_iter().chain(then).chain(rest).take(table.columns.len());
        record(cells.map(Cow::Owned))
    }
}

/// Says in headers what a table comes to that has no place for it.
///
/// # Errors
/// What cannot be read.
pub(super) async fn control_headers<T: Serialize + Send + 'static>(
    response: &mut Response,
    (table, then): (&'static Table, Then),
    mut rows: Rows<T>,
) -> Result<(), Error> {
    let (mut control, _) = Control::begin(table, then);
    while let Some(some) = rows.try_next().await? {
        for row in some {
            control.add(table, &fields(&row.resource), row.amount)?;
        }
    }
    let comes_to = [
        ("atrium-rows", control.rows.to_string()),
        ("atrium-totals", control.totals_in_one()),
        ("atrium-sha256", control.digest()),
    ];
    let then = then.named().map(|(name, value)| match name {
        "asOf" => ("atrium-as-of", value),
        _ => ("atrium-known-at", value),
    });
    for (name, value) in comes_to.into_iter().chain(then) {
        let value = HeaderValue::from_str(&value).expect("digits, letters and signs");
        response.headers_mut().insert(name, value);
    }
    Ok(())
}

pub(super) fn fields(resource: &impl Serialize) -> Value {
    serde_json::to_value(resource).expect("resources have text keys only")
}

/// A table as text; its last line says what it comes to, where that is wanted.
fn csv<T: Serialize + Send + 'static>(
    (table, then): (&'static Table, Then),
    rows: Rows<T>,
    controlled: bool,
) -> impl futures_util::Stream<Item = Result<Vec<u8>, Error>> {
    let (control, head) = Control::begin(table, then);
    let chunks = stream::try_unfold(Some((rows, control)), move |state| async move {
        let Some((mut rows, mut control)) = state else { return Ok(None) };
        let Some(some) = rows.try_next().await? else {
            let end = if controlled { control.line(table) } else { Vec::new() };
            return Ok(Some((end, None)));
        };
        let mut chunk = Vec::new();
        for row in some {
            chunk.extend(control.add(table, &fields(&row.resource), row.amount)?);
        }
        Ok(Some((chunk, Some((rows, control)))))
    });
    stream::iter([Ok(head)]).chain(chunks)
}

/// JSON: all under `data`; or, of a table, a line each, the last of which says what it comes to.
fn lines<T: Serialize + Send + 'static>(
    rows: Rows<T>,
    table: Option<(&'static Table, Then)>,
) -> impl futures_util::Stream<Item = Result<Vec<u8>, Error>> {
    struct Sending<T> {
        rows: Rows<T>,
        control: Option<(&'static Table, Control)>,
        is_first: bool,
    }
    let control = table.map(|(table, then)| (table, Control::begin(table, then).0));
    let sending = Sending { rows, control, is_first: true };
    stream::try_unfold(Some(sending), async |sending| {
        let Some(mut sending) = sending else { return Ok(None) };
        let Some(rows) = sending.rows.try_next().await? else {
            let end = match &sending.control {
                Some((_, control)) => {
                    let totals: BTreeMap<_, _> = control.totals().collect();
                    let mut says = json!({
                        "rows": control.rows, "totals": totals, "sha256": control.digest(),
                    });
                    for (name, value) in control.then() {
                        says[name] = value.into();
                    }
                    format!("{}\n", json!({ "control": says }))
                }
                None if sending.is_first => "{\"data\":[]}".to_owned(),
                None => "]}".to_owned(),
            };
            return Ok(Some((end.into_bytes(), None)));
        };
        let mut chunk = Vec::new();
        for Row { resource, amount } in rows {
            if sending.control.is_none() {
                chunk.extend_from_slice(if sending.is_first { b"{\"data\":[" } else { b"," });
            }
            let written = serde_json::to_writer(&mut chunk, &resource);
            written.expect("resources have text keys only");
            if let Some((table, control)) = &mut sending.control {
                control.add(table, &fields(&resource), amount)?;
                chunk.push(b'\n');
            }
            sending.is_first = false;
        }
        Ok(Some((chunk, Some(sending))))
    })
}

/// A line of CSV.
fn record<'a>(cells: impl IntoIterator<Item = Cow<'a, str>>) -> Vec<u8> {
    let mut writer =
        ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
    let written = writer.write_record(cells.into_iter().map(|cell| cell.into_owned()));
    written.expect("memory can be written to");
    writer.into_inner().expect("memory can be written to")
}

/// A cell as text.
fn text(value: &Value, column: Column) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) if column == Column::Text => defused(text),
        Value::String(text) => text.into(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| text(item, Column::Number)).collect();
            items.join(" ").into()
        }
        other => other.to_string().into(),
    }
}

/// A text that no spreadsheet takes for a formula (OWASP, CSV injection): an apostrophe goes before what begins one.
fn defused(text: &str) -> Cow<'_, str> {
    const BEGIN_FORMULAS: [char; 11] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.starts_with(BEGIN_FORMULAS) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("＝1", "'＝1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(defused(text), expected);
        }
        assert_eq!(text(&json!("-1.00"), Column::Number), "-1.00", "a number is one");
    }

    #[test]
    fn a_line_is_quoted_where_it_has_to_be() {
        let line = record(["a,b", "c\"d", "e"].map(Cow::Borrowed));
        assert_eq!(String::from_utf8(line).unwrap(), "\"a,b\",\"c\"\"d\",e\r\n");
    }
}
