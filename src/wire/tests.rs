//! Properties of the parsers: what is written is read again, and no bytes make them panic.

use proptest::prelude::*;

use super::command::{looks_like_http, parse_command};
use super::decimal::{parse_bound, parse_radius};
use super::location::{is_location, write_query};
use super::peer::{parse_at, parse_peer_line, write_at};
use super::time::{Nanos, parse_difference, parse_time, write_difference, write_utc};

/// Text that is often almost valid, which random bytes never are.
fn nearly_a_command() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"IAMAT".to_vec()),
        Just(b"WHATSAT".to_vec()),
        Just(b"AT Alford +0.263873386".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\r\0".to_vec()),
        Just(b"kiwi".to_vec()),
        Just(b"+34.068930-118.445127".to_vec()),
        "[-+]?[0-9]{0,20}(\\.[0-9]{0,20})?".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_time_is_the_digits_that_were_written(
        negative: bool, seconds in 0u64..1_000_000_000_000, nanos in 0u32..1_000_000_000,
    ) {
        let sign = if negative { "-" } else { "" };
        let magnitude = Nanos::from(seconds) * 1_000_000_000 + Nanos::from(nanos);
        let expected = if negative { -magnitude } else { magnitude };
        let text = format!("{sign}{seconds}.{nanos:09}");
        prop_assert_eq!(parse_time(text.as_bytes()), Some(expected));
        let shorter = text.trim_end_matches('0').trim_end_matches('.');
        prop_assert_eq!(parse_time(shorter.as_bytes()), Some(expected));
    }

    #[test]
    fn a_difference_is_read_as_it_was_written(
        difference in -9_999_999_999_999_999_999_999_i128..=9_999_999_999_999_999_999_999,
        small in any::<i64>(),
        around_short in -20_000_000_000..20_000_000_000_i128,
    ) {
        for nanos in [difference, Nanos::from(small), around_short] {
            let mut out = Vec::new();
            write_difference(&mut out, nanos);
            prop_assert_eq!(parse_difference(&out), Some(nanos));
        }
    }

    #[test]
    fn what_is_read_as_a_difference_is_what_would_be_written(
        text in "[-+]?[0-9]{1,14}\\.?[0-9]{8,10}",
    ) {
        if let Some(nanos) = parse_difference(text.as_bytes()) {
            let mut out = Vec::new();
            write_difference(&mut out, nanos);
            prop_assert_eq!(out, text.into_bytes());
        }
    }

    #[test]
    fn a_query_names_the_same_place(
        north in "[-+][0-9]{1,2}(\\.[0-9]{1,15})?",
        east in "[-+][0-9]{1,3}(\\.[0-9]{1,15})?",
    ) {
        let text = format!("{north}{east}");
        let written = [&north, &east].map(|angle| angle.parse::<f64>().unwrap());
        let in_range = written[0].abs() <= 90.0 && written[1].abs() <= 180.0;
        prop_assert_eq!(is_location(text.as_bytes()), in_range);
        let mut query = Vec::new();
        write_query(&mut query, text.as_bytes());
        let query = String::from_utf8(query).unwrap();
        let asked: Vec<f64> = query.split(',').map(|part| part.parse().unwrap()).collect();
        prop_assert_eq!(asked, written);
        prop_assert!(!query.contains('+') && !query.starts_with("00"));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        near in nearly_a_command(),
        time in any::<i128>(),
    ) {
        for text in [&noise, &near] {
            let _ = parse_command(text);
            let _ = looks_like_http(text);
            let _ = (parse_at(text), parse_peer_line(text));
            let _ = (parse_radius(text), parse_bound(text), is_location(text));
            let _ = (parse_time(text), parse_difference(text));
            write_query(&mut Vec::new(), text);
        }
        write_utc(&mut Vec::new(), time);
        write_difference(&mut Vec::new(), time);
    }

    #[test]
    fn an_at_line_says_again_what_was_written_into_it(
        server in "[A-Za-z]{1,64}",
        difference in any::<i64>(),
        client in proptest::collection::vec(
            any::<u8>().prop_filter("no white space", |byte| !b" \t\r\n\x0b\x0c".contains(byte)),
            1..40),
        location in "[-+][0-8]?[0-9](\\.[0-9]{1,15})?[-+]1?[0-7]?[0-9](\\.[0-9]{1,15})?",
        time in "-?[0-9]{1,12}(\\.[0-9]{1,9})?",
    ) {
        let difference = Nanos::from(difference);
        let mut line = Vec::new();
        write_at(
            &mut line, server.as_bytes(), difference, &client, location.as_bytes(), time.as_bytes(),
        );
        let at = parse_at(&line).unwrap();
        prop_assert_eq!(at.server, server.as_bytes());
        prop_assert_eq!(at.difference, difference);
        prop_assert_eq!(at.client, &client);
        prop_assert_eq!(at.location_text, location.as_bytes());
        prop_assert_eq!(Some(at.time), parse_time(time.as_bytes()));
        prop_assert_eq!(at.server_time(), at.time + difference);
        let mut again = Vec::new();
        write_at(
            &mut again, at.server, at.difference, at.client, at.location_text, at.time_text,
        );
        prop_assert_eq!(again, line);
    }

    #[test]
    fn an_at_line_that_is_read_is_what_would_be_written(
        line in "AT [A-Z]{1,2} [-+][0-9]{1,2}\\.[0-9]{8,10} [a-z\t]{1,2} [-+][0-9]{1,3}[-+][0-9] -?[0-9]{0,2}",
    ) {
        if let Some(at) = parse_at(line.as_bytes()) {
            let mut again = Vec::new();
            write_at(
                &mut again, at.server, at.difference, at.client, at.location_text, at.time_text,
            );
            prop_assert_eq!(again, line.into_bytes());
        }
    }
}
