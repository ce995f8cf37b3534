//! Seals of closed periods, signed, and the proof that somebody's lines are in the books.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use chrono::NaiveDate;
use domain::billing::books::{BooksEvent, Person};
use domain::billing::merkle::{self, Hash, Proof};
use domain::billing::seal::{Buyer, Seal};
use domain::event::{Event, Recorded};
use domain::organization::Kind;
use domain::permission::Permission;
use domain::{OrganizationId, SubscriptionId, TenantPath};
use projections::views::{BooksView, Closed, OrganizationView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::billing::{end_date_of, find_organization, malformed_end_date};
use crate::keys::{Keys, has_signed, hex};
use crate::problem::Problem;
use crate::rest::{Answer, Parameters, Path, Reader, json_response};

/// Signs seals: with the key that checkpoints are signed with.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new(keys: &Keys) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&keys.checkpoint);
        Self(pair.expect("every 32 bytes are a seed"))
    }

    fn public_key(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    fn sign(&self, message: &str) -> String {
        hex(self.0.sign(message.as_bytes()).as_ref())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// Whose seal.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SealParameters {
    /// The seller, by his number or id; the caller's own organisation where it is left out, for a customer its seller.
    seller_id: Option<String>,
}

/// Whose proof.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProofParameters {
    /// Who buys, a customer or a reseller, by its number or id; the caller's own organisation where it is left out.
    customer_id: Option<String>,
    /// The seller, by his number or id; the one who bills the customer where it is left out.
    seller_id: Option<String>,
}

/// The seal of a closed period. What others buy is shown only to the seller.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealResource {
    /// The seller.
    organization_id: Uuid,
    /// The period: its last date.
    pub end_date: NaiveDate,
    /// The position up to which the log counted.
    cutoff: u64,
    /// The position of the event that closed it.
    position: u64,
    /// The root of the tree over all buyers (RFC 6962), in hexadecimal.
    pub root: String,
    /// Which rating the entries were made by.
    engine: u32,
    /// Which edition of the time zones was used.
    zones: String,
    /// With what the signature was made (Ed25519), in hexadecimal.
    pub public_key: String,
    /// Over the text `atrium seal 1 {organizationId} {endDate} {cutoff} {position} {root}`.
    signature: String,
    /// All that the seller billed.
    books: Option<BooksResource>,
}

/// What a closed period comes to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BooksResource {
    /// Whoever asked to close it.
    asked_by: Option<Uuid>,
    /// Whoever approved that.
    approved_by: Option<Uuid>,
    /// Subscriptions that were left out.
    deferred: Vec<Uuid>,
    /// How many entries there are.
    entries: u64,
    /// The sums, for each currency and kind.
    totals: Vec<TotalResource>,
    /// Each buyer's part, in the order of their ids: the leaves of the tree.
    buyers: Vec<BuyerResource>,
}

/// What the entries of one kind and currency come to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TotalResource {
    /// Such as `recurring`.
    kind: String,
    /// Of ISO 4217.
    currency: String,
    /// A decimal text.
    amount: String,
    /// The same in minor units.
    minor: i64,
    /// How many entries there are.
    entries: u64,
}

/// One buyer's part of a closed period.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuyerResource {
    /// Who buys.
    pub customer_id: Uuid,
    /// How many entries he has.
    entries: u64,
    /// The root of the tree over his entries, in hexadecimal.
    root: String,
}

impl SealResource {
    /// What is signed.
    fn message(&self) -> String {
        let Self { organization_id, end_date, cutoff, position, root, .. } = self;
        format!("atrium seal 1 {organization_id} {end_date} {cutoff} {position} {root}")
    }

    /// Checks that the key that it names has signed it, which is nobody's in particular: it has to be known from elsewhere.
    ///
    /// # Errors
    /// Where it has not.
    fn check(&self) -> Result<(), String> {
        match has_signed(&self.public_key, &self.message(), &self.signature) {
            Some(true) => Ok(()),
            _ => Err("the seal is not what its key has signed".to_owned()),
        }
    }

    /// Checks that it is the same as one that was kept.
    ///
    /// # Errors
    /// What differs.
    fn check_kept(&self, kept: &Self) -> Result<(), String> {
        kept.check().map_err(|what| format!("of the one that was kept, {what}"))?;
        if self.public_key != kept.public_key {
            return Err("the seal is signed with another key than the one that was kept".to_owned());
        }
        if self.message() != kept.message() {
            return Err("the seal is another one than the one that was kept".to_owned());
        }
        Ok(())
    }
}

