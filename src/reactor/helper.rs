//! The one helper thread, for what must block: name look-ups, slow files. Twisted's `deferToThread`.
//!
//! A job goes over through a channel; its result comes back through another, and mio's `Waker` ends the
//! loop's sleep. The loop never waits for the thread, and the thread never touches the loop's state. It
//! is started with the first job, so a program that never blocks has one thread. What is under way, from
//! the job's start to its result's end, is counted and bounded.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use super::Token;
use super::limits::{ADDRESSES_MAX, HELPER_QUEUE_MAX};
use super::slots::Target;

/// What comes back from the thread.
pub(super) enum Returned<E> {
    /// The result of `defer_to_thread`.
    Event(Target, E),
    /// The addresses of a name, or why there are none.
    Addresses(Token, Result<Vec<SocketAddr>, String>),
}

type Job<E> = Box<dyn FnOnce() -> Returned<E> + Send>;

/// The loop's end of the helper thread.
pub(super) struct Helper<E> {
    waker: Arc<Waker>,
    jobs: Option<Sender<Job<E>>>,
    /// Jobs handed over whose results have not been taken.
    under_way: usize,
    results: Receiver<Returned<E>>,
    results_in: Sender<Returned<E>>,
}

impl<E: Send + 'static> Helper<E> {
    pub fn new(waker: Waker) -> Self {
        let (results_in, results) = channel();
        Self { waker: Arc::new(waker), jobs: None, under_way: 0, results, results_in }
    }

    /// Hands a job over. `false` when too many wait already, or no thread can be had.
    pub fn defer(&mut self, job: Job<E>) -> bool {
        if self.under_way >= HELPER_QUEUE_MAX {
            return false;
        }
        if self.jobs.is_none() {
            self.jobs = self.start();
        }
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        self.under_way += usize::from(sent);
        sent
    }

    /// Looks a name up; the answer comes back for `token`.
    pub fn look_up(&mut self, host: String, port: u16, token: Token) -> bool {
        self.defer(Box::new(move || Returned::Addresses(token, addresses_of(&host, port))))
    }

    /// The next result, if one has come.
    pub fn take_result(&mut self) -> Option<Returned<E>> {
        let result = self.results.try_recv().ok()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(result)
    }

    /// As many results as can be there now.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    fn start(&self) -> Option<Sender<Job<E>>> {
        let (jobs_in, jobs) = channel::<Job<E>>();
        let (results, waker) = (self.results_in.clone(), Arc::clone(&self.waker));
        let work = move || {
            // Both ends fail only when the reactor is gone, and then so is the thread's purpose.
            while let Ok(job) = jobs.recv() {
                if results.send(job()).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("helper".to_owned()).spawn(work).ok().map(|_| jobs_in)
    }
}

fn addresses_of(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
            if addresses.is_empty() {
                Err("the name has no address".to_owned())
            } else {
                Ok(addresses)
            }
        }
        Err(e) => Err(e.to_string()),
    }
}
