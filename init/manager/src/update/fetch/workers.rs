//! Fetching what is missing, several requests at a time.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use orlop_bundle::chunk::COMPRESSED_MAX;
use orlop_bundle::{ChunkError, Entry, Head};

use super::backoff::Backoff;
use super::{FetchError, Http, Source, Trouble, WORKERS, public};
use crate::update::chance;
use crate::update::error::UpdateError;
use crate::update::stop::Stop;
use crate::update::target::{PutError, Target};

/// The most bytes of one request, unless one chunk has more.
pub(super) const RUN_MAX: u64 = 128 << 10;
/// How long a worker waits before it looks again whether there is something to do, or to stop.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));
/// How often other bytes may come for a chunk.
const WRONG_MAX: u32 = 3;
/// A worker's stack, in bytes.
const STACK: usize = 512 << 10;

/// Chunks that one request asks for, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// The first byte within the chunks of a bundle.
    first: u64,
    chunks: Vec<u32>,
}

/// Fetches what `target` lacks from `source`. `tell` hears of what goes wrong, and of nothing once
/// it goes on.
///
/// # Errors
/// The server was given up; it sends other bytes; the disk; cancelling.
pub(in crate::update) fn fetch(
    http: &Http,
    source: &Source,
    target: &Target,
    stop: &Stop,
    tell: &(dyn Fn(Option<Trouble>) + Sync),
) -> Result<(), UpdateError> {
    let runs = match source {
        Source::Published { .. } => runs(target.head(), &target.missing(), 0),
        Source::Bundle { parts: true, .. } => runs(target.head(), &target.missing(), RUN_MAX),
        Source::Bundle { parts: false, .. } => whole(target.head(), &target.missing()),
    };
    let workers = runs.len().min(WORKERS);
    let work = Work {
        http,
        source,
        target,
        stop,
        tell,
        queue: Mutex::new(Queue {
            runs,
            under_way: 0,
            ended: None,
            wrong: HashMap::new(),
            backoff: Backoff::new(http.patience, Instant::now()),
        }),
    };
    thread::scope(|scope| {
        for number in 1..workers {
            let builder = thread::Builder::new().stack_size(STACK);
            let named = builder.name(format!("fetch {number}"));
            // Fewer of them are slower, and no more than that.
            let _ = named.spawn_scoped(scope, || work.run());
        }
        work.run();
    });
    let queue = work.queue.into_inner();
    let ended = queue.unwrap_or_else(PoisonError::into_inner).ended;
    ended.map_or(Ok(()), Err)
}

/// Chunks that lie one behind the other, as many as one request asks for.
fn runs(head: &Head, missing: &[u32], most: u64) -> VecDeque<Run> {
    let mut runs: VecDeque<Run> = VecDeque::new();
    let (mut first, mut end) = (0, 0);
    let mut wanted = missing.iter().copied().peekable();
    for (entry, number) in head.index().entries().iter().zip(0_u32..) {
        let size = u64::from(entry.compressed);
        let at = first;
        first += size;
        if wanted.next_if_eq(&number).is_none() {
            continue;
        }
        match runs.back_mut() {
            Some(run) if end == at && first - run.first <= most => run.chunks.push(number),
            Some(_) | None => runs.push_back(Run {
                first: at,
                chunks: vec![number],
            }),
        }
        end = first;
    }
    runs
}

/// All of it as one run, for a server that gives whole files only.
fn whole(head: &Head, missing: &[u32]) -> VecDeque<Run> {
    let all = (0_u32..).take(head.index().entries().len());
    let run = Run {
        first: 0,
        chunks: all.collect(),
    };
    let some = (!missing.is_empty()).then_some(run);
    some.into_iter().collect()
}

struct Queue {
    runs: VecDeque<Run>,
    under_way: usize,
    ended: Option<UpdateError>,
    /// How often other bytes came for a chunk.
    wrong: HashMap<u32, u32>,
    backoff: Backoff,
}

struct Work<'w> {
    http: &'w Http,
    source: &'w Source,
    target: &'w Target,
    stop: &'w Stop,
    tell: &'w (dyn Fn(Option<Trouble>) + Sync),
    queue: Mutex<Queue>,
}

/// What to do next.
enum Next {
    Fetch(Run),
    /// Others may yet give a run back, or the server is left alone for a while.
    Wait(Duration),
    Leave,
}

