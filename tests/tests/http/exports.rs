//! Bills as files: the same rows in every form, with what they come to, and nothing that a spreadsheet would run.

use std::collections::BTreeMap;
use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use atrium_tests::http::TestApp;
use calamine::{Data, Reader, Xlsx};
use reqwest::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::BOTH;

/// A customer whose name is a formula.
const FORMULA: &str = "=HYPERLINK(\"https://evil.test\",\"Abacus\")";

/// Two customers, one of whom has less than nothing charged for a day.
async fn shop(engine: eventstore::Engine) -> Result<TestApp> {
    let app = TestApp::new(engine, "2019-11-11T10:00:00Z").await?;
    app.publish("backup").await?;
    app.publish("crm").await?;
    for (name, more) in [("Aanimals Inc", "BU001"), (FORMULA, "BU010")] {
        let customer = app.customer(name, None).await?;
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let sent = json!({ "service": "backup", "plan": more, "effectiveAt": "2019-11-11", "reason": "-1" });
        app.post(&path, sent).await?;
        let sent = json!({ "service": "crm", "plan": "team", "instance": "+staging", "effectiveAt": "2019-11-21" });
        app.post(&path, sent).await?;
    }
    Ok(app)
}

async fn file(app: &TestApp, path: &str, accept: Option<&str>) -> Result<(HeaderMap, Vec<u8>)> {
    let request = app.request(&app.token, Method::GET, path);
    let request = match accept {
        Some(accept) => request.header(ACCEPT, accept),
        None => request,
    };
    let answer = request.send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await?.to_vec();
    ensure!(status == StatusCode::OK, "{path}: {status} {}", String::from_utf8_lossy(&body));
    Ok((headers, body))
}

/// A row of a table: each cell by its column.
type Line = BTreeMap<String, String>;

