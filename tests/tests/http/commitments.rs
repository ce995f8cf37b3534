//! What buyers are committed to, and how what is lacking is shared (billing.md, section 4; case 13c), over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use super::chain::{provider, reseller, sell};
use super::closing::Office;
use crate::BOTH;

async fn hold(app: &TestApp, customer: &str, from: &str) -> Result<String> {
    let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": from });
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    let made = app.post(&path, sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

async fn commit(app: &TestApp, buyer: &str, amount: &str, from: &str) -> Result<()> {
    let commitment =
        json!({ "buyerId": buyer, "service": "backup", "amount": amount, "effectiveFrom": from });
    let sent = json!({ "commitments": [commitment], "reason": "Frame contract" });
    app.put("/api/v2/billing/commitments", sent).await?;
    Ok(())
}

/// Kind, class, service period and amount of each entry that charges something, by customer.
async fn entries(app: &TestApp, of: &str) -> Result<Vec<[String; 4]>> {
    let found = app.get(&format!("/api/Billing/{of}")).await?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = found["data"].as_array().into_iter().flatten();
    let rows = rows.map(|row| {
        ["customerName", "kind", "servicePeriod", "amount"].map(|field| text(row, field))
    });
    Ok(rows.filter(|[.., amount]| amount != "0.00").collect())
}

fn lines(expected: &[[&str; 4]]) -> Vec<[String; 4]> {
    expected.iter().map(|line| line.map(str::to_owned)).collect()
}

async fn three_customers(app: &TestApp, reseller: &str) -> Result<[String; 3]> {
    let mut customers = Vec::new();
    for name in ["One", "Three", "Two"] {
        customers.push(app.customer(name, Some(reseller)).await?);
    }
    customers.try_into().map_err(|_| anyhow::anyhow!("three"))
}

#[tokio::test]
async fn case_13c_a_commitment_is_shared_by_a_resellers_customers() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let reseller = reseller(&app, "Contoso", &provider, None).await?;
        sell(&app, "0.00").await?;
        let customers = three_customers(&app, &reseller).await?;
        for customer in &customers {
            hold(&app, customer, "2019-11-01").await?;
        }
        commit(&app, &reseller, "100.00", "2019-11-01").await?;
        let own = "2019-11-30/detail";
        let period = "2019-11-30";
        let shared = lines(&[
            ["One", "minimum", period, "33.34"],
            ["Three", "minimum", period, "33.33"],
            ["Two", "minimum", period, "33.33"],
        ]);
        assert_eq!(entries(&app, own).await?, shared, "{engine:?}");
        // Asked about one of them alone, the others count all the same.
        let one = format!("{own}?customerId={}", customers[1]);
        assert_eq!(entries(&app, &one).await?, shared[1..2]);
        let entry = app.get(&format!("/api/Billing/{period}/entries")).await?["data"][0].clone();
        assert_eq!(
            (&entry["component"], &entry["unitPrice"]),
            (&json!("commitment"), &json!("100.00"))
        );
        let path =
            format!("/api/Billing/{period}/entries/{}", entry["entryId"].as_str().unwrap_or(""));
        let told = app.get(&path).await?.to_string();
        assert!(told.contains("commitment") && told.contains("lacking"), "{told}");
        // The reseller bills its own customers by its own commitments: it has none.
        let (_, rae) = app.user(&reseller, "rae@contoso.test", &["Reseller Administrator"]).await?;
        let bill =
            app.send(&rae, Method::GET, "/api/Billing/2019-11-30", None).await?.expect(200)?;
        assert!(!bill.to_string().contains("33.3"), "{bill}");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_charged_counts_and_what_is_lacking_is_shared_as_it_is() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        let provider = provider(&app).await?;
        let reseller = reseller(&app, "Contoso", &provider, None).await?;
        sell(&app, "30.00").await?;
        let [one, three, _] = three_customers(&app, &reseller).await?;
        hold(&app, &one, "2019-11-01").await?;
        hold(&app, &three, "2019-11-16").await?;
        // 30.00 and 15.00 are charged; of 90.00 it lacks 45.00, two to one.
        commit(&app, &reseller, "90.00", "2019-11-01").await?;
        let (own, period) = ("2019-11-30/detail", "2019-11-30");
        let shared = lines(&[
            ["One", "minimum", period, "30.00"],
            ["One", "recurring", period, "30.00"],
            ["Three", "minimum", period, "15.00"],
            ["Three", "recurring", period, "15.00"],
        ]);
        assert_eq!(entries(&app, own).await?, shared, "{engine:?}");
        // From the 16th on it is more: 15 days of 90.00 and 15 of 120.00 are 105.00, and 60.00 are lacking.
        commit(&app, &reseller, "120.00", "2019-11-16").await?;
        let minima = async || -> Result<Vec<String>> {
            let all = entries(&app, own).await?;
            let minima = all.into_iter().filter(|[_, kind, ..]| kind == "minimum");
            Ok(minima.map(|[.., amount]| amount).collect())
        };
        assert_eq!(minima().await?, ["40.00", "20.00"]);
        // What is committed to is charged when it is committed to: nothing from the 21st on.
        commit(&app, &reseller, "0", "2019-11-21").await?;
        // 15 days of 90.00 and 5 of 120.00 are 65.00, and 20.00 are lacking.
        assert_eq!(minima().await?, ["13.33", "6.67"]);
        let listed = app.get("/api/v2/billing/commitments").await?;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(3));
        assert_eq!(listed["data"][1]["amount"], "120.00");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn as_of_a_moment_what_was_committed_to_by_then_is_shared_by_who_held_it_by_then()
-> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2019-11-01T09:00:00Z").await?;
        let app = &office.app;
        let provider = provider(app).await?;
        let reseller = reseller(app, "Contoso", &provider, None).await?;
        let [one, three, two] = three_customers(app, &reseller).await?;
        hold(app, &one, "2019-11-01").await?;
        hold(app, &three, "2019-11-16").await?;
        // 15 days of 300.00 and 15 of 400.00 are 350.00; 100.00 and 50.00 are charged.
        commit(app, &reseller, "300.00", "2019-11-01").await?;
        commit(app, &reseller, "400.00", "2019-11-16").await?;
        let period = "2019-11-30";
        let minima = async |of: &str| -> Result<Vec<String>> {
            let all = entries(app, &format!("{period}/detail?{of}")).await?;
            let minima = all.into_iter().filter(|[_, kind, ..]| kind == "minimum");
            Ok(minima.map(|[.., amount]| amount).collect())
        };
        let [first, half] = [&["200.00"][..], &["133.33", "66.67"]];
        let moments = [
            ("asOf=2019-10-31", &[][..]),
            ("asOf=2019-11-15", first),
            ("asOf=2019-11-16", half),
            ("asOf=2020-11-16", half),
            ("", half),
        ];
        for (as_of, expected) in moments {
            assert_eq!(minima(as_of).await?, expected, "{engine:?}, {as_of}");
        }
        // Asked about one, the other is left out of what he lacks only as long as he holds nothing.
        let alone = async |as_of: &str| minima(&format!("customerId={one}&{as_of}")).await;
        assert_eq!(alone("asOf=2019-11-15").await?, ["200.00"]);
        assert_eq!(alone("asOf=2019-11-16").await?, ["133.33"]);

        // Closed, it is the same; what is learned later changes nothing of it.
        app.turn("2019-12-02T09:00:00Z").await?;
        office.close(period).await?;
        hold(app, &two, "2019-11-11").await?;
        for (as_of, expected) in moments {
            assert_eq!(minima(as_of).await?, expected, "{engine:?}, {as_of}, closed");
        }
        // What sets it right is of a period that has to be over.
        let december = async |as_of: &str| -> Result<usize> {
            let all = entries(app, &format!("2019-12-31/detail?{as_of}")).await?;
            Ok(all.iter().filter(|[_, _, of, _]| of == period).count())
        };
        assert_eq!(december("asOf=2019-11-30").await?, 0);
        // 100.00, 50.00 and 66.67 are charged: each has less of the 133.33 that are lacking.
        assert_eq!(december("asOf=2019-12-01").await?, december("").await?);
        let mut right = entries(app, "2019-12-31/detail").await?;
        right.retain(|[_, kind, of, _]| kind == "minimum" && of == period);
        let amounts: Vec<_> = right.iter().map(|[.., amount]| amount.as_str()).collect();
        assert_eq!(amounts, ["-133.33", "61.53", "-66.67", "30.77", "41.03"], "{engine:?}");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_late_fact_of_one_corrects_the_parts_of_all() -> Result<()> {
    for engine in BOTH {
        let office = Office::new(engine, "2020-01-01T09:00:00Z").await?;
        let app = &office.app;
        let provider = provider(app).await?;
        let reseller = reseller(app, "Contoso", &provider, None).await?;
        let customers = three_customers(app, &reseller).await?;
        let mut held = Vec::new();
        for customer in &customers {
            let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-01" });
            let path = format!("/api/v2/customers/{customer}/subscriptions");
            let made = app.post(&path, sent).await?;
            held.push(made["id"].as_str().context("an id")?.to_owned());
        }
        // 100.00 each: 31.00 are lacking.
        commit(app, &reseller, "331.00", "2020-01-01").await?;
        app.turn("2020-02-02T09:00:00Z").await?;
        office.close("2020-01-31").await?;
        let (january, february) = ("2020-01-31", "2020-02-29");
        let minima = |of: Vec<[String; 4]>, end: &str| -> Vec<String> {
            let minima =
                of.into_iter().filter(|[_, kind, period, _]| kind == "minimum" && period == end);
            minima.map(|[.., amount]| amount).collect()
        };
        let sealed = entries(app, &format!("{january}/detail")).await?;
        assert_eq!(minima(sealed, january), ["10.34", "10.33", "10.33"], "{engine:?}");
        // Learned late: one ended on the 16th. 248.39 were charged, and 82.61 are lacking.
        office.deprovision(&held[2], "2020-01-16").await?;
        let open = entries(app, &format!("{february}/detail")).await?;
        let corrected = minima(open, january);
        assert_eq!(corrected, ["-10.34", "33.26", "-10.33", "33.26", "-10.33", "16.09"]);
        // Asked about another one, his part is corrected, too.
        let one = format!("{february}/detail?customerId={}", customers[0]);
        assert_eq!(minima(entries(app, &one).await?, january), ["-10.34", "33.26"]);
        app.turn("2020-03-02T09:00:00Z").await?;
        office.close(february).await?;
        let sealed = entries(app, &format!("{february}/detail")).await?;
        assert_eq!(minima(sealed, january), corrected);
        let march = entries(app, "2020-03-31/detail").await?;
        assert_eq!(minima(march, january), Vec::<String>::new(), "it is corrected once");
        office.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_commitment_can_be_previewed_and_bad_ones_are_refused_with_every_fault() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        sell(&app, "30.00").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        hold(&app, &customer, "2019-11-01").await?;
        let commitment = |amount: &str| {
            json!({ "commitments": [{ "buyerId": customer, "service": "backup", "amount": amount,
                "effectiveFrom": "2019-11-01" }], "reason": "Frame contract" })
        };
        let previewed = json!({ "commands": [
            { "path": "/api/v2/billing/commitments", "body": commitment("50.00") },
        ], "until": "2019-11-30" });
        let preview = app.post("/api/v2/billing/preview", previewed).await?;
        let booked = &preview["periods"][0]["booked"];
        assert_eq!(booked.as_array().map(Vec::len), Some(1), "{preview}");
        assert_eq!(booked[0]["amount"], "20.00");
        assert_eq!(entries(&app, "2019-11-30/detail").await?.len(), 1, "nothing is recorded");
        app.put("/api/v2/billing/commitments", commitment("50.00")).await?;
        let all = entries(&app, "2019-11-30/detail").await?;
        assert_eq!(all[0][3], "20.00", "{all:?}");
        let bad = json!({ "commitments": [
            { "buyerId": "nobody", "service": "none", "amount": "-1.00", "effectiveFrom": "2019-12-01",
              "effectiveTo": "2019-11-01" },
            { "buyerId": customer, "service": "backup", "amount": "1.005" },
        ], "reason": "" });
        let answer =
            app.send(&app.token, Method::PUT, "/api/v2/billing/commitments", Some(bad)).await?;
        let problem = answer.expect(422)?;
        let pointers: Vec<_> = problem["errors"]
            .as_array()
            .context("faults")?
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(
            pointers,
            [
                "/reason",
                "/commitments/0/buyerId",
                "/commitments/0/service",
                "/commitments/0/amount",
                "/commitments/0/effectiveTo",
                "/commitments/1/amount",
            ]
        );
        app.finish().await?;
    }
    Ok(())
}
