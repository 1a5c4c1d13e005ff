//! Streams and uploads that break and go on.

use jiff::Timestamp;
use orlop_control::client::UploadProgress;
use orlop_control::types::{Event, EventKind, EventQuery};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Fixture;

fn event(unit: &str) -> Event {
    let kind = EventKind::UnitRemoved { unit: unit.into() };
    Event {
        time: Timestamp::UNIX_EPOCH,
        kind,
    }
}

#[tokio::test]
async fn events_go_on_when_the_connection_went_silent() {
    let fixture = Fixture::new().await;
    let (client, link) = fixture.over_a_link();
    let mut events = client.events(EventQuery::default()).await.unwrap();
    fixture.events.send(event("a")).unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().event, event("a"));
    link.cut();
    fixture.events.send(event("b")).unwrap();
    tokio::time::pause();
    let day = std::time::Duration::from_secs(86_400);
    let next = tokio::time::timeout(day, events.next()).await;
    let next = next.expect("it waits for ever");
    assert_eq!(next.unwrap().unwrap().event, event("b"));
}

#[tokio::test]
async fn events_go_on_after_a_cursor() {
    let fixture = Fixture::new().await;
    let client = fixture.local();
    let mut events = client.events(EventQuery::default()).await.unwrap();
    for unit in ["a", "b", "c"] {
        fixture.events.send(event(unit)).unwrap();
    }
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(first.event, event("a"));
    drop(events);
    let again = EventQuery {
        cursor: Some(first.cursor),
    };
    let mut events = client.events(again).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().event, event("b"));
    assert_eq!(events.next().await.unwrap().unwrap().event, event("c"));
    fixture.events.send(event("d")).unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().event, event("d"));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    let fixture = Fixture::new().await;
    let content = b"0123456789abcdef".repeat(200_000);
    let file = fixture.dir.path().join("image.tar");
    std::fs::write(&file, &content).unwrap();
    let client = fixture.local();
    // Broken off in the middle of a request by hand.
    let digest = orlop_control::pki::Fingerprint::of(&content)
        .to_string()
        .to_lowercase();
    let size = content.len();
    let begin = format!("{{\"size\":{size},\"digest\":\"{digest}\"}}");
    let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
    let head = format!(
        "POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        begin.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let id = format!("{}-{size}", digest.trim_start_matches("sha256:"));
    let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
    let head = format!(
        "PATCH /v1/uploads/{id} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\n\
         Content-Length: {size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..100_000]).await.unwrap();
    drop(stream);
    let path = fixture.dir.path().join("uploads").join(&id);
    while std::fs::metadata(&path).map_or(0, |meta| meta.len()) < 100_000 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The broken request may still hold the upload for a moment.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;

    let mut first = None;
    let loaded = client
        .load(&file, |progress| {
            if let UploadProgress::Sending(at, _) = progress {
                first.get_or_insert(at);
            }
        })
        .await
        .unwrap();
    assert_eq!(first, Some(100_000), "it went on where it was");
    assert_eq!(loaded[0].size, content.len() as u64);
    assert_eq!(loaded[0].reference, "0123456789abcdef");
    assert!(!path.exists(), "a loaded upload is gone");
}

#[tokio::test]
async fn a_missing_unit_has_no_logs() {
    let fixture = Fixture::new().await;
    let error = fixture
        .local()
        .logs("none", Default::default())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("\"none\""), "{error}");
}
