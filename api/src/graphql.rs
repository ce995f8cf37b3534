//! The read API (api.md, section 5).

use axum::Router;

use crate::app::App;

/// The routes, for serving.
pub fn router() -> Router<App> {
    Router::new()
}
