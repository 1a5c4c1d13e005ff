//! Every route with the least role that may use it, and the check before them.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use orlop_control::types::{ApiError, Role};

use super::answer::Failure;
use super::listen::Peer;
use super::{Api, events, exec, host, images, openapi, units, update};

/// Who may use a route.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The least role.
    pub(super) role: Role,
}

const fn rule(method: Method, path: &'static str, role: Role) -> Rule {
    Rule { method, path, role }
}

/// The rules, by path. What is not here is refused to everybody.
pub(super) const RULES: &[Rule] = &[
    rule(Method::GET, "/v1/version", Role::Reader),
    rule(Method::GET, "/v1/openapi.json", Role::Reader),
    rule(Method::GET, "/v1/status", Role::Reader),
    rule(Method::GET, "/v1/versions", Role::Reader),
    rule(Method::GET, "/v1/host/processes", Role::Reader),
    rule(Method::POST, "/v1/host/reboot", Role::Admin),
    rule(Method::POST, "/v1/host/poweroff", Role::Admin),
    rule(Method::GET, "/v1/update", Role::Reader),
    rule(Method::POST, "/v1/update", Role::Admin),
    rule(Method::DELETE, "/v1/update", Role::Admin),
    rule(Method::POST, "/v1/update/head", Role::Admin),
    rule(Method::GET, "/v1/update/missing", Role::Admin),
    rule(Method::POST, "/v1/update/chunks", Role::Admin),
    rule(Method::POST, "/v1/rollback", Role::Admin),
    rule(Method::GET, "/v1/units", Role::Reader),
    rule(Method::POST, "/v1/units", Role::Admin),
    rule(Method::GET, "/v1/units/{name}", Role::Reader),
    rule(Method::DELETE, "/v1/units/{name}", Role::Admin),
    rule(Method::POST, "/v1/units/{name}/start", Role::Operator),
    rule(Method::POST, "/v1/units/{name}/stop", Role::Operator),
    rule(Method::POST, "/v1/units/{name}/restart", Role::Operator),
    rule(Method::GET, "/v1/units/{name}/exits", Role::Reader),
    rule(Method::GET, "/v1/units/{name}/logs", Role::Reader),
    rule(Method::GET, "/v1/units/{name}/exec", Role::Admin),
    rule(Method::GET, "/v1/images", Role::Reader),
    rule(Method::POST, "/v1/images", Role::Admin),
    rule(Method::POST, "/v1/uploads", Role::Admin),
    rule(Method::PATCH, "/v1/uploads/{id}", Role::Admin),
    rule(Method::GET, "/v1/events", Role::Reader),
];

/// All routes behind the check.
pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/version", get(host::version))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/status", get(host::status))
        .route("/v1/versions", get(host::versions))
        .route("/v1/host/processes", get(host::processes))
        .route("/v1/host/reboot", post(host::reboot))
        .route("/v1/host/poweroff", post(host::poweroff))
        .route("/v1/update", get(update::status).post(update::begin))
        .route("/v1/update", delete(update::cancel))
        .route("/v1/update/head", post(update::begin_upload))
        .route("/v1/update/missing", get(update::missing))
        .route("/v1/update/chunks", post(update::put))
        .route("/v1/rollback", post(update::roll_back))
        .route("/v1/units", get(units::list).post(units::apply))
        .route("/v1/units/{name}", get(units::show))
        .route("/v1/units/{name}", delete(units::remove))
        .route("/v1/units/{name}/start", post(units::start))
        .route("/v1/units/{name}/stop", post(units::stop))
        .route("/v1/units/{name}/restart", post(units::restart))
        .route("/v1/units/{name}/exits", get(units::exits))
        .route("/v1/units/{name}/logs", get(units::logs))
        .route("/v1/units/{name}/exec", get(exec::exec))
        .route("/v1/images", get(images::list).post(images::load))
        .route("/v1/uploads", post(images::begin_upload))
        .route("/v1/uploads/{id}", patch(images::go_on_upload))
        .route("/v1/events", get(events::stream))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .route_layer(middleware::from_fn(check))
        .with_state(api)
}

/// Lets a request through to its route only with the role that the route asks
/// for. A route without a rule lets nobody through.
async fn check(request: Request, next: Next) -> Response {
    match permitted(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => Failure(error).into_response(),
    }
}

fn permitted(request: &Request) -> Result<(), ApiError> {
    // A browser that holds a client certificate would use it for any page.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::new(
            403,
            "forbidden",
            "requests from web pages are refused",
        ));
    }
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    // HEAD is GET without the body.
    let method = if request.method() == Method::HEAD {
        &Method::GET
    } else {
        request.method()
    };
    let rule = RULES
        .iter()
        .find(|rule| rule.path == path && rule.method == *method);
    let Some(rule) = rule else {
        return Err(not_allowed(request.method()));
    };
    let role = request
        .extensions()
        .get::<Peer>()
        .and_then(|peer| peer.role);
    match role {
        Some(role) if role >= rule.role => Ok(()),
        Some(role) => {
            let message = format!(
                "this needs the role {}, and the client is {role}",
                rule.role
            );
            Err(ApiError::new(403, "forbidden", message)
                .with_help("`orlop pki client DIR NAME --role ROLE` makes other certificates"))
        }
        None => Err(
            ApiError::new(403, "forbidden", "the client's certificate names no role")
                .with_help("its subject needs an organisation (O) such as `orlop:reader`"),
        ),
    }
}

fn not_allowed(method: &Method) -> ApiError {
    ApiError::new(
        405,
        "methodNotAllowed",
        format!("this path does not take {method}"),
    )
    .with_help("GET /v1/openapi.json describes each path")
}

async fn wrong_method(method: Method) -> Failure {
    Failure(not_allowed(&method))
}

async fn unknown_path(request: Request) -> Failure {
    let path: String = request.uri().path().chars().take(200).collect();
    Failure(
        ApiError::not_found(format!("the API has no path {path}"))
            .with_help("GET /v1/openapi.json lists the paths"),
    )
}
