//! What each upstream is asked, to the byte, and what a client is told of its answer.

use super::support::{Client, Folder};
use super::upstream::{Gate, PLACE, Request, Scene, THREE, has_heard};

const KEY: &str = "AIzaSy-sesame_0123456789";

/// What every request says of itself, after its first line.
fn fields(port: u16) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Host: localhost:{port}\r\nUser-Agent: herd/{version}\r\nAccept: application/json\r\n\
         Accept-Encoding: identity\r\nConnection: keep-alive"
    )
}

/// The request that `WHATSAT kiwi` with these words makes of this upstream, with what stands between
/// its first line and its own fields, and the JSON that comes back of `answer`.
fn exchange(upstream: &str, words: &str, answer: &'static str) -> (Request, String, String) {
    let folder = Folder::new();
    let key = folder.write("key", format!("{KEY}\n")).display().to_string();
    let arguments = ["--upstream", upstream, "--places-key-file", &key];
    let scene = Scene::new(&arguments, move |talk| talk.serve(answer));
    let json = scene.places(words);
    let request = scene.upstream.requests(1).remove(0);
    (request, fields(scene.upstream.port), json)
}

#[test]
fn google() {
    const ANSWER: &str = r#"{
   "html_attributions" : [],
   "next_page_token" : "AciIO2d",
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.0689254,
               "lng" : -118.4451811
            }
         },
         "name" : "University of California, Los Angeles",
         "types" : [ "university", "establishment" ]
      },
      {
         "name" : "Westwood"
      }
   ],
   "status" : "OK"
}
"#;
    let (request, fields, json) = exchange("google", "10 1", ANSWER);
    let line = "GET /maps/api/place/nearbysearch/json?location=34.068930,-118.445127&radius=10000";
    assert_eq!(request.head, format!("{line}&key={KEY} HTTP/1.1\r\n{fields}"));
    assert_eq!(request.body, "");
    assert_eq!(json, ANSWER.replace(",\n      {\n         \"name\" : \"Westwood\"\n      }", ""));
}

#[test]
fn google_new() {
    const ANSWER: &str = r#"{
  "places": [
    {
      "id": "ChIJL9-0GAO8woAR",
      "displayName": { "text": "UCLA", "languageCode": "en" }
    },
    { "id": "ChIJx" },
    { "id": "ChIJy" }
  ]
}
"#;
    let (request, fields, json) = exchange("google-new", "10 2", ANSWER);
    let mask = "places.id,places.displayName,places.formattedAddress,places.location,places.types";
    let body = "{\"maxResultCount\":20,\"locationRestriction\":{\"circle\":{\"center\":\
                {\"latitude\":34.068930,\"longitude\":-118.445127},\"radius\":10000}}}";
    let own = format!(
        "Content-Type: application/json\r\nX-Goog-FieldMask: {mask}\r\nX-Goog-Api-Key: {KEY}\r\n\
         Content-Length: {}",
        body.len()
    );
    assert_eq!(request.head, format!("POST /v1/places:searchNearby HTTP/1.1\r\n{fields}\r\n{own}"));
    assert_eq!(request.body, body);
    assert_eq!(json, ANSWER.replace(",\n    { \"id\": \"ChIJy\" }", ""));
}

#[test]
fn overpass() {
    const ANSWER: &str = "{\n  \"version\": 0.6,\n  \"elements\": [\n\n{\n  \"type\": \"node\",\n  \
        \"id\": 1\n},\n{\n  \"type\": \"way\",\n  \"id\": 2\n}\n\n  ]\n}\n";
    let (request, fields, json) = exchange("overpass", "0.5 1", ANSWER);
    let query = "%5Bout%3Ajson%5D%5Btimeout%3A10%5D%3Bnwr%28around%3A500%2C34.068930%2C-118.445127\
                 %29%5Bamenity%5D%5Bname%5D%3Bout%20center%2020%3B";
    assert_eq!(request.head, format!("GET /api/interpreter?data={query} HTTP/1.1\r\n{fields}"));
    let expected = "{\n  \"version\": 0.6,\n  \"elements\": [\n{\n  \"type\": \"node\",\n  \
        \"id\": 1\n}\n  ]\n}\n";
    assert_eq!(json, expected);
}

