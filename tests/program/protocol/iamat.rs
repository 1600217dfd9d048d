//! IAMAT: its three fields, their ranges, the exact difference of the clocks, and what a report that is
//! not newer does.

use super::{assert_all_are_commands, assert_none_is_a_command, at_line, solo, unix_nanos};

#[test]
fn exactly_three_fields_stand_after_the_word() {
    let lines = ["", " kiwi", " kiwi +1+1", " kiwi +1+1 1 1", " kiwi kiwi +1+1 1", " +1+1 1"];
    let lines: Vec<String> = lines.iter().map(|fields| format!("IAMAT{fields}")).collect();
    assert_none_is_a_command(&solo(), &lines);
}

fn with_locations(locations: &[&str]) -> Vec<String> {
    locations.iter().map(|location| format!("IAMAT kiwi {location} 1")).collect()
}

#[test]
fn a_location_is_two_signed_decimals_within_their_ranges_ends_included() {
    assert_all_are_commands(
        &solo(),
        &with_locations(&[
            "+34.068930-118.445127",
            "+90+180",
            "-90-180",
            "+090.0-180.000000000000000",
            "+0-0",
            "-0+0",
            "+12.345678901234567-001.000000000000010",
        ]),
    );
}

#[test]
fn any_other_location_is_invalid() {
    assert_none_is_a_command(
        &solo(),
        &with_locations(&[
            "34.068930-118.445127",
            "+34.068930118.445127",
            "+34.068930",
            "+34.068930,-118.445127",
            "+90.000000000000001+0",
            "-90.1+0",
            "+0+180.000000000000001",
            "+0-181",
            "+118-34",
            "+0034+1",
            "+1+0118",
            "+34.+1",
            "+.5+1",
            "+1+1.",
            "+1.1234567890123456+1",
            "+1+1.1234567890123456",
            "+1e1+1",
            "+1+1x",
            "+1+1+1",
            "++1+1",
            "+\u{663}+1",
            "+34\u{b0}+118\u{b0}",
        ]),
    );
}

fn with_times(times: &[&str]) -> Vec<String> {
    times.iter().map(|time| format!("IAMAT kiwi +1+1 {time}")).collect()
}

#[test]
fn a_time_is_echoed_as_it_was_written() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    for time in [
        "1479413884.392014450",
        "1479413884.39201445",
        "1479413884",
        "0",
        "-0",
        "-1.5",
        "000000000001.100000000",
        "999999999999.999999999",
        "-999999999999.999999999",
    ] {
        let (server, _, copy) = at_line(&client.ask(&format!("IAMAT kiwi +1+1 {time}")));
        assert_eq!((server.as_str(), copy), ("Solo", format!("kiwi +1+1 {time}")));
    }
}

#[test]
fn any_other_time_is_invalid() {
    assert_none_is_a_command(
        &solo(),
        &with_times(&[
            "+1",
            "1.",
            ".5",
            "-",
            "--1",
            "1e9",
            "1479413884,39",
            "0x10",
            "1.2.3",
            "now",
            "NaN",
            "inf",
            "1000000000000",
            "0000000000001",
            "1.1234567890",
            "\u{661}",
            "1_000",
        ]),
    );
}

#[test]
fn time_and_difference_are_the_servers_clock_to_the_nanosecond() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    client.ask("the connection is made, and the server waits for what follows");
    for (time, client_nanos) in [
        ("0", 0),
        ("1479413884.392014450", 1_479_413_884_392_014_450),
        ("1479413884.392014451", 1_479_413_884_392_014_451),
        ("-999999999999.999999999", -999_999_999_999_999_999_999),
        ("999999999999.999999999", 999_999_999_999_999_999_999),
        ("4102444800.000000001", 4_102_444_800_000_000_001),
    ] {
        let before = unix_nanos();
        let reply = client.ask(&format!("IAMAT kiwi +1+1 {time}"));
        let after = unix_nanos();
        let (_, difference, _) = at_line(&reply);
        let server_nanos = client_nanos + difference;
        assert!(before <= server_nanos && server_nanos <= after, "{reply}: {before} to {after}");
    }
}

#[test]
fn a_report_that_is_not_newer_is_answered_and_changes_nothing() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    let first = client.ask("IAMAT kiwi +1+1 100.5");
    for (location, time) in [
        ("+1+1", "100.5"),
        ("+2+2", "100.5"),
        ("+3+3", "100.500000000"),
        ("+4+4", "000100.5"),
        ("+5+5", "100.499999999"),
        ("+6+6", "-100.5"),
        ("+7+7", "0"),
    ] {
        let reply = client.ask(&format!("IAMAT kiwi {location} {time}"));
        assert_eq!(at_line(&reply).2, format!("kiwi {location} {time}"));
        assert_eq!(herd.wait_until_known("Solo", "kiwi"), first);
    }
    let newer = client.ask("IAMAT kiwi +8+8 100.500000001");
    assert_eq!(herd.wait_until_known("Solo", "kiwi"), newer);
}

#[test]
fn times_are_compared_as_whole_nanoseconds() {
    let herd = solo();
    let mut client = herd.connect("Solo");
    // A float of 64 bits cannot tell any of these from the one before it.
    for time in [
        "1479413884.000000001",
        "1479413884.000000002",
        "999999999999.999999998",
        "999999999999.999999999",
    ] {
        let reply = client.ask(&format!("IAMAT kiwi +1+1 {time}"));
        assert_eq!(herd.wait_until_known("Solo", "kiwi"), reply);
    }
    let reply = client.ask("IAMAT apple +1+1 -0.000000001");
    client.ask("IAMAT apple +1+1 -0.000000002");
    assert_eq!(herd.wait_until_known("Solo", "apple"), reply);
}
