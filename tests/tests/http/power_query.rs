//! The Power Query scripts of the guides, against real bills: what they name is there, and is what they take it for.

use anyhow::{Context, Result, bail, ensure};
use atrium_tests::http::TestApp;
use chrono::{DateTime, NaiveDate};
use serde_json::{Value, json};

use crate::BOTH;

const EXCEL: &str = include_str!("../../../docs/guides/excel.md");
const POWER_BI: &str = include_str!("../../../docs/guides/power-bi.md");

/// The script of a guide.
fn script(guide: &str) -> Result<&str> {
    let (_, script) = guide.split_once("```powerquery\n").context("a script")?;
    Ok(script.split_once("```").context("an end of it")?.0)
}

/// The texts in quotes between two marks of a script.
fn quoted<'a>(script: &'a str, from: &str, to: &str) -> Result<Vec<&'a str>> {
    let (_, rest) = script.split_once(from).with_context(|| format!("no {from}"))?;
    let (list, _) = rest.split_once(to).with_context(|| format!("no {to} behind {from}"))?;
    Ok(list.split('"').skip(1).step_by(2).collect())
}

/// The columns that a script gives a type, each with it.
fn typed(script: &str) -> Result<Vec<(&str, &str)>> {
    let (_, rest) = script.split_once("Table.TransformColumnTypes(Rows, {").context("types")?;
    let (list, _) = rest.split_once("}, \"en-US\")").context("a culture")?;
    let pairs = list.split('{').skip(1).map(|it| {
        let pair = it.split_once('}').context("an end")?.0;
        let (column, kind) = pair.split_once(',').context("a type")?;
        Ok((column.trim_matches('"'), kind.trim()))
    });
    pairs.collect()
}

/// Whether Power Query can make a value what a script says it is, by the culture `en-US`.
fn fits(value: &Value, kind: &str) -> Result<bool> {
    let text = value.as_str();
    Ok(value.is_null()
        || match kind {
            "type date" => text.is_some_and(|it| it.parse::<NaiveDate>().is_ok()),
            "type datetimezone" => text.is_some_and(|it| DateTime::parse_from_rfc3339(it).is_ok()),
            "type number" => text.is_some_and(is_number),
            // It keeps four digits.
            "Currency.Type" => text.is_some_and(|it| {
                is_number(it) && it.split_once('.').is_none_or(|(_, digits)| digits.len() <= 4)
            }),
            "Int64.Type" => value.is_i64(),
            _ => bail!("a type that nobody has thought of: {kind}"),
        })
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, part].iter().all(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

async fn shop(engine: eventstore::Engine) -> Result<TestApp> {
    let app = TestApp::new(engine, "2019-11-11T10:00:00Z").await?;
    for service in ["backup", "crm", "mailbox"] {
        app.publish(service).await?;
    }
    let sent = json!({ "name": "Aanimals Inc", "billingIdentifier": "A-17" });
    let founded = app.post("/api/v2/customers", sent).await?;
    let customer = founded["id"].as_str().context("an id")?;
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    let backup = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2019-11-11" });
    app.post(&path, backup).await?;
    let crm = json!({
        "service": "crm", "plan": "team", "instance": "staging", "effectiveAt": "2019-11-21",
    });
    app.post(&path, crm).await?;
    let (user, _) = app.user(customer, "ann@aanimals.test", &["Customer Administrator"]).await?;
    let mailbox = json!({ "service": "mailbox", "plan": "standard", "effectiveAt": "2019-11-21" });
    app.post(&format!("/api/v2/users/{user}/subscriptions"), mailbox).await?;
    Ok(app)
}

/// What a script would do with a bill's rows.
fn try_out(script: &str, rows: &[Value]) -> Result<()> {
    let fields = quoted(script, "Fields = {", "}")?;
    ensure!(!rows.is_empty() && fields.len() > 10, "too little: {rows:?} {fields:?}");
    for row in rows {
        for field in &fields {
            ensure!(row.get(field).is_some(), "no {field} in {row}");
        }
        for (column, kind) in typed(script)? {
            let is_there = fields.contains(&column) || column == "period";
            ensure!(is_there, "{column} is given a type and is no column");
            let value = row.get(column).unwrap_or(&Value::Null);
            ensure!(fits(value, kind)?, "{column} is {value}, and no {kind}");
        }
    }
    for field in fields {
        ensure!(rows.iter().any(|row| !row[field].is_null()), "nothing has a {field}");
    }
    Ok(())
}

#[tokio::test]
async fn the_queries_of_the_guides_find_what_they_ask_for() -> Result<()> {
    for engine in BOTH {
        let app = shop(engine).await?;
        let (excel, power_bi) = (script(EXCEL)?, script(POWER_BI)?);
        // "api/Billing/" & Period & "/detail", of a period that is named in the script.
        ensure!(quoted(excel, "RelativePath = ", ",")? == ["api/Billing/", "/detail"]);
        let [_] = quoted(excel, "Period = ", ",")?[..] else { bail!("a period") };
        let bill = app.get("/api/Billing/2019-11-30/detail").await?;
        try_out(excel, bill["data"].as_array().context("rows")?)?;

        ensure!(
            power_bi.contains("Get(\"api/Billing/parameters\")[data][endDates], each [label])")
        );
        ensure!(power_bi.contains("each Get(\"api/Billing/\" & [period] & \"/detail\")[data]"));
        let parameters = app.get("/api/Billing/parameters").await?;
        let periods = parameters["data"]["endDates"].as_array().context("periods")?;
        let mut rows = Vec::new();
        for period in periods {
            ensure!(fits(&period["label"], "type date")?, "{period}");
            let label = period["label"].as_str().context("a label")?;
            let bill = app.get(&format!("/api/Billing/{label}/detail")).await?;
            rows.extend(bill["data"].as_array().context("rows")?.clone());
        }
        try_out(power_bi, &rows)?;
        app.finish().await?;
    }
    Ok(())
}
