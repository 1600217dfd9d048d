//! Tests of what is pure here: what is asked. Of what takes too long to wait for, on a reactor whose
//! clock is set by hand. And of crowds that ask the same.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};

use super::pool::{CONNECTIONS_MAX, Place};
use super::*;
use crate::reactor::{
    Application, Ctx, Factory, ListenOptions, Now, Peer, Protocol, Reactor, Speech, TlsServer,
};
use crate::server::alone;
use crate::wire::decimal::parse_radius;
use crate::wire::http::response::Response;

#[test]
fn a_question_holds_plain_numbers() {
    for (location, radius, expected) in [
        ("+34.068930-118.445127", "10", "34.068930,-118.445127 within 10000 m"),
        ("-00.500000+007.250000", "0.0015", "-0.500000,7.250000 within 1.5 m"),
        ("-0+000", "050.000", "0,0 within 50000 m"),
    ] {
        let radius = parse_radius(radius.as_bytes()).unwrap();
        assert_eq!(question(location.as_bytes(), radius).to_string(), expected);
    }
    let same = |radius: &str| question(b"+1+1", parse_radius(radius.as_bytes()).unwrap());
    assert_eq!(same("10"), same("10.0"));
    assert_ne!(same("10"), same("10.001"));
}

/// An upstream on a reactor of its own: the connections that it has, of which it answers everything.
struct Other(usize);

impl Application for Other {
    type Event = ();
}

impl Factory<Other> for Other {
    fn build_protocol(
        &mut self,
        _: Peer,
        cx: &mut Ctx<'_, Other>,
    ) -> Option<Box<dyn Protocol<Other>>> {
        cx.app.0 += 1;
        Some(Box::new(Other(0)))
    }
}

impl Protocol<Other> for Other {
    fn data_received(&mut self, me: Token, _: &[u8], cx: &mut Ctx<'_, Other>) {
        cx.io.write(me, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    }

    /// Only an end in order is told here.
    fn read_closed(&mut self, me: Token, cx: &mut Ctx<'_, Other>) {
        cx.app.0 -= 1;
        cx.io.lose_connection(me);
    }
}

/// Turns of both loops, the server's at `time`, until `done`.
fn turn(
    server: &mut Reactor<Server>,
    other: &mut Reactor<Other>,
    time: Instant,
    done: impl Fn(&Places, usize) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done(&server.app().places, other.app().0) {
        assert!(Instant::now() < deadline, "both loops wait for something else");
        server.sleep(Some(Duration::from_millis(1))).unwrap();
        server.advance(Now { monotonic: time, ..Now::read() });
        other.sleep(Some(Duration::from_millis(1))).unwrap();
        other.advance(Now::read());
    }
}

#[test]
fn an_idle_connection_is_closed_in_order_when_its_time_is_over() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = TlsServer::new(vec![made.cert.der().to_vec()], made.signing_key.serialize_der());
    let mut other = Reactor::new(Other(0)).unwrap();
    let options = ListenOptions { speech: Speech::Tls(tls.unwrap()), ..ListenOptions::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = other.io().listen_tcp(any, options, Box::new(Other(0))).unwrap();
    let port = other.io().local_address(listener).unwrap().port();

    let config = Config {
        upstream: Upstream::Google,
        url: Url::parse(&format!("https://localhost:{port}")).unwrap(),
        tls: TlsClient::from_pem(made.cert.pem().as_bytes()).unwrap(),
        key: None,
        question_timeout: QUESTION_TIMEOUT,
        calls_per_second: 0,
        cache: Duration::ZERO,
    };
    let mut server = Reactor::new(Server { places: Places::new(config), ..alone() }).unwrap();

    let start = Instant::now();
    // Replies to one who is no connection are dropped.
    let nobody = server.io().listen_tcp(any, ListenOptions::default(), Box::new(Nobody)).unwrap();
    let asker = Asker { client: nobody, address: None, place: 0, at_line: Vec::new(), bound: 20 };
    let cx = server.context();
    let known = cx.app.places.ask(b"+1+1", parse_radius(b"10").unwrap(), asker, 1, cx.io);
    assert_eq!(known, None);
    turn(&mut server, &mut other, start, |places, open| places.asked.is_empty() && open == 1);
    let almost = start + IDLE_TIMEOUT.saturating_sub(Duration::from_millis(1));
    for _ in 0..10 {
        server.advance(Now { monotonic: almost, ..Now::read() });
        assert_eq!(server.app().places.pool.len(), 1);
    }
    let over = start + IDLE_TIMEOUT;
    turn(&mut server, &mut other, over, |places, open| places.pool.is_empty() && open == 0);
}

struct Nobody;

impl Factory<Server> for Nobody {
    fn build_protocol(
        &mut self,
        _: Peer,
        _: &mut Ctx<'_, Server>,
    ) -> Option<Box<dyn Protocol<Server>>> {
        None
    }
}

/// A client of whom only the replies are looked at: their places, and their JSON.
struct Listener(mpsc::Sender<(u64, Arc<[u8]>)>);

impl Factory<Server> for Listener {
    fn build_protocol(
        &mut self,
        _: Peer,
        _: &mut Ctx<'_, Server>,
    ) -> Option<Box<dyn Protocol<Server>>> {
        Some(Box::new(Self(self.0.clone())))
    }
}

impl Protocol<Server> for Listener {
    /// It asks what it is told to ask: so many times, with each bound in turn.
    fn data_received(&mut self, me: Token, data: &[u8], cx: &mut Ctx<'_, Server>) {
        let count: usize = str::from_utf8(data).unwrap().parse().unwrap();
        for place in 0..count {
            ask(me, place as u64, place % 21, "10", cx);
        }
    }

