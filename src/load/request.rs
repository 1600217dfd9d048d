//! Requests, composed without allocation: one text a client, made once, with a place for the time.
//!
//! Pure. All texts of one kind are equally long, so they stand in one buffer; a request is one copy out
//! of it and the twenty bytes of the time. Called by the protocols of this module, which know the client
//! and hand over the time.

use std::io::Write as _;

/// The length of a time as it is sent: ten digits, a point, nine digits. Ten digits of seconds last until
/// the year 2286.
pub const TIME_BYTES: usize = 20;

/// Clients of one run. Their texts take about 80 bytes each.
pub const CLIENTS_MAX: usize = 1_000_000;

/// What server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This one: `IAMAT` lines, answered by `AT` lines.
    Iamat,
    /// One that sends back what comes in: the same lines.
    Echo,
    /// Redis: `SET` of about as many bytes, in its own protocol (RESP).
    Redis,
    /// memcached: the `set` of its text protocol.
    Memcached,
}

impl Kind {
    /// All of them, with their names on the command line.
    pub const NAMES: [(&str, Self); 4] = [
        ("iamat", Self::Iamat),
        ("echo", Self::Echo),
        ("redis", Self::Redis),
        ("memcached", Self::Memcached),
    ];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// The requests of all clients of a run.
pub struct Requests {
    /// One text a client, each of `length` bytes.
    texts: Vec<u8>,
    length: usize,
    /// Where in each text the client's ID begins.
    id_at: usize,
    /// Where the time stands, in those that have one.
    time_at: Option<usize>,
}

impl Requests {
    /// Requests that tell where `clients` clients are, in the words of `kind`. The run's number is part
    /// of every ID, so that two runs at once do not speak of the same clients.
    pub fn reports(kind: Kind, run: u32, clients: usize) -> Self {
        Self::compose(run, clients, |text, id, place| {
            // What stands here until the time is filled in never leaves this module.
            let value = format!("{place} {}", "T".repeat(TIME_BYTES));
            let (ids, values) = (id.len(), value.len());
            let written = match kind {
                Kind::Iamat | Kind::Echo => writeln!(text, "IAMAT {id} {value}"),
                Kind::Redis => {
                    let key = format!("${ids}\r\n{id}\r\n");
                    write!(text, "*3\r\n$3\r\nSET\r\n{key}${values}\r\n{value}\r\n")
                }
                Kind::Memcached => write!(text, "set {id} 0 0 {values}\r\n{value}\r\n"),
            };
            written.is_ok().then(|| text.windows(2).rposition(|pair| pair == b"TT")).flatten()
        })
    }

    /// Questions for what is near the same clients.
    pub fn questions(run: u32, clients: usize, radius: &str, bound: &str) -> Self {
        Self::compose(run, clients, |text, id, _| {
            let _ = writeln!(text, "WHATSAT {id} {radius} {bound}");
            None
        })
    }

    /// Composes each client's text with `compose`, which says where the time's last two bytes stand.
    fn compose(
        run: u32,
        clients: usize,
        compose: impl Fn(&mut Vec<u8>, &str, &str) -> Option<usize>,
    ) -> Self {
        let (mut texts, mut text) = (Vec::new(), Vec::new());
        let (mut id_at, mut time_at) = (0, None);
        for client in 0..clients.clamp(1, CLIENTS_MAX) {
            let id = format!("load-{:06x}-{client:06}", run & 0x00ff_ffff);
            text.clear();
            let time_ends = compose(&mut text, &id, &place(client));
            time_at = time_ends.map(|end| end + 2 - TIME_BYTES);
            id_at = text.windows(id.len()).position(|part| part == id.as_bytes()).unwrap_or(0);
            texts.extend_from_slice(&text);
        }
        Self { texts, length: text.len(), id_at, time_at }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.texts.len() / self.length.max(1)
    }

    /// The bytes of each request.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Appends the request of one client at this time.
    pub fn write(&self, client: usize, time: &[u8; TIME_BYTES], out: &mut Vec<u8>) {
        let text = self.text(client);
        match self.time_at.and_then(|at| text.split_at_checked(at)) {
            Some((before, rest)) => {
                out.extend_from_slice(before);
                out.extend_from_slice(time);
                out.extend_from_slice(rest.get(TIME_BYTES..).unwrap_or_default());
            }
            None => out.extend_from_slice(text),
        }
    }

    /// What stands between the command word and the time: the client's ID, its place, and the spaces
    /// behind both. Empty for requests without a time.
    pub fn fields(&self, client: usize) -> &[u8] {
        self.time_at.and_then(|at| self.text(client).get(self.id_at..at)).unwrap_or_default()
    }

    /// The client's ID.
    pub fn id(&self, client: usize) -> &[u8] {
        let rest = self.text(client).get(self.id_at..).unwrap_or_default();
        rest.split(u8::is_ascii_whitespace).next().unwrap_or_default()
    }

