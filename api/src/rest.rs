//! The REST API (api.md, section 3): commands, and the same resources for reading.

pub mod adjustments;
pub mod approvals;
pub mod billing;
pub mod call;
pub mod closing;
pub mod events;
pub mod feed;
pub mod list;
pub mod offers;
pub mod organizations;
pub mod overrides;
pub mod preview;
pub mod rehearsal;
pub mod roles;
pub mod rulebook;
pub mod services;
pub mod session;
pub mod subscriptions;
pub mod supersede;
pub mod table;
pub mod usage;
pub mod users;

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;

pub use call::{Answer, Call, Reader, json_response};
pub use list::{ListParameters, ListResource, decode_cursor, encode_cursor, limit};

/// Describes the whole HTTP interface but for GraphQL.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Atrium",
        description = "Provisioning as immutable events; billing that finance can replay.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&BearerToken),
)]
struct Description;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{
            Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
        };
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("bearer", bearer);
        openapi.security = Some(vec![SecurityRequirement::new("bearer", [""; 0])]);
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(session::sign_in, session::sign_out))
        .routes(routes!(organizations::list_resellers, organizations::create_reseller))
        .routes(routes!(
            organizations::get_reseller,
            organizations::edit_reseller,
            organizations::delete_reseller
        ))
        .routes(routes!(organizations::erase_reseller_contact))
        .routes(routes!(organizations::disable_reseller))
        .routes(routes!(organizations::enable_reseller))
        .routes(routes!(organizations::deprovision_reseller))
        .routes(routes!(organizations::restore_reseller))
        .routes(routes!(organizations::list_customers, organizations::create_customer))
        .routes(routes!(
            organizations::get_customer,
            organizations::edit_customer,
            organizations::delete_customer
        ))
        .routes(routes!(organizations::erase_customer_contact))
        .routes(routes!(organizations::disable_customer))
        .routes(routes!(organizations::enable_customer))
        .routes(routes!(organizations::deprovision_customer))
        .routes(routes!(organizations::restore_customer))
        .routes(routes!(organizations::move_customer))
        .routes(routes!(organizations::bill_customer))
        .routes(routes!(organizations::get_organization))
        .routes(routes!(billing::get_billing_settings, billing::change_billing_settings))
        .routes(routes!(billing::list_price_book, billing::set_price_book))
        .routes(routes!(billing::list_commitments, billing::set_commitments))
        .routes(routes!(billing::list_exchange_rates, billing::set_exchange_rates))
        .routes(routes!(closing::get_period, closing::close_period))
        .routes(routes!(closing::approve_close))
        .routes(routes!(closing::defer_instance))
        .routes(routes!(closing::readiness))
        .routes(routes!(closing::rerate))
        .routes(routes!(closing::approve_rerate))
        .routes(routes!(adjustments::list_adjustments, adjustments::adjust))
        .routes(routes!(preview::preview))
        .routes(routes!(rehearsal::rehearse))
        .routes(routes!(supersede::supersede))
        .routes(routes!(rulebook::get_rules, rulebook::set_rules))
        .routes(routes!(rulebook::preview_rules))
        .routes(routes!(rulebook::get_patterns, rulebook::set_patterns))
        .routes(routes!(rulebook::get_tax_rates, rulebook::set_tax_rates))
        .routes(routes!(usage::record_usage))
        .routes(routes!(usage::list_usage))
        .routes(routes!(users::list_of_customer, users::create_in_customer))
        .routes(routes!(users::list_of_reseller, users::create_in_reseller))
        .routes(routes!(users::list_of_organization, users::create_in_organization))
        .routes(routes!(users::get_user, users::edit_user, users::delete_user))
        .routes(routes!(users::disable_user))
        .routes(routes!(users::enable_user))
        .routes(routes!(users::deprovision_user))
        .routes(routes!(users::restore_user))
        .routes(routes!(users::erase_user))
        .routes(routes!(users::assign_roles))
        .routes(routes!(users::list_tokens, users::create_token))
        .routes(routes!(users::delete_token))
        .routes(routes!(users::impersonate))
        .routes(routes!(roles::list_roles, roles::create_role))
        .routes(routes!(roles::get_role, roles::edit_role, roles::delete_role))
        .routes(routes!(roles::copy_role))
        .routes(routes!(roles::list_of_organization))
        .routes(routes!(roles::give_role, roles::take_role))
        .routes(routes!(roles::list_permissions))
        .routes(routes!(roles::declare_permission, roles::withdraw_permission))
        .routes(routes!(roles::explain))
        .routes(routes!(services::list_services))
        .routes(routes!(services::get_service))
        .routes(routes!(services::draft_service))
        .routes(routes!(services::publish_service))
        .routes(routes!(services::check_service))
        .routes(routes!(services::schema_of_definition))
        .routes(routes!(subscriptions::list_of_customer, subscriptions::provision_to_customer))
        .routes(routes!(subscriptions::list_of_user, subscriptions::provision_to_user))
        .routes(routes!(subscriptions::provision_to_many))
        .routes(routes!(subscriptions::get_subscription))
        .routes(routes!(subscriptions::change_subscription))
        .routes(routes!(subscriptions::deprovision_subscription))
        .routes(routes!(subscriptions::suspend_subscription))
        .routes(routes!(subscriptions::resume_subscription))
        .routes(routes!(subscriptions::retry_subscription))
        .routes(routes!(subscriptions::cancel_subscription))
        .routes(routes!(subscriptions::reset_subscription))
        .routes(routes!(subscriptions::get_request))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::reject))
        .routes(routes!(approvals::withdraw))
        .routes(routes!(approvals::list_policies))
        .routes(routes!(approvals::set_policy, approvals::clear_policy))
        .routes(routes!(subscriptions::start_request))
        .routes(routes!(subscriptions::complete_request))
        .routes(routes!(subscriptions::fail_request))
        .routes(routes!(offers::list_offers))
        .routes(routes!(offers::offer_service, offers::withdraw_offer))
        .routes(routes!(overrides::list_overrides))
        .routes(routes!(overrides::overrides_in_force))
        .routes(routes!(overrides::override_property))
        .routes(routes!(overrides::apply_overrides))
        .routes(routes!(overrides::override_price))
        .routes(routes!(events::list_events))
        .routes(routes!(crate::billing::parameters))
        .routes(routes!(crate::billing::summary))
        .routes(routes!(crate::billing::detail))
        .routes(routes!(crate::billing::entries))
        .routes(routes!(crate::billing::explanation))
        .routes(routes!(crate::billing::bridge))
        .routes(routes!(crate::billing::margins))
        .routes(routes!(crate::billing::tax))
        .routes(routes!(crate::seals::seal))
        .routes(routes!(crate::seals::proof))
        .routes(routes!(crate::seals::export))
}

