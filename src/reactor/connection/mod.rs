//! One connection: its phase, its two directions, and what a readiness means for it.
//!
//! It moves bytes and says what it heard; it never calls a handler and never frees itself. The turn
//! (`turn.rs`) asks it to hear and to flush, `Io` records what handlers want of it.

pub(super) mod stream;

use crate::reactor::connection::stream::{Flushed, Output, Received, Spare, Stream, receive};
use crate::reactor::io::watch::Idle;
use crate::reactor::net::connect::Dial;
use crate::reactor::net::peer::Kept;
use crate::reactor::net::probation::Standing;
use crate::reactor::timers::DelayedCall;
use crate::reactor::tls::session::{TLS_HANDSHAKE, TlsServer, TlsSession};
use crate::reactor::{Peer, Reason};

/// Where a connection is in its life. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::reactor) enum Phase {
    /// A thread is asking for the name's addresses, and none is known yet.
    LookingUp,
    /// The kernel is connecting to one or more addresses, each in an attempt of its own.
    Connecting,
    /// Accepted, and the first byte is to tell whether it speaks TLS.
    Undecided,
    /// TLS is shaking hands.
    Handshaking,
    /// The protocol hears and speaks.
    Open,
    /// `lose_connection` was called: the protocol hears nothing more, output still goes out.
    Losing,
    /// Our FIN is sent, after an alert perhaps. Input is thrown away until theirs comes.
    Lingering,
    /// In the sweep's queue. Nothing reaches it any more.
    Ended,
}

/// What one reading brought, in the order in which the protocol is to be told.
#[derive(Default)]
pub(in crate::reactor) struct Heard {
    /// The handshake is done: `connection_made`.
    pub made: bool,
    /// `data_received` with this.
    pub data: Data,
    /// `read_closed` or `read_truncated`.
    pub end: Option<End>,
}

/// How the peer's side of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reactor) enum End {
    /// With a FIN, and over TLS with `close_notify` before it.
    InOrder,
    /// Over TLS with a FIN alone, which anybody in between can send.
    Truncated,
}

/// Where the received bytes lie.
#[derive(Default)]
pub(in crate::reactor) enum Data {
    #[default]
    None,
    /// The first so many bytes of the read buffer.
    Scratch(usize),
    /// All of the decrypted text.
    Plain,
}

/// What stands between the socket and the protocol.
pub(in crate::reactor) enum Layer {
    /// Nothing: it speaks text.
    Plain,
    /// What is needed until the connection is made, on the dialling side.
    Dial(Box<Dial>),
    /// How it would speak TLS, until it is known whether it does.
    Undecided(TlsServer),
    Tls(Box<TlsSession>),
    /// Nothing any more: TLS has failed, and this is why the connection ends when it has lingered.
    Failed(Box<Reason>),
}

/// One connection. Ten thousand idle ones should cost little, so what few of them have is boxed.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub(in crate::reactor) struct Connection {
    /// `None` until one of the dial's attempts has connected.
    pub stream: Option<Stream>,
    pub peer: Kept,
    pub phase: Phase,
    pub output: Output,
    pub layer: Layer,
    /// What will happen if the present phase goes on for too long. While connecting and shaking hands:
    /// that this is given up. Open: a look whether the peer takes its output, only while some of it
    /// waits. Losing: the same look, always. Lingering: the end.
    pub timer: Option<DelayedCall>,
    /// Where silence has a bound.
    pub idle: Option<Box<Idle>>,
    /// Replies that are due but not written yet; see `Io::owe`.
    pub owed: u32,
    /// Whose room it takes, if a listener of ours accepted it: then an orderly stop waits for it.
    pub standing: Option<Standing>,
    /// The kernel may have more to read. Kept here because its edge comes only once.
    pub readable: bool,
    /// The kernel may take more output.
    pub writable: bool,
    /// The kernel has announced something that a short read does not reach: the stream's end, an
    /// error, or a mark of urgent data, at which every read stops.
    pub announced: bool,
    /// The stream's end has been read.
    pub read_closed: bool,
    /// The handler does not want to hear at present.
    pub paused: bool,
    /// The output has reached its high-water mark and not come down to the low one.
    pub choked: bool,
    /// Makes output of its own accord: the high-water mark stops its producing, not its reading.
    pub producer: bool,
    /// Read and flushed before the others, and not bound to read or to speak; see `Io::set_urgent`.
    pub urgent: bool,
    /// Stands in the queue of connections to read.
    pub in_ready: bool,
    /// Stands in a queue of connections to flush.
    pub in_writes: bool,
}

