//! Sending a bundle from a file.

use std::path::Path;
use std::time::Duration;

use orlop_bundle::{Head, SecretKey};
use orlop_control::client::{ClientError, UpdateProgress};
use orlop_control::types::{ApiError, UpdatePhase, UpdateQuery, UpdateStatus};

use crate::UNDER_WAY;
use crate::bundle::Bundle;
use crate::host::{FakeHost, Fault};

/// Sends the bundle at `path`; with how often that was interrupted.
fn send(host: &FakeHost, path: &Path) -> (Result<UpdateStatus, ClientError>, u32) {
    let mut interrupted = 0;
    let count = |progress: UpdateProgress<'_>| match progress {
        UpdateProgress::At(_) => {}
        UpdateProgress::Interrupted(_) => interrupted += 1,
    };
    let how = UpdateQuery::default();
    let sent = host
        .client()
        .wait(|client| client.send_bundle(path, how, count));
    (sent, interrupted)
}

/// How often the host was sent the head.
fn heads(host: &FakeHost) -> usize {
    let state = host.state();
    let head = |line: &&String| line.starts_with("POST /v1/update/head");
    state.requests.iter().filter(head).count()
}

#[test]
fn what_the_host_lacks_is_sent_once_and_two_requests_at_a_time() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    host.state().have = (0..bundle.chunks()).filter(|it| it % 3 == 0).collect();
    host.state().pause = Duration::from_millis(30);
    let (sent, interrupted) = send(&host, &bundle.path);
    assert_eq!(sent.unwrap().phase, UpdatePhase::Verifying);
    let mut state = host.state();
    state.arrived.sort_unstable();
    let lacking: Vec<u32> = (0..bundle.chunks()).filter(|it| it % 3 != 0).collect();
    assert_eq!(state.arrived, lacking);
    assert_eq!((state.in_flight_max, interrupted), (2, 0));
    let chunks = |line: &&String| line.ends_with("/chunks");
    assert!(state.requests.iter().filter(chunks).count() >= 3);
}

#[test]
fn what_was_interrupted_goes_on_with_what_is_missing() {
    for fault in [Fault::Cut, Fault::AnswerLost, Fault::Unavailable] {
        let (bundle, host) = (Bundle::new(), FakeHost::start());
        host.state().faults = [Fault::None, fault].into();
        host.state().pause = Duration::from_millis(30);
        let (sent, interrupted) = send(&host, &bundle.path);
        assert_eq!(sent.unwrap().phase, UpdatePhase::Verifying, "{fault:?}");
        assert_eq!(interrupted, 1, "{fault:?}");
        assert_eq!(heads(&host), 1, "{fault:?}");
        let state = host.state();
        assert!(bundle.is_all(&state.arrived), "{fault:?}");
        let twice = bundle.twice(&state.arrived);
        assert!(twice <= UNDER_WAY, "{fault:?}: {twice} bytes twice");
    }
}

#[test]
fn a_host_that_forgot_is_sent_the_head_again_and_only_what_it_lacks() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    host.state().faults = [Fault::None, Fault::None, Fault::Forgotten].into();
    let (sent, interrupted) = send(&host, &bundle.path);
    assert_eq!(sent.unwrap().phase, UpdatePhase::Verifying);
    assert_eq!(heads(&host), 2);
    assert!((1..=2).contains(&interrupted), "{interrupted}");
    let state = host.state();
    assert!(bundle.is_all(&state.arrived));
    // The host kept what came before; one more request was under way.
    let twice = bundle.twice(&state.arrived);
    assert!(twice <= UNDER_WAY, "{twice} bytes twice");
}