    fn event_received(&mut self, _: Token, event: Event, _: &mut Ctx<'_, Server>) {
        if let Event::Reply { place, reply } = event {
            self.0.send((place, reply.json)).unwrap();
        }
    }
}

/// Asks, and what is known at once.
fn ask(
    client: Token,
    place: u64,
    bound: usize,
    radius: &str,
    cx: &mut Ctx<'_, Server>,
) -> Option<Arc<[u8]>> {
    let asker = Asker { client, address: None, place, at_line: b"AT Solo".to_vec(), bound };
    cx.app.places.ask(b"+1+1", parse_radius(radius.as_bytes()).unwrap(), asker, 10_000, cx.io)
}

fn answer(results: &str) -> Response {
    let body = format!("{{\"results\":[{results}]}}").into_bytes();
    Response { status: 200, location: None, body, keep_alive: true }
}

/// A server of which somebody has asked the same so many times, whom he asked it of, and what he hears.
struct Crowd {
    server: Reactor<Server>,
    heard: mpsc::Receiver<(u64, Arc<[u8]>)>,
    _client: TcpStream,
    /// It takes connections and says nothing.
    _upstream: TcpListener,
}

impl Crowd {
    fn new(count: usize) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", upstream.local_addr().unwrap());
        let config = Config {
            upstream: Upstream::Google,
            url: Url::parse(&url).unwrap(),
            tls: TlsClient::web().unwrap(),
            key: None,
            question_timeout: QUESTION_TIMEOUT,
            calls_per_second: 0,
            cache: Duration::ZERO,
        };
        let mut server = Reactor::new(Server { places: Places::new(config), ..alone() }).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let (sender, heard) = mpsc::channel();
        let listener = Box::new(Listener(sender));
        let token = server.io().listen_tcp(any, ListenOptions::default(), listener).unwrap();
        let port = server.io().local_address(token).unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(count.to_string().as_bytes()).unwrap();
        let mut crowd = Self { server, heard, _client: client, _upstream: upstream };
        while crowd.server.app().places.waiters.len() < count {
            crowd.turn();
        }
        crowd
    }

    /// The first question is answered.
    fn answered(&mut self, results: &str) {
        let cx = self.server.context();
        cx.app.places.finish(1, Ok(answer(results)), cx.io);
    }

    /// A turn, and what it brought.
    fn turn(&mut self) -> Vec<(u64, Arc<[u8]>)> {
        self.server.sleep(Some(Duration::from_millis(1))).unwrap();
        self.server.advance(Now::read());
        self.heard.try_iter().collect()
    }
}

