//! The status screen: what an operator who stands before the machine sees.
//!
//! It is drawn anew when something has changed, never otherwise, so that a
//! serial line stays quiet. Each change of a unit is also one plain line, for
//! whoever reads a log of the console.

mod screen;
mod writer;

use std::path::Path;
use std::time::Duration;

use orlop_control::types::{Event, EventKind, HealthState, TrialOutcome, UnitState};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

use crate::handle::Handle;
use writer::Console;

/// How often the screen is compared with how things are without an event.
const SLOW: Duration = Duration::from_secs(5);
/// Changes within so long are drawn together.
const CALM: Duration = Duration::from_millis(200);
/// However many changes come, the screen is not drawn later than this.
const LATEST: Duration = Duration::from_secs(1);

/// Shows the host on `path` for as long as the manager runs. With `screen`
/// the screen is drawn; the lines, of `events`, come in any case.
pub async fn show(
    handle: Handle,
    mut events: broadcast::Receiver<Event>,
    path: &Path,
    screen: bool,
    api_port: Option<u16>,
) {
    let Ok(mut console) = Console::open(path) else {
        return;
    };
    let mut drawn = String::new();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => {
                    say(&mut console, &event, !drawn.is_empty());
                    drawn.clear();
                    // What follows at once is said before it is drawn.
                    let latest = Instant::now() + LATEST;
                    while Instant::now() < latest
                        && let Ok(Ok(event)) = tokio::time::timeout(CALM, events.recv()).await
                    {
                        say(&mut console, &event, false);
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(SLOW) => {}
        }
        if screen {
            draw(&mut console, &handle, &mut drawn, api_port).await;
        }
    }
}

async fn draw(console: &mut Console, handle: &Handle, drawn: &mut String, api_port: Option<u16>) {
    let (Ok(host), Ok(units)) = (handle.status().await, handle.units().await) else {
        return;
    };
    let (rows, cols) = console.size();
    let next = screen::render(&host, &units, api_port, rows, cols);
    if next != *drawn {
        // Home, then each line cleared to its end, then all below: no flicker.
        let lines = next.replace('\n', "\x1b[K\r\n");
        if console.show(&format!("\x1b[H{lines}\x1b[J")) {
            *drawn = next;
        }
    }
}

fn say(console: &mut Console, event: &Event, over_screen: bool) {
    if let Some(line) = line(event) {
        // Below the screen, so that a line of the screen is not half of this one.
        let start = if over_screen { "\x1b[999;1H\r\n" } else { "" };
        let line = screen::printable(&line);
        console.show(&format!("{start}\r\x1b[Korlop: {line}\r\n"));
    }
}

/// The plain line for an event, if it has one.
fn line(event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::UnitState {
            unit,
            state,
            reason,
        } => Some(match (state, reason) {
            (UnitState::Running, None) => format!("{unit}: running"),
            (state, Some(reason)) => format!("{unit}: {state} ({reason})"),
            (state, None) => format!("{unit}: {state}"),
        }),
        EventKind::UnitHealth { unit, health } => match health {
            HealthState::Starting => None,
            HealthState::Healthy | HealthState::Unhealthy => {
                Some(format!("{unit}: running ({})", health.as_str()))
            }
        },
        EventKind::UnitExit { unit, exit } => Some(match (exit.code, exit.signal) {
            (Some(code), _) => format!("{unit}: exited with code {code}"),
            (None, Some(signal)) => format!("{unit}: killed by signal {signal}"),
            (None, None) => format!("{unit}: ended unseen"),
        }),
        EventKind::UnitBeganAnew { unit, image } => Some(format!(
            "{unit}: {image} is another image; what {unit} wrote outside of volumes is deleted"
        )),
        EventKind::UnitRemoved { unit } => Some(format!("{unit}: removed")),
        EventKind::ImageLoaded { reference } => Some(format!("image {reference} loaded")),
        EventKind::Trial {
            version,
            serial,
            outcome,
            reason,
        } => {
            let how = match outcome {
                TrialOutcome::Begun => "is on trial",
                TrialOutcome::Passed => "is good",
                TrialOutcome::Failed => "failed its trial: ",
            };
            let why = reason.as_deref().unwrap_or_default();
            Some(format!(
                "version {version} (installation {serial}) {how}{why}"
            ))
        }
        EventKind::Shutdown { mode: _ } => Some("going down".to_owned()),
        EventKind::Dropped { count: _ } => None,
    }
}