impl Connection {
    pub fn new(stream: Option<Stream>, peer: Peer, phase: Phase) -> Self {
        Self {
            stream,
            peer: peer.into(),
            phase,
            output: Output::default(),
            layer: Layer::Plain,
            timer: None,
            idle: None,
            owed: 0,
            standing: None,
            readable: false,
            writable: true,
            announced: false,
            read_closed: false,
            paused: false,
            choked: false,
            producer: false,
            urgent: false,
            in_ready: false,
            in_writes: false,
        }
    }

    pub fn tls(&self) -> Option<&TlsSession> {
        if let Layer::Tls(tls) = &self.layer { Some(tls) } else { None }
    }

    pub fn dial(&mut self) -> Option<&mut Dial> {
        if let Layer::Dial(dial) = &mut self.layer { Some(dial) } else { None }
    }

    pub fn take_dial(&mut self) -> Option<Box<Dial>> {
        match std::mem::replace(&mut self.layer, Layer::Plain) {
            Layer::Dial(dial) => Some(dial),
            other => {
                self.layer = other;
                None
            }
        }
    }

    /// Output that the kernel has not taken yet, bytes.
    pub fn backlog(&self) -> usize {
        self.output.len() + self.tls().map_or(0, |tls| tls.records.len())
    }

    /// Output that may be sent and that the kernel does not take, bytes: its buffers for this connection
    /// are full.
    pub fn unread(&self) -> usize {
        let sealed = self.tls().map_or(0, |tls| tls.records.len());
        if self.writable { 0 } else { self.output.unsent().len() + sealed }
    }

    /// How many bytes the kernel has taken, to be compared between two moments of one wait.
    pub fn sent_bytes(&self) -> u64 {
        self.tls().map_or(&self.output, |tls| &tls.records).sent_bytes()
    }

    /// Whether a write can still reach the peer: before the end, and after `lose_connection` only what
    /// was owed by then.
    pub fn takes_output(&self) -> bool {
        self.phase <= Phase::Open || (self.phase == Phase::Losing && self.owed > 0)
    }

    /// Whether reading makes sense now. A connection that nobody hears any more is still read, to
    /// throw the input away and to find its end.
    pub fn wants_reading(&self) -> bool {
        let held_back = self.paused || (self.choked && !self.producer);
        match self.phase {
            Phase::LookingUp | Phase::Connecting | Phase::Ended => false,
            Phase::Undecided | Phase::Open => !held_back,
            Phase::Handshaking | Phase::Losing | Phase::Lingering => true,
        }
    }

    /// Reads once.
    pub fn receive(&mut self, scratch: &mut [u8]) -> Received {
        let announced = self.announced;
        self.stream.as_mut().map_or(Received::Nothing, |stream| receive(stream, scratch, announced))
    }

