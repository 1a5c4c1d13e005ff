//! The API's description, made from the handlers and types themselves.

use axum::Json;
use utoipa::OpenApi;

use super::{events, exec, host, images, units, update};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orlop",
        description = "Drives a host that runs containers. Clients show a certificate whose \
            subject's organisation is their role: `orlop:reader`, `orlop:operator` or \
            `orlop:admin`."
    ),
    paths(
        host::version,
        host::status,
        host::versions,
        host::processes,
        host::reboot,
        host::poweroff,
        update::status,
        update::begin,
        update::cancel,
        update::begin_upload,
        update::missing,
        update::put,
        update::roll_back,
        units::list,
        units::show,
        units::apply,
        units::remove,
        units::start,
        units::stop,
        units::restart,
        units::exits,
        units::logs,
        exec::exec,
        images::list,
        images::load,
        images::begin_upload,
        images::go_on_upload,
        events::stream,
        document,
    ),
    components(schemas(
        orlop_control::types::ExecRequest,
        orlop_control::types::ExecControl,
        orlop_control::types::ExecReport
    ))
)]
pub(super) struct Document;

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "host",
    responses((status = 200, description = "An OpenAPI 3.1 document")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
