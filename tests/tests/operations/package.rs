//! The package of a closed period is computed again, and the proof of somebody's lines checked: offline, with nothing else.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{PASSWORD, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use super::setting::{BOTH, Ended, atrium, ended};

/// What a server answers of two closed periods, with a correction in the second.
struct Answered {
    /// Of the second.
    package: String,
    /// Of one customer's lines in the first.
    proof: String,
    /// Of the first and of the second.
    seals: [String; 2],
}

async fn answered(engine: Engine) -> Result<Answered> {
    let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
    app.publish("backup").await?;
    let provider = app.get("/api/v2/explain?permission=users.view").await?;
    let provider = provider["organizationId"].as_str().context("an id")?;
    app.user(provider, "second@x.test", &["Provider Administrator"]).await?;
    let (mut customers, mut subscriptions) = (Vec::new(), Vec::new());
    for name in ["Aanimals", "Beta", "Gamma"] {
        let customer = app.customer(name, None).await?;
        let sent = json!({ "service": "backup", "plan": "BU010", "effectiveAt": "2020-01-01" });
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        subscriptions.push(app.post(&path, sent).await?["id"].clone());
        customers.push(customer);
    }
    let reseller = app.reseller("Partners").await?;
    let sent = json!({ "buyerId": reseller, "amount": "-12.50", "description": "A bonus",
        "reason": "Partner programme", "effectiveAt": "2020-01-10" });
    app.post("/api/v2/billing/adjustments", sent).await?;
    for (time, end) in
        [("2020-02-01T08:00:00Z", "2020-01-31"), ("2020-03-01T08:00:00Z", "2020-02-29")]
    {
        app.turn(time).await?;
        app.post(&format!("/api/v2/billing/{end}/close"), json!({})).await?;
        let second = app.sign_in("second@x.test", PASSWORD).await?;
        let path = format!("/api/v2/billing/{end}/approve");
        app.send(&second, Method::POST, &path, Some(json!({}))).await?.expect(202)?;
        // Learned after January was closed.
        let id = subscriptions.pop().context("one more")?;
        let path = format!("/api/v2/subscriptions/{}/deprovision", id.as_str().context("an id")?);
        app.post(&path, json!({ "effectiveAt": "2020-01-20", "reason": "it was so" })).await?;
    }
    let text = async |path: &str| -> Result<String> {
        let asked = app.request(&app.token, Method::GET, path);
        Ok(asked.send().await?.error_for_status()?.text().await?)
    };
    let answered = Answered {
        package: text("/api/Billing/2020-02-29/export").await?,
        proof: text(&format!("/api/Billing/2020-01-31/proof?customerId={}", customers[0])).await?,
        seals: [
            text("/api/Billing/2020-01-31/seal").await?,
            text("/api/Billing/2020-02-29/seal").await?,
        ],
    };
    app.finish().await?;
    Ok(answered)
}

/// `atrium verify` of files with these texts, each named by an option.
async fn verified(folder: &Path, files: &[(&str, &str)]) -> Result<Ended> {
    let mut command = atrium();
    command.arg("verify").arg("--json");
    for (option, text) in files {
        let file = folder.join(option);
        std::fs::write(&file, text)?;
        command.arg(format!("--{option}")).arg(&file);
    }
    ended(command).await
}

/// What does not fit, which must be something.
fn differs(told: &Ended) -> Result<String> {
    ensure!(told.code == Some(1), "{told:?}");
    let line: Value = serde_json::from_str(&told.out)?;
    ensure!(line["whole"] == false, "{line}");
    Ok(line["what"].as_str().context("what")?.to_owned())
}

/// The same lines with a right digest at the end: as somebody would write it who knows the form.
fn signed_again(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let (body, end) = text.trim_end().rsplit_once('\n').expect("lines");
    let body = format!("{body}\n");
    let mut end: Value = serde_json::from_str(end).expect("the last line");
    let digest = Sha256::digest(&body);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    end["end"]["sha256"] = json!(digits);
    format!("{body}{end}\n")
}

