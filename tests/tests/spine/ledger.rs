//! The ledger, read from what is stored.

use anyhow::Result;
use atrium_tests::laws;
use atrium_tests::world::{World, body, persons};
use commands::Command;
use domain::TenantPath;
use domain::organization::Kind;
use projections::finder::Scope;
use projections::ledger::{self, Question, Side, Statement};
use serde_json::json;

use super::setting::{BOTH, create, id, provider, sell};

/// The lines of January 2018, each with what it is about.
async fn january(world: &World, known_at: Option<u64>) -> Result<Vec<String>> {
    let provider = ledger::seller_at(&world.database, &TenantPath::provider()).await?;
    let settings = provider.settings.as_ref();
    let date = "2018-01-15".parse()?;
    let side = Side::Sells(provider.id);
    let question = Question { scope: Scope::catalogue(), as_of: None, known_at, side };
    let period = settings.period_containing(date);
    let (database, persons) = (&world.database, persons());
    let made = ledger::statements(database, &persons, &question, &[period]).await?;
    let lines = |statement: &Statement| {
        assert!(statement.quarantined.is_empty(), "{:?}", statement.quarantined);
        statement.lines.iter().map(|line| format!("{:?}", line.entry)).collect()
    };
    Ok(lines(&made[0]))
}

/// A document keeps the latest facts only. What was billed long before them is billed still.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_has_forgotten_is_billed_from_the_log() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let customer = id(&world.system(create(Kind::Customer, &provider, "c")).await?);
        let sent = json!({ "service": "backup", "plan": "basic", "effectiveAt": "2018-01-01" });
        let held =
            world.system(Command::ProvisionToCustomer { customer, body: body(sent) }).await?;
        let change = async |month: u32, day: u32| {
            let sent = json!({ "quantity": month + day, "effectiveAt":
                format!("2018-{month:02}-{day:02}") });
            world.system(Command::ChangeSubscription { id: id(&held), body: body(sent) }).await
        };
        for day in 2..=28 {
            change(1, day).await?;
        }
        let known_at = eventstore::Log::new(world.database.clone()).head().await?.position;
        let billed = january(&world, None).await?;
        assert!(billed.len() >= 28, "{engine:?}: a line for each day that it changed: {billed:#?}");

        for (month, day) in (2..=4).flat_map(|month| (1..=28).map(move |day| (month, day))) {
            change(month, day).await?;
        }
        assert_eq!(january(&world, None).await?, billed, "{engine:?}");
        // A fact that comes late changes the month, but not what was known of it before.
        change(1, 31).await?;
        assert_ne!(january(&world, None).await?, billed, "{engine:?}");
        assert_eq!(january(&world, Some(known_at)).await?, billed, "{engine:?}");
        laws::check(&world.database).await?;
    }
    Ok(())
}
