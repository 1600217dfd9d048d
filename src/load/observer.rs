//! The connections of the load with updates: one that tells, and one to each other server that looks.
//!
//! Both check every reply. When something is to be told or looked for, the application (`updates.rs`) says
//! so by an event; what has been answered or seen they tell it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::reply::{self, ANSWER_MAX_BYTES, Expected, shown};
use super::updates::{Event, Stage, Updates};
use crate::reactor::{ConnectOptions, Ctx, Io, Protocol, Reason, Token};

/// Begins a load with updates: a connection to each server.
pub fn start(app: &mut Updates, io: &mut Io<Updates>) {
    let connect = |address: SocketAddr, protocol: Box<dyn Protocol<Updates>>, io: &mut Io<_>| {
        let options = ConnectOptions::default();
        io.connect_tcp(&address.ip().to_string(), address.port(), options, protocol)
    };
    let sender = connect(app.plan.address, Box::<Origin>::default(), io);
    let others = app.plan.to.iter();
    let observers =
        others.map(|address| connect(*address, Box::new(Observer::new(*address)), io)).collect();
    app.begin(sender, observers, io);
}

/// The connection to the first server, which all updates are told to.
#[derive(Default)]
pub struct Origin {
    waiting: VecDeque<(usize, [u8; 20])>,
    input: Vec<u8>,
    server: Vec<u8>,
}

impl Origin {
    fn send(&mut self, me: Token, cx: &mut Ctx<'_, Updates>) {
        let app = &mut *cx.app;
        cx.io.write_with(me, |out| {
            while let Some((client, time)) = app.next_update(self.waiting.len()) {
                app.requests.write(client, &time, out);
                self.waiting.push_back((client, time));
            }
        });
    }

    fn take_replies(&mut self, cx: &mut Ctx<'_, Updates>) -> Result<(), String> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            let (client, time) = self
                .waiting
                .front()
                .ok_or_else(|| format!("a reply too many to an update: {}", shown(rest)))?;
            let fields = cx.app.requests.fields(*client);
            let expected = Expected::At { server: &self.server, fields, time };
            let Some(length) = reply::check(expected, rest)? else { break };
            let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if self.server.is_empty() {
                self.server = reply::server_name(line).unwrap_or_default().to_vec();
            }
            cx.app.answered(*client, line, cx.io);
            self.waiting.pop_front();
            rest = after;
        }
        self.input.extend_from_slice(rest);
        Ok(())
    }
}

impl Protocol<Updates> for Origin {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Updates>) {
        // It is read whatever it has to say; see `Caller`.
        cx.io.register_producer(me);
        cx.app.connected(cx.io);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Updates>) {
        self.input.extend_from_slice(data);
        match self.take_replies(cx) {
            Ok(()) => self.send(me, cx),
            Err(why) => cx.app.fail(why),
        }
    }

    fn event_received(&mut self, me: Token, _event: Event, cx: &mut Ctx<'_, Updates>) {
        self.send(me, cx);
    }

    fn read_closed(&mut self, _me: Token, cx: &mut Ctx<'_, Updates>) {
        cx.app.lost(&Reason::Done);
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Updates>) {
        cx.app.lost(why);
    }
}

/// What an observer is waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Nothing: it has not asked.
    Nothing,
    /// The first line of a reply.
    Head,
    /// The rest of a reply, up to its empty line; then `ask` says whether to ask again.
    Rest { ask: bool },
}

/// The connection to another server, which is asked until it has what is looked for.
pub struct Observer {
    address: SocketAddr,
    waiting: Waiting,
    input: Vec<u8>,
    question: Vec<u8>,
}

impl Observer {
    /// The one that asks this server.
    pub fn new(address: SocketAddr) -> Self {
        let (input, question) = (Vec::new(), Vec::new());
        Self { address, waiting: Waiting::Nothing, input, question }
    }

    /// Asks for what is looked for now. The smallest question there is: within a kilometre, one place.
    fn ask(&mut self, me: Token, cx: &mut Ctx<'_, Updates>) {
        self.question.clear();
        for part in [&b"WHATSAT "[..], cx.app.requests.id(cx.app.sought), b" 1 1\n"] {
            self.question.extend_from_slice(part);
        }
        self.waiting = Waiting::Head;
        cx.io.write(me, &self.question);
    }

    /// Takes what has come, step by step; `false` when more has to come.
    fn step(&mut self, me: Token, cx: &mut Ctx<'_, Updates>) -> Result<bool, String> {
        match self.waiting {
            Waiting::Nothing if self.input.is_empty() => Ok(false),
            Waiting::Nothing => Err(format!("a reply too many: {}", shown(&self.input))),
            Waiting::Rest { ask } => {
                let Some(end) = self.input.windows(2).position(|pair| pair == b"\n\n") else {
                    let long = self.input.len() > ANSWER_MAX_BYTES;
                    return if long { Err("an answer without end".to_owned()) } else { Ok(false) };
                };
                self.input.drain(..end + 2);
                self.waiting = Waiting::Nothing;
                if ask {
                    self.ask(me, cx);
                }
                Ok(true)
            }
            Waiting::Head => {
                let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                    let long = self.input.len() > reply::REPLY_LINE_MAX_BYTES;
                    return if long { Err("a line without end".to_owned()) } else { Ok(false) };
                };
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.head(&line, me, cx).map(|()| true)
            }
        }
    }

    fn head(&mut self, line: &[u8], me: Token, cx: &mut Ctx<'_, Updates>) -> Result<(), String> {
        let (wanted, sampling) = (cx.app.line(), cx.app.stage == Stage::Sampling);
        let unknown = line.strip_prefix(b"? ") == Some(&self.question);
        let of_this_client = line.starts_with(b"AT ")
            && line.split(|byte| *byte == b' ').nth(3) == Some(cx.app.requests.id(cx.app.sought));
        if line == wanted {
            self.waiting = Waiting::Rest { ask: false };
            cx.app.seen(cx.io);
        } else if sampling || !(unknown || of_this_client) {
            let (wanted, came) = (shown(wanted), shown(line));
            return Err(format!("a wrong reply\n  expected: {wanted}\n  came:     {came}"));
        } else if unknown {
            self.ask(me, cx);
        } else {
            self.waiting = Waiting::Rest { ask: true };
        }
        Ok(())
    }
}

impl Protocol<Updates> for Observer {
    fn connection_made(&mut self, _me: Token, cx: &mut Ctx<'_, Updates>) {
        cx.app.connected(cx.io);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Updates>) {
        self.input.extend_from_slice(data);
        let outcome = loop {
            match self.step(me, cx) {
                Ok(true) => {}
                other => break other,
            }
        };
        if let Err(why) = outcome {
            cx.app.fail(format!("the server at {}: {why}", self.address));
        }
    }

    fn event_received(&mut self, me: Token, _event: Event, cx: &mut Ctx<'_, Updates>) {
        match self.waiting {
            Waiting::Nothing => self.ask(me, cx),
            // The answer to the last question is not whole yet.
            Waiting::Rest { .. } => self.waiting = Waiting::Rest { ask: true },
            Waiting::Head => {}
        }
    }

    fn read_closed(&mut self, _me: Token, cx: &mut Ctx<'_, Updates>) {
        cx.app.lost(&Reason::Done);
    }

    fn connection_lost(&mut self, _me: Token, why: &Reason, cx: &mut Ctx<'_, Updates>) {
        cx.app.lost(why);
    }
}
