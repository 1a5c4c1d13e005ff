//! Servers that are reached by `https://`.

use std::sync::Arc;

use orlop_control::pki::files;
use orlop_control::types::UpdatePhase;
use rustls_pki::pem::PemObject as _;
use rustls_pki::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types as rustls_pki};

use super::world::wait;
use super::{ENDED, INSTALLED, published, query};

/// Puts TLS before a server, with the certificate of `pki`; gives the port.
async fn before(port: u16, pki: &std::path::Path) -> u16 {
    let read = |name: &str| files::read_text(&pki.join(name)).unwrap();
    let certificates = read("host.crt");
    let chain = CertificateDer::pem_slice_iter(certificates.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(read("host.key").as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secure = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    secure
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_by_its_authority_alone() {
    let (world, server, new) = published();
    let pki = world.at("pki");
    files::init(&pki, &["localhost".into()], jiff::Timestamp::now()).unwrap();
    let port = before(server.port(), &pki).await;
    let url = Some(format!("https://localhost:{port}/"));
    std::fs::create_dir_all(world.at("run/orlop")).unwrap();
    std::fs::write(world.at("run/orlop/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();

    // The public authorities do not know it.
    let refusal = world.updater().begin(url.clone(), query("")).await;
    let message = refusal.unwrap_err().message;
    assert!(message.contains("UnknownIssuer"), "{message}");
    let gone = world.updater_with("[update]\nca = \"gone.crt\"\n");
    let refusal = gone.begin(url.clone(), query("")).await.unwrap_err();
    assert!(refusal.message.contains("gone.crt"), "{refusal:?}");

    std::fs::copy(pki.join("ca.crt"), world.at("etc/orlop/ca.crt")).unwrap();
    let updater = world.updater_with("[update]\nca = \"ca.crt\"\n");
    updater.begin(url, query("")).await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(
        (status.phase, status.problem),
        (UpdatePhase::Installed, None)
    );
    world.assert_installed(&new, &INSTALLED);
}
