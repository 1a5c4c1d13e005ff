//! Whom the network side lets in, and whom clients believe.

use jiff::{Timestamp, ToSpan};
use orlop_control::client::{Client, ClientError, Endpoint, Identity, Trust, presented};
use orlop_control::pki::{Authority, Fingerprint, Pair, files};
use orlop_control::types::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Fixture;

fn client(fixture: &Fixture, trust: &Trust, pair: Pair) -> Result<Client, ClientError> {
    let port = fixture.server.address.unwrap().port();
    let identity = Identity {
        certificate: pair.certificate,
        key: pair.key,
    };
    Endpoint::tls("localhost", port, trust, &identity).map(Client::new)
}

fn pin(fixture: &Fixture) -> Trust {
    Trust::Pin(crate::api::Identity::fingerprint_in(&fixture.dir.path().join("state")).unwrap())
}

fn authority(fixture: &Fixture) -> Authority {
    Authority::load(files::read_pair(&fixture.pki(), "ca").unwrap()).unwrap()
}

#[tokio::test]
async fn a_pinned_host_and_a_known_client_understand_each_other() {
    let fixture = Fixture::new().await;
    let pair = files::read_pair(&fixture.pki(), "client").unwrap();
    let client = client(&fixture, &pin(&fixture), pair).unwrap();
    assert_eq!(client.status().await.unwrap().name, "demo");
    // The same connection again, and a stream on another.
    assert_eq!(client.units().await.unwrap().len(), 1);
    client.events(Default::default()).await.unwrap();
    let port = fixture.server.address.unwrap().port();
    let shown = presented("localhost", port).await.unwrap();
    let Trust::Pin(pinned) = pin(&fixture) else {
        panic!("no pin")
    };
    assert_eq!(shown, pinned);
}

#[tokio::test]
async fn roles_come_from_certificates() {
    let fixture = Fixture::new().await;
    let now = Timestamp::now();
    for (role, may) in [
        (Role::Reader, false),
        (Role::Operator, true),
        (Role::Admin, true),
    ] {
        let pair = authority(&fixture).client("ann", role, now, 1).unwrap();
        let client = client(&fixture, &pin(&fixture), pair).unwrap();
        client.units().await.unwrap();
        match client.stop("web").await {
            Ok(_) => assert!(may, "{role}"),
            Err(error) => {
                assert!(!may, "{role}: {error}");
                assert!(error.to_string().contains("operator"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_and_expired_clients_are_refused_at_the_handshake() {
    let fixture = Fixture::new().await;
    let now = Timestamp::now();
    let stranger = Authority::create("stranger", now).unwrap();
    let long_ago = now - (24 * 400).hours();
    let pki = authority(&fixture);
    for (what, pair, says) in [
        (
            "stranger",
            stranger.client("eve", Role::Admin, now, 1).unwrap(),
            "authority",
        ),
        (
            "expired",
            pki.client("old", Role::Admin, long_ago, 30).unwrap(),
            "expired",
        ),
        (
            "host",
            pki.host(&["demo".into()], now, 1).unwrap(),
            "refused",
        ),
    ] {
        let client = client(&fixture, &pin(&fixture), pair).unwrap();
        let error = client.version().await.unwrap_err();
        let ClientError::Broken { refused, .. } = &error else {
            panic!("{what}: {error}")
        };
        assert!(refused, "{what}: {error}");
        assert!(error.to_string().contains(says), "{what}: {error}");
        assert!(error.help().unwrap().contains("orlop pki client"), "{what}");
    }
}

#[tokio::test]
async fn impostors_are_not_believed() {
    let fixture = Fixture::new().await;
    let pair = files::read_pair(&fixture.pki(), "client").unwrap();
    let ca = files::read_text(&fixture.pki().join("ca.crt")).unwrap();
    for trust in [
        Trust::Pin(Fingerprint::of(b"another")),
        Trust::Authority(ca),
    ] {
        let client = client(&fixture, &trust, pair.clone()).unwrap();
        let error = client.version().await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        assert!(!error.is_transport(), "trying again cannot help: {error}");
        assert!(error.help().unwrap().contains("orlop trust"), "{error}");
    }
}

#[tokio::test]
async fn a_given_host_certificate_is_believed_by_its_authority() {
    let fixture = Fixture::new().await;
    let given = fixture.dir.path().join("given");
    std::fs::create_dir_all(given.join("api")).unwrap();
    for name in ["host.crt", "host.key"] {
        std::fs::copy(fixture.pki().join(name), given.join("api").join(name)).unwrap();
    }
    let (handle, _) = super::handle(fixture.dir.path());
    let ca = files::read_text(&fixture.pki().join("ca.crt")).unwrap();
    let config = crate::api::ApiConfig {
        unix_path: fixture.dir.path().join("second.sock"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        client_ca_pem: Ok(Some(ca.clone())),
        state_dir: given,
        host_name: "demo".into(),
    };
    let server = crate::api::serve(handle.clone(), handle.events(), config)
        .await
        .unwrap();
    let pair = files::read_pair(&fixture.pki(), "client").unwrap();
    let identity = Identity {
        certificate: pair.certificate,
        key: pair.key,
    };
    let port = server.address.unwrap().port();
    let trust = Trust::Authority(ca);
    let right = Client::new(Endpoint::tls("localhost", port, &trust, &identity).unwrap());
    right.version().await.unwrap();
    let wrong = Client::new(Endpoint::tls("127.0.0.1", port, &trust, &identity).unwrap());
    assert!(
        wrong
            .version()
            .await
            .unwrap_err()
            .help()
            .unwrap()
            .contains("name")
    );
}

#[tokio::test]
async fn nothing_listens_without_an_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, _) = super::handle(dir.path());
    let mut config = crate::api::ApiConfig {
        unix_path: dir.path().join("api.sock"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        client_ca_pem: Ok(None),
        state_dir: dir.path().to_owned(),
        host_name: "demo".into(),
    };
    let gone = "/etc/orlop/ca.crt: No such file";
    let cases = [
        (Ok(None), "is configured"),
        (Ok(Some(String::new())), "client-ca"),
        (Ok(Some("nonsense".to_owned())), "client-ca"),
        (Err(gone.to_owned()), gone),
    ];
    for (ca, said) in cases {
        config.client_ca_pem = ca;
        let server = crate::api::serve(handle.clone(), handle.events(), config.clone())
            .await
            .unwrap();
        assert!(server.address.is_none());
        let problem = server.problem.unwrap().to_string();
        assert!(problem.contains(said), "{problem}");
        let local = Client::new(Endpoint::Unix(config.unix_path.clone()));
        local.version().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_without_certificate_hears_nothing() {
    let fixture = Fixture::new().await;
    let port = fixture.server.address.unwrap().port();
    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    plain
        .write_all(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    plain.read_to_end(&mut heard).await.unwrap();
    assert!(!heard.starts_with(b"HTTP"), "plain HTTP was answered");
}
