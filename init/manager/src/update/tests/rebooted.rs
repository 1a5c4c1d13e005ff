//! An update that is installed but for the boot, with a manager that is killed before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orlop_control::types::{UpdatePhase, UpdatePlan};

use super::super::Updater;
use super::world::{Version, World, wait};
use super::{ENDED, INSTALLED, published, query};
use orlop_web::{Manner, Server};

/// An update that PID 1 has not heard of when its manager is killed.
async fn killed_before_the_reboot(text: &str) -> (World, Server, Version) {
    let (mut world, server, new) = published();
    world.takes_reboots.store(false, Ordering::SeqCst);
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url, query(text)).await.unwrap();
    wait(&updater, &[UpdatePhase::Rebooting]).await;
    world.reboots.recv().await.unwrap();
    assert!(world.pending(), "forgotten before PID 1 took the reboot");
    (world, server, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_manager_reboots_and_once_only() {
    let (mut world, _server, new) = killed_before_the_reboot("reboot").await;
    world.takes_reboots.store(true, Ordering::SeqCst);
    let next = world.updater();
    next.resume().await;
    world.reboots.recv().await.unwrap();
    assert_eq!(next.status().phase, UpdatePhase::Rebooting);
    world.assert_installed(&new, &INSTALLED);
    // The machine started what ran before: that is the boot loader's, and no loop.
    let after = world.updater();
    after.resume().await;
    assert!(world.reboots.try_recv().is_err());
    assert_eq!(after.status().phase, UpdatePhase::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn reboots_that_lead_nowhere_end_and_that_is_said() {
    let (mut world, _server, new) = killed_before_the_reboot("reboot").await;
    for _ in 0..3 {
        let next = world.updater();
        let resuming = tokio::spawn(async move { next.resume().await });
        world.reboots.recv().await.unwrap();
        resuming.abort();
        assert!(world.pending());
    }
    let last = world.updater();
    last.resume().await;
    let status = last.status();
    assert_eq!(status.phase, UpdatePhase::Installed);
    let problem = status.problem.unwrap();
    assert!(problem.contains("rebooted into it 3 times"), "{problem}");
    assert!(world.reboots.try_recv().is_err());
    world.assert_installed(&new, &INSTALLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_called_off_before_the_next_manager_reboots() {
    let (mut world, _server, _) = killed_before_the_reboot("reboot").await;
    let next = world.updater_on_trial("");
    let running = tokio::spawn(next.clone().run());
    wait(&next, &[UpdatePhase::Surveying]).await;
    let status = next.cancel().await.unwrap();
    assert_eq!(status.problem.as_deref(), Some("it was given up"));
    assert!(!world.pending());
    next.0.host.trial.settle();
    running.await.unwrap();
    assert!(world.reboots.try_recv().is_err());
    assert_eq!(
        world.entries(),
        ["orlop_1_1.0.0.efi", "orlop_2_2.0.0+0.efi"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_it_was_to_forgets_it() {
    let (mut world, _server, new) = killed_before_the_reboot("reboot").await;
    world.running.entry = Some("orlop_2_2.0.0+2-1.efi".to_owned());
    world.running.version.clone_from(&new.version);
    world.running.root = new.root_hash.to_string();
    std::fs::rename(
        world.entry(INSTALLED[1]),
        world.entry("orlop_2_2.0.0+2-1.efi"),
    )
    .unwrap();
    let next = world.updater();
    next.resume().await;
    assert!(!world.pending() && world.reboots.try_recv().is_err());
    assert_eq!(next.status().phase, UpdatePhase::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_tried_and_left_is_not_rebooted_into() {
    for tried in ["orlop_2_2.0.0+0-3.efi", "orlop_2_2.0.0+0.efi"] {
        let (mut world, _server, _) = killed_before_the_reboot("reboot").await;
        std::fs::rename(world.entry(INSTALLED[1]), world.entry(tried)).unwrap();
        let next = world.updater();
        next.resume().await;
        assert!(!world.pending() && world.reboots.try_recv().is_err());
    }
}

/// An update that waits for its server.
async fn under_way() -> (World, Server, Updater) {
    let (mut world, server, _) = published();
    world.patience.give_up = Duration::from_secs(3600);
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Hangs,
    });
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url, query("")).await.unwrap();
    wait(&updater, &[UpdatePhase::Fetching]).await;
    (world, server, updater)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_record_do_not_undo_each_other() {
    let (world, _server, updater) = under_way().await;
    let path = world.at("var/lib/orlop/update/pending.json");
    let updater = Arc::new(updater);
    for round in 0..100_u64 {
        let found = Arc::clone(&updater);
        let found = tokio::task::spawn_blocking(move || {
            found.found(UpdatePlan {
                missing_size: 1000 - round,
                ..UpdatePlan::default()
            });
        });
        let reboots = round % 2 == 0;
        let asked = query(if reboots { "reboot" } else { "" });
        updater.join(asked).await.unwrap();
        found.await.unwrap();
        let kept = std::fs::read_to_string(&path).unwrap();
        let least = format!("\"least\": {}", 1000 - round);
        let asked = format!("\"noReboot\": {}", !reboots);
        assert!(kept.contains(&least) && kept.contains(&asked), "{kept}");
    }
    updater.cancel().await.unwrap();
    wait(&updater, &ENDED).await;
}