#[test]
fn a_crowd_that_asks_the_same_is_answered_in_many_turns_in_order_with_one_copy_for_each_bound() {
    let mut crowd = Crowd::new(1000);
    crowd.answered("1,2,3");
    let mut all = Vec::new();
    while all.len() < 1000 {
        let replies = crowd.turn();
        assert!(replies.len() <= delivery::ANSWERED_PER_TURN, "{}", replies.len());
        all.extend(replies);
        let untold = crowd.server.app().places.waiters.len();
        assert!(
            untold <= 1000 - all.len(),
            "{untold} are still waiting of whom {} heard",
            all.len()
        );
    }
    assert!(all.iter().map(|(place, _)| *place).eq(0..1000));
    for (place, json) in &all {
        let (_, first) = &all[(*place % 21) as usize];
        assert!(Arc::ptr_eq(first, json), "the reply to {place} has a copy of its own");
    }
    assert_eq!((&*all[0].1, &*all[2].1), (&b"{\"results\":[]}"[..], &b"{\"results\":[1,2]}"[..]));
    assert_eq!(crowd.server.app().places.waiters.len(), 0);
}

#[test]
fn the_longer_the_answer_the_fewer_are_told_in_a_turn() {
    let mut crowd = Crowd::new(63);
    crowd.answered(&format!("\"{}\"", "x".repeat(100_000)));
    let mut told = 0;
    while told < 63 {
        let bytes: Vec<usize> = crowd.turn().iter().map(|(_, json)| json.len()).collect();
        let (sum, last) = (bytes.iter().sum::<usize>(), bytes.last().copied().unwrap_or(0));
        assert!(sum - last < delivery::ANSWERED_PER_TURN_BYTES, "{bytes:?}");
        told += bytes.len();
    }
}

#[test]
fn who_asks_while_an_answer_is_handed_out_asks_anew() {
    let mut crowd = Crowd::new(200);
    crowd.answered("1");
    let first = crowd.turn();
    let nobody = Box::new(Nobody);
    let any = "127.0.0.1:0".parse().unwrap();
    let late = crowd.server.io().listen_tcp(any, ListenOptions::default(), nobody).unwrap();
    ask(late, 0, 20, "10", &mut crowd.server.context());
    let places = &crowd.server.app().places;
    assert!(places.answers.untold() == 1 && first.len() < 200, "all were told at once");
    assert!(!places.is_asked(1) && places.asked.values().all(|asked| asked.askers.len() == 1));
    assert_eq!(
        (places.asked.len(), places.waiters.len()),
        (1, 1 + 200 - 2 * delivery::ANSWERED_PER_TURN)
    );
}

#[test]
fn who_takes_the_place_of_the_only_one_that_asked_the_same_is_answered() {
    let mut crowd = Crowd::new(0);
    let any = "127.0.0.1:0".parse().unwrap();
    let mut client = || {
        let nobody = Box::new(Nobody);
        crowd.server.io().listen_tcp(any, ListenOptions::default(), nobody).unwrap()
    };
    let (first, second) = (client(), client());
    let cx = crowd.server.context();
    cx.app.places.pool = vec![busy(first); CONNECTIONS_MAX];
    let radius = parse_radius(b"10").unwrap();
    for client in [first, second] {
        let asker = Asker { client, address: None, place: 0, at_line: Vec::new(), bound: 20 };
        assert_eq!(cx.app.places.ask(b"+1+1", radius, asker, 1, cx.io), None);
    }
    let places = &mut cx.app.places;
    let (number, asked) = places.asked.first_key_value().unwrap();
    assert_eq!((places.asked.len(), asked.askers.len(), places.waiters.len()), (1, 1, 1));
    assert!(places.waiters.values().all(|waiter| waiter.asker.client == second));
    let number = *number;
    places.finish(number, Ok(answer("1")), cx.io);
    assert!(places.waiters.is_empty() && places.turns.is_empty() && places.asked.is_empty());
}

