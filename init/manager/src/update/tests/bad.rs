//! Bundles that are not taken, and servers that do not give what they should.

use orlop_bundle::SecretKey;
use orlop_control::types::UpdatePhase;

use super::world::{Version, World, wait};
use super::{ENDED, published, query};
use orlop_web::{Manner, Server};

#[tokio::test(flavor = "multi_thread")]
async fn bundles_that_are_not_for_this_host_are_refused_at_once() {
    let world = World::new();
    let updater = world.updater();
    let new = Version::new("2.0.0", 5);
    let stranger = SecretKey::from_seed(&[2; 32]);
    let key = &world.key;
    let (good, _) = new.pack("shop", key);
    let mut flipped = good.encode();
    flipped[60] ^= 1;
    let mut unsigned = good.encode();
    let manifest = u32::from_le_bytes(unsigned[12..16].try_into().unwrap()) as usize;
    unsigned[24 + manifest + 40] ^= 1;
    let cases = [
        (
            new.pack("other", key).0.encode(),
            "for hosts named \"other\"",
        ),
        (
            new.pack("shop", &stranger).0.encode(),
            "expected one by ed25519:",
        ),
        (unsigned, "was changed; fetch it again"),
        (flipped, "manifest"),
        (
            Version::new("0.9.0", 5).pack("shop", key).0.encode(),
            "is not newer than 1.0.0",
        ),
        (
            Version::new("1.0.0", 6).pack("shop", key).0.encode(),
            "is not newer than 1.0.0",
        ),
        (
            new.pack_as("shop", key, |m| m.minimum_version = Some("1.5".to_owned()))
                .0
                .encode(),
            "expected 1.5 or newer",
        ),
        (
            new.pack_as("shop", key, |m| m.architecture = "arm64".to_owned())
                .0
                .encode(),
            "for \"arm64\"",
        ),
        (good.encode()[..good.encode().len() - 1].to_vec(), "cut off"),
        (
            b"not a bundle at all, but long enough for one".to_vec(),
            "no update bundle",
        ),
    ];
    for (head, expected) in cases {
        let refusal = updater.begin_upload(head, query("")).await.unwrap_err();
        let message = refusal.message;
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!world.pending());
        world.assert_untouched();
    }
    let (older, _) = Version::new("0.9.0", 5).pack("shop", key);
    let taken = updater
        .begin_upload(older.encode(), query("downgrade"))
        .await;
    assert_eq!(taken.unwrap().version.as_deref(), Some("0.9.0"));
    updater.cancel().await.unwrap();
    wait(&updater, &ENDED).await;
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_contradicts_itself_never_becomes_an_entry() {
    let world = World::new();
    let new = Version::new("2.0.0", 5);
    type Change = fn(&mut orlop_bundle::Manifest);
    let cases: [(Change, &str); 2] = [
        (|m| m.verity.root_hash.0[0] ^= 1, "the root hash is"),
        (|m| m.uki.sha256.0[0] ^= 1, "the kernel image's SHA-256 is"),
    ];
    for (change, expected) in cases {
        let (head, chunks) = new.pack_as("shop", &world.key, change);
        let bundle = [head.encode(), chunks].concat();
        std::fs::write(world.at("web/x.orlop"), bundle).unwrap();
        let server = Server::start(&world.at("web")).unwrap();
        let updater = world.updater();
        updater
            .begin(Some(server.url("x.orlop")), query(""))
            .await
            .unwrap();
        let status = wait(&updater, &ENDED).await;
        let problem = status.problem.unwrap_or_default();
        assert!(problem.contains(expected), "{problem}");
        world.assert_untouched();
        assert!(!world.pending());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_head_is_an_error_of_the_request() {
    let (world, server, _) = published();
    let updater = world.updater();
    let cases = [
        (Manner::Status(503), "answered 503"),
        (Manner::Garbled, "no update bundle"),
        (Manner::Cuts, "shop.head: "),
        (Manner::Stalls, "timeout"),
        (Manner::Hangs, "timeout"),
        (Manner::Trickles, "too little came within"),
    ];
    for (manner, expected) in cases {
        server.choose(move |_, _| manner);
        let refusal = updater.begin(Some(server.url("")), query("")).await;
        let message = refusal.unwrap_err().message;
        assert!(
            message.contains(expected) && message.contains("http://"),
            "{expected}: {message}"
        );
    }
    for (url, expected) in [
        ("http://127.0.0.1:1/", "refused"),
        ("ftp://127.0.0.1/", "expected http"),
        ("nonsense", "expected http"),
    ] {
        let refusal = updater.begin(Some(url.to_owned()), query("")).await;
        let message = refusal.unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
    let secret = server.url("none.orlop?signature=secret");
    let refusal = updater.begin(Some(secret), query("")).await;
    let message = refusal.unwrap_err().message;
    assert!(
        message.contains("none.orlop") && !message.contains("secret"),
        "{message}"
    );
    let none = updater.begin(None, query("")).await.unwrap_err();
    assert!(none.message.contains("no channel"), "{none:?}");
    world.assert_untouched();
    assert!(!world.pending());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stumbles_is_asked_again() {
    for path in ["", "shop-2.0.0.orlop"] {
        for manner in [
            Manner::Status(500),
            Manner::Garbled,
            Manner::Stalls,
            Manner::Cuts,
            Manner::Short,
            Manner::Hangs,
            Manner::Drops,
        ] {
            let (world, server, new) = published();
            // The head, and then every other request.
            server.choose(move |number, _| match number % 2 {
                1 => manner,
                _ => Manner::Well,
            });
            let updater = world.updater();
            updater
                .begin(Some(server.url(path)), query(""))
                .await
                .unwrap();
            let status = wait(&updater, &ENDED).await;
            assert_eq!(status.problem, None, "{path} {manner:?}");
            world.assert_installed(&new, &super::INSTALLED);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_bad_is_given_up_and_said_why() {
    let cases = [
        (Manner::Status(404), "answered 404, expected 200"),
        (Manner::Garbled, "chunk "),
        (Manner::Stalls, "nothing came for"),
        (Manner::Cuts, "broke off"),
        (Manner::Short, "chunk "),
        (Manner::Hangs, "nothing came for"),
        (Manner::Drops, "nothing came for"),
        (Manner::Trickles, "too little came within"),
    ];
    for (manner, expected) in cases {
        let (world, server, _) = published();
        server.choose(move |number, _| match number {
            0 => Manner::Well,
            _ => manner,
        });
        let updater = world.updater();
        updater
            .begin(Some(server.url("")), query(""))
            .await
            .unwrap();
        let status = wait(&updater, &ENDED).await;
        assert_eq!(status.phase, UpdatePhase::Failed, "{manner:?}");
        let problem = status.problem.unwrap();
        assert!(problem.contains(expected), "{manner:?}: {problem}");
        assert!(problem.contains("http://127.0.0.1"), "{problem}");
        world.assert_untouched();
        assert!(!world.pending());
    }
}