    fn text(&self, client: usize) -> &[u8] {
        let start = client * self.length;
        self.texts.get(start..start + self.length).unwrap_or_default()
    }
}

/// Where a client is: spread over the world, away from its edges, always of the same length.
fn place(client: usize) -> String {
    // Steps that share no factor with the widths visit every degree before they repeat one.
    let (latitude, longitude) = (client * 37 % 60, client * 101 % 160);
    let north = if client.is_multiple_of(3) { '-' } else { '+' };
    let east = if client.is_multiple_of(2) { '-' } else { '+' };
    let fraction = client % 1_000_000;
    format!("{north}{latitude:02}.{fraction:06}{east}{longitude:03}.{fraction:06}")
}

/// The time of the next request: the wall clock, and always later than the one before.
///
/// A digit is counted up in the text itself; the whole number is written anew only when the clock has
/// gone on, once a turn.
pub struct Stamp {
    nanos: u64,
    text: [u8; TIME_BYTES],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { nanos: 0, text: *b"0000000000.000000000" }
    }
}

impl Stamp {
    /// Goes on to the time of the wall clock, in nanoseconds since 1970, unless it is there already:
    /// times never fall.
    pub fn set(&mut self, unix_nanos: u64) {
        if unix_nanos <= self.nanos {
            return;
        }
        self.nanos = unix_nanos;
        let mut rest = unix_nanos;
        for digit in self.text.iter_mut().rev().filter(|byte| **byte != b'.') {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// The next time, a nanosecond after the last.
    pub fn next(&mut self) -> [u8; TIME_BYTES] {
        self.nanos += 1;
        for digit in self.text.iter_mut().rev().filter(|byte| **byte != b'.') {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::command::{Command, parse_command};

    fn written(requests: &Requests, client: usize) -> String {
        let mut out = Vec::new();
        requests.write(client, b"1479413884.392014450", &mut out);
        assert_eq!(out.len(), requests.length());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_has_its_words_and_the_same_id_place_and_time() {
        let of = |kind| written(&Requests::reports(kind, 0xbeef, 8), 7);
        let (id, value) = ("load-00beef-000007", "+19.000007+067.000007 1479413884.392014450");
        assert_eq!(of(Kind::Iamat), format!("IAMAT {id} {value}\n"));
        assert_eq!(of(Kind::Echo), of(Kind::Iamat));
        let set = format!("*3\r\n$3\r\nSET\r\n$18\r\n{id}\r\n$42\r\n{value}\r\n");
        assert_eq!(of(Kind::Redis), set);
        assert_eq!(of(Kind::Memcached), format!("set {id} 0 0 42\r\n{value}\r\n"));
        assert_eq!(value.len(), 42);
        let questions = Requests::questions(0xbeef, 8, "10", "5");
        assert_eq!(written(&questions, 7), format!("WHATSAT {id} 10 5\n"));
        assert_eq!(questions.id(7), id.as_bytes());
    }

    #[test]
    fn fields_are_what_the_reply_repeats() {
        let requests = Requests::reports(Kind::Iamat, 1, 3);
        assert_eq!(requests.fields(2), b"load-000001-000002 +14.000002-042.000002 ");
        assert_eq!(Requests::questions(1, 3, "1", "1").fields(2), b"");
    }

    #[test]
    fn every_request_is_a_command_and_no_id_comes_twice() {
        let requests = Requests::reports(Kind::Iamat, u32::MAX, 2000);
        let mut ids = std::collections::HashSet::new();
        for client in 0..requests.clients() {
            let line = written(&requests, client);
            assert!(
                matches!(parse_command(line.trim_end().as_bytes()), Some(Command::IAmAt(_))),
                "{line}"
            );
            assert!(ids.insert(requests.id(client).to_vec()), "{line}");
        }
        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn more_clients_than_there_may_be_are_cut_to_the_bound() {
        assert_eq!(Requests::questions(1, CLIENTS_MAX + 1, "1", "1").clients(), CLIENTS_MAX);
        assert_eq!(Requests::reports(Kind::Iamat, 1, 0).clients(), 1);
    }

    #[test]
    fn times_rise_by_a_nanosecond_and_follow_the_clock_but_never_fall() {
        let mut stamp = Stamp::default();
        stamp.set(1_479_413_884_999_999_998);
        assert_eq!(&stamp.next(), b"1479413884.999999999");
        assert_eq!(&stamp.next(), b"1479413885.000000000");
        assert_eq!(&stamp.next(), b"1479413885.000000001");
        stamp.set(1_479_413_885_000_000_000);
        assert_eq!(&stamp.next(), b"1479413885.000000002");
        stamp.set(1_479_413_999_000_000_000);
        assert_eq!(&stamp.next(), b"1479413999.000000001");
    }
}
