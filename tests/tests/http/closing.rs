//! Closing billing periods, and what is learned later (billing.md, section 7), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use domain::billing::merkle::{Hash, Proof, root};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// An installation with a customer, and somebody besides Ada who may close periods.
struct Office {
    app: TestApp,
    customer: String,
}

/// The second pair of eyes.
const OTHER: &str = "second@x.test";

impl Office {
    async fn new(engine: eventstore::Engine, time: &str) -> Result<Self> {
        let app = TestApp::new(engine, time).await?;
        app.publish("backup").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let provider = app.get("/api/v2/explain?permission=users.view").await?;
        let provider = provider["organizationId"].as_str().context("an id")?;
        let role = "Provider Administrator";
        app.user(provider, OTHER, &[role]).await?;
        Ok(Self { app, customer })
    }

    async fn provision(&self, plan: &str, at: &str) -> Result<String> {
        let sent = json!({ "service": "backup", "plan": plan, "effectiveAt": at });
        let path = format!("/api/v2/customers/{}/subscriptions", self.customer);
        let made = self.app.post(&path, sent).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    async fn deprovision(&self, id: &str, at: &str) -> Result<()> {
        let path = format!("/api/v2/subscriptions/{id}/deprovision");
        self.app.post(&path, json!({ "effectiveAt": at, "reason": "it was so" })).await?;
        Ok(())
    }

    async fn ask(&self, end: &str) -> Result<Value> {
        self.app.post(&format!("/api/v2/billing/{end}/close"), json!({})).await
    }

    async fn approve(&self, end: &str) -> Result<Answer> {
        self.other(&format!("{end}/approve")).await
    }

    /// Somebody else posts something about billing. A session does not outlive the turning of the clock.
    async fn other(&self, path: &str) -> Result<Answer> {
        let token = self.app.sign_in(OTHER, PASSWORD).await?;
        let path = format!("/api/v2/billing/{path}");
        self.app.send(&token, Method::POST, &path, Some(json!({}))).await
    }

    /// Closes a period, by two people.
    async fn close(&self, end: &str) -> Result<()> {
        self.ask(end).await?;
        self.approve(end).await?.expect(202)?;
        let period = self.app.get(&format!("/api/v2/billing/{end}/close")).await?;
        assert_eq!(period["state"], "closed", "{period}");
        Ok(())
    }

    /// The detail of a period, as it stands.
    async fn detail(&self, end: &str) -> Result<Value> {
        self.app.get(&format!("/api/Billing/{end}/detail")).await
    }

    /// Amounts, service periods and classes of a period's detail.
    async fn bill(&self, end: &str) -> Result<Vec<(String, String, String)>> {
        let detail = self.detail(end).await?;
        let rows = detail["data"].as_array().context("rows")?;
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        for row in rows {
            assert_eq!(text(row, "bookedPeriod"), end, "{row}");
        }
        let line = |row| (text(row, "amount"), text(row, "servicePeriod"), text(row, "class"));
        Ok(rows.iter().map(line).collect())
    }

    async fn total(&self, end: &str) -> Result<String> {
        let rows = self.app.get(&format!("/api/Billing/{end}?aggregateByCustomer=true")).await?;
        Ok(rows["data"][0]["amount"].as_str().unwrap_or("none").to_owned())
    }
}

fn normal(amount: &str, service: &str) -> (String, String, String) {
    (amount.to_owned(), service.to_owned(), "normal".to_owned())
}

fn correction(amount: &str, service: &str) -> (String, String, String) {
    (amount.to_owned(), service.to_owned(), "correction".to_owned())
}

#[tokio::test]
async fn case_5_what_was_over_earlier_is_booked_in_the_open_period() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let id = office.provision("BU010", "2020-01-01").await?;
        office.app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        office.app.turn("2020-03-01T08:00:00Z").await?;
        office.close("2020-02-29").await?;
        let january = office.detail("2020-01-31").await?;
        assert_eq!(office.bill("2020-01-31").await?, [normal("180.00", "2020-01-31")]);
        assert_eq!(office.bill("2020-02-29").await?, [normal("180.00", "2020-02-29")]);
        office.app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-20").await?;
        let march = [
            correction("-180.00", "2020-01-31"),
            correction("110.32", "2020-01-31"),
            correction("-180.00", "2020-02-29"),
        ];
        assert_eq!(office.bill("2020-03-31").await?, march);
        assert_eq!(office.total("2020-03-31").await?, "-249.68");
        // What is sealed stays as it is, byte for byte.
        assert_eq!(office.detail("2020-01-31").await?, january);
        let seen = office.detail("2020-03-31").await?;
        office.app.turn("2020-04-01T08:00:00Z").await?;
        office.close("2020-03-31").await?;
        assert_eq!(office.detail("2020-03-31").await?, seen, "the close has what was seen");
        // Once corrected is enough.
        assert_eq!(office.bill("2020-04-30").await?, []);
        let linked = |row: &Value| row["entryId"].as_str().unwrap_or_default().to_owned();
        let ids: std::collections::BTreeSet<_> =
            seen["data"].as_array().context("rows")?.iter().map(linked).collect();
        assert_eq!(ids.len(), 3);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_17_a_correction_is_corrected() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let id = office.provision("BU010", "2020-01-01").await?;
        for (time, end) in
            [("2020-02-01T08:00:00Z", "2020-01-31"), ("2020-03-01T08:00:00Z", "2020-02-29")]
        {
            office.app.turn(time).await?;
            office.close(end).await?;
        }
        office.app.turn("2020-03-05T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-20").await?;
        office.app.turn("2020-04-01T08:00:00Z").await?;
        office.close("2020-03-31").await?;
        assert_eq!(office.total("2020-03-31").await?, "-249.68");
        // It went on until the 25th after all.
        office.app.turn("2020-04-03T08:00:00Z").await?;
        office.provision("BU010", "2020-01-20").await?;
        office.deprovision(&id, "2020-01-25").await?;
        // What was booked up to the 20th is right; what is missing is the rest.
        assert_eq!(office.bill("2020-04-30").await?, [correction("29.03", "2020-01-31")]);
        assert_eq!(office.total("2020-04-30").await?, "29.03");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_14_and_15_what_is_learned_in_time_is_no_correction() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-10-01T00:00:00Z").await?;
        let first = office.provision("BU001", "2019-10-01").await?;
        office.app.turn("2019-11-02T08:00:00Z").await?;
        office.close("2019-10-31").await?;
        // Recorded on the 12th, true from December on.
        office.app.turn("2019-11-12T08:00:00Z").await?;
        let change = json!({ "plan": "BU010", "effectiveAt": "2019-12-01" });
        office.app.post(&format!("/api/v2/subscriptions/{first}/change"), change).await?;
        assert_eq!(office.bill("2019-11-30").await?, [normal("100.00", "2019-11-30")]);
        office.app.turn("2019-12-02T08:00:00Z").await?;
        let december = office.bill("2019-12-31").await?;
        assert_eq!(december, [normal("0.00", "2019-12-31"), normal("180.00", "2019-12-31")]);
        // Removed within the open period, and told later.
        office.deprovision(&first, "2019-12-01T12:00:00Z").await?;
        let november = office.bill("2019-11-30").await?;
        assert_eq!(november, [normal("100.00", "2019-11-30")]);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_16_a_retroactive_price_touches_closed_periods_only_where_two_people_want_it()
-> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        office.provision("BU001", "2020-01-01").await?;
        for (time, end) in
            [("2020-02-01T08:00:00Z", "2020-01-31"), ("2020-03-01T08:00:00Z", "2020-02-29")]
        {
            office.app.turn(time).await?;
            office.close(end).await?;
        }
        office.app.turn("2020-03-05T08:00:00Z").await?;
        let path = format!("/api/v2/organizations/{}/prices", office.customer);
        let price = json!({
            "service": "backup", "plan": "BU001", "price": "90.00", "effectiveFrom": "2020-01-01",
            "reason": "agreed in December",
        });
        office.app.put(&path, price).await?;
        assert_eq!(office.bill("2020-03-31").await?, [normal("90.00", "2020-03-31")]);
        let wish = json!({ "fromEndDate": "2020-01-31", "toEndDate": "2020-02-29" });
        office.app.post("/api/v2/billing/rerate", wish).await?;
        assert_eq!(office.bill("2020-03-31").await?, [normal("90.00", "2020-03-31")]);
        let approve = "/api/v2/billing/rerate/approve";
        let own = office.app.send(&office.app.token, Method::POST, approve, Some(json!({})));
        assert_eq!(own.await?.problem(409)?, "own_rerate");
        office.other("rerate/approve").await?.expect(200)?;
        let march = [
            correction("-100.00", "2020-01-31"),
            correction("90.00", "2020-01-31"),
            correction("-100.00", "2020-02-29"),
            correction("90.00", "2020-02-29"),
            normal("90.00", "2020-03-31"),
        ];
        assert_eq!(office.bill("2020-03-31").await?, march);
        assert_eq!(office.total("2020-03-31").await?, "70.00");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_rated_is_fixed_or_deferred_and_booked_once_it_has_a_price() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let free = json!({
            "name": "Odd", "level": "customer", "instancing": "single",
            "plans": [{ "key": "p", "name": "P" }],
        });
        app.put("/api/v2/services/odd/draft", free).await?;
        app.post("/api/v2/services/odd/publish", json!({ "rollOut": true })).await?;
        let sent = json!({ "service": "odd", "plan": "p", "effectiveAt": "2020-01-11" });
        let path = format!("/api/v2/customers/{}/subscriptions", office.customer);
        let odd = app.post(&path, sent).await?["id"].as_str().context("an id")?.to_owned();
        office.provision("BU001", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        let end = "2020-01-31";
        let readiness = app.get(&format!("/api/v2/billing/{end}/readiness")).await?;
        assert_eq!(readiness["ready"], false, "{readiness}");
        assert_eq!(readiness["reasons"][0]["subscriptionId"], odd.as_str(), "{readiness}");
        assert_eq!(readiness["reasons"][0]["code"], "no_price", "{readiness}");
        office.ask(end).await?;
        assert_eq!(office.approve(end).await?.problem(409)?, "not_ready");
        let defer = json!({ "subscriptionId": odd, "reason": "its price is being agreed" });
        app.post(&format!("/api/v2/billing/{end}/defer"), defer).await?;
        office.approve(end).await?.expect(202)?;
        assert_eq!(office.bill(end).await?, [normal("100.00", end)]);
        let path = format!("/api/v2/organizations/{}/prices", office.customer);
        let price = |from: &str| {
            json!({
                "service": "odd", "price": "31.00", "effectiveFrom": from, "reason": "agreed",
            })
        };
        // January still has none, and that holds up nothing.
        app.put(&path, price("2020-02-01")).await?;
        let february = [normal("100.00", "2020-02-29"), normal("31.00", "2020-02-29")];
        assert_eq!(office.bill("2020-02-29").await?, february);
        app.put(&path, price("2020-01-01")).await?;
        let february = office.bill("2020-02-29").await?;
        let expected = [
            normal("100.00", "2020-02-29"),
            correction("21.00", end),
            normal("31.00", "2020-02-29"),
        ];
        assert_eq!(february, expected);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_closes_alone_out_of_order_or_what_goes_on() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        office.provision("BU001", "2020-01-01").await?;
        let (app, ada) = (&office.app, office.app.token.clone());
        let post = async |token: &str, path: &str, body: Value| {
            app.send(token, Method::POST, &format!("/api/v2/billing/{path}"), Some(body)).await
        };
        let goes_on = post(&ada, "2020-01-31/close", json!({})).await?;
        assert_eq!(goes_on.problem(409)?, "period_goes_on");
        app.turn("2020-03-02T08:00:00Z").await?;
        assert_eq!(post(&ada, "2020-01-30/close", json!({})).await?.problem(404)?, "not_found");
        assert_eq!(post(&ada, "nonsense/close", json!({})).await?.problem(404)?, "not_found");
        let unasked = office.approve("2020-01-31").await?;
        assert_eq!(unasked.problem(409)?, "close_not_asked");
        office.ask("2020-01-31").await?;
        let own = post(&ada, "2020-01-31/approve", json!({})).await?;
        assert_eq!(own.problem(409)?, "own_close");
        let next = post(&ada, "2020-02-29/close", json!({})).await?;
        assert_eq!(next.problem(409)?, "periods_close_in_order");
        office.approve("2020-01-31").await?.expect(202)?;
        assert_eq!(post(&ada, "2020-01-31/close", json!({})).await?.problem(409)?, "period_closed");
        // A customer has no books.
        let of_customer = json!({ "organizationId": office.customer });
        assert_eq!(post(&ada, "2020-01-31/close", of_customer).await?.problem(409)?, "no_books");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_known_before_a_close_is_computed_as_then() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let id = office.provision("BU001", "2020-01-01").await?;
        let log = eventstore::Log::new(app.database.clone());
        let before = log.head().await?.position;
        app.turn("2020-01-25T08:00:00Z").await?;
        office.deprovision(&id, "2020-01-21").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        office.close("2020-01-31").await?;
        let amount = async |query: &str| -> Result<Value> {
            let path = format!("/api/Billing/2020-01-31/detail{query}");
            Ok(app.get(&path).await?["data"][0]["amount"].clone())
        };
        assert_eq!(amount("").await?, "64.52");
        assert_eq!(amount(&format!("?knownAt={before}")).await?, "100.00");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_reseller_closes_for_himself_and_nobody_elses_books() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        let reseller = app.reseller("Reseller").await?;
        let role = "Reseller Administrator";
        for login in ["first@r.test", "second@r.test"] {
            app.user(&reseller, login, &[role]).await?;
        }
        let below = app.customer("Below", Some(&reseller)).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-01" });
        app.post(&format!("/api/v2/customers/{below}/subscriptions"), sent).await?;
        office.provision("BU010", "2020-01-01").await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        let post = async |token: &str, verb: &str| {
            let path = format!("/api/v2/billing/2020-01-31/{verb}");
            app.send(token, Method::POST, &path, Some(json!({}))).await
        };
        let first = app.sign_in("first@r.test", PASSWORD).await?;
        let second = app.sign_in("second@r.test", PASSWORD).await?;
        post(&first, "close").await?.expect(200)?;
        post(&second, "approve").await?.expect(202)?;
        let state = async |query: &str| -> Result<Value> {
            let path = format!("/api/v2/billing/2020-01-31/close{query}");
            Ok(app.get(&path).await?["state"].clone())
        };
        assert_eq!(state(&format!("?organizationId={reseller}")).await?, "closed");
        assert_eq!(state("").await?, "open");
        // The provider closes what he bills himself: to his customer, and to the reseller for the reseller's.
        office.close("2020-01-31").await?;
        let period = app.get("/api/v2/billing/2020-01-31/close").await?;
        assert_eq!(period["entries"], 2, "{period}");
        let mut amounts: Vec<_> = office.bill("2020-01-31").await?;
        amounts.sort();
        assert_eq!(amounts, [normal("100.00", "2020-01-31"), normal("180.00", "2020-01-31")]);
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_seal_is_signed_and_a_customer_can_prove_his_lines_are_in_it() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T00:00:00Z").await?;
        let app = &office.app;
        office.provision("BU001", "2020-01-11").await?;
        for name in ["Beta", "Gamma", "Delta"] {
            let other = app.customer(name, None).await?;
            let sent = json!({ "service": "backup", "plan": "BU010", "effectiveAt": "2020-01-01" });
            app.post(&format!("/api/v2/customers/{other}/subscriptions"), sent).await?;
        }
        let role = "Customer Administrator";
        app.user(&office.customer, "carl@c.test", &[role]).await?;
        app.turn("2020-02-01T08:00:00Z").await?;
        let seal = "/api/Billing/2020-01-31/seal";
        let open = app.send(&app.token, Method::GET, seal, None).await?;
        assert_eq!(open.problem(404)?, "period_not_closed");
        office.close("2020-01-31").await?;
        let whole = app.get(seal).await?;
        assert_eq!(whole["books"]["entries"], 4, "{whole}");
        assert_eq!(whole["books"]["totals"][0]["amount"], "607.74", "{whole}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message = format!(
            "atrium seal 1 {} {} {} {} {}",
            text(&whole["organizationId"]),
            text(&whole["endDate"]),
            whole["cutoff"],
            whole["position"],
            text(&whole["root"]),
        );
        let bytes = |value: &Value| -> Vec<u8> {
            let digits = text(value);
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
                .collect()
        };
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ED25519,
            bytes(&whole["publicKey"]),
        );
        assert!(key.verify(message.as_bytes(), &bytes(&whole["signature"])).is_ok());
        assert!(key.verify(b"another", &bytes(&whole["signature"])).is_err());