/// The rows of a table, and its last line.
fn table(body: &[u8]) -> Result<(Vec<Line>, Vec<String>)> {
    let mut reader = csv::Reader::from_reader(body);
    let names = reader.headers()?.clone();
    let mut records = reader.records().collect::<Result<Vec<_>, _>>()?;
    let control = records.pop().context("a last line")?;
    let row = |record: &csv::StringRecord| {
        names.iter().zip(record).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    Ok((records.iter().map(row).collect(), control.iter().map(str::to_owned).collect()))
}

/// A field of a row of JSON, as a table shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn every_form_has_the_same_rows_and_says_what_they_come_to() -> Result<()> {
    for engine in BOTH {
        let app = shop(engine).await?;
        for part in ["", "/detail", "/entries", "/bridge", "?aggregateByCustomer=true"] {
            let (path, query) = part.split_once('?').unwrap_or((part, ""));
            let path = |form: &str| {
                let sign = if query.is_empty() { "" } else { "?" };
                format!("/api/billing/2019-11-30{path}{form}{sign}{query}")
            };
            let json = app.get(&path("")).await?;
            let rows = json["data"].as_array().context("rows")?;
            // Of the way from one bill to the next, the difference.
            let is_added = |row: &&Value| {
                !["lastPeriod", "thisPeriod"].contains(&row["step"].as_str().unwrap_or_default())
            };
            let cents = |row: &Value| shown(&row["amount"]).replace('.', "").parse::<i64>();
            let total = rows.iter().filter(is_added).map(cents).sum::<Result<i64, _>>()?;
            let total = format!("EUR={}.{:02}", total / 100, total % 100);

            let (headers, csv) = file(&app, &path(".csv"), None).await?;
            assert_eq!(headers[CONTENT_TYPE], "text/csv; charset=utf-8");
            let name = headers[CONTENT_DISPOSITION].to_str()?;
            assert!(
                name.starts_with("attachment; filename=\"") && name.contains("2019-11-30.csv"),
                "{name}"
            );
            let (lines, control) = table(&csv)?;
            assert_eq!(lines.len(), rows.len());
            for (line, row) in lines.iter().zip(rows) {
                let fields = row.as_object().context("a row")?;
                assert_eq!(line.len(), fields.len(), "each field is a column: {line:?} {row}");
                for (name, value) in fields {
                    let cell = line.get(name).with_context(|| format!("no column {name}"))?;
                    let text = cell.strip_prefix('\'').unwrap_or(cell);
                    assert_eq!(text, shown(value), "{name}");
                    let is_number = text.parse::<f64>().is_ok();
                    let is_formula =
                        cell.starts_with(['=', '+', '@']) || cell.starts_with('-') && !is_number;
                    assert!(!is_formula, "{name}: {cell}");
                }
            }
            // The digest is that of all before the last line.
            let end = csv
                .windows(10)
                .rposition(|window| window == b"\r\n#control")
                .context("a last line")?
                + 2;
            let digest: String =
                Sha256::digest(&csv[..end]).iter().map(|byte| format!("{byte:02x}")).collect();
            let expected = [
                "#control".to_owned(),
                format!("rows={}", rows.len()),
                total,
                format!("sha256={digest}"),
            ];
            assert_eq!(control[..4], expected);
            assert!(control[4..].iter().all(String::is_empty), "{control:?}");

            let (_, lines) = file(&app, &path(".jsonl"), None).await?;
            let lines: Vec<Value> = String::from_utf8(lines)?
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?;
            let (control, lines) = lines.split_last().context("a last line")?;
            assert_eq!(lines, rows.as_slice());
            assert_eq!(control["control"]["rows"], rows.len());
            assert_eq!(control["control"]["sha256"], digest.as_str());
            assert_eq!(control["control"]["totals"]["EUR"], expected[2].trim_start_matches("EUR="));

            let (headers, book) = file(&app, &path(".xlsx"), None).await?;
            assert_eq!(
                headers[CONTENT_TYPE],
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
            );
            let mut book: Xlsx<_> = Xlsx::new(Cursor::new(book))?;
            let sheets = book.sheet_names();
            assert_eq!(sheets[1], "Control");
            let sheet = book.worksheet_range(&sheets[0])?;
            let formulas = book.worksheet_formula(&sheets[0])?;
            assert!(formulas.used_cells().next().is_none(), "nothing is computed");
            let names: Vec<_> =
                sheet.rows().next().context("a head")?.iter().map(Data::to_string).collect();
            assert_eq!(sheet.height(), rows.len() + 1);
            for (cells, row) in sheet.rows().skip(1).zip(rows) {
                for (name, cell) in names.iter().zip(cells) {
                    match cell {
                        Data::Float(number) => {
                            let expected = shown(&row[name]).parse::<f64>()?;
                            assert_eq!(number.to_bits(), expected.to_bits(), "{name}");
                        }
                        Data::DateTime(moment) => {
                            let moment = moment.as_datetime().context("a moment")?.to_string();
                            let expected = shown(&row[name]).replace('T', " ");
                            assert_eq!(moment[..10], expected[..10], "{name}");
                        }
                        Data::Empty => assert_eq!(shown(&row[name]), "", "{name}"),
                        cell => assert_eq!(cell.to_string(), shown(&row[name]), "{name}"),
                    }
                    let is_number =
                        ["amount", "customerId", "unitPrice", "quantity"].contains(&name.as_str());
                    assert!(
                        !is_number || matches!(cell, Data::Float(_) | Data::Empty),
                        "{name} is {cell:?}"
                    );
                }
            }
            let control = book.worksheet_range("Control")?;
            let control: Vec<Vec<_>> =
                control.rows().map(|row| row.iter().map(Data::to_string).collect()).collect();
            assert_eq!(control[0], ["Rows".to_owned(), rows.len().to_string()]);
            assert_eq!(control[1][0], "EUR");
            assert_eq!(control.last().context("a digest")?[1], digest);
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_form_is_chosen_by_address_parameter_or_what_is_accepted() -> Result<()> {
    let app = shop(BOTH[0]).await?;
    let path = "/api/Billing/2019-11-30/detail";
    let (_, csv) = file(&app, &format!("{path}.CSV"), None).await?;
    for (path, accept) in [
        (format!("{path}?format=csv"), None),
        (format!("{path}?format=CSV"), Some("application/json")),
        (path.to_owned(), Some("text/csv, application/json;q=0.5")),
    ] {
        assert_eq!(file(&app, &path, accept).await?.1, csv, "{path} {accept:?}");
    }
    let json = app.get(path).await?;
    for accept in ["text/plain", "*/*", "text/html", "application/json"] {
        let (headers, body) = file(&app, path, Some(accept)).await?;
        assert_eq!(headers[CONTENT_TYPE], "application/json", "{accept}");
        assert_eq!(serde_json::from_slice::<Value>(&body)?, json);
    }
    for wrong in ["?format=pdf", ".csv?format=csv", "?format=focus"] {
        let answer = app.send(&app.token, Method::GET, &format!("{path}{wrong}"), None).await?;
        answer.problem(400).with_context(|| wrong.to_owned())?;
    }
    // A part of it is a part in every form.
    let (_, part) = file(&app, &format!("{path}.csv?limit=2&after=1"), None).await?;
    let (rows, control) = table(&part)?;
    let all = table(&csv)?.0;
    assert_eq!((&rows[..], control[1].as_str()), (&all[1..3], "rows=2"));
    let unknown = format!("{path}.csv?customerId=30000000&limit=1");
    app.send(&app.token, Method::GET, &unknown, None).await?.problem(404)?;
    let (_, none) = file(&app, &format!("{path}.csv?billable=false"), None).await?;
    assert_eq!(table(&none)?.1[1..3], ["rows=0", ""], "there is a head without rows, too");
    app.finish().await?;
    Ok(())
}

#[tokio::test]
async fn the_entries_come_by_focus_with_what_they_come_to_in_headers() -> Result<()> {
    for engine in BOTH {
        let app = shop(engine).await?;
        let (headers, csv) =
            file(&app, "/api/Billing/2019-11-30/entries?format=focus", None).await?;
        let mut reader = csv::Reader::from_reader(&csv[..]);
        let names = reader.headers()?.clone();
        for mandatory in [
            "BilledCost",
            "BillingAccountId",
            "BillingAccountName",
            "BillingCurrency",
            "BillingPeriodEnd",
            "BillingPeriodStart",
            "ChargeCategory",
            "ChargeClass",
            "ChargeDescription",
            "ChargePeriodEnd",
            "ChargePeriodStart",
            "ContractedCost",
            "EffectiveCost",
            "InvoiceIssuerName",
            "ListCost",
            "PricingQuantity",
            "PricingUnit",
            "ProviderName",
            "PublisherName",
            "ServiceCategory",
            "ServiceName",
        ] {
            assert!(names.iter().any(|name| name == mandatory), "{mandatory}");
        }
        let records = reader.records().collect::<Result<Vec<_>, _>>()?;
        let field = |record: &csv::StringRecord, name: &str| -> Result<String> {
            let place = names.iter().position(|it| it == name).context("a column")?;
            Ok(record[place].to_owned())
        };
        let entries = app.get("/api/Billing/2019-11-30/entries").await?;
        let entries = entries["data"].as_array().context("entries")?;
        assert_eq!(records.len(), entries.len());
        for (record, entry) in records.iter().zip(entries) {
            assert_eq!(field(record, "BilledCost")?, shown(&entry["amount"]));
            assert_eq!(field(record, "x_EntryId")?, shown(&entry["entryId"]));
            assert_eq!(field(record, "BillingPeriodStart")?, "2019-11-01T00:00:00Z");
            assert_eq!(field(record, "BillingPeriodEnd")?, "2019-12-01T00:00:00Z");
            assert_eq!(field(record, "ChargePeriodStart")?[..10], shown(&entry["serviceFrom"]));
            assert_eq!(field(record, "ChargeCategory")?, "Purchase");
        }
        assert_eq!(headers["atrium-rows"], records.len().to_string().as_str());
        let digest: String =
            Sha256::digest(&csv).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(headers["atrium-sha256"], digest.as_str());
        let (_, table) = file(&app, "/api/Billing/2019-11-30/entries.csv", None).await?;
        let total = self::table(&table)?.1[2].clone();
        assert_eq!(headers["atrium-totals"], total.as_str());
        app.finish().await?;
    }
    Ok(())
}
