//! Tests of what is pure here: what is asked, and what an asker is told. And of what takes too long to
//! wait for, on a reactor whose clock is set by hand.

use super::*;
use crate::reactor::{
    Application, Ctx, Factory, ListenOptions, Now, Peer, Protocol, Reactor, Speech, TlsServer,
};
use crate::server::alone;
use crate::wire::decimal::parse_radius;

const GOOGLE: &[u8] =
    b"{\r\n\n\n   \"results\" : [ 1, 2,\n\n 3 ],\n   \"status\" : \"OK\"\n}\n\n\n";

fn told(judged: Result<&[u8], &String>, bound: usize) -> String {
    String::from_utf8(answer_json(judged, "results", bound)).unwrap()
}

#[test]
fn each_bound_gets_its_own_list_of_one_answer() {
    let end = ",\n   \"status\" : \"OK\"\n}";
    for (bound, list) in [(0, "[]"), (1, "[ 1 ]"), (2, "[ 1, 2 ]"), (20, "[ 1, 2,\n 3 ]")] {
        assert_eq!(told(Ok(GOOGLE), bound), format!("{{\n   \"results\" : {list}{end}"));
    }
}

#[test]
fn a_fault_is_told_in_the_shape_of_googles() {
    let shape =
        "{\"html_attributions\":[],\"results\":[],\"status\":\"UNKNOWN_ERROR\",\"error_message\":";
    let why = "places: connection refused".to_owned();
    assert_eq!(told(Err(&why), 5), format!("{shape}\"places: connection refused\"}}"));
    let words = "\"places: the answer is not JSON (line 1, column 1)\"";
    assert_eq!(told(Ok(b"<html>"), 5), format!("{shape}{words}}}"));
}

#[test]
fn a_reply_is_the_at_line_the_json_and_two_newlines() {
    assert_eq!(reply(b"AT Alford +1", b"{}"), b"AT Alford +1\n{}\n\n");
}

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
    let options = ListenOptions { speech: Speech::Tls(tls.unwrap()) };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = other.io().listen_tcp(any, options, Box::new(Other(0))).unwrap();
    let port = other.io().local_address(listener).unwrap().port();

    let config = Config {
        upstream: Upstream::Google,
        url: Url::parse(&format!("https://localhost:{port}")).unwrap(),
        tls: TlsClient::from_pem(made.cert.pem().as_bytes()).unwrap(),
        key: None,
        question_timeout: QUESTION_TIMEOUT,
    };
    let mut server = Reactor::new(Server { places: Places::new(config), ..alone() }).unwrap();

    let start = Instant::now();
    // Replies to one who is no connection are dropped.
    let nobody = server.io().listen_tcp(any, ListenOptions::default(), Box::new(Nobody)).unwrap();
    let asker = Asker { client: nobody, place: 0, at_line: Vec::new(), bound: 20 };
    let cx = server.context();
    cx.app.places.ask(b"+1+1", parse_radius(b"10").unwrap(), asker, 1, cx.io);
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
