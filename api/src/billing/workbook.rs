//! Tables as workbooks of Excel's: numbers are numbers, dates are dates, and a second sheet says what it comes to.

use std::io::{Seek as _, SeekFrom};

use axum::body::Body;
use axum::http::StatusCode;
use chrono::{DateTime, NaiveDate};
use eventstore::{Error, failpoint};
use futures_util::{TryStreamExt as _, stream};
use rust_xlsxwriter::{Format as Style, Workbook, Worksheet, XlsxError};
use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::export::{Column, Control, Rows, Table, fields};
use crate::problem::Problem;
use crate::travel::Then;

/// Rows that a sheet has room for, below its head.
const ROWS_MAX: u64 = 1_048_575;
/// Digits of a number that a sheet holds exactly; one with more is a text.
const DIGITS_MAX: usize = 15;
/// Rows that wait while those before them are written, in portions.
const WAITING_MAX: usize = 2;
/// How much of the file is sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes a workbook to a file that is gone once it is sent.
///
/// # Errors
/// What cannot be read or written; more rows than a sheet has room for.
pub(super) async fn body<T: Serialize + Send + 'static>(
    (table, then): (&'static Table, Then),
    mut rows: Rows<T>,
) -> Result<Body, Problem> {
    let (sender, mut receiver) = mpsc::channel::<Vec<_>>(WAITING_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut book = Book::begin(table, then)?;
        while let Some(some) = receiver.blocking_recv() {
            for (fields, amount) in some {
                book.add(&fields, amount)?;
            }
        }
        book.finish()
    });
    while let Some(some) = rows.try_next().await? {
        let some = some.into_iter().map(|row| (fields(&row.resource), row.amount)).collect();
        if sender.send(some).await.is_err() {
            // It has ended early, and says why.
            break;
        }
    }
    drop(sender);
    let written = writing.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
    let file = tokio::fs::File::from_std(written?);
    let chunks = stream::try_unfold(file, async |mut file| {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    Ok(Body::from_stream(chunks))
}

/// Why there is no workbook.
#[derive(Debug)]
enum Failure {
    TooMany,
    Storage(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl From<XlsxError> for Failure {
    fn from(error: XlsxError) -> Self {
        Self::Storage(Error::Unsuitable(format!("the workbook cannot be written: {error}")))
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooMany => {
                let detail = format!(
                    "A sheet has room for {ROWS_MAX} rows; ask for csv or jsonl, or for one customer (customerId)."
                );
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_rows", detail)
            }
            Failure::Storage(error) => error.into(),
        }
    }
}

/// A workbook that is being written.
struct Book {
    table: &'static Table,
    workbook: Workbook,
    control: Control,
    head: Style,
    date: Style,
    time: Style,
}

impl Book {
    fn begin(table: &'static Table, then: Then) -> Result<Self, Failure> {
        let mut book = Self {
            table,
            workbook: Workbook::new(),
            control: Control::begin(table, then).0,
            head: Style::new().set_bold(),
            date: Style::new().set_num_format("yyyy-mm-dd"),
            time: Style::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        };
        let sheet = book.workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name(table.name)?.set_freeze_panes(1, 0)?;
        for (column, (name, _)) in (0..).zip(table.columns) {
            sheet.write_string_with_format(0, column, *name, &book.head)?;
        }
        Ok(book)
    }

    fn add(&mut self, fields: &Value, amount: domain::money::Money) -> Result<(), Failure> {
        if self.control.rows() >= ROWS_MAX {
            return Err(Failure::TooMany);
        }
        self.control.add(self.table, fields, amount)?;
        let row = u32::try_from(self.control.rows()).expect("a sheet has fewer rows");
        let sheet = self.workbook.worksheet_from_index(0)?;
        for (place, (name, column)) in (0..).zip(self.table.columns) {
            let cell = (row, place);
            match (&fields[*name], column) {
                (Value::Null, _) => {}
                (Value::Number(number), _) => write_number(sheet, cell, &number.to_string())?,
                (Value::String(text), Column::Number) => write_number(sheet, cell, text)?,
                (Value::String(text), Column::Date) => match text.parse::<NaiveDate>() {
                    Ok(date) => write_moment(sheet, cell, date, &self.date, text)?,
                    Err(_) => write_text(sheet, cell, text)?,
                },
                (Value::String(text), Column::Time) => match DateTime::parse_from_rfc3339(text) {
                    Ok(time) => {
                        let time = time.naive_utc();
                        write_moment(sheet, cell, time, &self.time, text)?;
                    }
                    Err(_) => write_text(sheet, cell, text)?,
                },
                // A text is one, whatever it begins with: a sheet computes formulas only where they are written as such.
                (Value::String(text), Column::Text) => write_text(sheet, cell, text)?,
                (Value::Bool(flag), _) => {
                    sheet.write_boolean(row, place, *flag)?;
                }
                (Value::Array(items), _) => {
                    let items: Vec<_> = items.iter().map(Value::to_string).collect();
                    write_text(sheet, cell, &items.join(" "))?;
                }
                (Value::Object(_), _) => unreachable!("no row has an object in it"),
            }
        }
        Ok(())
    }

    /// The file, from its beginning.
    fn finish(mut self) -> Result<std::fs::File, Failure> {
        let rows = self.control.rows();
        let last = u16::try_from(self.table.columns.len()).expect("few columns") - 1;
        let sheet = self.workbook.worksheet_from_index(0)?;
        sheet.autofilter(0, 0, u32::try_from(rows).expect("a sheet has fewer rows"), last)?;
        let sheet = self.workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name("Control")?;
        sheet.write_string_with_format(0, 0, "Rows", &self.head)?;
        write_number(sheet, (0, 1), &rows.to_string())?;
        let mut line = 0;
        for (code, total) in self.control.totals() {
            line += 1;
            sheet.write_string_with_format(line, 0, code, &self.head)?;
            write_number(sheet, (line, 1), &total)?;
        }
        sheet.write_string_with_format(line + 1, 0, "SHA-256 of the same as CSV", &self.head)?;
        write_text(sheet, (line + 1, 1), &self.control.digest())?;
        for (line, (name, value)) in (line + 2..).zip(self.control.then()) {
            sheet.write_string_with_format(line, 0, name, &self.head)?;
            write_text(sheet, (line, 1), &value)?;
        }
        let io = |error| Failure::Storage(Error::Unsuitable(format!("the workbook: {error}")));
        failpoint("api::billing::workbook").map_err(io)?;
        let mut file = tempfile::tempfile().map_err(io)?;
        self.workbook.save_to_writer(&mut file)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        Ok(file)
    }
}

fn write_text(sheet: &mut Worksheet, (row, column): (u32, u16), text: &str) -> Result<(), Failure> {
    sheet.write_string(row, column, text)?;
    Ok(())
}

/// A number as such, unless the sheet would round it.
fn write_number(sheet: &mut Worksheet, cell: (u32, u16), text: &str) -> Result<(), Failure> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text.parse::<f64>() {
        Ok(number) if digits <= DIGITS_MAX => {
            sheet.write_number(cell.0, cell.1, number)?;
            Ok(())
        }
        _ => write_text(sheet, cell, text),
    }
}

/// A date or time as such, unless it is before what sheets know.
fn write_moment(
    sheet: &mut Worksheet,
    cell: (u32, u16),
    moment: impl rust_xlsxwriter::IntoExcelDateTime,
    style: &Style,
    text: &str,
) -> Result<(), Failure> {
    match sheet.write_datetime_with_format(cell.0, cell.1, moment, style) {
        Ok(_) => Ok(()),
        Err(XlsxError::DateTimeRangeError(_)) => write_text(sheet, cell, text),
        Err(error) => Err(error.into()),
    }
}
