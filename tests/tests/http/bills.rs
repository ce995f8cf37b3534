//! Bills, to the cent (billing-cases.md), as facts arrive over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use domain::billing::CalendarRule;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

async fn with_backup(engine: eventstore::Engine, time: &str) -> Result<(TestApp, String)> {
    let app = TestApp::new(engine, time).await?;
    app.publish("backup").await?;
    let customer = app.customer("Aanimals Inc", None).await?;
    Ok((app, customer))
}

/// Provisions Backup; gives the subscription's id.
async fn provision(app: &TestApp, customer: &str, plan: &str, at: &str) -> Result<String> {
    let sent = json!({ "service": "backup", "plan": plan, "effectiveAt": at });
    let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

/// Some fields of each line of a period's detail, which must add up to its summary.
pub(crate) async fn lines<const N: usize>(
    app: &TestApp,
    end_date: &str,
    fields: [&str; N],
) -> Result<Vec<[String; N]>> {
    let detail = app.get(&format!("/api/Billing/{end_date}/detail")).await?;
    let summary = app.get(&format!("/api/Billing/{end_date}")).await?;
    let rows = |body: &Value| body["data"].as_array().cloned().unwrap_or_default();
    let cents = |row: &Value| -> i64 {
        let text = row["amount"].as_str().unwrap_or_default().replace('.', "");
        text.parse().expect("an amount with two decimals")
    };
    let total = |body: &Value| rows(body).iter().map(cents).sum::<i64>();
    assert_eq!(total(&detail), total(&summary), "detail is not the summary: {detail} {summary}");
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    Ok(rows(&detail).iter().map(|row| fields.map(|field| text(row, field))).collect())
}

/// The amounts and actions of a period's detail.
async fn bill(app: &TestApp, end_date: &str) -> Result<Vec<(String, String)>> {
    Ok(lines(app, end_date, ["amount", "action"]).await?.into_iter().map(Into::into).collect())
}

fn line(amount: &str, action: &str) -> (String, String) {
    (amount.to_owned(), action.to_owned())
}

#[tokio::test]
async fn case_1_and_2_a_month_begun_is_billed_by_days_and_the_next_in_full() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-11T10:00:00Z").await?;
        provision(&app, &customer, "BU001", "2019-11-11").await?;
        app.ambient.set("2019-12-20T10:00:00Z");
        assert_eq!(bill(&app, "2019-11-30").await?, [line("66.67", "Added")]);
        assert_eq!(bill(&app, "2019-12-31").await?, [line("100.00", "Carried")]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_3_a_plan_change_splits_the_month() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z").await?;
        let id = provision(&app, &customer, "BU001", "2019-11-01").await?;
        app.ambient.set("2019-12-11T09:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{id}/change"), json!({ "plan": "BU010" })).await?;
        let december = bill(&app, "2019-12-31").await?;
        assert_eq!(december, [line("32.26", "Changed"), line("121.93", "Changed")]);
        let summary = app.get("/api/Billing/2019-12-31").await?;
        let counts: Vec<_> = summary["data"]
            .as_array()
            .context("rows")?
            .iter()
            .map(|row| {
                let count = |field: &str| row[field].as_i64().unwrap_or(99);
                (row["productSku"].clone(), count("lastMonthCount"), count("thisMonthCount"))
            })
            .collect();
        assert_eq!(counts, [(json!("BU001"), 1, 0), (json!("BU010"), 0, 1)]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_4_a_price_override_splits_the_month_and_an_unpriced_property_shows() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2020-01-01T00:00:00Z").await?;
        provision(&app, &customer, "BU001", "2019-12-01").await?;
        let path = format!("/api/v2/organizations/{customer}/prices");
        let sent = json!({
            "service": "backup", "percent": "-20", "effectiveFrom": "2020-01-16",
            "reason": "agreed",
        });
        app.put(&path, sent).await?;
        assert_eq!(
            bill(&app, "2020-01-31").await?,
            [line("48.39", "Changed"), line("41.29", "Changed")]
        );
        app.ambient.set("2020-02-10T00:00:00Z");
        let sent = json!({
            "property": "SupportLevel", "value": "24x7", "effectiveFrom": "2020-02-10",
            "reason": "goodwill",
        });
        app.put(&format!("/api/v2/organizations/{customer}/overrides/backup"), sent).await?;
        let february = bill(&app, "2020-02-29").await?;
        assert_eq!(february, [line("80.00", "Carried"), line("0.00", "Changed")]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_12_on_and_off_within_a_day_is_one_day() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-10T09:00:00Z").await?;
        let id = provision(&app, &customer, "BU001", "2019-11-10T09:00:00Z").await?;
        app.ambient.set("2019-11-10T17:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), json!({})).await?;
        assert_eq!(bill(&app, "2019-11-30").await?, [line("3.33", "Removed")]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_14_and_15_a_backdated_removal_and_a_change_to_come() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z").await?;
        let id = provision(&app, &customer, "BU001", "2019-10-01").await?;
        app.ambient.set("2019-11-12T00:00:00Z");
        let change = json!({ "plan": "BU010", "effectiveAt": "2019-12-01" });
        let changed = app.post(&format!("/api/v2/subscriptions/{id}/change"), change).await?;
        assert_eq!(changed["plan"], "BU001");
        assert_eq!(changed["scheduled"][0]["plan"], "BU010");
        assert_eq!(bill(&app, "2019-11-30").await?, [line("100.00", "Carried")]);
        let before = app.database.fetch("select position from head", &[]).await?[0].unsigned(0)?;
        app.ambient.set("2019-11-25T00:00:00Z");
        let sent = json!({ "effectiveAt": "2019-11-20", "reason": "left" });
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), sent).await?;
        assert_eq!(bill(&app, "2019-11-30").await?, [line("63.33", "Removed")]);
        // As it was known before.
        for known_at in [before.to_string(), "2019-11-20T00:00:00Z".to_owned()] {
            let path = format!("/api/Billing/2019-11-30/detail?knownAt={known_at}");
            assert_eq!(app.get(&path).await?["data"][0]["amount"], "100.00");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_18_a_seller_may_bill_up_to_a_day_of_the_month() -> Result<()> {
    for engine in BOTH {
        let rule = CalendarRule::FixedDay(25);
        let app = TestApp::with_calendar(engine, "2020-02-10T10:00:00Z", rule).await?;
        app.publish("backup").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        provision(&app, &customer, "BU001", "2020-02-10").await?;
        app.ambient.set("2020-03-26T10:00:00Z");
        let periods = app.get("/api/Billing/parameters").await?["data"]["endDates"].clone();
        let labels: Vec<_> = periods.as_array().context("periods")?.iter().collect();
        let names = ["2020-02-25", "2020-03-25", "2020-04-25"];
        assert_eq!(labels, names.map(|label| json!({ "label": label })).iter().collect::<Vec<_>>());
        assert_eq!(bill(&app, "2020-02-25").await?, [line("51.61", "Added")]);
        assert_eq!(bill(&app, "2020-03-25").await?, [line("100.00", "Carried")]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn case_23_another_calendar_begins_with_a_transition_in_every_process() -> Result<()> {
    for engine in BOTH {
        let rule = CalendarRule::FixedDay(25);
        let app = TestApp::with_calendar(engine, "2020-01-10T10:00:00Z", rule).await?;
        app.publish("backup").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        provision(&app, &customer, "BU001", "2020-01-10").await?;
        let (url, stop, served) = app.another().await?;
        let elsewhere = async || -> Result<Value> {
            let request = reqwest::Client::new().get(format!("{url}/api/Billing/parameters"));
            let answer = atrium_tests::http::answer(request.bearer_auth(&app.token)).await?;
            Ok(answer.expect(200)?["data"]["endDates"].clone())
        };
        assert_eq!(elsewhere().await?, json!([{ "label": "2020-01-25" }]));

        let provider = app.get(&format!("/api/v2/users/{}", app.administrator)).await?;
        let provider = provider["organizationId"].as_str().context("an id")?.to_owned();
        let path = format!("/api/v2/organizations/{provider}/billing-settings");
        let change = async |calendar: &str, from: &str| {
            let body = json!({ "calendar": calendar, "effectiveFrom": from });
            app.send(&app.token, Method::PUT, &path, Some(body)).await
        };
        let refused = change("fortnightly", "soon").await?;
        let faults = refused.body["errors"].as_array().context("faults")?.iter();
        let codes: Vec<_> = faults.map(|fault| &fault["code"]).collect();
        assert_eq!(codes, ["calendar_unknown", "not_a_date"]);
        for (from, code) in [("2020-01-20", "period_has_begun"), ("2020-01-27", "not_a_period")] {
            let refused = change("calendar_month", from).await?;
            assert_eq!(refused.status, 422);
            assert_eq!(refused.body["errors"][0]["code"], code, "{from}");
        }
        let changed = change("calendar_month", "2020-02-26").await?.expect(200)?;
        assert_eq!(changed, app.get(&path).await?);
        assert_eq!(
            changed["changes"],
            json!([{ "calendar": "calendar_month", "effectiveFrom": "2020-02-26" }])
        );
        assert_eq!(change("calendar_month", "2020-02-26").await?.expect(200)?, changed, "no news");
        assert_eq!(
            change("fixed_day(5)", "2020-01-26").await?.problem(409)?,
            "calendar_changes_later"
        );
        let other = format!("/api/v2/organizations/{customer}/billing-settings");
        assert_eq!(app.get(&other).await?["changes"], changed["changes"], "all bill like that");
        let body = json!({ "calendar": "fixed_day(5)", "effectiveFrom": "2020-02-01" });
        let refused = app.send(&app.token, Method::PUT, &other, Some(body)).await?;
        assert_eq!(refused.problem(409)?, "no_own_calendar");

        app.ambient.set("2020-03-10T10:00:00Z");
        let names = ["2020-01-25", "2020-02-25", "2020-02-29", "2020-03-31"];
        let labels = json!(names.map(|label| json!({ "label": label })));
        let own = app.get("/api/Billing/parameters").await?;
        assert_eq!(own["data"]["endDates"], labels, "felt at once");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
        while elsewhere().await? != labels {
            assert!(tokio::time::Instant::now() < deadline, "{engine:?}: not felt within a second");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(bill(&app, "2020-02-25").await?, [line("100.00", "Carried")]);
        assert_eq!(bill(&app, "2020-02-29").await?, [line("13.79", "Carried")]);
        assert_eq!(bill(&app, "2020-03-31").await?, [line("100.00", "Carried")]);
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_plans_days_are_charged_by_its_policy_in_force_when_the_period_ends() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        let plan = |key: &str, policy: Option<&str>, price: Option<&str>| json!({ "key": key, "name": key, "price": price, "dayPolicy": policy });
        let document = |full: &str| {
            json!({
                "name": "Desk", "level": "customer", "instancing": "multi",
                "plans": [
                    plan("daily", None, Some("30.00")), plan("fixed", Some("fixed_30"), Some("30.00")),
                    plan("full", Some(full), Some("30.00")),
                    plan("next", Some("next_period"), Some("30.00")),
                    plan("snapshot", Some("snapshot"), Some("30.00")),
                    plan("counted", Some("none"), None),
                ],
            })
        };
        let refused = json!({
            "name": "Desk", "level": "customer", "instancing": "multi",
            "plans": [plan("a", Some("sometimes"), None)],
        });
        let path = "/api/v2/services/desk/draft";
        let refused = app.send(&app.token, Method::PUT, path, Some(refused)).await?;
        assert_eq!(refused.status, 422, "{}", refused.body);
        let priced = json!({
            "name": "Desk", "level": "customer", "instancing": "multi",
            "plans": [plan("a", Some("none"), Some("30.00"))],
        });
        app.put(path, priced).await?;
        let publish = "/api/v2/services/desk/publish";
        let rolled_out = Some(json!({ "rollOut": true }));
        let refused = app.send(&app.token, Method::POST, publish, rolled_out.clone()).await?;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["code"], "counted_only");

        app.put(path, document("full")).await?;
        app.send(&app.token, Method::POST, publish, rolled_out.clone()).await?.expect(200)?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let mut full = String::new();
        for key in ["daily", "fixed", "full", "next", "snapshot", "counted"] {
            let sent = json!({
                "service": "desk", "plan": key, "instance": key, "effectiveAt": "2020-01-17",
            });
            let path = format!("/api/v2/customers/{customer}/subscriptions");
            let made = app.post(&path, sent).await?;
            if key == "full" {
                full = made["id"].as_str().context("an id")?.to_owned();
            }
        }
        app.ambient.set("2020-02-20T00:00:00Z");
        // Of 31 days 15; of 30 days 14; all; nothing; all; nothing.
        let by_instance = ["0.00", "14.52", "14.00", "30.00", "0.00", "30.00"];
        assert_eq!(bill(&app, "2020-01-31").await?, by_instance.map(|it| line(it, "Added")));
        let full_month = ["0.00", "30.00", "30.00", "30.00", "30.00", "30.00"];
        assert_eq!(bill(&app, "2020-02-29").await?, full_month.map(|it| line(it, "Carried")));
        let query = "{ ledgerEntries(endDate: \"2020-01-31\") { nodes { instance dayPolicy days periodDays } } \
                     services { nodes { plans { key dayPolicy } } } }";
        let told = app.post("/graphql", json!({ "query": query })).await?;
        let fixed = &told["data"]["ledgerEntries"]["nodes"][2];
        assert_eq!(
            *fixed,
            json!({ "instance": "fixed", "dayPolicy": "FIXED_30", "days": 14, "periodDays": 30 }),
            "{told}"
        );
        let plans = &told["data"]["services"]["nodes"][0]["plans"];
        assert_eq!(plans[3], json!({ "key": "next", "dayPolicy": "NEXT_PERIOD" }), "{told}");

        // Another policy is that of the period that is open, as a whole; those before keep theirs.
        app.put(path, document("snapshot")).await?;
        app.send(&app.token, Method::POST, publish, rolled_out).await?.expect(200)?;
        assert_eq!(bill(&app, "2020-01-31").await?, by_instance.map(|it| line(it, "Added")));
        app.post(&format!("/api/v2/subscriptions/{full}/deprovision"), json!({})).await?;
        assert_eq!(bill(&app, "2020-02-29").await?[3], line("0.00", "Removed"));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_billing_api_is_what_existing_integrations_know() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-11T10:00:00Z").await?;
        app.customer("Zebra Zoo", None).await?;
        provision(&app, &customer, "BU001", "2019-10-11").await?;
        let parameters = json!({ "data": {
            "endDates": [{ "label": "2019-10-31" }, { "label": "2019-11-30" }],
            "customers": [{ "id": 2, "name": "Aanimals Inc" }, { "id": 3, "name": "Zebra Zoo" }],
        }});
        for path in ["/api/Billing/parameters", "/API/billing/PARAMETERS"] {
            for scheme in ["Bearer", "bearer", "BEARER"] {
                let request = app.request("", Method::GET, path).header("accept", "text/plain");
                let request = request.header("authorization", format!("{scheme} {}", app.token));
                let answer = atrium_tests::http::answer(request).await?;
                assert_eq!(answer.headers["content-type"], "application/json");
                assert_eq!(answer.expect(200)?, parameters);
            }
        }
        let summary = app.get("/api/Billing/2019-11-30?customerId=2").await?;
        assert_eq!(
            summary["data"],
            json!([{
                "customerId": 2, "customerCode": "AI", "customerName": "Aanimals Inc",
                "customerAccountCode": null, "productSku": "BU001", "billable": true,
                "summaryGrouping": "Backup (Assigned to Customer)", "lastMonthCount": 1,
                "difference": 0, "thisMonthCount": 1, "currency": "EUR", "amount": "100.00",
                "lastMonthAmount": "67.74", "resultCount": 1,
            }])
        );
        assert_eq!(app.get("/api/Billing/2019-11-30?customerId=3").await?, json!({ "data": [] }));
        assert_eq!(app.get("/api/Billing/2019-11-30?billable=false").await?, json!({ "data": [] }));
        for (path, status, code) in [
            ("/api/Billing/2019-11-29", 404, "no_such_period"),
            ("/api/Billing/2019-13-01", 400, "malformed"),
            ("/api/Billing/november", 400, "malformed"),
            ("/api/Billing/2019-11-30?billable=perhaps", 400, "bad_parameter"),
            ("/api/Billing/2019-11-30?customerId=99", 404, "not_found"),
        ] {
            let answer = app.send(&app.token, Method::GET, path, None).await?;
            assert_eq!(answer.problem(status)?, code, "{path}");
        }
        app.finish().await?;
    }
    Ok(())
}

/// More customers than are rated at a time, founded in another order than that of their names.
const CUSTOMERS: usize = 60;

#[tokio::test]
async fn a_bill_of_many_customers_is_whole_and_in_order_at_once_and_page_by_page() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        app.publish("backup").await?;
        app.publish("crm").await?;
        for number in 0..CUSTOMERS {
            let name = format!("Customer {:02}", number * 7 % CUSTOMERS);
            let customer = app.customer(&name, None).await?;
            provision(&app, &customer, "BU001", "2019-11-02").await?;
            let sent = json!({ "service": "crm", "plan": "team", "instance": "main" });
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        }
        let path = "/api/Billing/2019-11-30/detail";
        let whole = app.get(path).await?["data"].as_array().context("rows")?.clone();
        let places: Vec<_> = whole
            .iter()
            .map(|row| format!("{} {}", row["customerName"], row["serviceName"]))
            .collect();
        assert_eq!(places.len(), 2 * CUSTOMERS);
        assert!(places.is_sorted(), "{places:?}");
        let (mut paged, mut after) = (Vec::new(), Some("0".to_owned()));
        while let Some(from) = after {
            let page = app.get(&format!("{path}?limit=50&after={from}")).await?;
            paged.extend(page["data"].as_array().context("rows")?.clone());
            after = page["next"].as_str().map(str::to_owned);
        }
        assert_eq!(paged, whole);
        let rest = app.get(&format!("{path}?after=70")).await?;
        assert_eq!(rest["data"].as_array().map(Vec::as_slice), whole.get(70..));
        for limit in ["", "&limit=1", "&limit=500"] {
            let beyond = app.get(&format!("{path}?after={}{limit}", usize::MAX)).await?;
            assert_eq!(beyond["data"], json!([]), "{limit}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stock_code_that_is_renamed_labels_its_periods_and_splits_nothing() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-10-01T09:00:00Z").await?;
        let sell = async |sku: &str, from: Option<&str>| -> Result<()> {
            let sent = json!({
                "name": "Disk", "level": "customer", "instancing": "single",
                "plans": [{ "key": "small", "name": "Small", "sku": sku, "price": "30.00" }],
            });
            app.put("/api/v2/services/disk/draft", sent).await?;
            let sent = json!({ "rollOut": true, "effectiveAt": from });
            app.post("/api/v2/services/disk/publish", sent).await?;
            Ok(())
        };
        sell("DS-1", None).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let sent = json!({ "service": "disk", "plan": "small", "quantity": 2 });
        app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        app.ambient.set("2019-12-10T09:00:00Z");
        sell("DISK-S", Some("2019-11-20")).await?;
        let rows = async |end: &str| -> Result<Vec<Value>> {
            let bill = app.get(&format!("/api/Billing/{end}")).await?;
            let rows = bill["data"].as_array().context("rows")?.iter();
            let short = |row: &Value| {
                json!([
                    row["productSku"],
                    row["lastMonthCount"],
                    row["thisMonthCount"],
                    row["lastMonthAmount"],
                    row["amount"],
                ])
            };
            Ok(rows.map(short).collect())
        };
        assert_eq!(rows("2019-10-31").await?, [json!(["DS-1", 0, 2, "0.00", "60.00"])]);
        assert_eq!(rows("2019-11-30").await?, [json!(["DISK-S", 2, 2, "60.00", "60.00"])]);
        assert_eq!(rows("2019-12-31").await?, [json!(["DISK-S", 2, 2, "60.00", "60.00"])]);
        for (end, sku) in [("2019-10-31", "DS-1"), ("2019-11-30", "DISK-S")] {
            let detail = app.get(&format!("/api/Billing/{end}/detail")).await?;
            let lines = detail["data"].as_array().context("lines")?;
            assert_eq!((lines.len(), &lines[0]["productSku"]), (1, &json!(sku)));
            let query = format!(
                "{{ billingSummary(endDate: \"{end}\") {{ nodes {{ productSku lastMonthAmount {{ amount }} }} }} }}"
            );
            let answer = app.post("/graphql", json!({ "query": query })).await?;
            let nodes = answer["data"]["billingSummary"]["nodes"].as_array().context("rows")?;
            assert_eq!((nodes.len(), &nodes[0]["productSku"]), (1, &json!(sku)));
        }
        // As it was known before, nothing was renamed.
        let known = app.get("/api/Billing/2019-11-30?knownAt=2019-12-01T00:00:00Z").await?;
        assert_eq!(known["data"][0]["productSku"], "DS-1");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_way_from_one_bill_to_the_next_sums_up_by_cause() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-11-01T00:00:00Z").await?;
        let other = app.customer("Abacus", None).await?;
        let of = |id: &str, verb: &str| format!("/api/v2/subscriptions/{id}/{verb}");
        let changed = provision(&app, &customer, "BU001", "2019-11-01").await?;
        let begun = provision(&app, &other, "BU001", "2019-11-21").await?;
        app.ambient.set("2019-12-20T00:00:00Z");
        app.post(&of(&changed, "change"), json!({ "plan": "BU010", "effectiveAt": "2019-12-11" }))
            .await?;
        let steps = async |query: &str| -> Result<Vec<(String, String, Value)>> {
            let answer = app.get(&format!("/api/Billing/2019-12-31/bridge{query}")).await?;
            let rows = answer["data"].as_array().context("rows")?;
            let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
            Ok(rows
                .iter()
                .map(|row| (text(row, "step"), text(row, "amount"), row["subscriptions"].clone()))
                .collect())
        };
        let row =
            |step: &str, amount: &str, count: Value| (step.to_owned(), amount.to_owned(), count);
        // 100.00 and ten days of 100.00; then 154.19 and 100.00.
        assert_eq!(
            steps("").await?,
            [
                row("lastPeriod", "133.33", Value::Null),
                row("new", "66.67", json!(1)),
                row("plan", "54.19", json!(1)),
                row("thisPeriod", "254.19", Value::Null),
            ]
        );
        assert_eq!(
            steps("?aggregateByCustomer=true").await?,
            [
                row("lastPeriod", "100.00", Value::Null),
                row("plan", "54.19", json!(1)),
                row("thisPeriod", "154.19", Value::Null),
                row("lastPeriod", "33.33", Value::Null),
                row("new", "66.67", json!(1)),
                row("thisPeriod", "100.00", Value::Null),
            ]
        );
        app.post(&of(&begun, "deprovision"), json!({ "effectiveAt": "2019-12-16" })).await?;
        let query = json!({ "query": "{ billingBridge(endDate: \"2019-12-31\") { lastAmount { amount } amount { amount } \
            steps { cause subscriptions amount { amount } } } }" });
        let shown = app.post("/graphql", query).await?["data"]["billingBridge"].clone();
        assert_eq!(
            shown,
            json!([{
                "lastAmount": { "amount": "133.33" }, "amount": { "amount": "202.58" },
                "steps": [
                    { "cause": "REMOVED", "subscriptions": 1, "amount": { "amount": "15.06" } },
                    { "cause": "PLAN", "subscriptions": 1, "amount": { "amount": "54.19" } },
                ],
            }])
        );
        app.finish().await?;
    }
    Ok(())
}

/// All that is said about something in a tree of reasons.
fn said<'a>(reason: &'a Value, what: &str) -> Vec<&'a str> {
    let own = reason["value"].as_str().filter(|_| reason["what"] == what);
    let below = reason["because"].as_array().into_iter().flatten();
    own.into_iter().chain(below.flat_map(|below| said(below, what))).collect()
}

#[tokio::test]
async fn an_entry_is_explained_from_the_amount_to_the_people_and_in_a_sentence() -> Result<()> {
    for engine in BOTH {
        let (app, customer) = with_backup(engine, "2019-12-01T00:00:00Z").await?;
        let id = provision(&app, &customer, "BU001", "2019-11-01").await?;
        let change = format!("/api/v2/subscriptions/{id}/change");
        let sent = json!({ "plan": "BU010", "effectiveAt": "2019-12-11", "reason": "As agreed" });
        app.ambient.set("2019-12-20T00:00:00Z");
        app.post(&change, sent).await?;
        let detail = app.get("/api/Billing/2019-12-31/detail").await?;
        let entry = detail["data"][1]["entryId"].as_str().context("an id")?;
        let explained =
            app.get(&format!("/api/billing/2019-12-31/entries/{entry}")).await?["data"].clone();
        assert_eq!(explained["entry"]["entryId"], entry);
        assert_eq!(
            explained["sentence"],
            "Backup, Backup Extra (Assigned to Customer): 180.00 EUR for it, for 21 of 31 days, come to 121.93 EUR. \
             Ada Admin changed it on 2019-12-11."
        );
        let reason = &explained["reason"];
        assert_eq!((&reason["what"], &reason["value"]), (&json!("amount"), &json!("121.93 EUR")));
        for (what, expected) in [
            ("unitPrice", "180.00"),
            ("days", "21 of 31"),
            ("from", "2019-12-11"),
            ("dayPolicy", "daily"),
            ("price", "row"),
            ("reason", "As agreed"),
            ("action", "changed"),
        ] {
            assert_eq!(said(reason, what), [expected], "{what}");
        }
        let events = said(reason, "event");
        let log = app.get("/api/v2/events?limit=500").await?;
        for position in events {
            let mut all = log["data"].as_array().context("events")?.iter();
            assert!(all.any(|event| event["id"] == position), "{position}");
        }
        let query = json!({ "query": "{ ledgerEntries(endDate: \"2019-12-31\") { nodes { entryId explain { sentence reason } } } }" });
        let shown = app.post("/graphql", query).await?;
        let nodes = shown["data"]["ledgerEntries"]["nodes"].as_array().context("entries")?;
        let node = nodes.iter().find(|it| it["entryId"] == entry).context("the same")?;
        assert_eq!(
            (&node["explain"]["sentence"], &node["explain"]["reason"]),
            (&explained["sentence"], reason)
        );
        let none =
            app.send(&app.token, Method::GET, "/api/Billing/2019-12-31/entries/none", None).await?;
        assert_eq!(none.problem(404)?, "not_found");
        app.finish().await?;
    }
    Ok(())
}
