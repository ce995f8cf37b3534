//! The beginning: the provider, its calendar, its first administrator.

use domain::billing::BillingSettings;
use domain::billing_calendar::{BillingCalendar, BillingCalendarCommand};
use domain::custom_fields::CustomFields;
use domain::organization::{Details, Kind, Organization, OrganizationCommand, Purpose};
use domain::role::DefaultRole;
use domain::seal::Sealed;
use domain::text::Code;
use domain::user::{Person, Proof, User, UserCommand};
use domain::{OrganizationId, Refusal, TenantPath, UserId};
use projections::views::{NameView, PROVIDER_KEY, UserView};

use crate::Reply;
use crate::error::Stop;
use crate::resource::SealedUserResource;
use crate::unit::Unit;

/// The number of the provider.
const PROVIDER_NUMBER: u32 = 1;

/// The provider and its first administrator.
#[derive(Clone, Debug)]
pub struct Install {
    /// The provider's name.
    pub name: String,
    /// Calendar, zone and currency that all sellers bill by.
    pub settings: BillingSettings,
    /// The first administrator.
    pub administrator: Person,
    /// How he signs in.
    pub password: Proof,
}

pub(crate) fn install(unit: &mut Unit<'_>, install: Install) -> Result<Reply, Stop> {
    if unit.view::<NameView>(PROVIDER_KEY).is_some() {
        return Err(Refusal::conflict("installed", "There is a provider already.").into());
    }
    let path = TenantPath::provider();
    let organization = OrganizationId(unit.id());
    let details = Details {
        billing_identifier: None,
        code: Code::proposed(&install.name, None),
        contact: Sealed::default(),
        custom_fields: CustomFields::default(),
        name: install.name,
        purpose: Purpose::Standard,
    };
    unit.begin::<Organization>(organization);
    unit.execute::<Organization>(
        organization,
        &path,
        OrganizationCommand::Create {
            id: organization,
            kind: Kind::Provider,
            number: PROVIDER_NUMBER,
            parent: None,
            path: path.clone(),
            details,
        },
    )?;
    unit.begin::<BillingCalendar>(organization);
    let set = BillingCalendarCommand::Set(install.settings);
    unit.execute::<BillingCalendar>(organization, &path, set)?;

    let id = UserId(unit.id());
    unit.begin::<User>(id);
    let person = unit.seal_anew(id, &install.administrator);
    let command = UserCommand::Create {
        id,
        organization,
        person,
        roles: vec![
            DefaultRole::ProviderAdministrator.into(),
            DefaultRole::ServiceProviderDeveloper.into(),
        ],
        manager: None,
        password: Some(install.password),
    };
    unit.execute::<User>(id, &path, command)?;
    let view = unit.view::<UserView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    let resource = SealedUserResource::from(view.as_ref());
    Ok(Reply::created(format!("/users/{id}"), &resource, resource.version))
}

/// The provider's id.
pub(crate) fn provider(unit: &mut Unit<'_>) -> Result<OrganizationId, Stop> {
    let provider = unit.view::<NameView>(PROVIDER_KEY).ok_or_else(Refusal::not_found)?;
    Ok(OrganizationId(provider.owner))
}

/// The provider's billing settings.
pub(crate) fn settings(unit: &mut Unit<'_>) -> Result<BillingSettings, Stop> {
    let provider = provider(unit)?;
    super::billing_settings(unit, provider)
}