impl ProofResource {
    /// Checks it with nothing but itself: that the lines are those of the buyer, that his part is in the books, and that
    /// these are signed; and, where one was kept, that it is this seal.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, kept: Option<&SealResource>) -> Result<(), String> {
        let Self { seal, buyer, path, lines } = self;
        let leaves: Vec<_> = lines.iter().map(|line| Hash::leaf(line.as_bytes())).collect();
        let root = merkle::root(&leaves);
        if buyer.entries != lines.len() as u64 || buyer.root != root.to_string() {
            return Err("the lines are not those that were sealed for this buyer".to_owned());
        }
        let customer = OrganizationId(buyer.customer_id);
        let part = Buyer { customer, entries: buyer.entries, root };
        if path.root(part.leaf()).to_string() != seal.root {
            return Err("the buyer's part is not in the books that were sealed".to_owned());
        }
        seal.check()?;
        kept.map_or(Ok(()), |kept| seal.check_kept(kept))
    }
}

impl From<&Buyer> for BuyerResource {
    fn from(buyer: &Buyer) -> Self {
        let Buyer { customer, entries, root } = buyer;
        Self { customer_id: customer.0, entries: *entries, root: root.to_string() }
    }
}

/// Shows that a customer's lines are in the sealed books, and nothing of others.
///
/// The hash of each of `lines` is a leaf of the customer's tree; the content of its leaf of the whole tree is the bytes of
/// its id, the number of its entries (8 bytes, the highest first) and the root of its tree; `path` leads from there to
/// the root. Leaves and nodes are hashed as RFC 6962 has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofResource {
    /// The seal.
    pub seal: SealResource,
    /// The customer's part.
    pub buyer: BuyerResource,
    /// What stands beside on the way up: `left` or `right`, and its hash in hexadecimal.
    #[schema(value_type = Vec<std::collections::BTreeMap<String, String>>)]
    path: Proof,
    /// The customer's entries, in order: the text of each is what is hashed.
    pub lines: Vec<String>,
}

/// A closed period, with the event that closed it.
pub(crate) struct Sealed {
    pub(crate) seller: Arc<OrganizationView>,
    closed: Closed,
    asked_by: Person,
    approved_by: Person,
    seal: Box<Seal>,
}

impl Sealed {
    /// The closed period of that name of a seller.
    ///
    /// # Errors
    /// Not found where it is not closed.
    pub(crate) async fn find(
        app: &App,
        seller: Arc<OrganizationView>,
        end_date: &str,
    ) -> Result<Self, Problem> {
        let end = end_date_of(end_date).ok_or_else(malformed_end_date)?;
        let scope = projections::finder::Scope::catalogue();
        let key = seller.id.to_string();
        let books = projections::finder::find::<BooksView>(app.database(), &scope, &key).await?;
        let closed = books.as_ref().and_then(|books| books.closed(end, u64::MAX)).cloned();
        let closed = closed.ok_or_else(|| {
            let detail = format!("The period {end} is not closed, so it has no seal.");
            Problem { code: "period_not_closed", detail, ..Problem::not_found() }
        })?;
        let events = app.log().read(closed.position - 1, closed.position, 1).await?;
        let event = events.first().map(eventstore::Stored::decode).transpose()?;
        let Some(Recorded { event: Event::Books(event), .. }) = event else {
            return Err(Problem::internal());
        };
        let BooksEvent::PeriodClosed { asked_by, approved_by, seal, .. } = event else {
            return Err(Problem::internal());
        };
        Ok(Self { seller, closed, asked_by, approved_by, seal })
    }

    /// Which rating its entries were made by.
    pub(crate) fn engine(&self) -> u32 {
        self.seal.engine
    }

    fn shown(&self, app: &App, is_whole: bool) -> SealResource {
        let Seal { engine, root, zones, .. } = self.seal.as_ref();
        let Closed { end, cutoff, position, .. } = &self.closed;
        let mut shown = SealResource {
            organization_id: self.seller.id.0,
            end_date: *end,
            cutoff: *cutoff,
            position: *position,
            root: root.to_string(),
            engine: *engine,
            zones: zones.clone(),
            public_key: app.signer().public_key(),
            signature: String::new(),
            books: is_whole.then(|| self.books()),
        };
        shown.signature = app.signer().sign(&shown.message());
        shown
    }

    fn books(&self) -> BooksResource {
        let totals = self.seal.totals.iter().map(|total| TotalResource {
            kind: crate::billing::kind_name(total.kind).to_owned(),
            currency: total.amount.currency.code().to_owned(),
            amount: total.amount.to_string(),
            minor: total.amount.minor,
            entries: total.entries,
        });
        BooksResource {
            asked_by: commands::resource::user_of(self.asked_by),
            approved_by: commands::resource::user_of(self.approved_by),
            deferred: self.closed.deferred.iter().map(|SubscriptionId(id)| *id).collect(),
            entries: self.seal.entries,
            totals: totals.collect(),
            buyers: self.seal.buyers.iter().map(BuyerResource::from).collect(),
        }
    }
}

/// The seller that is meant: named, or the caller's own organisation, or the one who bills it.
async fn seller(
    app: &App,
    reader: &Reader,
    named: Option<&str>,
) -> Result<Arc<OrganizationView>, Problem> {
    let own = reader.0.organization.to_string();
    let scope = reader.0.scope();
    let found = find_organization(app, &scope, named.unwrap_or(&own)).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    match found.kind {
        Kind::Customer => biller(app, &found).await,
        Kind::Provider | Kind::Reseller => Ok(found),
    }
}

