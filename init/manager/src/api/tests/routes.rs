//! Who may do what, and that the description has it all.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use orlop_control::types::{ErrorBody, Role, ShutdownMode, UnitFile, UnitState};
use tower::ServiceExt;
use utoipa::OpenApi;

use super::Fixture;
use crate::api::listen::Peer;
use crate::api::openapi::Document;
use crate::api::routes::{RULES, router};
use crate::api::{Shared, events::EventLog, uploads::Uploads};

fn routes(dir: &std::path::Path) -> axum::Router {
    let (handle, _) = super::handle(dir);
    router(std::sync::Arc::new(Shared {
        events: EventLog::new(handle.events(), &mut tokio::task::JoinSet::new()),
        uploads: Uploads::new(handle.upload_dir()),
        execs: std::sync::Arc::new(tokio::sync::Semaphore::new(1)),
        heads: std::sync::Arc::new(tokio::sync::Semaphore::new(1)),
        listing: std::sync::Arc::new(tokio::sync::Semaphore::new(1)),
        identity: dir.to_owned(),
        handle,
    }))
}

async fn ask(router: &axum::Router, method: &Method, path: &str, role: Option<Role>) -> Response {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(Peer { role });
    router.clone().oneshot(request).await.unwrap()
}

async fn error(response: Response) -> ErrorBody {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn each_route_asks_for_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let router = routes(dir.path());
    for rule in RULES {
        let path = rule.path.replace("{name}", "web").replace("{id}", "x");
        for role in [None].into_iter().chain(Role::ALL.map(Some)) {
            let response = ask(&router, &rule.method, &path, role).await;
            let refused = response.status() == StatusCode::FORBIDDEN;
            let may = role.is_some_and(|role| role >= rule.role);
            assert_eq!(refused, !may, "{} {} as {role:?}", rule.method, rule.path);
            let status = response.status();
            assert_ne!(
                status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{} {path}",
                rule.method
            );
        }
    }
    let least = |method: Method, path| {
        RULES
            .iter()
            .find(|rule| rule.method == method && rule.path == path)
            .unwrap()
            .role
    };
    assert_eq!(
        least(Method::GET, "/v1/units/{name}/exec"),
        Role::Admin,
        "exec is no reading"
    );
    assert_eq!(least(Method::POST, "/v1/units"), Role::Admin);
    assert_eq!(least(Method::POST, "/v1/units/{name}/stop"), Role::Operator);
}

#[tokio::test]
async fn strangers_to_the_rules_are_refused_in_the_one_form() {
    let dir = tempfile::tempdir().unwrap();
    let router = routes(dir.path());
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "notFound"),
        (Method::GET, "/", 404, "notFound"),
        (Method::PUT, "/v1/units", 405, "methodNotAllowed"),
        (Method::GET, "/v1/units/none", 404, "unitNotFound"),
        (Method::GET, "/v1/units/%ff", 400, "invalidRequest"),
        (
            Method::GET,
            "/v1/units/web/logs?tail=x",
            400,
            "invalidRequest",
        ),
        (
            Method::GET,
            "/v1/units/web/logs?follow=perhaps",
            400,
            "invalidRequest",
        ),
        (Method::GET, "/v1/units/web/exec", 400, "invalidRequest"),
        (Method::POST, "/v1/units", 400, "invalidRequest"),
        (Method::POST, "/v1/images", 400, "invalidRequest"),
        (Method::PATCH, "/v1/uploads/x", 400, "invalidRequest"),
    ] {
        let response = ask(&router, &method, path, Some(Role::Admin)).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        assert_eq!(error(response).await.error.code, code, "{method} {path}");
    }
    let page = Request::get("/v1/units").header("origin", "https://evil.example");
    let mut page = page.body(Body::empty()).unwrap();
    page.extensions_mut().insert(Peer {
        role: Some(Role::Admin),
    });
    let response = router.oneshot(page).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "a web page");
}

#[tokio::test]
async fn large_documents_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let router = routes(dir.path());
    let body = Body::from(vec![b' '; 17 * 1024 * 1024]);
    let mut request = Request::post("/v1/units").body(body).unwrap();
    request.extensions_mut().insert(Peer {
        role: Some(Role::Admin),
    });
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let ruled: BTreeSet<(String, String)> = RULES
        .iter()
        .map(|rule| (rule.method.to_string(), rule.path.to_owned()))
        .collect();
    assert_eq!(described, ruled);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in [
        "UnitStatus",
        "HostStatus",
        "ErrorBody",
        "ExecRequest",
        "LogLine",
        "EventRecord",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_client_does_what_the_manager_offers() {
    let fixture = Fixture::new().await;
    let client = fixture.local();
    assert_eq!(client.version().await.unwrap().host, "1.0.0");
    let status = client.status().await.unwrap();
    assert!(status.fingerprint.unwrap().starts_with("SHA256:"));
    let listed = client.processes().await.unwrap().processes;
    assert!(listed.iter().any(|one| one.pid == std::process::id()));
    assert_eq!(client.units().await.unwrap().len(), 1);
    assert_eq!(client.stop("web").await.unwrap().state, UnitState::Stopped);
    assert_eq!(client.start("web").await.unwrap().state, UnitState::Running);
    client.restart("web").await.unwrap();
    let error = client.unit("wep").await.unwrap_err();
    assert!(error.to_string().contains("\"wep\""), "{error}");
    assert!(error.help().unwrap().contains("orlop ps"));
    let file = |content: &str| UnitFile {
        name: "web".into(),
        content: content.into(),
    };
    assert!(client.apply(vec![file("x")], true).await.unwrap().dry_run);
    assert!(!client.apply(vec![file("x")], false).await.unwrap().dry_run);
    let orlop_control::client::ClientError::Api(error) =
        client.apply(vec![file("")], false).await.unwrap_err()
    else {
        panic!("no API error")
    };
    assert_eq!((error.status, error.diagnostics.len()), (422, 1));
    let many = (0..257).map(|_| file("x")).collect();
    assert!(client.apply(many, false).await.is_err());
    client.remove("web").await.unwrap();
    assert!(client.images().await.unwrap().is_empty());
    client.shutdown(ShutdownMode::Reboot).await.unwrap();
    client.shutdown(ShutdownMode::PowerOff).await.unwrap();
}
