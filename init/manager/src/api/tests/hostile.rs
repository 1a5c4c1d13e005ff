//! Clients that send nonsense, or nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Fixture;
use crate::api::limits::{HEAD_SIZE_MAX, HEAD_TIMEOUT};

#[tokio::test]
async fn garbage_ends_and_others_are_served() {
    let fixture = Fixture::new().await;
    let port = fixture.server.address.unwrap().port();
    // Held open without a word, below what one address may have.
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    for garbage in [
        vec![0xff; 5000],
        b"\x16\x03\x01\xff\xff".repeat(100),
        b"\0".to_vec(),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
        let _ = ends.await.expect("the connection does not end");
    }
    for garbage in ["\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
        let _ = ends.await.expect("the connection does not end");
    }
    fixture.local().version().await.unwrap();
}

#[tokio::test]
async fn heads_are_bounded() {
    let fixture = Fixture::new().await;
    let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
    let head = format!(
        "GET /v1/version HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(2 * HEAD_SIZE_MAX)
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let mut heard = String::new();
    let _ = stream.read_to_string(&mut heard).await;
    assert!(
        heard.is_empty() || heard.starts_with("HTTP/1.1 431"),
        "{heard}"
    );
    fixture.local().version().await.unwrap();
}

/// A head that comes byte by byte, and a client that says nothing at all.
#[tokio::test(start_paused = true)]
async fn slow_clients_are_dropped() {
    for said in ["GET /v1/version HTTP/1.1\r\nHo", ""] {
        let (mut client, server) = tokio::io::duplex(1024);
        let router = axum::Router::new();
        let peer = crate::api::listen::Peer { role: None };
        let serving = tokio::spawn(crate::api::listen::connection(server, peer, router));
        let began = Instant::now();
        client.write_all(said.as_bytes()).await.unwrap();
        tokio::time::timeout(10 * HEAD_TIMEOUT, serving)
            .await
            .expect("still served")
            .unwrap();
        assert!(began.elapsed() >= HEAD_TIMEOUT, "{said:?}");
    }
}

/// More silent connections than there may be handshakes: each ends by itself.
#[tokio::test]
async fn silent_connections_do_not_pile_up() {
    let fixture = Fixture::new().await;
    let port = fixture.server.address.unwrap().port();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    // All but the few that one address may have are closed at once.
    let mut closed = 0;
    for stream in &mut held {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        closed += usize::from(read.is_ok());
    }
    assert!(closed >= 90, "{closed} of 100");
    fixture.local().version().await.unwrap();
}
