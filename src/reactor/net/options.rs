//! Options of sockets beside their addresses: no delay, urgent bytes in line, keep-alive, the backlog.
//!
//! The standard library has no calls for these. On Linux a listener is told, once, and the sockets that it
//! accepts inherit it (tcp(7)), so that accepting costs no system call for it; elsewhere each is told.
//! Failures are not: a socket without them works. Called where sockets are made.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

use crate::reactor::bounds::limits::BACKLOG_MAX;

/// How often a silent peer's kernel is asked once more before the connection is given up. Together the
/// questions take as long as the silence before the first.
const KEEPALIVE_PROBES: u32 = 4;

/// The longest keep-alive time that a kernel takes, seconds: Linux's `MAX_TCP_KEEPIDLE`.
pub const KEEPALIVE_MAX_SECONDS: u32 = 32_767;

/// Whether accepted sockets have the options of their listener.
const ACCEPTED_INHERIT: bool = cfg!(target_os = "linux");

/// A listener's options, for itself and for those that it accepts.
pub(in crate::reactor) fn tune_listener(socket: impl AsFd, keepalive: Option<Duration>) {
    let socket = socket.as_fd();
    // Listening once more, on a socket that does already, changes only how many may wait.
    let _ = rustix::net::listen(socket, i32::from(BACKLOG_MAX));
    let _ = tune(socket, keepalive);
}

/// An accepted connection's options, where it has not inherited them.
pub(in crate::reactor) fn tune_accepted(socket: impl AsFd, keepalive: Option<Duration>) {
    if !ACCEPTED_INHERIT {
        let _ = tune(socket, keepalive);
    }
}

/// The options of a connection that we make.
pub(in crate::reactor) fn tune_made(socket: impl AsFd, keepalive: Option<Duration>) {
    let _ = tune(socket, keepalive);
}

fn tune(socket: impl AsFd, keepalive: Option<Duration>) -> io::Result<()> {
    let socket = socket.as_fd();
    // The turn's end gathers what belongs together; waiting for more would only delay it.
    sockopt::set_tcp_nodelay(socket, true)?;
    // Otherwise the kernel takes an urgent byte out of the stream. Telnet's Synch is IAC and an urgent DM
    // (RFC 854): the IAC would be left alone, and swallow the first byte of the next line.
    sockopt::set_socket_oobinline(socket, true)?;
    let Some(silence) = keepalive else { return Ok(()) };
    // The kernel counts in whole seconds, from one on.
    let seconds = silence.as_secs() + u64::from(silence.subsec_nanos() > 0);
    let seconds = seconds.clamp(1, u64::from(KEEPALIVE_MAX_SECONDS));
    let between = seconds.div_ceil(u64::from(KEEPALIVE_PROBES));
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(seconds))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(between))?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn urgent_bytes_are_in_line_whoever_made_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tune_listener(&listener, None);
        let made = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tune_made(&made, None);
        let (accepted, _) = listener.accept().unwrap();
        tune_accepted(&accepted, None);
        assert!(sockopt::socket_oobinline(&accepted).unwrap());
        assert!(sockopt::socket_oobinline(&made).unwrap());
    }

    /// (no waiting, keep-alive, silence and time between in seconds, probes)
    fn told(socket: &TcpStream) -> (bool, bool, u64, u64, u32) {
        (
            sockopt::tcp_nodelay(socket).unwrap(),
            sockopt::socket_keepalive(socket).unwrap(),
            sockopt::tcp_keepidle(socket).unwrap().as_secs(),
            sockopt::tcp_keepintvl(socket).unwrap().as_secs(),
            sockopt::tcp_keepcnt(socket).unwrap(),
        )
    }

    fn accepted(keepalive: Option<Duration>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tune_listener(&listener, keepalive);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        tune_accepted(&stream, keepalive);
        stream
    }

    #[test]
    fn what_is_accepted_has_the_options_without_being_told_on_linux() {
        let stream = accepted(Some(Duration::from_secs(60)));
        assert_eq!(told(&stream), (true, true, 60, 15, 4));
        let stream = accepted(Some(Duration::from_millis(200)));
        assert_eq!(told(&stream), (true, true, 1, 1, 4));
        let stream = accepted(Some(Duration::from_secs(1 << 40)));
        assert_eq!(told(&stream).2, u64::from(KEEPALIVE_MAX_SECONDS));
    }

    #[test]
    fn without_keep_alive_only_the_waiting_is_turned_off() {
        let (no_waiting, keepalive, ..) = told(&accepted(None));
        assert!(no_waiting && !keepalive);
    }
}
