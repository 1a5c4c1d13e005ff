//! Web servers that are away for longer than anybody waits at a terminal.

use std::time::Duration;

use orlop_control::types::{UpdatePhase, UpdateStatus};

use super::super::Updater;
use super::world::{World, wait};
use super::{ENDED, INSTALLED, published, query};
use orlop_web::{Manner, Server};

const HOUR: Duration = Duration::from_secs(3600);

/// Waits until the server has failed and is to be asked again.
async fn in_trouble(updater: &Updater) -> UpdateStatus {
    for _ in 0..3000 {
        let status = updater.status();
        if status.next_try_ms.is_some() || ENDED.contains(&status.phase) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no trouble: {:?}", updater.status());
}

/// A server that gives a head and nothing else, and a host that waits for it for hours.
fn away() -> (World, Server) {
    let (mut world, server, _) = published();
    world.patience.give_up = 12 * HOUR;
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Drops,
    });
    (world, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_outlasts_hours_without_its_server_and_managers_too() {
    let (mut world, server) = away();
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url, query("reboot")).await.unwrap();
    let status = in_trouble(&updater).await;
    assert_eq!(status.phase, UpdatePhase::Fetching, "{status:?}");
    let problem = status.problem.unwrap();
    assert!(problem.contains("http://127.0.0.1"), "{problem}");
    assert!(status.next_try_ms.unwrap() <= 200);
    assert!(status.gives_up_ms.unwrap() > 11 * 3_600_000);
    // The host loses its power: what is on record is begun by the next manager.
    let dir = world.at("var/lib/orlop/update");
    let kept = ["pending.json", "pending.head"].map(|name| {
        let path = dir.join(name);
        (path.clone(), std::fs::read(path).unwrap())
    });
    updater.cancel().await.unwrap();
    wait(&updater, &ENDED).await;
    for (path, bytes) in &kept {
        std::fs::write(path, bytes).unwrap();
    }
    let next = world.updater();
    next.resume().await;
    assert_eq!(in_trouble(&next).await.phase, UpdatePhase::Fetching);
    assert!(world.pending());
    server.choose(|_, _| Manner::Well);
    let status = wait(&next, &ENDED).await;
    assert_eq!((status.problem, status.next_try_ms), (None, None));
    world.reboots.recv().await.unwrap();
    assert_eq!(world.entries(), INSTALLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_have_is_not_waited_for() {
    for (status, ends) in [
        (404, true),
        (403, true),
        (410, true),
        (503, false),
        (429, false),
    ] {
        let (world, server) = away();
        server.choose(move |number, _| match number {
            0 => Manner::Well,
            _ => Manner::Status(status),
        });
        let updater = world.updater();
        let url = Some(server.url(""));
        updater.begin(url, query("")).await.unwrap();
        let told = match ends {
            true => wait(&updater, &ENDED).await,
            false => in_trouble(&updater).await,
        };
        let problem = told.problem.unwrap();
        assert!(problem.contains(&format!("answered {status}")), "{problem}");
        assert_eq!(told.phase == UpdatePhase::Failed, ends, "{status}");
        assert_eq!(world.pending(), !ends, "{status}");
        if !ends {
            updater.cancel().await.unwrap();
            wait(&updater, &ENDED).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_waited_for_can_be_given_up_at_once() {
    let (mut world, server) = away();
    world.patience.pauses = (HOUR, HOUR);
    let updater = world.updater();
    let url = Some(server.url(""));
    updater.begin(url, query("")).await.unwrap();
    let status = in_trouble(&updater).await;
    assert!(status.next_try_ms.unwrap() > 1_700_000, "{status:?}");
    updater.cancel().await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(status.problem.as_deref(), Some("it was given up"));
    assert_eq!(status.next_try_ms, None);
    assert!(!world.pending());
    world.assert_untouched();
}
