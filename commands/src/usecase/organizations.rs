//! Resellers and customers.

use std::collections::BTreeMap;
use std::fmt;

use domain::billing::BillingSettings;
use domain::billing_calendar::{BillingCalendar, BillingCalendarCommand};
use domain::custom_fields::CustomFields;
use domain::lifecycle::Status;
use domain::money::Currency;
use domain::organization::{Contact, Details, Kind, Organization, OrganizationCommand, Purpose};
use domain::permission::Permission;
use domain::text::{Address, Code, line, name};
use domain::{Faults, OrganizationId, Refusal, TenantPath};
use projections::views::{
    NameView, NumberView, ORGANIZATION_NUMBERS, OrganizationView, billing_identifier_key, code_key,
};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ensure_seen, take_reason};
use crate::body::present;
use crate::error::Stop;
use crate::resource::{OrganizationResource, SealedOrganizationResource};
use crate::unit::Unit;
use crate::{Input, Reply};

/// Longest account code in an accounting system, in characters.
const BILLING_IDENTIFIER_MAX_CHARS: usize = 64;
/// Longest telephone number, in characters.
const PHONE_MAX_CHARS: usize = 40;
/// Deepest tree: organisations on a path.
pub(crate) const DEPTH_MAX: usize = 16;

/// A new reseller or customer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateOrganization {
    /// Its name.
    pub name: String,
    /// The seller above; the caller's own organisation where it is left out.
    pub parent_id: Option<String>,
    /// Short and unique, 1 to 12 letters or digits; made from the initials where it is left out.
    pub code: Option<String>,
    /// Unique account code in the accounting system.
    pub billing_identifier: Option<String>,
    /// Why it is there.
    #[serde(rename = "type")]
    pub purpose: Option<PurposeText>,
    /// How to reach it.
    pub contact: Option<ContactText>,
    /// What your own systems keep of it: up to 50 texts by the names of their fields.
    pub custom_fields: Option<CustomFieldsText>,
    /// In which a reseller bills, by ISO 4217; as the seller above does where it is left out, and customers are billed.
    pub currency: Option<String>,
}

/// Changes to a reseller or customer: what is left out stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditOrganization {
    /// Its name.
    pub name: Option<String>,
    /// Short and unique.
    pub code: Option<String>,
    /// Unique account code in the accounting system; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub billing_identifier: Option<Option<String>>,
    /// Why it is there.
    #[serde(rename = "type")]
    pub purpose: Option<PurposeText>,
    /// How to reach it.
    pub contact: Option<ContactText>,
    /// These fields are set; `null` removes one, and the others stay as they are.
    pub custom_fields: Option<CustomFieldsText>,
}

/// Texts by the names of their fields.
pub type CustomFieldsText = BTreeMap<String, Option<String>>;

/// Sets and removes the custom fields that a body names.
pub(crate) fn change_fields(
    fields: &mut CustomFields,
    changes: Option<&CustomFieldsText>,
    faults: &mut Faults,
) {
    if let Some(changes) = changes {
        fields.change(faults, "/customFields", changes);
    }
}

/// Why an organisation is there.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PurposeText {
    /// To do business with.
    Standard,
    /// To try things out.
    Test,
    /// To show things.
    Demo,
}

/// How to reach an organisation, by somebody there: sealed before it is stored, and never printed.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContactText {
    /// Whom to ask for.
    pub name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
}

/// Why something is done.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Because {
    /// In the caller's words; kept with the events.
    pub reason: Option<String>,
}

impl From<PurposeText> for Purpose {
    fn from(text: PurposeText) -> Self {
        match text {
            PurposeText::Standard => Self::Standard,
            PurposeText::Test => Self::Test,
            PurposeText::Demo => Self::Demo,
        }
    }
}

impl fmt::Debug for ContactText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactText(***)")
    }
}

impl ContactText {
    fn parse(&self, faults: &mut Faults) -> Contact {
        Contact {
            email: self
                .email
                .as_deref()
                .and_then(|text| faults.take("/contact/email", Address::parse(text))),
            name: self.name.as_deref().and_then(|text| faults.take("/contact/name", name(text))),
            phone: self
                .phone
                .as_deref()
                .and_then(|text| faults.take("/contact/phone", line(text, PHONE_MAX_CHARS))),
        }
    }
}

/// The permission to manage organisations of a kind.
pub(crate) fn manage(kind: Kind) -> Permission {
    match kind {
        Kind::Provider | Kind::Reseller => Permission::ManageResellers,
        Kind::Customer => Permission::ManageCustomers,
    }
}

