//! What runs on the reactor in its tests: an application that writes down what happens, and protocols
//! made of closures.

use std::collections::BTreeMap;

use super::*;

/// A note of data shows at most so many bytes of it.
const SHOWN_BYTES: usize = 24;

pub type BenchCtx<'a> = Ctx<'a, Notes>;

/// The application: it writes down what happens.
#[derive(Default)]
pub struct Notes {
    /// Who was told what, in order: `server: made`.
    pub heard: Vec<String>,
    /// All that each script was handed.
    pub bytes: BTreeMap<&'static str, Vec<u8>>,
    /// Every connection that was made, by its script's name.
    pub made: Vec<(&'static str, Token)>,
    pub at_event: Option<fn(&mut Notes, &'static str, &mut Io<Notes>)>,
    pub at_turn_end: Option<fn(&mut Notes, &mut Io<Notes>)>,
}

impl Notes {
    pub fn note(&mut self, who: &str, what: &str) {
        self.heard.push(format!("{who}: {what}"));
    }

    pub fn token(&self, who: &str) -> Token {
        let mut made = self.made.iter().rev();
        made.find(|(name, _)| *name == who).expect("that connection was never made").1
    }

    pub fn bytes(&self, who: &str) -> &[u8] {
        self.bytes.get(who).map_or(&[], Vec::as_slice)
    }

    pub fn count(&self, note: &str) -> usize {
        self.heard.iter().filter(|heard| *heard == note).count()
    }
}

impl Application for Notes {
    type Event = &'static str;

    fn event_received(&mut self, event: &'static str, io: &mut Io<Self>) {
        self.note("app", event);
        if let Some(act) = self.at_event {
            act(self, event, io);
        }
    }

    fn turn_end(&mut self, io: &mut Io<Self>) {
        if let Some(act) = self.at_turn_end {
            act(self, io);
        }
    }
}

type Act = Box<dyn FnMut(Token, &mut BenchCtx<'_>)>;
type DataAct = Box<dyn FnMut(Token, &[u8], &mut BenchCtx<'_>)>;
type EventAct = Box<dyn FnMut(Token, &'static str, &mut BenchCtx<'_>)>;

/// A protocol made of closures. Whatever it is told is noted first.
pub struct Script {
    name: &'static str,
    made: Act,
    data: DataAct,
    read_closed: Act,
    read_truncated: Act,
    event: EventAct,
    resume: Act,
    lost: Act,
}

impl Script {
    /// Listens, says nothing, and goes when its peer has finished.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            made: Box::new(|_, _| {}),
            data: Box::new(|_, _, _| {}),
            read_closed: Box::new(|me, cx| cx.io.lose_connection(me)),
            read_truncated: Box::new(|me, cx| cx.io.end_truncated(me)),
            event: Box::new(|_, _, _| {}),
            resume: Box::new(|_, _| {}),
            lost: Box::new(|_, _| {}),
        }
    }

    pub fn echo(name: &'static str) -> Self {
        Self::new(name).on_data(|me, data, cx| {
            cx.io.write(me, data);
        })
    }

    pub fn on_made(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.made = Box::new(act);
        self
    }

    pub fn on_data(mut self, act: impl FnMut(Token, &[u8], &mut BenchCtx<'_>) + 'static) -> Self {
        self.data = Box::new(act);
        self
    }

    pub fn on_read_closed(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.read_closed = Box::new(act);
        self
    }

    pub fn on_read_truncated(
        mut self,
        act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static,
    ) -> Self {
        self.read_truncated = Box::new(act);
        self
    }

    pub fn on_event(
        mut self,
        act: impl FnMut(Token, &'static str, &mut BenchCtx<'_>) + 'static,
    ) -> Self {
        self.event = Box::new(act);
        self
    }

    pub fn on_resume(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.resume = Box::new(act);
        self
    }

    pub fn on_lost(mut self, act: impl FnMut(Token, &mut BenchCtx<'_>) + 'static) -> Self {
        self.lost = Box::new(act);
        self
    }
}

impl Protocol<Notes> for Script {
    fn connection_made(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "made");
        cx.app.made.push((self.name, me));
        (self.made)(me, cx);
    }

    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut BenchCtx<'_>) {
        assert!(!data.is_empty(), "data of no bytes");
        let start = String::from_utf8_lossy(&data[..data.len().min(SHOWN_BYTES)]);
        cx.app.note(self.name, &format!("data {}", start.trim_end()));
        cx.app.bytes.entry(self.name).or_default().extend_from_slice(data);
        (self.data)(me, data, cx);
    }

    fn read_closed(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "read closed");
        (self.read_closed)(me, cx);
    }

    fn read_truncated(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "read truncated");
        (self.read_truncated)(me, cx);
    }

    fn event_received(&mut self, me: Token, event: &'static str, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, event);
        (self.event)(me, event, cx);
    }

    fn resume_producing(&mut self, me: Token, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, "resume");
        (self.resume)(me, cx);
    }

    fn connection_lost(&mut self, me: Token, why: &Reason, cx: &mut BenchCtx<'_>) {
        cx.app.note(self.name, &format!("lost, {why}"));
        (self.lost)(me, cx);
    }
}

/// Makes scripts with a closure; `None` closes the connection at once.
pub struct Scripts<F>(pub F);

impl<F: FnMut() -> Option<Script>> Factory<Notes> for Scripts<F> {
    fn build_protocol(
        &mut self,
        _: Peer,
        _: &mut BenchCtx<'_>,
    ) -> Option<Box<dyn Protocol<Notes>>> {
        (self.0)().map(|script| Box::new(script) as Box<dyn Protocol<Notes>>)
    }
}