        // The customer is shown his own lines and the way to the root, and nothing of others.
        let carl = app.sign_in("carl@c.test", PASSWORD).await?;
        let own = app.send(&carl, Method::GET, seal, None).await?.expect(200)?;
        assert_eq!((&own["root"], &own["books"]), (&whole["root"], &Value::Null));
        let path = "/api/Billing/2020-01-31/proof";
        let proof = app.send(&carl, Method::GET, path, None).await?.expect(200)?;
        let lines = proof["lines"].as_array().context("lines")?;
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&text(&lines[0]))?;
        assert_eq!(line["amount"]["minor"], 6_774, "{line}");
        let leaves: Vec<_> = lines.iter().map(|line| Hash::leaf(text(line).as_bytes())).collect();
        assert_eq!(root(&leaves).to_string(), text(&proof["buyer"]["root"]));
        let mut content = uuid::Uuid::parse_str(&office.customer)?.as_bytes().to_vec();
        content.extend((leaves.len() as u64).to_be_bytes());
        content.extend(root(&leaves).0);
        let steps: Proof = serde_json::from_value(proof["path"].clone())?;
        assert_eq!(steps.root(Hash::leaf(&content)).to_string(), text(&whole["root"]));
        content[20] ^= 1;
        assert_ne!(steps.root(Hash::leaf(&content)).to_string(), text(&whole["root"]));
        let others = whole["books"]["buyers"].as_array().context("buyers")?;
        for other in others.iter().filter(|it| it["customerId"] != office.customer.as_str()) {
            let id = text(&other["customerId"]);
            assert!(!proof.to_string().contains(&id), "another buyer is named");
            let path = format!("{path}?customerId={id}");
            app.send(&carl, Method::GET, &path, None).await?.problem(404)?;
        }
        office.app.finish().await?;
    }
    Ok(())
}
