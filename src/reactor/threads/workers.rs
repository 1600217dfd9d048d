//! Threads for what must block: slow files, name look-ups. Twisted's `deferToThread`.
//!
//! Each worker has a queue of its own and works through it in order; no worker ever does another's jobs,
//! so a slow disk holds up no look-up and a silent name server no sync. A job travels to its worker through
//! a channel, its result comes back through another, and mio's `Waker` ends the loop's sleep. The loop never
//! waits for a worker, and a worker never touches the loop's state. Called by [`Io`](crate::reactor::Io).

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use crate::reactor::bounds::limits::{LOOK_UP_THREADS_MAX, WORKER_QUEUE_MAX};
use crate::reactor::io::sockets::Target;
use crate::reactor::net::look_up::Answer;

/// Why a job was not taken. It has been dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many jobs wait for this thread as may.
    QueueFull {
        /// The thread's name.
        thread: String,
    },
    /// The thread cannot be started; the next job tries again.
    NoThread {
        /// The thread's name.
        thread: String,
        /// The system's words.
        why: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { thread } => {
                write!(f, "{WORKER_QUEUE_MAX} jobs wait for the thread \"{thread}\" already")
            }
            Self::NoThread { thread, why } => {
                write!(f, "cannot start the thread \"{thread}\": {why}")
            }
        }
    }
}

/// What comes back from a thread.
pub(in crate::reactor) enum Returned<E> {
    /// A job of the worker at this place is over: whom to tell, and what makes the event for it.
    Job(usize, Target, Box<dyn FnOnce() -> E + Send>),
    /// The look-up on this thread of the pool is over.
    LookUp(usize, Answer),
}

type Job<E> = Box<dyn FnOnce() -> Returned<E> + Send>;

/// The loop's end of all its threads.
pub(in crate::reactor) struct Threads<E> {
    waker: Arc<Waker>,
    /// Those that the application has named, in the order of their first jobs.
    workers: Vec<Worker<E>>,
    /// The pool for look-ups. Each does one at a time.
    resolvers: Vec<Worker<E>>,
    results: Receiver<Returned<E>>,
    results_in: Sender<Returned<E>>,
}

/// The loop's end of one thread.
struct Worker<E> {
    name: String,
    /// `None` until its first job.
    jobs: Option<Sender<Job<E>>>,
    /// Jobs handed over whose results have not been taken.
    under_way: usize,
}

impl<E: Send + 'static> Threads<E> {
    pub fn new(waker: Waker) -> Self {
        let (results_in, results) = channel();
        let resolvers = (1..=LOOK_UP_THREADS_MAX).map(|n| Worker::new(&format!("look-up {n}")));
        Self {
            waker: Arc::new(waker),
            workers: Vec::new(),
            resolvers: resolvers.collect(),
            results,
            results_in,
        }
    }

    /// Hands `job` to the worker called `thread`. What `then` makes of its result, or of the words of its
    /// panic, goes to `target`.
    pub fn defer<R: Send + 'static>(
        &mut self,
        thread: &'static str,
        target: Target,
        job: impl FnOnce() -> R + Send + 'static,
        then: impl FnOnce(Result<R, String>) -> E + Send + 'static,
    ) -> Result<(), Refused> {
        let place = self.workers.iter().position(|worker| worker.name == thread);
        let place = place.unwrap_or_else(|| {
            self.workers.push(Worker::new(thread));
            self.workers.len() - 1
        });
        self.hand_over(Pool::Workers, place, move || {
            let outcome = run(job);
            Returned::Job(place, target, Box::new(move || then(outcome)))
        })
    }

    /// Hands a look-up to a thread of the pool, which must be free.
    pub fn look_up(
        &mut self,
        place: usize,
        job: impl FnOnce() -> Answer + Send + 'static,
    ) -> Result<(), Refused> {
        self.hand_over(Pool::Resolvers, place, move || {
            Returned::LookUp(place, run(job).unwrap_or_else(Err))
        })
    }

    fn hand_over(
        &mut self,
        pool: Pool,
        place: usize,
        job: impl FnOnce() -> Returned<E> + Send + 'static,
    ) -> Result<(), Refused> {
        let (results, waker) = (self.results_in.clone(), Arc::clone(&self.waker));
        let workers = match pool {
            Pool::Workers => &mut self.workers,
            Pool::Resolvers => &mut self.resolvers,
        };
        workers.get_mut(place).map_or(Ok(()), |worker| worker.take(Box::new(job), results, waker))
    }

    /// The next result, if one has come.
    pub fn take_result(&mut self) -> Option<Returned<E>> {
        let result = self.results.try_recv().ok()?;
        let worker = match &result {
            Returned::Job(place, ..) => self.workers.get_mut(*place),
            Returned::LookUp(place, _) => self.resolvers.get_mut(*place),
        };
        if let Some(worker) = worker {
            worker.under_way = worker.under_way.saturating_sub(1);
        }
        Some(result)
    }

    /// As many results as can be there now.
    pub fn under_way(&self) -> usize {
        self.workers.iter().chain(&self.resolvers).map(|worker| worker.under_way).sum()
    }
}

#[derive(Clone, Copy)]
enum Pool {
    Workers,
    Resolvers,
}

impl<E: Send + 'static> Worker<E> {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), jobs: None, under_way: 0 }
    }

    fn take(
        &mut self,
        job: Job<E>,
        results: Sender<Returned<E>>,
        waker: Arc<Waker>,
    ) -> Result<(), Refused> {
        let thread = self.name.clone();
        if self.under_way >= WORKER_QUEUE_MAX {
            return Err(Refused::QueueFull { thread });
        }
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => start(&thread, results, waker)
                .map_err(|e| Refused::NoThread { thread: thread.clone(), why: e.to_string() })?,
        };
        // The thread ends only when the reactor has gone, which holds the other end of its results.
        jobs.send(job).map_err(|_| Refused::NoThread { thread, why: "it has ended".to_owned() })?;
        self.jobs = Some(jobs);
        self.under_way += 1;
        Ok(())
    }
}

fn start<E: Send + 'static>(
    name: &str,
    results: Sender<Returned<E>>,
    waker: Arc<Waker>,
) -> std::io::Result<Sender<Job<E>>> {
    let (jobs_in, jobs) = channel::<Job<E>>();
    let work = move || {
        // Both ends fail only when the reactor is gone, and then so is the thread's purpose.
        while let Ok(job) = jobs.recv() {
            if results.send(job()).is_err() || waker.wake().is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(|_| jobs_in)
}

/// Runs a job to its end, or to its panic, whose words are the error. Whoever handed the job over is
/// answered either way, and the thread goes on with the next one.
fn run<R>(job: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| format!("it panicked: {}", words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
