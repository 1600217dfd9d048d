//! Signals as ordinary events of the loop, by the self-pipe trick.
//!
//! A signal handler may do almost nothing. Ours, which `signal-hook` installs, sets a flag and writes one
//! byte into a pipe; the loop polls the other end like any socket and so wakes up, reads the flags in
//! peace and tells the application. (D. J. Bernstein's self-pipe trick; signal-safety(7).)

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::{SigId, flag, low_level};

use crate::reactor::Signal;

pub(in crate::reactor) struct Signals {
    pipe: UnixStream,
    raised: [(Signal, Arc<AtomicBool>); 4],
    installed: Vec<SigId>,
}

impl Signals {
    /// Takes SIGTERM, SIGINT, SIGHUP and SIGUSR1 over for this process, and SIGXFSZ from it, until dropped.
    pub fn install(registry: &Registry, token: Token) -> io::Result<Self> {
        let (read_end, write_end) = StdUnixStream::pair()?;
        read_end.set_nonblocking(true)?;
        // Not blocking here either: in a flood of signals the pipe is full, and the flags say it all.
        write_end.set_nonblocking(true)?;
        let raised = [Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::User1]
            .map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        let mut installed = Vec::new();
        for (signal, flag) in &raised {
            // The flag first, or the loop might wake up and find none set.
            installed.push(flag::register(number(*signal), Arc::clone(flag))?);
            installed.push(low_level::pipe::register(number(*signal), write_end.try_clone()?)?);
        }
        // Nobody looks at this one's flag. Caught, the write that went past the limit of a file's size
        // fails with EFBIG (setrlimit(2)), which is the file's trouble; not caught, it is our death.
        installed.push(flag::register(SIGXFSZ, Arc::default())?);
        let mut pipe = UnixStream::from_std(read_end);
        registry.register(&mut pipe, token, Interest::READABLE)?;
        Ok(Self { pipe, raised, installed })
    }

    /// Empties the pipe and answers which signals have come since the last time, each once.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 256];
        while matches!(self.pipe.read(&mut bytes), Ok(1..)) {}
        let came = |(signal, flag): &(Signal, Arc<AtomicBool>)| {
            flag.swap(false, Ordering::SeqCst).then_some(*signal)
        };
        self.raised.iter().filter_map(came).collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.installed.drain(..) {
            low_level::unregister(id);
        }
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Terminate => SIGTERM,
        Signal::Interrupt => SIGINT,
        Signal::Hangup => SIGHUP,
        Signal::User1 => SIGUSR1,
    }
}
