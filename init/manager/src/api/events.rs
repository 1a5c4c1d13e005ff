//! The last events, numbered, so that a reader can go on where it was.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use orlop_control::types::{ApiError, ErrorBody, Event, EventKind, EventQuery, EventRecord};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Api;
use super::answer::Params;
use super::ndjson::ndjson;

/// How many events are kept for readers that come back.
const KEPT_MAX: usize = 256;

/// What happens on the host: one JSON document a line, from now on, or after
/// `cursor`. Where events were missed, a `dropped` event says so.
#[utoipa::path(get, path = "/v1/events", tag = "host", params(EventQuery),
    responses((status = 200, body = EventRecord, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)))]
pub(super) async fn stream(State(api): State<Api>, Params(query): Params<EventQuery>) -> Response {
    ndjson(api.events.follow(query.cursor))
}

/// The last events.
#[derive(Debug)]
pub(super) struct EventLog {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Kept {
    records: VecDeque<EventRecord>,
    /// Cursors up to this one were given out by an earlier manager, if at all.
    start: u64,
    /// The cursor of the newest event ever.
    newest: u64,
}

impl Kept {
    fn push(&mut self, event: Event) -> u64 {
        self.newest += 1;
        if self.records.len() == KEPT_MAX {
            self.records.pop_front();
        }
        self.records.push_back(EventRecord {
            cursor: self.newest,
            event,
        });
        self.newest
    }

    /// The events after `cursor`, the first of which says when some are gone.
    fn after(&self, cursor: u64, now: Timestamp) -> Vec<EventRecord> {
        let first = self
            .records
            .front()
            .map_or(self.newest + 1, |record| record.cursor);
        let mut records = Vec::new();
        if cursor + 1 < first {
            // How many an earlier manager had after it is not known.
            let count = (first - 1 - cursor.max(self.start)).max(1);
            let kind = EventKind::Dropped { count };
            let event = Event { time: now, kind };
            records.push(EventRecord {
                cursor: first - 1,
                event,
            });
        }
        records.extend(
            self.records
                .iter()
                .filter(|record| record.cursor > cursor)
                .cloned(),
        );
        records
    }
}

impl EventLog {
    /// Starts to keep `events`.
    pub(super) fn new(mut events: broadcast::Receiver<Event>, tasks: &mut JoinSet<()>) -> Self {
        // Numbers grow across restarts of the manager because time does, and
        // fewer than a million events happen in a second.
        let start = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        let kept = Arc::new(Mutex::new(Kept {
            records: VecDeque::new(),
            start,
            newest: start,
        }));
        let (sender, newest) = watch::channel(start);
        let keeper = kept.clone();
        tasks.spawn(async move {
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(count)) => Event {
                        time: Timestamp::now(),
                        kind: EventKind::Dropped { count },
                    },
                    Err(RecvError::Closed) => return,
                };
                let Ok(mut kept) = keeper.lock() else { return };
                let newest = kept.push(event);
                drop(kept);
                sender.send_replace(newest);
            }
        });
        Self { kept, newest }
    }

    fn follow(
        &self,
        cursor: Option<u64>,
    ) -> impl Stream<Item = Result<EventRecord, ApiError>> + Send + use<> {
        let (kept, newest) = (self.kept.clone(), self.newest.clone());
        let present = *newest.borrow();
        // A cursor from a time when the clock was ahead: only what comes now.
        let cursor = cursor.unwrap_or(present).min(present);
        let state = (kept, newest, cursor, VecDeque::<EventRecord>::new());
        stream::unfold(
            state,
            |(kept, mut newest, mut cursor, mut ready)| async move {
                while ready.is_empty() {
                    ready = kept.lock().ok()?.after(cursor, Timestamp::now()).into();
                    if ready.is_empty() {
                        newest.changed().await.ok()?;
                    }
                }
                let record = ready.pop_front()?;
                cursor = record.cursor;
                Some((Ok(record), (kept, newest, cursor, ready)))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(unit: usize) -> Event {
        let kind = EventKind::UnitRemoved {
            unit: unit.to_string(),
        };
        Event {
            time: Timestamp::UNIX_EPOCH,
            kind,
        }
    }

    #[test]
    fn readers_go_on_where_they_were_or_hear_what_they_missed() {
        let mut kept = Kept {
            records: VecDeque::new(),
            start: 1000,
            newest: 1000,
        };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(kept.after(1000, now), []);
        for unit in 0..KEPT_MAX + 10 {
            kept.push(event(unit));
        }
        let newest = kept.newest;
        assert_eq!(kept.after(newest, now), []);
        assert_eq!(kept.after(newest - 2, now).len(), 2);
        let all = kept.after(1000, now);
        assert_eq!(all.len(), KEPT_MAX + 1);
        assert_eq!(all[0].event.kind, EventKind::Dropped { count: 10 });
        assert_eq!(all[0].cursor + 1, all[1].cursor);
        // From an earlier manager.
        let kept = Kept {
            records: VecDeque::new(),
            start: 1000,
            newest: 1000,
        };
        assert_eq!(
            kept.after(990, now)[0].event.kind,
            EventKind::Dropped { count: 1 }
        );
    }
}