pub(crate) fn create(
    unit: &mut Unit<'_>,
    kind: Kind,
    body: Input<CreateOrganization>,
) -> Result<Reply, Stop> {
    // Where a malformed body names no parent that could be read, the caller's own place is judged.
    let wished = body.as_ref().ok().and_then(|body| body.parent_id.clone());
    let parent_id = match wished {
        Some(id) => id,
        None => own_organization(unit)?.to_string(),
    };
    let parent_path = unit.path_of(&parent_id)?;
    unit.permit(manage(kind), &parent_path)?;
    let body = unit.take(body)?;

    let parent_id: OrganizationId = parent_id.parse().map_err(|_| Refusal::not_found())?;
    let parent = unit.load::<Organization>(parent_id);
    let mut faults = Faults::default();
    if parent.founded()?.kind == Kind::Customer {
        faults.add("/parentId", "not_a_seller", "A customer has no organisations below it.");
    }
    let above = super::lineage(unit, parent_id)?;
    if parent_path.depth() >= DEPTH_MAX {
        faults.add("/parentId", "too_deep", "The tree of organisations is too deep here.");
    }
    let settings = super::billing_settings(unit, parent_id)?;
    let currency = body.currency.as_deref();
    let currency = currency.and_then(|code| faults.take("/currency", Currency::parse(code)));
    let currency = currency.filter(|currency| *currency != settings.currency);
    if currency.is_some() && kind == Kind::Customer {
        let detail =
            format!("A customer is billed as its seller bills: in {}.", settings.currency.code());
        faults.add("/currency", "other_currency", detail);
    }
    let number = unit.view::<NumberView>(ORGANIZATION_NUMBERS).map_or(0, |view| view.last) + 1;
    let name = faults.take("/name", name(&body.name));
    let code = match &body.code {
        Some(text) => faults.take("/code", Code::parse(text)),
        None => Some(free_code(unit, &body.name, number)?),
    };
    let billing_identifier = body.billing_identifier.as_deref().and_then(|text| {
        faults.take("/billingIdentifier", line(text, BILLING_IDENTIFIER_MAX_CHARS))
    });
    let contact = body.contact.clone().unwrap_or_default().parse(&mut faults);
    let mut custom_fields = CustomFields::default();
    change_fields(&mut custom_fields, body.custom_fields.as_ref(), &mut faults);
    faults.check()?;
    ensure_active(unit, &above)?;
    let (Some(name), Some(code)) = (name, code) else { unreachable!("checked above") };
    let purpose = body.purpose.map_or(Purpose::Standard, Purpose::from);
    let id = OrganizationId(unit.id());
    let contact = unit.seal_contact(id, contact, true);
    let details = Details { billing_identifier, code, contact, custom_fields, name, purpose };
    unit.begin::<Organization>(id);
    ensure_names_are_free(unit, id, &details)?;
    let path = parent_path.child(number);
    let command = OrganizationCommand::Create {
        id,
        kind,
        number,
        parent: Some(parent_id),
        path: path.clone(),
        details,
    };
    unit.execute::<Organization>(id, &path, command)?;
    if let Some(currency) = currency {
        let set = BillingCalendarCommand::Set(BillingSettings { currency, ..settings });
        unit.begin::<BillingCalendar>(id);
        unit.execute::<BillingCalendar>(id, &path, set)?;
    }
    let resource = resource(unit, id)?;
    let version = resource.organization.version;
    Ok(Reply::created(location(&resource.organization), &resource, version))
}

pub(crate) fn edit(
    unit: &mut Unit<'_>,
    id: &str,
    kind: Kind,
    body: Input<EditOrganization>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id, kind)?;
    unit.permit(manage(kind), &path)?;
    let body = unit.take(body)?;
    let seen = unit.view::<OrganizationView>(&id.to_string());
    ensure_seen(if_match, seen.map(|view| view.version))?;

    let mut details = unit.load::<Organization>(id).founded()?.details.clone();
    let mut faults = Faults::default();
    if let Some(text) = &body.name {
        details.name = faults.take("/name", name(text)).unwrap_or_default();
    }
    if let Some(code) =
        body.code.as_deref().and_then(|text| faults.take("/code", Code::parse(text)))
    {
        details.code = code;
    }
    if let Some(identifier) = &body.billing_identifier {
        details.billing_identifier = identifier.as_deref().and_then(|text| {
            faults.take("/billingIdentifier", line(text, BILLING_IDENTIFIER_MAX_CHARS))
        });
    }
    if let Some(purpose) = body.purpose {
        details.purpose = purpose.into();
    }
    let contact = body.contact.as_ref().map(|contact| contact.parse(&mut faults));
    change_fields(&mut details.custom_fields, body.custom_fields.as_ref(), &mut faults);
    faults.check()?;
    ensure_names_are_free(unit, id, &details)?;
    if let Some(contact) = contact
        // Sealed once more, the same contact would look like another one.
        && contact != unit.open(id, &details.contact)?
    {
        details.contact = unit.seal_contact(id, contact, false);
    }
    unit.execute::<Organization>(id, &path, OrganizationCommand::Edit(details))?;
    done(unit, id)
}