impl Work<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut queue = self.queue();
        if queue.ended.is_none()
            && let Err(cancelled) = self.stop.check()
        {
            queue.ended = Some(cancelled);
        }
        if queue.ended.is_some() || (queue.under_way == 0 && queue.runs.is_empty()) {
            return Next::Leave;
        }
        if let Some(left) = queue.backoff.left(Instant::now()) {
            return Next::Wait(left.min(LOOK.1));
        }
        match queue.runs.pop_front() {
            Some(run) => {
                queue.under_way += 1;
                Next::Fetch(run)
            }
            None => Next::Wait(LOOK.0),
        }
    }

    fn run(&self) {
        loop {
            let run = match self.next() {
                Next::Fetch(run) => run,
                Next::Wait(pause) => {
                    thread::sleep(pause);
                    continue;
                }
                Next::Leave => return,
            };
            let (mut done, asked) = (0, Instant::now());
            match self.fetch(&run, &mut done) {
                Ok(()) => self.queue().under_way -= 1,
                Err(error) => self.failed(run, done, error, asked),
            }
        }
    }

    /// Gives back what was not fetched of a run that was asked for at `asked`, unless it is over.
    fn failed(&self, run: Run, done: usize, error: Setback, asked: Instant) {
        let mut queue = self.queue();
        queue.under_way -= 1;
        let error = match error {
            Setback::Update(error) => {
                queue.ended.get_or_insert(error);
                return;
            }
            Setback::Fetch(error) => error,
        };
        if error.is_final() {
            queue.ended.get_or_insert(error.into());
            return;
        }
        if let FetchError::Chunk { number, .. } = &error {
            let wrong = queue.wrong.entry(*number).or_insert(0);
            *wrong += 1;
            if *wrong >= WRONG_MAX {
                queue.ended.get_or_insert(error.into());
                return;
            }
        }
        match queue.backoff.failed(asked, Instant::now(), chance()) {
            Ok(times) => (self.tell)(Some(Trouble {
                problem: error.to_string(),
                next: times.next,
                gives_up: times.gives_up,
            })),
            Err(quiet) => {
                let last = Box::new(error);
                queue
                    .ended
                    .get_or_insert(FetchError::GaveUp { quiet, last }.into());
            }
        }
        queue.runs.push_front(self.rest_of(run, done));
    }

    /// What is left of a run once the first `done` of its chunks have come.
    fn rest_of(&self, run: Run, done: usize) -> Run {
        if let Source::Bundle { parts: false, .. } = self.source {
            // There is no beginning in the middle.
            return run;
        }
        let entries = self.target.head().index().entries();
        let size = |number: &u32| {
            let entry = entries.get(*number as usize);
            entry.map_or(0, |entry| u64::from(entry.compressed))
        };
        let passed: u64 = run.chunks.iter().take(done).map(size).sum();
        Run {
            first: run.first + passed,
            chunks: run.chunks.into_iter().skip(done).collect(),
        }
    }

    fn fetch(&self, run: &Run, done: &mut usize) -> Result<(), Setback> {
        let entries = self.target.head().index().entries();
        let of_run = run
            .chunks
            .iter()
            .filter_map(|number| Some((*number, entries.get(*number as usize)?)));
        let all: Vec<(u32, &Entry)> = of_run.collect();
        let Some((_, entry)) = all.first() else {
            return Ok(());
        };
        let url = self.source.url(entry);
        let bytes: u64 = all.iter().map(|(_, e)| u64::from(e.compressed)).sum();
        let mut take = |number, compressed: &[u8]| {
            self.stop.check()?;
            self.put(&url, number, compressed)?;
            *done += 1;
            Ok::<(), Setback>(())
        };
        match self.source {
            Source::Published { .. } => {
                // It may have been compressed otherwise, so its end is the answer's.
                let mut compressed = Vec::new();
                let answer = self.http.get(&url, None)?;
                let read = answer
                    .take(COMPRESSED_MAX.into())
                    .read_to_end(&mut compressed);
                read.map_err(|error| broken(&url, &error))?;
                all.iter()
                    .try_for_each(|(number, _)| take(*number, &compressed))
            }
            Source::Bundle { first, parts, .. } => {
                let from = first + run.first;
                let range = parts.then_some((from, Some(from + bytes - 1)));
                let mut answer = self.http.get(&url, range)?;
                if *parts && !answer.partial {
                    // It did, when it gave the head.
                    let first = from;
                    let url = public(&url);
                    return Err(FetchError::Range { url, first }.into());
                }
                let skipped = if answer.partial { 0 } else { from };
                let skip = std::io::copy(&mut (&mut answer).take(skipped), &mut std::io::sink());
                skip.map_err(|error| broken(&url, &error))?;
                for (number, entry) in all {
                    let mut compressed = vec![0; entry.compressed as usize];
                    let read = answer.read_exact(&mut compressed);
                    read.map_err(|error| broken(&url, &error))?;
                    take(number, &compressed)?;
                    answer.go_on();
                }
                Ok(())
            }
        }
    }

    fn put(&self, url: &str, number: u32, compressed: &[u8]) -> Result<(), Setback> {
        let taken = self
            .target
            .put(number, compressed)
            .map_err(|error| match error {
                PutError::Update(error) => Setback::Update(error),
                PutError::Chunk(error) => Setback::Fetch(FetchError::Chunk {
                    url: public(url),
                    number,
                    error,
                }),
                PutError::NoChunk(number) => Setback::Fetch(FetchError::Chunk {
                    url: public(url),
                    number,
                    error: ChunkError::Packing { expected: 0 },
                }),
            })?;
        if taken {
            self.queue().backoff.came(Instant::now());
            (self.tell)(None);
        }
        Ok(())
    }
}

fn broken(url: &str, error: &std::io::Error) -> FetchError {
    FetchError::Unreachable {
        url: public(url),
        reason: format!("the answer broke off: {error}"),
    }
}

/// What ends a run: something that may pass, or not.
#[derive(Debug)]
enum Setback {
    Fetch(FetchError),
    Update(UpdateError),
}

impl From<FetchError> for Setback {
    fn from(error: FetchError) -> Self {
        Setback::Fetch(error)
    }
}

impl From<UpdateError> for Setback {
    fn from(error: UpdateError) -> Self {
        Setback::Update(error)
    }
}
