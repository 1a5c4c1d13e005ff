//! `orlop reboot` and `orlop poweroff`.

use super::failure::Outcome;
use super::output::print;
use crate::client::Client;
use crate::types::ShutdownMode;

pub(super) async fn reboot(client: &Client) -> Outcome {
    client.shutdown(ShutdownMode::Reboot).await?;
    print(&format!("{} reboots\n", client.endpoint()))
}

pub(super) async fn poweroff(client: &Client) -> Outcome {
    client.shutdown(ShutdownMode::PowerOff).await?;
    print(&format!("{} powers off\n", client.endpoint()))
}