#[test]
fn a_bad_file_is_refused_before_a_byte_is_sent() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    let bytes = &bundle.bytes;
    let expected = format!("expected {}", bytes.len());
    let unsigned = Bundle::signed_by(&[]);
    let mut changed = bundle.head.encode();
    let at = changed.windows(4).position(|it| it == b"demo").unwrap();
    changed[at] = b'm';
    assert!(Head::read(&mut changed.as_slice()).is_ok());
    changed.extend_from_slice(&bytes[changed.len()..]);
    let cases: [(&[u8], &[&str]); 7] = [
        (b"", &["cut off within the head"]),
        (
            b"PK\x03\x04 is something else altogether",
            &["no update bundle"],
        ),
        (
            &bytes[..100],
            &["cut off within manifest", "fetch it again"],
        ),
        (&bytes[..bytes.len() - 1], &["cut off: ", &expected]),
        (
            &[bytes, b"x".as_slice()].concat(),
            &["more after", &expected],
        ),
        (&unsigned.bytes, &["not signed", "--sign KEY"]),
        (&changed, &["not of this manifest"]),
    ];
    for (bytes, words) in cases {
        let path = bundle.beside(bytes);
        let error = send(&host, &path).0.unwrap_err().to_string();
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
        for word in words {
            assert!(error.contains(word), "no {word:?}: {error}");
        }
    }
    for path in [bundle.dir.path(), Path::new("/nowhere.orlop")] {
        let error = send(&host, path).0.unwrap_err();
        assert!(matches!(error, ClientError::File { .. }), "{error}");
    }
    assert!(host.state().requests.is_empty());
}

#[test]
fn a_file_that_turns_out_bad_is_given_up_on_the_host_too() {
    for (fault, expected, given_up) in [
        (Fault::Refused, "chunk 3", true),
        (Fault::Cut, "", false),
        (Fault::Unavailable, "", false),
    ] {
        let (bundle, host) = (Bundle::new(), FakeHost::start());
        host.state().faults = [Fault::None, fault].into();
        let (sent, _) = send(&host, &bundle.path);
        let error = sent.err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(expected), "{fault:?}: {error}");
        let requests = &host.state().requests;
        let cancelled = requests.iter().any(|line| line == "DELETE /v1/update");
        assert_eq!(cancelled, given_up, "{fault:?}: {requests:?}");
    }
}

#[test]
fn a_refusal_is_final() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    host.state().refusal = Some(ApiError::conflict("not newer than 2.0, which runs"));
    let (sent, interrupted) = send(&host, &bundle.path);
    let error = sent.unwrap_err();
    assert!(error.to_string().contains("not newer"), "{error}");
    assert_eq!((heads(&host), interrupted), (1, 0));
}

#[test]
fn chunks_are_not_sent_to_another_update() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    host.state().faults = [Fault::Cut].into();
    host.state().pause = Duration::from_millis(300);
    let sent = std::thread::scope(|scope| {
        let sent = scope.spawn(|| send(&host, &bundle.path).0);
        while host.state().arrived.is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        host.state().update.version = Some("3.0".to_owned());
        sent.join().unwrap()
    });
    let error = sent.unwrap_err();
    assert!(
        error.to_string().contains("to 3.0 now, not to 2.0"),
        "{error}"
    );
    assert!(error.help().is_some_and(|it| it.contains("--cancel")));
}

#[test]
fn a_dry_run_sends_the_head_alone() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    let how = UpdateQuery {
        dry_run: true,
        allow_downgrade: true,
        no_reboot: false,
    };
    let dry = |path| {
        host.client()
            .wait(|client| client.send_bundle(path, how, |_| {}))
    };
    let plan = dry(&bundle.path).unwrap().plan.unwrap();
    assert_eq!(plan.missing_chunks, u64::from(bundle.chunks()));
    let head = "POST /v1/update/head?allowDowngrade=true&dryRun=true";
    assert_eq!(host.state().requests, [head]);
}

#[test]
fn several_signatures_are_fine() {
    let keys = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]));
    let (bundle, host) = (Bundle::signed_by(&keys), FakeHost::start());
    assert!(send(&host, &bundle.path).0.is_ok());
}