    /// Says what it means that this was received, with what lies at the beginning of `scratch`. The error
    /// ends the connection.
    pub fn hear(
        &mut self,
        received: Received,
        scratch: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Heard, Reason> {
        match received {
            Received::Nothing => {
                self.readable = false;
                Ok(Heard::default())
            }
            Received::Again => Ok(Heard::default()),
            Received::Failed(e) => Err(Reason::Broken(e.to_string())),
            Received::Closed => self.hear_end(),
            Received::Data { length, drained } => {
                self.readable = !drained;
                let made = self.phase == Phase::Undecided && self.decide(scratch.first())?;
                match (self.phase, &self.layer) {
                    (Phase::Losing | Phase::Lingering, _) => Ok(Heard::default()),
                    (_, Layer::Tls(_)) => {
                        self.hear_records(scratch.get(..length).unwrap_or(&[]), plain)
                    }
                    (_, _) => Ok(Heard { made, data: Data::Scratch(length), end: None }),
                }
            }
        }
    }

    /// The first byte has come. Of TLS it is the type of a handshake's record (RFC 8446, section 5.1), a
    /// control character that no text begins with. Answers whether the connection is made with that.
    fn decide(&mut self, first: Option<&u8>) -> Result<bool, Reason> {
        self.phase = Phase::Open;
        let layer = std::mem::replace(&mut self.layer, Layer::Plain);
        if let (Layer::Undecided(tls), Some(&TLS_HANDSHAKE)) = (layer, first) {
            self.layer = Layer::Tls(Box::new(TlsSession::server(&tls).map_err(Reason::Tls)?));
            self.phase = Phase::Handshaking;
        }
        Ok(self.phase == Phase::Open)
    }

    fn hear_records(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Heard, Reason> {
        let Layer::Tls(tls) = &mut self.layer else { return Ok(Heard::default()) };
        plain.clear();
        let closed = match tls.receive(bytes, plain) {
            Ok(closed) => closed,
            Err(words) => {
                // The alert tells the other side what was wrong, where rustls has made one. One attempt;
                // output that is not sealed yet stays behind: it would leave before the turn's end.
                if let Some(stream) = &mut self.stream {
                    tls.records.flush_to(stream);
                }
                return Err(Reason::Tls(words));
            }
        };
        let made = self.phase == Phase::Handshaking && !tls.is_handshaking();
        if made {
            self.phase = Phase::Open;
        }
        // Whatever follows the `close_notify` is not heard, nor is it told again.
        let is_end = closed && !std::mem::replace(&mut self.read_closed, true);
        let end = is_end.then_some(End::InOrder);
        let data = if plain.is_empty() { Data::None } else { Data::Plain };
        Ok(Heard { made, data, end })
    }

    /// The end of the stream, which is an input like any other.
    fn hear_end(&mut self) -> Result<Heard, Reason> {
        self.readable = false;
        if self.read_closed {
            // Told before, or said by TLS in its own words. After a stream's end a read no longer
            // tells of a reset.
            return self.failure().map_or(Ok(Heard::default()), Err);
        }
        self.read_closed = true;
        match self.phase {
            // Whoever says nothing speaks no TLS.
            Phase::Undecided => {
                Ok(Heard { made: self.decide(None)?, end: Some(End::InOrder), data: Data::None })
            }
            Phase::Handshaking => {
                Err(Reason::Tls("the peer hung up during the TLS handshake".to_owned()))
            }
            Phase::Open => {
                let end = if self.tls().is_some() { End::Truncated } else { End::InOrder };
                Ok(Heard { end: Some(end), ..Heard::default() })
            }
            _ => Ok(Heard::default()),
        }
    }

    /// The error that the kernel keeps for this socket, if any: a reset that no read has told.
    pub fn failure(&self) -> Option<Reason> {
        let error = self.stream.as_ref()?.take_error().ok().flatten()?;
        Some(Reason::Broken(error.to_string()))
    }

    /// One attempt to hand the output to the kernel. The error ends the connection.
    pub fn flush(&mut self, spare: &mut Spare) -> Result<(), Reason> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.writable) else { return Ok(()) };
        let output = match &mut self.layer {
            Layer::Plain | Layer::Dial(_) | Layer::Undecided(_) | Layer::Failed(_) => {
                &mut self.output
            }
            Layer::Tls(tls) => {
                tls.seal(&mut self.output).map_err(Reason::Tls)?;
                if self.phase == Phase::Losing && self.owed == 0 && self.output.is_empty() {
                    // The last record, and part of the output: without it the peer must take all that
                    // it got for truncated.
                    tls.send_close_notify();
                }
                self.output.release(spare);
                &mut tls.records
            }
        };
        match output.flush_to(stream) {
            // While the output is watched, the buffer remembers how much of it has been sent.
            Flushed::All if self.timer.is_some() => {}
            Flushed::All => output.release(spare),
            Flushed::Part => self.writable = false,
            Flushed::Failed(e) => return Err(Reason::Broken(e.to_string())),
        }
        Ok(())
    }

    /// TLS has failed, and what could be sent of an alert is sent: our FIN goes after it, and what the peer
    /// still sends is thrown away. To close at once, with input unread, would make the kernel send a reset,
    /// which can destroy the alert on its way. Gives why not, when there is nothing to linger for.
    pub fn linger_after(&mut self, why: Reason) -> Result<(), Reason> {
        let is_of_tls = matches!(why, Reason::Tls(_)) && self.tls().is_some();
        let stream = self.stream.as_ref().filter(|_| is_of_tls && !self.read_closed);
        let Some(Ok(())) = stream.map(Stream::close_write_side) else { return Err(why) };
        (self.layer, self.output) = (Layer::Failed(Box::new(why)), Output::default());
        self.phase = Phase::Lingering;
        Ok(())
    }

    /// Why it has ended: what TLS failed for, or else `why`.
    pub fn reason(&mut self, why: Reason) -> Reason {
        match std::mem::replace(&mut self.layer, Layer::Plain) {
            Layer::Failed(earlier) => *earlier,
            layer => {
                self.layer = layer;
                why
            }
        }
    }

    /// Whether the output has just come down to the low-water mark after having been above the high one.
    pub fn has_drained(&mut self, low_water_bytes: usize) -> bool {
        let drained = self.choked && self.backlog() <= low_water_bytes;
        if drained {
            self.choked = false;
        }
        drained
    }

    /// The one ending rule: asked to go, nothing left to send, no reply owed.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Losing && self.owed == 0 && self.backlog() == 0
    }
}
