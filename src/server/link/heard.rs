//! The connection that a neighbour dialled: its changes come in, heartbeats go out.
//!
//! It begins when a HELLO has been believed, see [`trust`](crate::server::trust). What a line means, `herd`
//! says; a line that means nothing ends the connection. Called by the reactor.

use super::lines::{beat, cut, level_of, write};
use super::name;
use crate::herd::links::{NeighbourId, Taken};
use crate::herd::liveness::Liveness;
use crate::reactor::{About, Ctx, Protocol, Reason, Token};
use crate::server::logging::Text;
use crate::server::{Event, Server};
use crate::wire::line::{Input, LineReceiver};
use crate::wire::peer::PEER_LINE_MAX_BYTES;

/// A connection that a neighbour dialled: its changes come in, heartbeats go out.
pub struct Heard {
    neighbour: NeighbourId,
    name: String,
    lines: LineReceiver,
    liveness: Option<Liveness>,
    /// What came behind the HELLO in the same read.
    input: Vec<u8>,
    /// Lines that were news here.
    news: u64,
}

impl Heard {
    /// For a neighbour that has been let in.
    pub fn new(neighbour: NeighbourId) -> Self {
        Self {
            neighbour,
            name: String::new(),
            lines: LineReceiver::raw(PEER_LINE_MAX_BYTES),
            liveness: None,
            input: Vec::new(),
            news: 0,
        }
    }

    /// The same with input that has been read already.
    #[must_use]
    pub fn with_input(self, input: &[u8]) -> Self {
        Self { input: input.to_vec(), ..self }
    }

    fn lines_received(&mut self, me: Token, mut data: &[u8], cx: &mut Ctx<'_, Server>) {
        cx.app.herd.look_ahead(data, usize::MAX);
        while let Some(input) = self.lines.next(&mut data) {
            let Input::Line(line) = input else { return cut(me, &self.name, "too long", cx) };
            log::log!(level_of(line), "{} > {}", self.name, Text(line));
            match cx.app.herd.dialler_line_received(self.neighbour, line) {
                Ok(Taken::Changed) => self.news += 1,
                Ok(_) => {}
                Err(nonsense) => {
                    let (name, text) = (&self.name, Text(line));
                    let level = cx.app.links.cut_level(self.neighbour, cx.io.now());
                    let words = format_args!("link from {name} is cut: {nonsense}: {text}");
                    cx.io.warn_at(level, "link is cut", About::Connection(me), line.len(), words);
                    return cx.io.abort_connection(me);
                }
            }
        }
        cx.app.warn_of_strangers();
    }
}

impl Protocol<Server> for Heard {
    fn connection_made(&mut self, me: Token, cx: &mut Ctx<'_, Server>) {
        let id = self.neighbour;
        name(&cx.app.herd, id).clone_into(&mut self.name);
        cx.io.set_urgent(me);
        let Some(link) = cx.app.links.links.get_mut(id.index()) else {
            return cx.io.abort_connection(me);
        };
        // Of two connections the later one is the neighbour's present one; the marks of the earlier
        // might belong to an earlier start of it.
        if let Some(earlier) = link.heard.replace(me) {
            cx.io.abort_connection(earlier);
        }
        link.heard_at = cx.io.now();
        cx.app.links.expect_missing(&cx.app.herd, cx.io);
        log::info!("link from {} is up", self.name);
        write(me, &self.name, cx.io, |output| cx.app.herd.write_resume(id, output));
        // A neighbour that dials in is back: no need to wait before dialling it.
        cx.app.links.dial(&cx.app.herd, id, cx.io);
        let mut liveness = Liveness::new(cx.io.now());
        beat(me, &self.name, &mut liveness, cx.io, |_| {});
        self.liveness = Some(liveness);
        let input = std::mem::take(&mut self.input);
        self.lines_received(me, &input, cx);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(cx.io.now());
        }
        if let Some(link) = cx.app.links.links.get_mut(self.neighbour.index()) {
            link.heard_at = cx.io.now();
        }
        self.lines_received(me, data, cx);
    }

    fn event_received(&mut self, me: Token, event: Event, cx: &mut Ctx<'_, Server>) {
        // What was meant for the client that this connection once was is nothing to a link.
        let Event::Beat = event else { return };
        let (herd, id) = (&cx.app.herd, self.neighbour);
        let Some(liveness) = &mut self.liveness else { return };
        beat(me, &self.name, liveness, cx.io, |output| herd.write_here(id, output));
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut Ctx<'_, Server>) {
        if let Some(link) = cx.app.links.links.get_mut(self.neighbour.index())
            && link.heard == Some(me)
        {
            link.heard = None;
        }
        cx.app.links.expect_missing(&cx.app.herd, cx.io);
        log::info!("link from {} is down: {why}; it brought {} news", self.name, self.news);
    }
}