#[test]
fn whoever_joins_a_question_that_waits_has_all_its_own_time() {
    let mut server = Reactor::new(alone()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let me = server.io().listen_tcp(any, ListenOptions::default(), Box::new(Nobody)).unwrap();
    let start = Instant::now();
    let at = |server: &mut Reactor<Server>, time: Duration| {
        server.advance(Now { monotonic: start + time, ..Now::read() });
        let places = &server.app().places;
        (places.asked.len(), places.waiters.len())
    };
    at(&mut server, Duration::ZERO);
    server.app().places.pool = vec![busy(me); CONNECTIONS_MAX];
    ask(me, 0, 20, "1", &mut server.context());
    let almost = QUESTION_TIMEOUT.saturating_sub(Duration::from_nanos(1));
    assert_eq!(at(&mut server, almost), (1, 1));
    ask(me, 1, 20, "1", &mut server.context());
    assert_eq!(server.app().places.asked.len(), 1);
    assert_eq!(at(&mut server, QUESTION_TIMEOUT), (1, 1));
    assert_eq!(at(&mut server, almost + almost), (1, 1));
    assert_eq!(at(&mut server, almost + QUESTION_TIMEOUT), (0, 0));
    assert!(server.app().places.turns.is_empty() && server.app().places.by_request.is_empty());
}

#[test]
fn no_question_is_sent_while_too_many_answers_wait_to_be_told() {
    let mut server = Reactor::new(alone()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let me = server.io().listen_tcp(any, ListenOptions::default(), Box::new(Nobody)).unwrap();
    let mut cx = server.context();
    let told_late = 1_000_000..1_000_000 + ANSWERS_MAX as u64;
    for number in told_late.clone() {
        cx.app.places.answers.insert(number, Err(Vec::new()), "results", 1);
    }
    assert_eq!(ask(me, 0, 20, "1", &mut cx), None);
    let sent = |places: &Places| places.asked.values().any(|asked| asked.sent.is_some());
    assert!(!sent(&cx.app.places) && cx.app.places.pool.is_empty());
    cx.app.places.answers.leave(told_late.start);
    cx.app.assign_questions(cx.io);
    assert!(sent(&cx.app.places) && cx.app.places.pool.len() == 1);
}

#[test]
fn a_question_whose_answer_would_have_no_room_is_over_the_limit_when_its_turn_comes() {
    let mut server = Reactor::new(alone()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let me = server.io().listen_tcp(any, ListenOptions::default(), Box::new(Nobody)).unwrap();
    let mut cx = server.context();
    cx.app.places.pool = vec![busy(me); CONNECTIONS_MAX];
    for radius in ["1", "2", "3"] {
        assert_eq!(ask(me, 0, 20, radius, &mut cx), None);
    }
    assert_eq!(cx.app.places.asked.len(), 3);
    cx.app.held_bytes = cx.app.bounds.held_in_all_max_bytes;
    cx.app.places.pool.clear();
    cx.app.assign_questions(cx.io);
    let places = &cx.app.places;
    assert_eq!((places.asked.len(), places.waiters.len(), places.pool.len()), (0, 0, 0));
}

/// A connection that carries somebody's question.
fn busy(token: Token) -> Carrier {
    Carrier { token, place: Place::Busy(0, None) }
}

#[test]
fn that_the_upstream_refuses_is_known_at_once_to_whoever_would_have_it_dialled() {
    let mut server = Reactor::new(alone()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let nobody = Box::new(Nobody);
    let me = server.io().listen_tcp(any, ListenOptions::default(), nobody).unwrap();
    let start = Instant::now();
    server.advance(Now { monotonic: start, ..Now::read() });
    let mut cx = server.context();
    cx.app.places.connect_failed("connection refused", start);
    let refused = Some(error_json("places: connection refused").into());
    assert_eq!(ask(me, 0, 20, "1", &mut cx), refused);
    let places = &mut cx.app.places;
    assert_eq!((places.waiters.len(), places.asked.len(), places.pool.len()), (0, 0, 0));
    // Where no connection is to be made, none can be refused: the question waits, or is carried.
    places.pool = vec![busy(me); CONNECTIONS_MAX];
    assert_eq!(ask(me, 1, 20, "2", &mut cx), None);
    cx.app.places.pool = vec![Carrier { token: me, place: Place::Idle }; 2];
    assert_eq!(ask(me, 2, 20, "3", &mut cx), None);
    cx.app.places.pool.clear();
    assert_eq!(ask(me, 3, 20, "4", &mut cx), refused);
    // What is on its way already has its own answer.
    assert_eq!(ask(me, 4, 20, "3", &mut cx), None);
    // After a while the upstream may be back.
    server.advance(Now { monotonic: start + breaker::FAILURE_HOLDS, ..Now::read() });
    assert_eq!(ask(me, 5, 20, "5", &mut server.context()), None);
    assert_eq!(server.app().places.pool.len(), 1);
}