#[test]
fn tweets() {
    const ANSWER: &str = r#"{"data":[{"text":"Go Bruins]\n\n!","id":"2"},{"id":"1","text":"x"}],"meta":{"result_count":2}}"#;
    let (request, fields, json) = exchange("tweets", "50 1", ANSWER);
    let query = "point_radius%3A%5B-118.445127%2034.068930%2040km%5D";
    let line = format!(
        "GET /2/tweets/search/recent?max_results=20&tweet.fields=created_at,geo&query={query}"
    );
    let own = format!("Authorization: Bearer {KEY}");
    assert_eq!(request.head, format!("{line} HTTP/1.1\r\n{fields}\r\n{own}"));
    assert_eq!(json, ANSWER.replace(r#",{"id":"1","text":"x"}"#, "") + "\n");
}

#[test]
fn numbers_have_no_plus_and_no_padding_zeros() {
    let scene = Scene::new(&[], |talk| talk.serve(THREE));
    let mut client = scene.herd.connect("Solo");
    for (number, (place, radius, asked)) in [
        ("+34.068930-118.445127", "10", "34.068930,-118.445127&radius=10000"),
        ("+04.5+007.250", "007.50", "4.5,7.250&radius=7500"),
        ("-00.500-000.25", "0", "-0.500,-0.25&radius=0"),
        ("-0+000.000", "0.0005", "0,0.000&radius=0.5"),
        ("-90+180", "50", "-90,180&radius=50000"),
    ]
    .into_iter()
    .enumerate()
    {
        client.ask(&format!("IAMAT kiwi {place} {number}"));
        client.send(format!("WHATSAT kiwi {radius} 20\n"));
        assert!(client.places_reply().0.contains(place));
        let requests = scene.upstream.requests(number + 1);
        let path = "/maps/api/place/nearbysearch/json";
        assert_eq!(requests[number].line(), format!("GET {path}?location={asked} HTTP/1.1"));
    }
}

#[test]
fn a_prefix_stands_before_the_path() {
    let mut scene = Scene::new(&[], |talk| talk.serve(THREE));
    scene.herd.kill("Solo");
    scene.herd.arguments[1] += "/mirror/of/";
    scene.herd.start_one("Solo");
    assert_eq!(scene.places("1 20"), THREE);
    let line = scene.upstream.requests(1)[0].line().to_owned();
    assert!(
        line.starts_with("GET /mirror/of/maps/api/place/nearbysearch/json?location="),
        "{line}"
    );
}

#[test]
fn an_overpass_address_may_have_its_path() {
    for path in ["/api/interpreter", "/oapi/interpreter/"] {
        let mut scene =
            Scene::new(&["--upstream", "overpass"], |talk| talk.serve("{\"elements\":[]}"));
        scene.herd.kill("Solo");
        scene.herd.arguments[1] += path;
        scene.herd.start_one("Solo");
        assert_eq!(scene.places("1 20"), "{\"elements\":[]}\n");
        let line = scene.upstream.requests(1)[0].line().to_owned();
        let start = format!("GET {}?data=", path.trim_end_matches('/'));
        assert!(line.starts_with(&start), "{line}");
    }
}

/// Answers the `n`th request with the `n`th text, and checks what a client makes of each.
fn told(answers: &'static [(&'static str, &'static str, &'static str)]) {
    let scene = Scene::new(&[], move |talk| {
        for (_, answer, _) in answers {
            talk.request();
            talk.answer(answer);
        }
    });
    let mut client = scene.client();
    for (number, (bound, answer, expected)) in answers.iter().enumerate() {
        client.send(format!("WHATSAT kiwi {number} {bound}\n"));
        let at_line = client.text_line();
        assert!(at_line.ends_with(&format!(" kiwi {PLACE} 1479413884.392014450")), "{at_line}");
        // Every byte up to the next reply: the JSON, and exactly two newlines.
        client.send("end\n");
        let mut rest = String::new();
        while !rest.ends_with("? end\n") {
            rest = rest + &client.text_line() + "\n";
        }
        assert_eq!(rest, format!("{expected}\n\n? end\n"), "{answer:?} cut to {bound}");
    }
}

#[test]
fn the_list_is_cut_to_the_bound_and_all_else_is_as_it_came() {
    told(&[
        ("0", "{\"results\":[1, 2],\"a\" :4.50}", "{\"results\":[],\"a\" :4.50}"),
        ("1", "{\"results\":[ {\"results\":[1,2]} ,2 ]}", "{\"results\":[ {\"results\":[1,2]} ]}"),
        (
            "2",
            "{\"results\":[1,\t2],\"x\":\"\\u00e9\u{e9}\"}",
            "{\"results\":[1,\t2],\"x\":\"\\u00e9\u{e9}\"}",
        ),
        ("020", "{ \"results\" : [ 1 ] }", "{ \"results\" : [ 1 ] }"),
        ("3", "{\"status\":\"OK\"}", "{\"status\":\"OK\"}"),
    ]);
}

#[test]
fn runs_of_newlines_are_one_and_none_are_left_at_the_end() {
    told(&[
        ("5", "{\n\n\n\"results\":\n\n[]\n}\n\n\n\n", "{\n\"results\":\n[]\n}"),
        ("5", "{\r\n\"results\":\r\n\r\n[1]\n\r\n}\r\n\r\n", "{\n\"results\":\n[1]\n}"),
        ("1", "{\"results\":[1\n\n,2\n\n\n]\r\n}", "{\"results\":[1\n]\n}"),
        ("5", "{\n \n\"results\":[\"a\\n\\nb\"]}", "{\n \n\"results\":[\"a\\n\\nb\"]}"),
        ("5", "\n\n{}", "\n{}"),
    ]);
}

