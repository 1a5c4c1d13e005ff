//! A network that cannot be brought up at once.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::super::{NetError, Network};
use super::uplink::until;
use super::world::{PATIENCE, Spot, World, in_world};

#[test]
fn what_the_kernel_refuses_is_tried_again() {
    in_world(async |world: World| {
        // Where the name server is to listen.
        let holder = UdpSocket::bind("0.0.0.0:53").unwrap();
        let mut settings = world.settings();
        settings.patience = Duration::from_millis(100);
        let network = Network::begin_with(settings, Some(7470), &world.state_dir()).unwrap();
        let container = Spot::container();
        network.reserve("web").unwrap();
        let refused = network.attach("web", container.pid(), &[]).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(&refused, NetError::Down(why) if why.contains("port 53")),
            "{refused}"
        );
        until(&network, "the reason", |status| {
            let problem = status.problem.as_deref().unwrap_or_default();
            problem.contains("the network is not up")
        })
        .await;
        network.detach("web").await.unwrap();
        network.set_api_port(Some(7471)).await.unwrap();

        drop(holder);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = network.attach("web", container.pid(), &[]).await {
            assert!(matches!(error, NetError::Down(_)), "{error}");
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        until(&network, "no reason", |status| status.problem.is_none()).await;
        let rules = world.host.command("nft list ruleset");
        assert!(
            rules.contains("dport 7471") && !rules.contains("7470"),
            "{rules}"
        );
    });
}

#[test]
fn a_container_waits_for_a_network_that_is_tried_again() {
    in_world(async |world: World| {
        let holder = UdpSocket::bind("0.0.0.0:53").unwrap();
        let network =
            Network::begin_with(world.settings(), Some(7470), &world.state_dir()).unwrap();
        let container = Spot::container();
        network.reserve("web").unwrap();
        let attached = network.attach("web", container.pid(), &[]);
        let later = async {
            until(&network, "the reason", |status| status.problem.is_some()).await;
            drop(holder);
        };
        let (attached, ()) = tokio::join!(attached, later);
        attached.unwrap();
    });
}