#[tokio::test]
async fn a_package_is_computed_again_and_the_first_difference_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for engine in BOTH {
        let text = answered(engine).await?.package;
        let whole = verified(folder.path(), &[("package", &text)]).await?.well()?;
        assert_eq!(whole["closedPeriods"], 2, "{whole}");
        // Four in January, one of them a reseller's credit; in February two, one reversed and one rebooked.
        assert_eq!(whole["sealedEntries"], 8, "{whole}");
        let of_others = |line: &str| line.starts_with("{\"reply\"") || line.starts_with("{\"key\"");
        assert!(!text.lines().any(of_others), "what is of no account is left out");

        let edits: [(&str, &str, &str); 4] = [
            ("\"minor\":-1250", "\"minor\":-1150", "were changed"),
            ("\"minor\":18000", "\"minor\":17000", "were changed"),
            ("\"minor\":-18000", "\"minor\":-8000", "were changed"),
            ("BU010", "BU001", "was changed"),
        ];
        for (from, to, words) in edits {
            ensure!(text.contains(from), "nothing to edit: {from}");
            let first = text.find("{\"sealed\":").context("sealed entries")?;
            // Among the sealed entries, or in an event.
            let at = if from.starts_with('"') { first } else { 0 };
            let edited = format!("{}{}", &text[..at], text[at..].replacen(from, to, 1));
            let told = verified(folder.path(), &[("package", &signed_again(&edited))]).await?;
            let what = differs(&told)?;
            ensure!(what.contains(words), "{from}: {what}");
        }
        // Something taken away.
        let kept = text.lines().filter(|line| !line.contains("\"minor\":-18000"));
        let less = kept.map(|line| format!("{line}\n")).collect::<String>();
        differs(&verified(folder.path(), &[("package", &signed_again(&less))]).await?)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_buyer_checks_that_his_lines_are_in_the_sealed_books() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for engine in BOTH {
        let Answered { proof, seals: [seal, later], .. } = answered(engine).await?;
        let alone = verified(folder.path(), &[("proof", &proof)]).await?.well()?;
        assert_eq!(alone["entries"], 1, "{alone}");
        let kept = [("proof", &*proof), ("seal", &seal)];
        let compared = verified(folder.path(), &kept).await?.well()?;
        assert_eq!(compared, alone);

        let edited = |change: &dyn Fn(&mut Value)| -> Result<String> {
            let mut proof: Value = serde_json::from_str(&proof)?;
            change(&mut proof);
            Ok(proof.to_string())
        };
        let zeros = "0".repeat(64);
        type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));
        let changes: [Change<'_>; 7] = [
            ("the lines", &|it| {
                let line = it["lines"][0].as_str().map(|line| line.replacen("BU010", "BU001", 1));
                it["lines"][0] = json!(line);
            }),
            ("the lines", &|it| it["lines"] = json!([])),
            ("the lines", &|it| it["buyer"]["root"] = json!(zeros)),
            ("not in the books", &|it| it["buyer"]["customerId"] = json!(uuid::Uuid::nil())),
            ("not in the books", &|it| it["seal"]["root"] = json!(zeros)),
            ("has signed", &|it| it["seal"]["endDate"] = json!("2020-03-31")),
            ("has signed", &|it| it["seal"]["publicKey"] = json!(zeros)),
        ];
        for (words, change) in changes {
            let edited = edited(change)?;
            let what = differs(&verified(folder.path(), &[("proof", &edited)]).await?)?;
            ensure!(what.contains(words), "{words}: {what}");
        }
        let what =
            differs(&verified(folder.path(), &[("proof", &proof), ("seal", &later)]).await?)?;
        ensure!(what.contains("another one than the one that was kept"), "{what}");
        for nothing in ["{}", ""] {
            verified(folder.path(), &[("proof", nothing)]).await?.refused("is no proof")?;
        }
    }
    Ok(())
}
