//! Updates that were interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orlop_control::types::UpdatePhase;
use orlop_slot::trial::Outcome;

use super::world::{Version, World, wait};
use super::{ENDED, INSTALLED, query};
use orlop_web::{Manner, Server};

/// A world with a version of which nothing is there, so that much is to be fetched.
fn strange() -> (World, Server, Version) {
    let world = World::new();
    let new = Version::new("2.0.0", 77);
    new.publish(&world.at("web"), &world.key);
    let server = Server::start(&world.at("web")).unwrap();
    (world, server, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_is_not_fetched_again() {
    let (world, server, new) = strange();
    server.choose(|number, _| {
        if number < 12 {
            Manner::Well
        } else {
            Manner::Hangs
        }
    });
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url.clone(), query("")).await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(status.phase, UpdatePhase::Failed);
    let (plan, first) = (status.plan.unwrap(), server.sent());
    assert!(status.moved == first && first > 0, "{status:?}");

    server.choose(|_, _| Manner::Well);
    updater.begin(url, query("")).await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(
        (status.phase, status.problem),
        (UpdatePhase::Installed, None)
    );
    assert_eq!(
        server.sent(),
        plan.missing_size,
        "something was fetched twice"
    );
    assert_eq!(status.plan.unwrap().missing_size, plan.missing_size - first);
    world.assert_installed(&new, &INSTALLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manager_goes_on_by_itself() {
    let (mut world, server, new) = strange();
    let blocked = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&blocked);
    server.choose(
        move |number, _| match gate.load(Ordering::SeqCst) && number >= 12 {
            // What is under way then was sent for nothing, and counts.
            true => Manner::Stalls,
            false => Manner::Well,
        },
    );
    let updater = world.updater();
    updater
        .begin(Some(server.url("")), query("reboot"))
        .await
        .unwrap();
    let before = wait(&updater, &[UpdatePhase::Fetching]).await;
    while server.requests() <= 12 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(world.pending());
    // What is on record when a manager is killed, which would leave the disks alone.
    let kept = ["pending.json", "pending.head"].map(|name| {
        let path = world.at("var/lib/orlop/update").join(name);
        (path.clone(), std::fs::read(path).unwrap())
    });
    updater.cancel().await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(status.problem.as_deref(), Some("it was given up"));
    assert!(!world.pending());
    for (path, bytes) in &kept {
        std::fs::write(path, bytes).unwrap();
    }

    blocked.store(false, Ordering::SeqCst);
    let next = world.updater();
    tokio::spawn(next.clone().run());
    let status = wait(&next, &ENDED).await;
    assert_eq!(status.problem, None);
    world.reboots.recv().await.unwrap();
    world.forgotten().await;
    world.assert_installed(&new, &INSTALLED);
    let again = server.sent() - before.plan.unwrap().missing_size;
    assert!(
        (1..=1 << 20).contains(&again),
        "{again} bytes were fetched again"
    );

    // It is on record still, as when power went right then: it is not begun again, and started.
    for (path, bytes) in &kept {
        std::fs::write(path, bytes).unwrap();
    }
    let third = world.updater();
    third.resume().await;
    assert_eq!(third.status().phase, UpdatePhase::Rebooting);
    world.reboots.try_recv().unwrap();
    assert!(!world.pending());
    world.assert_installed(&new, &INSTALLED);
    // Not when it failed its trial, and its entry is gone.
    let mut record = world.records().trial().unwrap().unwrap();
    record.outcome = Outcome::Failed;
    world.records().put_trial(&record).unwrap();
    std::fs::remove_file(world.entry(INSTALLED[1])).unwrap();
    for (path, bytes) in &kept {
        std::fs::write(path, bytes).unwrap();
    }
    let fourth = world.updater();
    fourth.resume().await;
    assert_eq!(fourth.status().phase, UpdatePhase::Idle);
    assert!(!world.pending() && world.reboots.try_recv().is_err());
    world.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_tampered_with_is_not_believed() {
    let world = World::new();
    let new = Version::new("2.0.0", 5);
    let (head, _) = new.pack("shop", &orlop_bundle::SecretKey::from_seed(&[9; 32]));
    let dir = world.at("var/lib/orlop/update");
    std::fs::create_dir_all(&dir).unwrap();
    let digest = orlop_bundle::Digest::of(&head.encode());
    let request = format!(
        "{{\"format\":1,\"origin\":{{\"kind\":\"upload\"}},\"allowDowngrade\":true,\
         \"noReboot\":false,\"begun\":0,\"head\":\"{digest}\"}}"
    );
    let cases = [
        (request.clone(), head.encode(), "expected one by ed25519:"),
        (
            request.clone(),
            b"other".to_vec(),
            "not the one that was asked for",
        ),
        (
            request.replace("\"format\":1", "\"format\":2"),
            head.encode(),
            "of format 2",
        ),
        ("{".to_owned(), head.encode(), "pending.json: "),
    ];
    for (request, head, expected) in cases {
        std::fs::write(dir.join("pending.json"), request).unwrap();
        std::fs::write(dir.join("pending.head"), head).unwrap();
        let updater = world.updater();
        updater.resume().await;
        let status = updater.status();
        let problem = status.problem.unwrap_or_default();
        assert!(problem.contains(expected), "{expected}: {problem}");
        assert!(!world.pending());
        world.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_never_gets_through_gives_up() {
    let (world, server, _) = strange();
    server.choose(|number, _| {
        if number == 0 {
            Manner::Well
        } else {
            Manner::Hangs
        }
    });
    let updater = world.updater();
    updater
        .begin(Some(server.url("")), query(""))
        .await
        .unwrap();
    let path = world.at("var/lib/orlop/update/pending.json");
    let kept = std::fs::read_to_string(&path).unwrap();
    updater.cancel().await.unwrap();
    wait(&updater, &ENDED).await;
    let (head, _) = Version::new("2.0.0", 77).pack("shop", &world.key);
    std::fs::write(path.with_extension("head"), head.encode()).unwrap();
    assert!(kept.contains("\"begun\": 0"), "{kept}");
    std::fs::write(&path, kept.replace("\"begun\": 0", "\"begun\": 8")).unwrap();
    let next = world.updater();
    next.resume().await;
    let problem = next.status().problem.unwrap_or_default();
    assert!(problem.contains("begun 8 times"), "{problem}");
    assert!(!world.pending());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_gone_on_with_can_be_given_up() {
    let (world, server, _) = strange();
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Hangs,
    });
    let updater = world.updater();
    updater
        .begin(Some(server.url("")), query(""))
        .await
        .unwrap();
    let dir = world.at("var/lib/orlop/update");
    let kept = ["pending.json", "pending.head"].map(|name| dir.join(name));
    let bytes = kept.clone().map(|path| std::fs::read(path).unwrap());
    updater.cancel().await.unwrap();
    wait(&updater, &ENDED).await;
    for (path, bytes) in kept.iter().zip(bytes) {
        std::fs::write(path, bytes).unwrap();
    }
    let next = world.updater_on_trial("");
    let running = tokio::spawn(next.clone().run());
    wait(&next, &[UpdatePhase::Surveying]).await;
    let begun = next.begin(Some(server.url("")), query("")).await;
    assert!(begun.unwrap_err().message.contains("not passed its trial"));
    // Nor is it said to wait where there is nothing to wait for.
    next.0.host.trial.set_unread(Some("it is gone".to_owned()));
    let begun = next.begin(Some(server.url("")), query("")).await;
    assert_eq!(begun.unwrap_err().message, "it is gone");
    next.0.host.trial.set_unread(None);
    next.cancel().await.unwrap();
    assert!(!world.pending());
    next.0.host.trial.settle();
    // The channel, of which there is none, is followed once nothing is to be gone on with.
    running.await.unwrap();
    assert_eq!(next.status().phase, UpdatePhase::Failed);
    world.assert_untouched();
}
