//! Updates of a host whose disks are files, from a web server that behaves well or badly.

mod bad;
mod broken_off;
mod given_up;
mod patience;
mod rebooted;
mod secure;
mod world;

use orlop_control::types::{UpdatePhase, UpdateQuery};

use orlop_web::{Manner, Server};
use world::{Version, World, wait};

const INSTALLED: [&str; 2] = ["orlop_1_1.0.0.efi", "orlop_2_2.0.0+3.efi"];
const ENDED: [UpdatePhase; 3] = [
    UpdatePhase::Installed,
    UpdatePhase::Rebooting,
    UpdatePhase::Failed,
];

fn query(text: &str) -> UpdateQuery {
    UpdateQuery {
        allow_downgrade: text.contains("downgrade"),
        no_reboot: !text.contains("reboot"),
        dry_run: text.contains("dry"),
    }
}

/// A host, a web server, and version 2 on it.
fn published() -> (World, Server, Version) {
    let world = World::new();
    let new = Version::new("2.0.0", 5);
    new.publish(&world.at("web"), &world.key);
    let server = Server::start(&world.at("web")).unwrap();
    (world, server, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_moves_what_is_new_and_reboots() {
    for path in ["", "shop.head", "shop-2.0.0.head", "shop-2.0.0.orlop"] {
        let (mut world, server, new) = published();
        let updater = world.updater();
        let url = Some(server.url(path));
        let planned = updater.begin(url.clone(), query("dry")).await.unwrap();
        world.assert_untouched();
        let plan = planned.plan.unwrap();
        let size = (new.root.len() + new.kernel.len()) as u64;
        assert!(
            plan.size == size && plan.missing_size < size / 4,
            "{plan:?}"
        );
        assert!(plan.missing_chunks > 0 && planned.phase == UpdatePhase::Idle);

        updater.begin(url, query("reboot")).await.unwrap();
        let status = wait(&updater, &ENDED).await;
        assert_eq!(status.problem, None, "{path}");
        world.reboots.recv().await.unwrap();
        world.forgotten().await;
        assert_eq!(updater.status().phase, UpdatePhase::Rebooting);
        assert_eq!(status.moved, plan.missing_size, "{path}");
        assert_eq!(
            server.sent(),
            plan.missing_size + head_bytes(path, &new, &world)
        );
        world.assert_installed(&new, &INSTALLED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_boot_is_called_off_and_can_be_had_again() {
    let (world, server, new) = published();
    let updater = world.updater();
    let url = Some(server.url(""));
    let none = updater.cancel().await.unwrap_err();
    assert_eq!(none.message, "no update is under way");
    for (round, left) in ["orlop_2_2.0.0+0.efi", "orlop_3_2.0.0+0.efi"]
        .into_iter()
        .enumerate()
    {
        updater.begin(url.clone(), query("")).await.unwrap();
        let status = wait(&updater, &ENDED).await;
        assert_eq!(status.phase, UpdatePhase::Installed, "{round}: {status:?}");
        // A manager that knows nothing of it does the same.
        let updater = world.updater();
        let status = updater.cancel().await.unwrap();
        assert_eq!(status.version.as_deref(), Some("2.0.0"));
        assert_eq!(status.problem.as_deref(), Some("it was given up"));
        assert_eq!(world.entries(), ["orlop_1_1.0.0.efi", left]);
        assert!(updater.cancel().await.is_err(), "twice");
    }
    assert_eq!(new.version, "2.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_good_version_is_not_called_off() {
    let (world, server, _new) = published();
    let updater = world.updater();
    updater
        .begin(Some(server.url("")), query(""))
        .await
        .unwrap();
    wait(&updater, &ENDED).await;
    std::fs::rename(
        world.entry("orlop_1_1.0.0.efi"),
        world.entry("orlop_1_1.0.0+0-1.efi"),
    )
    .unwrap();
    let refusal = updater.cancel().await.unwrap_err();
    assert!(refusal.message.contains("known to be good"), "{refusal}");
    assert!(world.entries().contains(&INSTALLED[1].to_owned()));
}

/// What a bundle's head costs, which is counted where it is not a file of its own: the client has
/// been given the whole bundle, and broke off.
fn head_bytes(path: &str, new: &Version, world: &World) -> u64 {
    match path.ends_with(".orlop") {
        // Once for the plan, once for the update.
        true => {
            let (head, chunks) = new.pack("shop", &world.key);
            2 * (head.encode().len() + chunks.len()) as u64
        }
        false => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_parts_of_files_gives_the_whole_bundle() {
    let (world, server, new) = published();
    server.choose(|_, _| Manner::Whole);
    let updater = world.updater();
    let url = Some(server.url("shop-2.0.0.orlop"));
    updater.begin(url, query("")).await.unwrap();
    let status = wait(&updater, &ENDED).await;
    assert_eq!(
        (status.phase, status.problem),
        (UpdatePhase::Installed, None)
    );
    world.assert_installed(&new, &INSTALLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sends_what_is_lacking() {
    let world = World::new();
    let new = Version::new("2.0.0", 5);
    let (head, chunks) = new.pack("shop", &world.key);
    let updater = world.updater();
    assert_eq!(updater.missing().unwrap_err().code, "notReceiving");
    updater
        .begin_upload(head.encode(), query(""))
        .await
        .unwrap();
    wait(&updater, &[UpdatePhase::Receiving]).await;
    let missing = updater.missing().unwrap().chunks;
    assert!(!missing.is_empty() && missing.len() < head.index().entries().len() / 2);
    // Joining changes nothing; another one is refused.
    updater
        .begin_upload(head.encode(), query(""))
        .await
        .unwrap();
    let (other, _) = Version::new("3.0.0", 9).pack("shop", &world.key);
    let refusal = updater.begin_upload(other.encode(), query("")).await;
    assert!(
        refusal
            .unwrap_err()
            .message
            .contains("update to 2.0.0 is under way")
    );

    let record = |number: u32, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap();
        [&number.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
    };
    let garbled = updater
        .put(record(missing[0], b"garbage"))
        .await
        .unwrap_err();
    assert_eq!(garbled.status, 400, "{garbled:?}");
    assert_eq!(updater.missing().unwrap().chunks, missing);
    let mut first = 0;
    for (entry, number) in head.index().entries().iter().zip(0..) {
        let bytes = &chunks[first..first + entry.compressed as usize];
        first += bytes.len();
        if missing.contains(&number) {
            updater.put(record(number, bytes)).await.unwrap();
        }
    }
    let status = wait(&updater, &ENDED).await;
    assert_eq!(
        (status.phase, status.problem),
        (UpdatePhase::Installed, None)
    );
    world.assert_installed(&new, &INSTALLED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_install_takes_the_place_of_the_one_before() {
    let (world, server, _) = published();
    let updater = world.updater();
    updater
        .begin(Some(server.url("")), query(""))
        .await
        .unwrap();
    wait(&updater, &[UpdatePhase::Installed]).await;
    let newer = Version::new("2.1.0", 5);
    newer.publish(&world.at("web"), &world.key);
    updater
        .begin(Some(server.url("")), query(""))
        .await
        .unwrap();
    let phases = [
        UpdatePhase::Surveying,
        UpdatePhase::Fetching,
        UpdatePhase::Verifying,
    ];
    wait(&updater, &phases).await;
    let status = wait(&updater, &ENDED).await;
    assert_eq!(status.problem, None);
    world.assert_installed(&newer, &["orlop_1_1.0.0.efi", "orlop_3_2.1.0+3.efi"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_installs_what_is_new_and_never_what_failed() {
    let (mut world, server, new) = published();
    let channel = |apply: &str| {
        let url = server.url("");
        format!("[update]\nurl = \"{url}\"\ncheck = \"1s\"\napply = \"{apply}\"\n")
    };
    let found = async |overlay: &str, wanted: &str| {
        let updater = world.updater_with(overlay);
        let running = tokio::spawn(updater.clone().run());
        for _ in 0..1000 {
            let status = updater.status();
            let channel = status.channel.as_ref().unwrap();
            if channel.found.contains(wanted) {
                running.abort();
                return updater;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{:?}", updater.status());
    };
    found(&channel("never"), "version 2.0.0 is there").await;
    world.assert_untouched();
    let failed = orlop_control::types::FailedUpdate {
        version: "2.0.0".to_owned(),
        ..Default::default()
    };
    world.records().put_failed(&failed).unwrap();
    // Another one that passes makes the report go, and not what is known.
    world.records().forget_failed().unwrap();
    found(&channel("auto"), "failed on this host").await;
    world.assert_untouched();
    std::fs::remove_file(world.at("var/lib/orlop/update/given-up.json")).unwrap();
    let updater = found(&channel("auto"), "is being installed").await;
    wait(&updater, &ENDED).await;
    world.reboots.recv().await.unwrap();
    world.forgotten().await;
    world.assert_installed(&new, &INSTALLED);
}
