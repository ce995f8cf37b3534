//! Billable rules and patterns over HTTP (billing.md, section 6).

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

const RULES: &str = "/api/v2/billing/rules";
const PATTERNS: &str = "/api/v2/billing/patterns";

fn rule(key: &str, condition: Value) -> Value {
    json!({ "key": key, "reason": format!("Because of {key}"), "validFrom": "2019-11-01",
        "condition": condition })
}

fn is(field: &str, value: &str) -> Value {
    json!({ "field": field, "values": [value] })
}

async fn set(app: &TestApp, rules: Value) -> Result<Value> {
    app.put(RULES, json!({ "rules": rules })).await
}

async fn hold(app: &TestApp, holder: &str, service: &str, plan: &str, at: &str) -> Result<String> {
    let sent = json!({ "service": service, "plan": plan, "effectiveAt": at });
    let made = app.post(&format!("/api/v2/{holder}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

async fn detail(app: &TestApp, end: &str, query: &str) -> Result<Vec<Value>> {
    let detail = app.get(&format!("/api/Billing/{end}/detail?{query}")).await?;
    Ok(detail["data"].as_array().context("rows")?.clone())
}

/// Of each line: customer, amount, what is waived, and why.
async fn waived(app: &TestApp, end: &str) -> Result<Vec<(String, String, String, String)>> {
    waived_by(app, end, "").await
}

/// The same, of one seller's bill.
async fn waived_by(
    app: &TestApp,
    end: &str,
    query: &str,
) -> Result<Vec<(String, String, String, String)>> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let rows = detail(app, end, query).await?;
    for row in &rows {
        let is_waived = row["waivedAmount"].is_string();
        assert_eq!(row["billable"], !is_waived, "{row}");
        assert_eq!(row["nonBillableReason"].is_string(), is_waived, "{row}");
    }
    let shown = |row| {
        let (name, amount) = (text(row, "customerName"), text(row, "amount"));
        (name, amount, text(row, "waivedAmount"), text(row, "nonBillableReason"))
    };
    Ok(rows.iter().map(shown).collect())
}

fn line(name: &str, amount: &str, waived: &str, why: &str) -> (String, String, String, String) {
    (name.to_owned(), amount.to_owned(), waived.to_owned(), why.to_owned())
}

async fn edit(app: &TestApp, path: &str, body: Value) -> Result<Value> {
    app.send(&app.token, Method::PATCH, path, Some(body)).await?.expect(200)
}

#[tokio::test]
async fn case_21_a_test_user_is_not_charged_and_the_bill_says_why() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-10-01T08:00:00Z").await?;
        let definition = json!({
            "name": "Desktop", "level": "user", "instancing": "single",
            "plans": [{ "key": "full", "name": "Full", "sku": "DT1", "price": "100.00", "properties": {} }],
        });
        app.put("/api/v2/services/seat/draft", definition).await?;
        app.post("/api/v2/services/seat/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (ann, _) = app.user(&customer, "ann@x.test", &[]).await?;
        let (tess, _) = app.user(&customer, "tess@x.test", &[]).await?;
        for user in [&ann, &tess] {
            hold(&app, &format!("users/{user}"), "seat", "full", "2019-10-01").await?;
        }
        let shown = edit(&app, &format!("/api/v2/users/{tess}"), json!({ "type": "test" })).await?;
        assert_eq!(shown["type"], "test");
        app.turn("2019-11-02T08:00:00Z").await?;
        let set = set(&app, json!([rule("tests", is("user.type", "test"))])).await?;
        assert_eq!(set["rules"][0]["validFrom"], "2019-11-01");
        // October ended before the rule's time.
        let october = waived(&app, "2019-10-31").await?;
        let full = line("Aanimals Inc", "100.00", "-", "-");
        assert_eq!(october, [full.clone(), full.clone()]);
        let november = waived(&app, "2019-11-30").await?;
        let free = line("Aanimals Inc", "0.00", "100.00", "Because of tests");
        assert!(november.contains(&free) && november.contains(&full), "{november:?}");
        for (query, amounts) in [("billable=true", ["100.00"]), ("billable=false", ["0.00"])] {
            let rows = detail(&app, "2019-11-30", query).await?;
            let shown: Vec<_> = rows.iter().map(|row| &row["amount"]).collect();
            assert_eq!(shown, amounts, "{query}");
        }
        // The summary has a row of its own for what is not charged.
        let summary = app.get("/api/Billing/2019-11-30").await?;
        let rows = summary["data"].as_array().context("rows")?;
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row["billable"].as_bool(), row["amount"].as_str(), &row["thisMonthCount"]))
            .collect();
        let one = json!(1);
        assert_eq!(shown, [(Some(false), Some("0.00"), &one), (Some(true), Some("100.00"), &one)]);
        // Why it comes to less than last month.
        let bridge = app.get("/api/Billing/2019-11-30/bridge").await?;
        let steps: Vec<_> = bridge["data"].as_array().context("rows")?.iter().collect();
        let steps: Vec<_> = steps.iter().map(|row| (&row["step"], &row["amount"])).collect();
        let step = |name: &str, amount: &str| (json!(name), json!(amount));
        let expected =
            [step("lastPeriod", "200.00"), step("waiver", "-100.00"), step("thisPeriod", "100.00")];
        assert_eq!(steps.len(), 3, "{steps:?}");
        for ((name, amount), expected) in steps.into_iter().zip(expected) {
            assert_eq!((name, amount), (&expected.0, &expected.1));
        }
        // The entry has the rule, and explains itself.
        let entries = app.get("/api/Billing/2019-11-30/entries?billable=false").await?;
        let entry = &entries["data"][0];
        assert_eq!(entry["ruleIds"], json!(["tests"]));
        assert_eq!((&entry["waivedAmount"], &entry["amount"]), (&json!("100.00"), &json!("0.00")));
        let id = entry["entryId"].as_str().context("an id")?;
        let told = app.get(&format!("/api/Billing/2019-11-30/entries/{id}")).await?;
        let sentence = told["data"]["sentence"].as_str().context("a sentence")?;
        assert!(
            sentence.contains("100.00 EUR, which is not charged: Because of tests."),
            "{sentence}"
        );
        let waiver = &told["data"]["reason"]["because"][0];
        assert_eq!(
            (&waiver["what"], &waiver["because"][0]["value"]),
            (&json!("waived"), &json!("tests"))
        );
        let query =
            "{ ledgerEntries(endDate: \"2019-11-30\", filter: { billable: false }) { nodes {
            billable nonBillableReason waivedAmount { amount } ruleIds amount { amount }
            user { type } } } }";
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        assert_eq!(
            shown["data"]["ledgerEntries"]["nodes"],
            json!([{ "billable": false, "nonBillableReason": "Because of tests",
                "waivedAmount": { "amount": "100.00" }, "ruleIds": ["tests"],
                "amount": { "amount": "0.00" }, "user": { "type": "TEST" } }])
        );
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn rules_see_what_there_was_when_the_period_ended_and_the_last_one_says_why() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T08:00:00Z").await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let zoo = app.customer("Zoo", None).await?;
        let path = format!("/api/v2/customers/{zoo}");
        let held = hold(&app, &format!("customers/{zoo}"), "backup", "BU001", "2019-11-01").await?;
        let all = |rules: &[Value]| Value::from(rules.to_vec());
        let whole = || line("Zoo", "100.00", "-", "-");
        let free = |why: &str| line("Zoo", "0.00", "100.00", why);
        let november = "2019-11-30";
        // In the order of their numbers, then of their keys; the last that fits says the reason.
        let mut late = rule("a-late", is("plan", "BU001"));
        late["order"] = 7.into();
        let twice = all(&[late, rule("b", is("sku", "BU001")), rule("c", is("service", "crm"))]);
        set(&app, twice).await?;
        assert_eq!(waived(&app, november).await?, [free("Because of a-late")]);
        let entries = app.get(&format!("/api/Billing/{november}/entries")).await?;
        assert_eq!(entries["data"][0]["ruleIds"], json!(["b", "a-late"]));
        for (condition, is_free) in [
            (is("customer.type", "test"), false),
            (json!({ "not": is("customer.type", "test") }), true),
            (json!({ "all": [is("level", "customer"), is("quantity", "1")] }), true),
            (json!({ "all": [is("level", "customer"), is("quantity", "2")] }), false),
            (json!({ "any": [is("level", "user"), is("customer.id", &zoo)] }), true),
            (json!({ "field": "customer.name", "operator": "startsWith", "values": ["Z"] }), true),
            (json!({ "field": "customer.name", "operator": "contains", "values": ["z"] }), false),
            (json!({ "field": "user.id", "operator": "isSet" }), false),
            (
                json!({ "field": "properties.Storage", "operator": "atLeast", "values": ["1"] }),
                true,
            ),
            (
                json!({ "field": "properties.Storage", "operator": "atMost", "values": ["0.5"] }),
                false,
            ),
            // What is hidden is for nobody's rules.
            (json!({ "field": "properties.BackupURI", "operator": "isSet" }), false),
        ] {
            set(&app, all(&[rule("one", condition.clone())])).await?;
            let expected = if is_free { free("Because of one") } else { whole() };
            assert_eq!(waived(&app, november).await?, [expected], "{condition}");
        }
        // A test in November, and in business since December.
        let region = json!({ "field": "customer.customFields.region", "values": ["west"] });
        set(&app, all(&[rule("test", is("customer.type", "test")), rule("west", region)])).await?;
        edit(&app, &path, json!({ "type": "test" })).await?;
        assert_eq!(waived(&app, november).await?, [free("Because of test")]);
        app.turn("2019-12-01T00:00:00Z").await?;
        edit(&app, &path, json!({ "type": "standard", "customFields": { "region": "west" } }))
            .await?;
        assert_eq!(waived(&app, november).await?, [free("Because of test")]);
        assert_eq!(waived(&app, "2019-12-31").await?, [free("Because of west")]);
        // The plan, too, is the one that is held at the end: of the whole period.
        set(&app, all(&[rule("big", is("plan", "BU010"))])).await?;
        let change = json!({ "plan": "BU010", "effectiveAt": "2019-12-11" });
        app.post(&format!("/api/v2/subscriptions/{held}/change"), change).await?;
        let parts = [
            line("Zoo", "0.00", "32.26", "Because of big"),
            line("Zoo", "0.00", "121.93", "Because of big"),
        ];
        assert_eq!(waived(&app, "2019-12-31").await?, parts);
        assert_eq!(waived(&app, november).await?, [whole()]);
        // What is removed is as it was at last.
        let gone = json!({ "effectiveAt": "2019-12-21" });
        app.post(&format!("/api/v2/subscriptions/{held}/deprovision"), gone).await?;
        let rows = waived(&app, "2019-12-31").await?;
        assert!(rows.iter().all(|row| row.3 == "Because of big"), "{rows:?}");
        app.finish().await?;
    }
    Ok(())
}