/// Forgets whom an organisation named as its contact, now or ever: what is stored of him can be read no more.
pub(crate) fn erase_contact(
    unit: &mut Unit<'_>,
    id: &str,
    kind: Kind,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id, kind)?;
    unit.permit(manage(kind), &path)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    unit.execute::<Organization>(id, &path, OrganizationCommand::EraseContact)?;
    if unit.has_decided() {
        unit.take_key_away(id);
    }
    done(unit, id)
}

/// The organisation of this id, if it is of this kind.
pub(crate) fn find(
    unit: &mut Unit<'_>,
    id: &str,
    kind: Kind,
) -> Result<(OrganizationId, TenantPath), Stop> {
    let id: OrganizationId = id.parse().map_err(|_| Refusal::not_found())?;
    let organization = unit.load::<Organization>(id);
    let founded = organization.founded()?;
    if founded.kind != kind {
        return Err(Refusal::not_found().into());
    }
    Ok((id, founded.path.clone()))
}

/// The organisation that the caller belongs to; Atrium itself belongs to the provider.
pub(crate) fn own_organization(unit: &mut Unit<'_>) -> Result<OrganizationId, Stop> {
    match unit.caller().acts_as() {
        Some(id) => {
            let access = unit.view::<projections::views::AccessView>(&id.to_string());
            Ok(access.ok_or(Stop::Unauthenticated)?.organization)
        }
        None => Err(Refusal::invalid(
            "/parentId",
            "missing",
            "Atrium itself has to name the organisation above.",
        )
        .into()),
    }
}

/// Nobody may have the same code or account code.
fn ensure_names_are_free(
    unit: &mut Unit<'_>,
    id: OrganizationId,
    details: &Details,
) -> Result<(), Stop> {
    if let Some(other) = owner(unit, &code_key(&details.code), id)?
        && unit.load::<Organization>(other).founded()?.details.code == details.code
    {
        return Err(taken("code", "Another organisation has this code."));
    }
    let Some(identifier) = &details.billing_identifier else {
        return Ok(());
    };
    if let Some(other) = owner(unit, &billing_identifier_key(identifier), id)? {
        let theirs = unit.load::<Organization>(other);
        let theirs = theirs.founded()?.details.billing_identifier.as_deref();
        if theirs.map(str::to_lowercase) == Some(identifier.to_lowercase()) {
            return Err(taken("billingIdentifier", "Another organisation has this account code."));
        }
    }
    Ok(())
}

/// The other organisation that last took a name.
fn owner(
    unit: &mut Unit<'_>,
    key: &str,
    than: OrganizationId,
) -> Result<Option<OrganizationId>, Stop> {
    let owner: Option<Uuid> = unit.view::<NameView>(key).map(|view| view.owner);
    Ok(owner.map(OrganizationId).filter(|owner| *owner != than))
}

/// A name that somebody else has.
pub(crate) fn taken(field: &str, detail: &str) -> Stop {
    let mut refusal = Refusal::invalid(&format!("/{field}"), "taken", detail);
    refusal.reason = domain::Reason::Conflict;
    refusal.code = "name_taken";
    refusal.into()
}

/// The initials, or where they are taken the initials and the organisation's own number.
fn free_code(unit: &mut Unit<'_>, name: &str, number: u32) -> Result<Code, Stop> {
    for suffix in [None, Some(number)] {
        let code = Code::proposed(name, suffix);
        if unit.view::<NameView>(&code_key(&code)).is_none() {
            return Ok(code);
        }
    }
    Err(Refusal::invalid("/code", "no_free_code", "Every code like this is taken; give one.")
        .into())
}

fn resource(unit: &mut Unit<'_>, id: OrganizationId) -> Result<SealedOrganizationResource, Stop> {
    let view = unit.view::<OrganizationView>(&id.to_string());
    Ok(view.ok_or_else(Refusal::not_found)?.as_ref().into())
}

pub(crate) fn done(unit: &mut Unit<'_>, id: OrganizationId) -> Result<Reply, Stop> {
    let resource = resource(unit, id)?;
    Ok(Reply::done(&resource, resource.organization.version))
}

fn location(resource: &OrganizationResource) -> String {
    let plural = if resource.kind == Kind::Customer { "customers" } else { "resellers" };
    format!("/{plural}/{}", resource.id)
}

/// Why nothing can be provisioned at or below an organisation of that status, if that is so.
#[must_use]
pub fn not_in_use(status: Status) -> Option<Refusal> {
    if status == Status::Active {
        return None;
    }
    let undo = if status == Status::Deleted { "restore and enable" } else { "enable" };
    let detail =
        format!("The organisation, or one above it, is {}; {undo} it first.", status.name());
    Some(Refusal::conflict("organization_disabled", detail))
}

/// Whether organisations are in use.
pub(crate) fn ensure_active(unit: &mut Unit<'_>, ids: &[OrganizationId]) -> Result<(), Stop> {
    for id in ids {
        let status = unit.load::<Organization>(*id).status;
        not_in_use(status).map_or(Ok(()), Err)?;
    }
    Ok(())
}