#[test]
fn an_error_status_of_places_own_passes_as_it_is() {
    told(&[
        (
            "5",
            "{\n   \"error_message\" : \"You have exceeded your daily quota.\",\n   \
             \"results\" : [],\n   \"status\" : \"OVER_QUERY_LIMIT\"\n}\n",
            "{\n   \"error_message\" : \"You have exceeded your daily quota.\",\n   \
             \"results\" : [],\n   \"status\" : \"OVER_QUERY_LIMIT\"\n}",
        ),
        (
            "5",
            "{\"results\":[],\"status\":\"REQUEST_DENIED\"}",
            "{\"results\":[],\"status\":\"REQUEST_DENIED\"}",
        ),
        ("5", "{\"status\":\"INVALID_REQUEST\"}", "{\"status\":\"INVALID_REQUEST\"}"),
    ]);
}

/// What is told of an answer in these pieces, each sent when the other side may have taken the one
/// before.
fn framed(pieces: &[&'static str], then_kept: bool) {
    let script = pieces.to_vec();
    let scene = Scene::new(&[], move |talk| {
        while talk.request().is_some() {
            for piece in &script {
                talk.send(piece);
            }
            if !then_kept {
                return;
            }
        }
    });
    for count in 1..=2 {
        assert_eq!(scene.places("10 2"), "{\"results\":[1,2]}\n", "{pieces:?}");
        assert_eq!(scene.upstream.accepted(), if then_kept { 1 } else { count });
    }
}

#[test]
fn bodies_end_by_length_by_chunks_or_with_the_stream() {
    framed(&["HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"results\":", "[1,2,3]}"], true);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc;x=y\r\n";
    framed(
        &[chunked, "{\"results\":[", "\r\n00", "7\r\n1,2,3]}\r\n", "0\r\nTrailer: z\r\n\r\n"],
        true,
    );
    framed(&["HTTP/1.1 200 OK\r\n\r\n{\"results\":[1", ",2,3]}"], false);
}

#[test]
fn interim_answers_are_skipped() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"results\":[1,2]}";
    framed(&["HTTP/1.1 100 Continue\r\n\r\n", early, answer], true);
}

#[test]
fn an_upstream_that_closes_after_each_answer_is_dialled_anew() {
    let close =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 17\r\n\r\n{\"results\":[1,2]}";
    framed(&[close], false);
    framed(&["HTTP/1.0 200 OK\r\nContent-Length: 17\r\n\r\n{\"results\":[1,2]}"], false);
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let gate = Gate::default();
    let shut = gate.clone();
    let scene = Scene::new(&[], move |talk| {
        talk.request();
        shut.wait();
        talk.answer(THREE);
    });
    let mut client: Client = scene.client();
    client.send("WHATISAT kiwi 10 2\nIAMAT x +1+1 1\nWHATSAT x");
    client.finish();
    scene.upstream.requests(1);
    assert!(!has_heard(&client));
    gate.open();
    let rest = client.rest();
    let lines: Vec<&str> = rest.split('\n').collect();
    assert_eq!(
        lines[1..5],
        ["{", "   \"results\" : [ \"a\", \"b\" ],", "   \"status\" : \"OK\"", "}"]
    );
    assert!(lines[5].is_empty() && lines[6].starts_with("AT Solo +"), "{rest}");
    assert_eq!(lines[7..], ["? WHATSAT x", ""]);
}

#[test]
fn a_stop_waits_for_the_answers_that_are_owed() {
    let gate = Gate::default();
    let shut = gate.clone();
    let mut scene = Scene::new(&[], move |talk| {
        while talk.request().is_some() {
            shut.wait();
            talk.answer(THREE);
        }
    });
    let mut client = scene.client();
    // More than there are connections, so that some wait for one.
    for radius in 0..12 {
        client.send(format!("WHATSAT kiwi {radius} 20\n"));
    }
    scene.upstream.requests(8);
    scene.signal("-TERM");
    scene.herd.wait_for_log("Solo", "stopping: Terminate");
    gate.open();
    for _ in 0..12 {
        assert_eq!(client.places_reply().1, THREE);
    }
    assert_eq!(client.rest(), "");
    assert_eq!(scene.herd.process("Solo").child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stop_does_not_wait_for_an_answer_that_never_comes() {
    let mut scene = Scene::new(&[], |talk| {
        talk.request();
        talk.wait_for_end();
    });
    let mut client = scene.client();
    client.send("WHATSAT kiwi 10 20\n");
    scene.upstream.requests(1);
    scene.signal("-TERM");
    assert_eq!(client.rest(), "");
    assert_eq!(scene.herd.process("Solo").child.wait().unwrap().code(), Some(0));
}