/// Somebody who closes what Ada asks to close.
const OTHER: &str = "second@x.test";

async fn close(app: &TestApp, end: &str) -> Result<()> {
    app.post(&format!("/api/v2/billing/{end}/close"), json!({})).await?;
    let token = app.sign_in(OTHER, PASSWORD).await?;
    let path = format!("/api/v2/billing/{end}/approve");
    app.send(&token, Method::POST, &path, Some(json!({}))).await?.expect(202)?;
    let period = app.get(&format!("/api/v2/billing/{end}/close")).await?;
    assert_eq!(period["state"], "closed", "{period}");
    Ok(())
}

#[tokio::test]
async fn closed_periods_keep_the_rules_of_their_close_and_so_do_their_corrections() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T00:00:00Z").await?;
        app.publish("backup").await?;
        let zoo = app.customer("Zoo", None).await?;
        let provider = app.get("/api/v2/explain?permission=users.view").await?;
        let provider = provider["organizationId"].as_str().context("an id")?;
        app.user(provider, OTHER, &["Provider Administrator"]).await?;
        let held = hold(&app, &format!("customers/{zoo}"), "backup", "BU001", "2019-11-01").await?;
        set(&app, json!([rule("zoo", is("customer.name", "Zoo"))])).await?;
        app.turn("2019-12-01T08:00:00Z").await?;
        close(&app, "2019-11-30").await?;
        let free = line("Zoo", "0.00", "100.00", "Because of zoo");
        assert_eq!(waived(&app, "2019-11-30").await?, [free]);
        let sealed = app.get("/api/Billing/2019-11-30/seal").await?;
        // The rule goes, and the customer is called otherwise.
        set(&app, json!([])).await?;
        edit(&app, &format!("/api/v2/customers/{zoo}"), json!({ "name": "Yard" })).await?;
        let name = |row: (String, String, String, String)| (row.1, row.2);
        let shown: Vec<_> = waived(&app, "2019-11-30").await?.into_iter().map(name).collect();
        assert_eq!(shown, [("0.00".to_owned(), "100.00".to_owned())]);
        assert_eq!(waived(&app, "2019-12-31").await?, [line("Yard", "100.00", "-", "-")]);
        // It was over earlier than was known: what is set right is not charged either, as of the rules of then.
        app.turn("2019-12-05T08:00:00Z").await?;
        let gone = json!({ "effectiveAt": "2019-11-16", "reason": "it was so" });
        app.post(&format!("/api/v2/subscriptions/{held}/deprovision"), gone).await?;
        let corrections = [
            line("Yard", "0.00", "-100.00", "Because of zoo"),
            line("Yard", "0.00", "50.00", "Because of zoo"),
        ];
        assert_eq!(waived(&app, "2019-12-31").await?, corrections);
        app.turn("2020-01-01T08:00:00Z").await?;
        close(&app, "2019-12-31").await?;
        assert_eq!(waived(&app, "2019-12-31").await?, corrections);
        assert_eq!(app.get("/api/Billing/2019-11-30/seal").await?, sealed);
        assert_eq!(waived(&app, "2020-01-31").await?, []);
        // As far as was known before the rule was there.
        let events = app.get("/api/v2/events?limit=500").await?;
        let events = events["data"].as_array().context("events")?;
        let of_rules = |it: &&Value| it["type"].as_str().is_some_and(|it| it.contains("rulebook"));
        let first = events.iter().find(of_rules).context("the rule")?;
        let before =
            first["id"].as_str().and_then(|id| id.parse::<u64>().ok()).context("a position")?;
        let then = detail(&app, "2019-11-30", &format!("knownAt={}", before - 1)).await?;
        assert_eq!((&then[0]["amount"], &then[0]["billable"]), (&json!("100.00"), &json!(true)));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_rule_is_for_what_its_seller_bills_and_is_tried_before_it_is_set() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-05T08:00:00Z").await?;
        app.publish("backup").await?;
        let reseller = app.reseller("North").await?;
        let (_, north) = app.user(&reseller, "north@x.test", &["Reseller Administrator"]).await?;
        let own = app.customer("Own", None).await?;
        let theirs = app.customer("Theirs", Some(&reseller)).await?;
        for customer in [&own, &theirs] {
            hold(&app, &format!("customers/{customer}"), "backup", "BU001", "2019-11-01").await?;
        }
        let everything = || json!([rule("all", is("service", "backup"))]);
        let preview = "/api/v2/billing/rules/preview";
        let tried = app.post(preview, json!({ "rules": everything() })).await?;
        assert_eq!(tried["endDate"], "2019-11-30");
        let effect = |name: &str, row: &Value| {
            assert_eq!((&row["customerName"], &row["currency"]), (&json!(name), &json!("EUR")));
            assert_eq!((&row["amount"], &row["newAmount"]), (&json!("100.00"), &json!("0.00")));
            assert_eq!(row["difference"], "-100.00");
            assert_eq!((&row["waivedLines"], &row["newWaivedLines"]), (&json!(0), &json!(1)));
        };
        effect("Own", &tried["customers"][0]);
        // And what the reseller would pay for its customer.
        effect("Theirs", &tried["customers"][1]);
        assert_eq!(tried["customers"].as_array().map(Vec::len), Some(2), "{tried}");
        assert_eq!(app.get(RULES).await?["rules"], json!([]), "nothing was stored");
        // The reseller's own, tried and set by himself.
        let ask = async |method: Method, path: &str, body: Option<Value>| {
            app.send(&north, method, path, body).await
        };
        let sent = json!({ "rules": everything(), "endDate": "2019-11-30" });
        let tried = ask(Method::POST, preview, Some(sent)).await?.expect(200)?;
        effect("Theirs", &tried["customers"][0]);
        let sent = json!({ "rules": everything() });
        let made = ask(Method::PUT, RULES, Some(sent.clone())).await?.expect(200)?;
        assert_eq!(made["organizationId"], json!(reseller));
        let expected = [line("Own", "100.00", "-", "-"), line("Theirs", "100.00", "-", "-")];
        assert_eq!(waived(&app, "2019-11-30").await?, expected, "the reseller pays all the same");
        let of_north = format!("sellerId={reseller}");
        let expected = [line("Theirs", "0.00", "100.00", "Because of all")];
        assert_eq!(waived_by(&app, "2019-11-30", &of_north).await?, expected);
        // Tried once more, nothing changes.
        let tried = ask(Method::POST, preview, Some(sent)).await?.expect(200)?;
        assert_eq!(tried["customers"], json!([]));
        // What the provider has is none of his business; what he has is the provider's.
        let provider = app.get(RULES).await?["organizationId"].clone();
        let provider = provider.as_str().context("an id")?;
        let theirs = format!("{RULES}?organizationId={provider}");
        assert_eq!(ask(Method::GET, &theirs, None).await?.problem(404)?, "not_found");
        let sent = json!({ "organizationId": provider, "rules": [] });
        assert_eq!(ask(Method::PUT, RULES, Some(sent.clone())).await?.problem(404)?, "not_found");
        assert_eq!(ask(Method::POST, preview, Some(sent)).await?.problem(404)?, "not_found");
        let shown = app.get(&format!("{RULES}?organizationId={reseller}")).await?;
        assert_eq!(shown["rules"][0]["key"], "all");
        let sent = json!({ "organizationId": own, "rules": [] });
        let refused = app.send(&app.token, Method::PUT, RULES, Some(sent)).await?;
        assert_eq!(refused.problem(409)?, "no_books");
        let query = format!(
            "{{ organization(id: \"{reseller}\") {{ billableRules {{ key reason order validFrom validTo
            description condition }} billingPatterns {{ serviceKey planKey component line summary }} }} }}"
        );
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        assert_eq!(
            shown["data"]["organization"],
            json!({ "billableRules": [{ "key": "all", "reason": "Because of all", "order": 0,
                "validFrom": "2019-11-01", "validTo": null, "description": "",
                "condition": { "field": "service", "operator": "is", "values": ["backup"] } }],
                "billingPatterns": [] })
        );
        app.finish().await?;
    }
    Ok(())
}