/// Who bills a customer, whoever asks.
pub(crate) async fn biller(
    app: &App,
    customer: &OrganizationView,
) -> Result<Arc<OrganizationView>, Problem> {
    let seller: OrganizationId = customer.seller().ok_or_else(Problem::not_found)?;
    let scope = projections::finder::Scope::catalogue();
    let found = projections::finder::find(app.database(), &scope, &seller.to_string()).await?;
    found.ok_or_else(Problem::not_found)
}

/// The seal of a closed period: the root over all its entries, signed. The seller sees what it is over.
#[utoipa::path(get, path = "/api/Billing/{endDate}/seal", tag = "Billing",
    params(("endDate" = String, Path), SealParameters),
    responses((status = 200, body = SealResource)))]
pub async fn seal(
    State(app): State<App>,
    reader: Reader,
    Path(end_date): Path<String>,
    parameters: Parameters<SealParameters>,
) -> Answer {
    reader.0.require(Permission::ViewBilling)?;
    let SealParameters { seller_id } = parameters.take()?;
    let seller = seller(&app, &reader, seller_id.as_deref()).await?;
    let is_his = reader.0.scope().0.contains(&seller.path);
    let sealed = Sealed::find(&app, seller, &end_date).await?;
    Ok(shown(&sealed.shown(&app, is_his)))
}

/// Shows that a customer's lines are in the sealed books of a closed period, and nothing of others.
#[utoipa::path(get, path = "/api/Billing/{endDate}/proof", tag = "Billing",
    params(("endDate" = String, Path), ProofParameters),
    responses((status = 200, body = ProofResource)))]
pub async fn proof(
    State(app): State<App>,
    reader: Reader,
    Path(end_date): Path<String>,
    parameters: Parameters<ProofParameters>,
) -> Answer {
    reader.0.require(Permission::ViewBilling)?;
    let ProofParameters { customer_id, seller_id } = parameters.take()?;
    let own = reader.0.organization.to_string();
    let wanted = customer_id.as_deref().unwrap_or(&own);
    let customer = find_organization(&app, &reader.0.scope(), wanted).await?;
    let customer = customer.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &customer.path).await?;
    let seller = match seller_id {
        Some(named) => seller(&app, &reader, Some(&named)).await?,
        None => biller(&app, &customer).await?,
    };
    let sealed = Sealed::find(&app, seller, &end_date).await?;
    let (buyer, path) = sealed.seal.prove(customer.id).ok_or_else(Problem::not_found)?;
    let (database, cutoff) = (app.database(), sealed.closed.cutoff);
    let lines = eventstore::sealed_lines(database, cutoff, customer.id).await?;
    let (buyer, seal) = (BuyerResource::from(buyer), sealed.shown(&app, false));
    Ok(shown(&ProofResource { seal, buyer, path, lines }))
}

/// Nothing can be asked of a package but the whole.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageParameters {}

/// The package of a closed period: the log up to the event that closed it, and what is sealed by then, as lines of JSON
/// (docs/EXPORT.md). `atrium verify --package FILE` computes all of it again, with nothing else. It has what everybody
/// below the provider does, so only the provider's own books have one.
#[utoipa::path(get, path = "/api/Billing/{endDate}/export", tag = "Billing",
    params(("endDate" = String, Path)),
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub async fn export(
    State(app): State<App>,
    reader: Reader,
    Path(end_date): Path<String>,
    parameters: Parameters<PackageParameters>,
) -> Answer {
    reader.0.require(Permission::ClosePeriods)?;
    let PackageParameters {} = parameters.take()?;
    reader.0.permit(Permission::ClosePeriods, &TenantPath::provider()).await?;
    let seller = seller(&app, &reader, None).await?;
    let sealed = Sealed::find(&app, seller, &end_date).await?;
    let (sending, receiver) = tokio::sync::mpsc::channel(4);
    let (database, position) = (app.database().clone(), sealed.closed.position);
    let ended = sending.clone();
    tokio::spawn(async move {
        let out = BufWriter::with_capacity(PART_BYTES, Sending(sending));
        if let Err(error) = eventstore::export_package(&database, position, out).await {
            tracing::warn!(%error, "a period's package was not sent whole");
            // Cut off, so that nobody takes it for all.
            let _ = ended.send(Err(std::io::Error::other(error.to_string()))).await;
        }
    });
    let parts = futures_util::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let mut response = axum::body::Body::from_stream(parts).into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Bytes that are sent at a time.
const PART_BYTES: usize = 256 << 10;

/// What is written is sent, as fast as it is taken.
struct Sending(tokio::sync::mpsc::Sender<std::io::Result<Vec<u8>>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn shown(resource: &impl Serialize) -> axum::response::Response {
    let json = serde_json::to_string(resource).expect("resources have text keys only");
    json_response(StatusCode::OK, json)
}
