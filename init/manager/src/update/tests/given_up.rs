//! What stays of an update that came to nothing: why, and that it is not taken again unasked.

use std::time::Duration;

use orlop_control::types::UpdatePhase;

use super::super::Updater;
use super::world::{Version, World, wait};
use super::{ENDED, published, query};
use orlop_web::{Manner, Server};

/// Follows the channel until it has told of `wanted`.
async fn follows(world: &World, server: &Server, wanted: &str) -> Updater {
    let url = server.url("");
    let overlay = format!("[update]\nurl = \"{url}\"\ncheck = \"1s\"\napply = \"auto\"\n");
    let updater = world.updater_with(&overlay);
    let running = tokio::spawn(updater.clone().run());
    for _ in 0..3000 {
        let channel = updater.status().channel.unwrap();
        if channel.found.contains(wanted) {
            running.abort();
            return updater;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", updater.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_is_not_taken_again_from_the_channel() {
    // While it is fetched, and while it waits for its boot.
    for text in ["fetching", "installed"] {
        let (world, server, _) = published();
        let manner = match text {
            "fetching" => Manner::Hangs,
            _ => Manner::Well,
        };
        server.choose(move |number, _| match number {
            0 => Manner::Well,
            _ => manner,
        });
        let updater = world.updater();
        let url = Some(server.url(""));
        updater.begin(url.clone(), query("")).await.unwrap();
        wait(&updater, &[UpdatePhase::Fetching, UpdatePhase::Installed]).await;
        if text == "installed" {
            wait(&updater, &ENDED).await;
        }
        updater.cancel().await.unwrap();
        wait(&updater, &[UpdatePhase::Failed]).await;
        server.choose(|_, _| Manner::Well);
        // Its entry has given way to another one.
        for name in world.entries().iter().filter(|name| name.contains("2.0.0")) {
            std::fs::remove_file(world.entry(name)).unwrap();
        }
        let updater = follows(&world, &server, "given up by hand").await;
        world.assert_untouched();
        assert!(!world.pending());
        // Whoever asks for it gets it, and newer ones come by themselves.
        updater.begin(url, query("")).await.unwrap();
        let status = wait(&updater, &ENDED).await;
        assert_eq!(status.phase, UpdatePhase::Installed, "{status:?}");
        Version::new("2.1.0", 5).publish(&world.at("web"), &world.key);
        follows(&world, &server, "version 2.1.0 is being installed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_is_not_taken_again_from_the_channel() {
    let (world, server, new) = published();
    let (head, _) = new.pack_as("shop", &world.key, |m| m.verity.root_hash.0[0] ^= 1);
    std::fs::write(world.at("web/shop.head"), head.encode()).unwrap();
    let updater = follows(&world, &server, "version 2.0.0 is being installed").await;
    let problem = wait(&updater, &ENDED).await.problem.unwrap();
    assert!(problem.contains("the root hash is"), "{problem}");
    assert_eq!(world.records().given_up(), ["2.0.0"]);
    let updater = follows(&world, &server, "failed on this host").await;
    world.assert_untouched();
    // Whoever asks for it has it tried, and gets it once it is mended.
    let url = Some(server.url(""));
    updater.begin(url.clone(), query("")).await.unwrap();
    assert_eq!(wait(&updater, &ENDED).await.phase, UpdatePhase::Failed);
    new.publish(&world.at("web"), &world.key);
    updater.begin(url, query("")).await.unwrap();
    assert_eq!(wait(&updater, &ENDED).await.phase, UpdatePhase::Installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_the_last_one_failed_is_known_until_the_next() {
    let (world, server, _) = published();
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Status(404),
    });
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url.clone(), query("")).await.unwrap();
    let failed = wait(&updater, &ENDED).await;
    assert_eq!(failed.phase, UpdatePhase::Failed);

    let next = world.updater();
    next.resume().await;
    let status = next.status();
    assert_eq!(status.phase, UpdatePhase::Failed);
    assert_eq!(status.version.as_deref(), Some("2.0.0"));
    assert_eq!(
        (status.source, status.problem),
        (failed.source, failed.problem)
    );

    server.choose(|_, _| Manner::Well);
    next.begin(url, query("")).await.unwrap();
    wait(&next, &[UpdatePhase::Installed]).await;
    assert_eq!(world.updater().status().phase, UpdatePhase::Idle);
    // Giving that up is a reason, too.
    next.cancel().await.unwrap();
    let status = world.updater().status();
    assert_eq!(status.problem.as_deref(), Some("it was given up"));
}