fn faults(answer: Answer) -> Result<Vec<(String, String)>> {
    let body = answer.expect(422)?;
    let faults = body["errors"].as_array().context("faults")?.iter();
    let text = |fault: &Value, field: &str| fault[field].as_str().unwrap_or_default().to_owned();
    Ok(faults.map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect())
}

#[tokio::test]
async fn what_is_wrong_with_rules_is_told_at_once_and_versions_are_compared() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-05T08:00:00Z").await?;
        let put = async |body: Value| app.send(&app.token, Method::PUT, RULES, Some(body)).await;
        let mut deep = is("plan", "a");
        for _ in 0..5 {
            deep = json!({ "not": deep });
        }
        let many: Vec<_> = (0..51).map(|_| is("plan", "a")).collect();
        let mut odd = rule("odd key", json!({ "field": "user.name" }));
        odd["validFrom"] = "soon".into();
        odd["order"] = (-1).into();
        let mut back = rule("b", json!({ "all": [] }));
        back["validTo"] = "2019-11-01".into();
        let number = json!({ "field": "quantity", "operator": "atLeast", "values": ["many"] });
        let rules = json!([
            odd,
            back,
            rule("b", json!({ "field": "plan", "operator": "like", "values": ["a"] })),
            rule("c", is("customer.type", "odd")),
            rule("d", number),
            rule(
                "e",
                json!({ "any": [{ "field": "plan", "values": ["a"], "not": is("plan", "b") }] })
            ),
            rule("f", deep),
            rule("g", json!({ "any": many })),
            rule("h", json!({ "field": "plan" })),
        ]);
        let told = faults(put(json!({ "rules": rules })).await?)?;
        let told: Vec<_> = told.iter().map(|(at, code)| (at.as_str(), code.as_str())).collect();
        assert_eq!(
            told,
            [
                ("/rules/0/key", "invalid_key"),
                ("/rules/0/order", "out_of_range"),
                ("/rules/0/validFrom", "not_a_date"),
                ("/rules/0/condition/field", "unknown_field"),
                ("/rules/1/validTo", "not_after"),
                ("/rules/1/condition/all", "empty"),
                ("/rules/2/key", "twice"),
                ("/rules/2/condition/operator", "unknown_operator"),
                ("/rules/3/condition/values/0", "not_a_choice"),
                ("/rules/4/condition/values/0", "not_a_number"),
                ("/rules/5/condition/any/0", "one_of_four"),
                ("/rules/6/condition/not/not/not/not/not", "too_deep"),
                ("/rules/7/condition", "too_many"),
                ("/rules/8/condition/values", "out_of_range"),
            ]
        );
        let preview = format!("{RULES}/preview");
        let sent = json!({ "rules": [rule("h", json!({}))] });
        let answer = app.send(&app.token, Method::POST, &preview, Some(sent)).await?;
        assert_eq!(faults(answer)?, [("/rules/0/condition".to_owned(), "one_of_four".to_owned())]);
        let crowd: Vec<_> = (0..101).map(|it| rule(&format!("r{it}"), is("plan", "a"))).collect();
        let told = faults(put(json!({ "rules": crowd })).await?)?;
        assert_eq!(told, [("/rules".to_owned(), "too_many".to_owned())]);
        // Versions.
        let send = async |version: &str, rules: Value| {
            let request = app.request(&app.token, Method::PUT, RULES).header("if-match", version);
            atrium_tests::http::answer(request.json(&json!({ "rules": rules }))).await
        };
        let first = send("\"0\"", json!([rule("a", is("plan", "a"))])).await?;
        assert_eq!(first.headers["etag"], "\"1\"");
        let refused = send("\"0\"", json!([])).await?;
        assert_eq!(refused.problem(412)?, "stale_version");
        let same = send("\"1\"", json!([rule("a", is("plan", "a"))])).await?;
        assert_eq!(same.headers["etag"], "\"1\"", "nothing has changed");
        let shown = app.send(&app.token, Method::GET, RULES, None).await?;
        assert_eq!(shown.headers["etag"], "\"1\"");
        assert_eq!(send("\"1\"", json!([])).await?.headers["etag"], "\"2\"");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_10a_a_seller_describes_what_he_bills_as_he_likes() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-21T08:00:00Z").await?;
        let definition = json!({
            "name": "CRM", "level": "customer", "instancing": "multi",
            "plans": [{ "key": "team", "name": "Team", "sku": "CRM1", "price": "40.00", "properties": {},
                "components": [{ "key": "setup", "name": "Set-up", "kind": "oneOff", "price": "5.00" }] }],
        });
        app.put("/api/v2/services/crm/draft", definition).await?;
        app.post("/api/v2/services/crm/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        for (instance, from, to) in [
            ("prod", "2019-10-01", None),
            ("staging", "2019-11-11", None),
            ("dev", "2019-11-11", Some("2019-11-21")),
        ] {
            let sent = json!({ "service": "crm", "plan": "team", "instance": instance, "effectiveAt": from });
            let made = app.post(&path, sent).await?;
            if let Some(to) = to {
                let id = made["id"].as_str().context("an id")?;
                let gone = json!({ "effectiveAt": to });
                app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), gone).await?;
            }
        }
        let groups = async || -> Result<Vec<(Value, Value)>> {
            let summary = app.get("/api/Billing/2019-11-30").await?;
            let rows = summary["data"].as_array().context("rows")?.iter();
            Ok(rows.map(|row| (row["summaryGrouping"].clone(), row["amount"].clone())).collect())
        };
        assert_eq!(groups().await?.len(), 3, "one for each instance");
        let put = async |patterns: Value| {
            let sent = json!({ "patterns": patterns });
            app.send(&app.token, Method::PUT, PATTERNS, Some(sent)).await
        };
        let pattern = json!({ "service": "crm", "summary": "{ServiceName}" });
        let made = put(json!([pattern])).await?;
        assert_eq!(made.headers["etag"], "\"1\"");
        // 40.00 + 26.67 + 13.33, and twice the set-up.
        assert_eq!(groups().await?, [(json!("CRM"), json!("90.00"))]);
        let narrow = json!([
            { "service": "crm", "line": "{PlanName} for {CustomerName}", "summary": "{ServiceName}" },
            { "service": "crm", "plan": "team", "component": "setup", "line": "Set-up of {InstanceName}",
              "summary": "Set-up" },
        ]);
        put(narrow).await?.expect(200)?;
        assert_eq!(
            groups().await?,
            [(json!("CRM"), json!("80.00")), (json!("Set-up"), json!("10.00"))]
        );
        let rows = detail(&app, "2019-11-30", "").await?;
        let mut lines: Vec<_> =
            rows.iter().filter_map(|row| row["lineDescription"].as_str()).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines, ["Set-up of dev", "Set-up of staging", "Team for Aanimals Inc"]);
        let wrong = json!([
            { "service": "crm", "line": "{Plan} {nobody}" },
            { "service": "none", "summary": "{ServiceName" },
            { "service": "crm", "plan": "team" },
            { "service": "crm", "summary": "x" },
        ]);
        let told = faults(put(wrong).await?)?;
        let told: Vec<_> = told.iter().map(|(at, code)| (at.as_str(), code.as_str())).collect();
        assert_eq!(
            told,
            [
                ("/patterns/0/line", "pattern_variable"),
                ("/patterns/1/service", "unknown_service"),
                ("/patterns/1/summary", "pattern_brace"),
                ("/patterns/2", "empty"),
                ("/patterns/3", "twice"),
            ]
        );
        let shown = app.get(PATTERNS).await?;
        assert_eq!(shown["patterns"].as_array().map(Vec::len), Some(2));
        assert_eq!(shown["patterns"][0]["component"], Value::Null);
        // Taken away, it is as the definition says again.
        put(json!([])).await?.expect(200)?;
        let rows = detail(&app, "2019-11-30", "").await?;
        assert!(rows.iter().all(|row| row["lineDescription"] != "Team for Aanimals Inc"));
        app.finish().await?;
    }
    Ok(())
}