/// The routes, for serving.
pub fn router() -> axum::Router<App> {
    routes().split_for_parts().0
}

/// The description of the API, as `docs/openapi.json` has it.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

/// The parameters of an address, known ones only; or what is wrong with them, which is to be told only
/// to who is allowed to make the call.
#[derive(Debug)]
pub struct Parameters<T>(Result<T, Problem>);

impl<T: DeserializeOwned> Parameters<T> {
    fn of(parts: &Parts) -> Self {
        Self(match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(parameters),
            Err(error) => Err(Problem::malformed(format!("The address's parameters: {error}."))),
        })
    }

    /// The parameters, once the caller is known to be allowed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn take(self) -> Result<T, Problem> {
        self.0
    }

    /// The same as others, once they are taken.
    #[must_use]
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Parameters<U> {
        Parameters(self.0.map(other))
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Parameters<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// The ids in an address. One that is none is not found; without a credential, not even that is told.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Principal::from_request_parts(parts, app).await?;
        let path = axum::extract::Path::from_request_parts(parts, app).await;
        path.map(|path| Self(path.0)).map_err(|_| Problem::not_found())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_description_is_this_one() {
        let ours = openapi().to_pretty_json().unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &ours).unwrap();
        }
        let published = std::fs::read_to_string(file).unwrap_or_default();
        assert!(published == ours, "docs/openapi.json is not this API: UPDATE_DOCS=1 writes it");
    }
}
