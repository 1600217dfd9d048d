//! WHATSAT: its fields and their limits, and the reply's two parts. What becomes of an upstream's faults
//! is with the tests of the upstream.

use std::io::Read;

use super::{Staged, assert_all_are_commands, assert_none_is_a_command, exchange, solo};
use crate::support::{ALONE, Herd};

/// A lone server that knows kiwi.
fn with_kiwi() -> Herd {
    let herd = solo();
    herd.say("Solo", "IAMAT kiwi +34.068930-118.445127 1");
    herd
}

fn with_fields(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|fields| format!("WHATSAT {fields}")).collect()
}

#[test]
fn radius_and_bound_are_plain_decimals_up_to_50_and_20() {
    assert_all_are_commands(
        &with_kiwi(),
        &with_fields(&[
            "kiwi 10 5",
            "kiwi 0 0",
            "kiwi 50 20",
            "kiwi 50.000 20",
            "kiwi 050 020",
            "kiwi 0.5 1",
            "kiwi 49.99999999999999999999 1",
        ]),
    );
}

#[test]
fn any_other_radius_is_invalid() {
    let radii = [
        "50.00000000000000000001",
        "51",
        "100",
        "-1",
        "-0",
        "+10",
        "1e1",
        "5.",
        ".5",
        "1.2.3",
        "10km",
        "0x10",
        "inf",
        "NaN",
        "ten",
        "\u{661}\u{660}",
        "1,5",
    ];
    let lines: Vec<String> =
        radii.iter().map(|radius| format!("WHATSAT kiwi {radius} 5")).collect();
    assert_none_is_a_command(&with_kiwi(), &lines);
}

#[test]
fn any_other_bound_is_invalid() {
    let bounds =
        ["21", "100", "276", "-1", "+5", "5.0", "5.", "1e1", "0x5", "five", "\u{665}", "5x"];
    let lines: Vec<String> =
        bounds.iter().map(|bound| format!("WHATSAT kiwi 10 {bound}")).collect();
    assert_none_is_a_command(&with_kiwi(), &lines);
}

#[test]
fn exactly_three_fields_stand_after_the_word() {
    let lines = with_fields(&["", "kiwi", "kiwi 10", "kiwi 10 5 1", "kiwi kiwi 10 5"]);
    assert_none_is_a_command(&with_kiwi(), &lines);
}

#[test]
fn a_client_that_the_herd_has_not_heard_from_is_an_invalid_command() {
    let lines =
        ["WHATSAT apple 10 5", "WHATISAT apple 10 5", "WHATSAT Kiwi 10 5", "  WHATSAT kiw \t10 5 "];
    assert_none_is_a_command(&with_kiwi(), &lines.map(str::to_owned));
}

#[test]
fn whatisat_is_the_same_command() {
    let herd = with_kiwi();
    let whatsat = exchange(&herd, "WHATSAT kiwi 10 5\n");
    assert!(whatsat.starts_with(b"AT Solo +"));
    assert_eq!(exchange(&herd, "WHATISAT kiwi 10 5\n"), whatsat);
}

#[test]
fn without_places_the_reply_has_the_at_line_and_an_error_in_places_own_shape() {
    let herd = solo();
    let at_line = herd.say("Solo", "IAMAT kiwi +34.068930-118.445127 1");
    let error = r#"{"html_attributions":[],"results":[],"status":"UNKNOWN_ERROR","error_message":"places: connection refused"}"#;
    assert_eq!(herd.say("Solo", "WHATSAT kiwi 10 5"), format!("{at_line}{error}\n\n"));
}

#[test]
fn the_reply_is_the_at_line_the_bounded_json_and_two_newlines_in_one_buffer() {
    let Staged { herd, _stand_in } = &Staged::start(ALONE);
    let at_line = herd.say("Solo", "IAMAT kiwi +34.068930-118.445127 1");
    let mut lists = Vec::new();
    for bound in [20, 5, 1, 0] {
        let mut client = herd.connect("Solo");
        client.send(format!("WHATSAT kiwi 10 {bound}\n"));
        // A simple client reads once.
        let mut buffer = vec![0; 64 * 1024];
        let length = client.stream.read(&mut buffer).unwrap();
        let reply = std::str::from_utf8(&buffer[..length]).unwrap();
        let json = reply.strip_prefix(&at_line).expect("the AT line comes first");
        let json = json.strip_suffix("\n\n").expect("two newlines come last");
        assert!(!json.contains("\n\n") && !json.ends_with('\n'), "{json}");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["status"], "OK");
        lists.push(json["results"].as_array().unwrap().clone());
    }
    let all = lists[0].clone();
    assert!(all.len() > 5, "there are towns around UCLA: {all:?}");
    assert_eq!(lists[1..], [&all[..5], &all[..1], &[]]);
}
