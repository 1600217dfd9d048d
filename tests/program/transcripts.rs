//! The transcripts of the original course project and of two of its reports, each on its own herd: who says
//! what to which server, which server is killed meanwhile, and what everybody must then be told.
//!
//! Replies come over real TLS from the stand-in, so what is near are towns.

use super::protocol::{Staged, at_line, unix_nanos};
use super::support::{ALFORD, BOLDEN, FARMAR, Herd, eventually};

const KIWI: &str = "kiwi.cs.ucla.edu";
const UCLA: &str = "+34.068930-118.445127";
const NEW_YORK: &str = "+40.730610-73.935242";
const EVEREST: &str = "+27.5916+086.5640";

/// Says IAMAT and returns the AT line, which has to be this server's and right to the nanosecond.
fn report(herd: &Herd, server: &str, location: &str, time: &str) -> String {
    let fields = format!("{KIWI} {location} {time}");
    let mut client = herd.connect(server);
    client.ask("so that the connection is made before the clock is read");
    let before = unix_nanos();
    let reply = client.ask(&format!("IAMAT {fields}"));
    let after = unix_nanos();
    let (name, difference, copy) = at_line(&reply);
    assert_eq!((name.as_str(), copy), (server, fields));
    let (seconds, nanos) = time.split_once('.').unwrap();
    let client_nanos: i128 = format!("{seconds}{nanos:0<9}").parse().unwrap();
    let server_nanos = client_nanos + difference;
    assert!(before <= server_nanos && server_nanos <= after, "{reply}");
    reply
}

/// Asks until the reply's AT line is the expected one, and returns the names of the places in its JSON.
fn places(herd: &Herd, server: &str, question: &str, expected: &str) -> Vec<String> {
    eventually(&format!("{server} answers {question} with {expected}"), || {
        let reply = herd.say(server, question);
        let (at_line, json) = reply.split_once('\n')?;
        (at_line == expected).then(|| names(json))
    })
}

fn names(json: &str) -> Vec<String> {
    assert!(json.ends_with("}\n\n") && !json.trim_end().contains("\n\n"), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let results = json["results"].as_array().unwrap();
    assert_eq!(json["status"], if results.is_empty() { "ZERO_RESULTS" } else { "OK" });
    results.iter().map(|result| result["name"].as_str().unwrap().to_owned()).collect()
}

/// The AT line that a server tells now.
fn told(herd: &Herd, server: &str) -> String {
    let reply = herd.say(server, &format!("WHATSAT {KIWI} 0 0"));
    reply.lines().next().unwrap().to_owned()
}

fn assert_all_tell(herd: &Herd, expected: &str) {
    for (server, ..) in &herd.servers {
        eventually(&format!("{server} tells {expected}"), || {
            (told(herd, server) == expected).then_some(())
        });
    }
}

/// Says something that is too late, which is answered but neither kept nor passed on.
fn report_too_late(herd: &Herd, server: &str, location: &str, time: &str, kept: &str) {
    report(herd, server, location, time);
    // What this server passes on afterwards arrives everywhere after what it passed on before.
    let marker = format!("marker-{time}");
    herd.say(server, &format!("IAMAT {marker} +1+1 1"));
    for (other, ..) in &herd.servers {
        herd.wait_until_known(other, &marker);
        assert_eq!(told(herd, other), kept, "{other}");
    }
}

fn assert_invalid(herd: &Herd, server: &str, lines: &[&str]) {
    for line in lines {
        assert_eq!(herd.say(server, line), format!("? {line}\n"));
    }
}

#[test]
fn the_course_projects_own_example() {
    let Staged { herd, .. } = &Staged::start(ALFORD);
    let at_line = report(herd, "Alford", UCLA, "1479413884.392014450");
    for server in ["Alford", "Hamilton", "Welsh", "Holiday", "Ball"] {
        let near = places(herd, server, "WHATSAT kiwi.cs.ucla.edu 10 5", &at_line);
        assert_eq!(near.len(), 5, "{near:?}");
    }
    assert_invalid(herd, "Ball", &["WHATSAT strawberry.cs.ucla.edu 10 5", "WHEREAMI"]);
}

#[test]
fn bolden_with_the_hub_of_the_herd_killed_and_brought_back() {
    let Staged { herd, .. } = &mut Staged::start(BOLDEN);
    let first = report(herd, "Hamilton", UCLA, "1479413884.392014450");
    let near = places(herd, "Bolden", "WHATSAT kiwi.cs.ucla.edu 10 5", &first);
    assert_eq!(near.len(), 5, "{near:?}");
    assert_eq!(places(herd, "Powell", "WHATISAT kiwi.cs.ucla.edu 10 5", &first), near);

    // Parker is Hamilton's only neighbour: the herd is cut in two, and both parts go on serving.
    herd.kill("Parker");
    let second = report(herd, "Alford", NEW_YORK, "1479413944.392014450");
    for server in ["Alford", "Powell", "Bolden"] {
        let near = places(herd, server, "WHATSAT kiwi.cs.ucla.edu 5 2", &second);
        assert_eq!(near.len(), 2, "{near:?}");
    }
    assert_eq!(told(herd, "Hamilton"), first);
    // Newer than all that Hamilton knows, older than what the others do.
    let cut_off = report(herd, "Hamilton", EVEREST, "1479413914.392014450");
    assert_eq!(told(herd, "Hamilton"), cut_off);

    herd.start_one("Parker");
    assert_all_tell(herd, &second);
    assert_eq!(places(herd, "Hamilton", "WHATISAT kiwi.cs.ucla.edu 5 2", &second).len(), 2);

    report_too_late(herd, "Bolden", UCLA, "1479413884.392014450", &second);
    report_too_late(herd, "Hamilton", EVEREST, "1479413944.392014449", &second);
    assert_invalid(herd, "Parker", &["WHATSAT kiwi.cs.ucla.edu", "IAMAT kiwi.cs.ucla.edu", "QUIT"]);
}

#[test]
fn farmar_with_the_server_that_heard_the_client_killed_and_brought_back() {
    let Staged { herd, .. } = &mut Staged::start(FARMAR);
    let first = report(herd, "Farmar", EVEREST, "1353118103.108893381");
    for server in ["Farmar", "Meeks", "Young", "Gasol", "Hill"] {
        let near = places(herd, server, "WHATSAT kiwi.cs.ucla.edu 50 2", &first);
        assert!(near.len() <= 2, "{near:?}");
        // That year's project let one ask within 100 km; the later ones stop at 50.
        assert_invalid(herd, server, &["WHATSAT kiwi.cs.ucla.edu 100 2"]);
    }

    // What Farmar heard is known without it, and told in its name.
    herd.kill("Farmar");
    assert_eq!(told(herd, "Gasol"), first);
    let second = report(herd, "Hill", NEW_YORK, "1353118163.5");
    for server in ["Hill", "Meeks", "Gasol", "Young"] {
        let near = places(herd, server, "WHATISAT kiwi.cs.ucla.edu 10 20", &second);
        assert!(!near.is_empty() && near.len() <= 20, "{near:?}");
    }

    herd.start_one("Farmar");
    assert_all_tell(herd, &second);
    // The client's first message again, at the server that had heard it and has forgotten all.
    report_too_late(herd, "Farmar", EVEREST, "1353118103.108893381", &second);
    assert_invalid(herd, "Farmar", &["iamat kiwi.cs.ucla.edu +27.5916+086.5640 1353118103.1", ""]);

    let third = report(herd, "Farmar", UCLA, "1353118223.000000001");
    assert_all_tell(herd, &third);
}
