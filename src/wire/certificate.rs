//! When an X.509 certificate begins and ceases to be valid: just that, out of its DER.
//!
//! The TLS library checks a peer's certificate and tells nobody when it expires, but a server has to warn
//! of the end of its own. So this reads as far as the field (RFC 5280, section 4.1; the encoding is
//! ITU-T X.690) and no further. It proves nothing: who may be believed is decided by the TLS library.
//! Called by `keys` with the herd's own files.

use super::time::days_since_1970;

/// From when to when, both ends included, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: i64,
    /// The last one.
    pub not_after: i64,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, around the version.
const VERSION: u8 = 0xa0;

/// Reads the validity of a certificate in DER; `None` for what is no certificate.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (fields, _) = element(certificate, SEQUENCE)?;
    // Version 1 is written by leaving the version out.
    let fields = element(fields, VERSION).map_or(fields, |(_, after)| after);
    let (_serial_number, fields) = element(fields, INTEGER)?;
    let (_signature_algorithm, fields) = element(fields, SEQUENCE)?;
    let (_issuer, fields) = element(fields, SEQUENCE)?;
    let (validity, _) = element(fields, SEQUENCE)?;
    let (not_before, after) = time(validity)?;
    let (not_after, _) = time(after)?;
    Some(Validity { not_before, not_after })
}

/// The contents of the element at the front, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, der) = der.split_first()?;
    let (&short, der) = der.split_first()?;
    if found != tag {
        return None;
    }
    if short < 0x80 {
        return der.split_at_checked(usize::from(short));
    }
    // The long form: so many bytes of length follow. Four are more than any certificate needs.
    let (length, der) = der
        .split_at_checked(usize::from(short & 0x7f))
        .filter(|(l, _)| matches!(l.len(), 1..=4))?;
    let length = length.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
    der.split_at_checked(usize::try_from(length).ok()?)
}

/// A `Time` (section 4.1.2.5): to the second, in UTC, with two or four digits of the year.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let tag = *der.first()?;
    let (text, after) = element(der, tag)?;
    let pair = |pair: &[u8]| match *pair {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    };
    let pairs: Option<Vec<i64>> = text.strip_suffix(b"Z")?.chunks(2).map(pair).collect();
    let (year, month, day, hour, minute, second) = match (tag, pairs?.as_slice()) {
        (UTC_TIME, &[year, month, day, hour, minute, second]) => {
            let century = if year < 50 { 2000 } else { 1900 };
            (century + year, month, day, hour, minute, second)
        }
        (GENERALIZED_TIME, &[century, year, month, day, hour, minute, second]) => {
            (100 * century + year, month, day, hour, minute, second)
        }
        _ => return None,
    };
    let right = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !right || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some((days * 86_400 + hour * 3600 + minute * 60 + second, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An element, its length in the form that DER prescribes.
    fn tagged(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u32::try_from(contents.len()).unwrap().to_be_bytes();
        let significant = length.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
        let length = match significant.as_slice() {
            [] => vec![0],
            &[short @ ..0x80] => vec![short],
            long => [&[0x80 | u8::try_from(long.len()).unwrap()], long].concat(),
        };
        [&[tag], length.as_slice(), contents].concat()
    }

    /// As much of a certificate as is read, and a public key that is not.
    fn certificate(version: &[u8], issuer: &[u8], validity: &[u8]) -> Vec<u8> {
        let fields = [
            version,
            &tagged(INTEGER, &[7; 20]),
            &tagged(SEQUENCE, b"algorithm"),
            &tagged(SEQUENCE, issuer),
            &tagged(SEQUENCE, validity),
            &tagged(SEQUENCE, &[1; 300]),
        ];
        tagged(SEQUENCE, &tagged(SEQUENCE, &fields.concat()))
    }

    fn utc(text: &str) -> Vec<u8> {
        tagged(UTC_TIME, text.as_bytes())
    }

    fn read(not_before: &[u8], not_after: &[u8]) -> Option<(i64, i64)> {
        let version = tagged(VERSION, &tagged(INTEGER, &[2]));
        let validity =
            validity(&certificate(&version, b"issuer", &[not_before, not_after].concat()));
        validity.map(|validity| (validity.not_before, validity.not_after))
    }

    #[test]
    fn both_spellings_of_a_time_are_read() {
        let generalized = |text: &str| tagged(GENERALIZED_TIME, text.as_bytes());
        // date -u -d 2049-12-31T23:59:59Z +%s, and so on
        for (before, after, seconds) in [
            (utc("700101000000Z"), utc("491231235959Z"), (0, 2_524_607_999)),
            (utc("500101000000Z"), generalized("20500101000000Z"), (-631_152_000, 2_524_608_000)),
            (
                utc("240229120000Z"),
                generalized("99991231235959Z"),
                (1_709_208_000, 253_402_300_799),
            ),
            (
                generalized("00000101000000Z"),
                utc("161117201804Z"),
                (-62_167_219_200, 1_479_413_884),
            ),
        ] {
            assert_eq!(read(&before, &after), Some(seconds));
        }
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        let good = utc("260101000000Z");
        assert!(read(&good, &good).is_some());
        for text in [
            "260101000000",
            "2601010000Z",
            "260101000000+0000",
            "20260101000000Z",
            "261301000000Z",
            "260001000000Z",
            "260100000000Z",
            "260132000000Z",
            "260101240000Z",
            "260101006000Z",
            "260101000060Z",
            "26010100000 Z",
            "260101000000.5Z",
            "Z",
            "",
        ] {
            assert_eq!(read(&good, &utc(text)), None, "{text}");
            assert_eq!(read(&utc(text), &good), None, "{text}");
        }
        assert_eq!(read(&good, &tagged(INTEGER, b"260101000000Z")), None);
    }

    #[test]
    fn the_first_version_and_long_fields_are_read_too() {
        let times = [utc("260101000000Z"), utc("270101000000Z")].concat();
        let expected = Some(Validity { not_before: 1_767_225_600, not_after: 1_798_761_600 });
        assert_eq!(validity(&certificate(&[], b"issuer", &times)), expected);
        for length in [127, 128, 255, 256, 70_000] {
            assert_eq!(validity(&certificate(&[], &vec![b'x'; length], &times)), expected);
        }
    }

    #[test]
    fn a_certificate_that_was_made_for_us_ends_when_it_was_to_end() {
        let mut made = rcgen::CertificateParams::new(["Alford".to_owned()]).unwrap();
        for (year, seconds) in [(1975, 157_766_400), (2049, 2_493_072_000), (2051, 2_556_144_000)] {
            made.not_after = rcgen::date_time_ymd(year, 1, 1);
            let der = made.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let read = validity(der.der()).unwrap();
            assert_eq!((read.not_before, read.not_after), (157_766_400, seconds));
        }
    }

    #[test]
    fn a_certificate_cut_short_within_what_is_read_is_none() {
        let times = [utc("260101000000Z"), utc("270101000000Z")].concat();
        let whole = certificate(&[], b"issuer", &times);
        for length in 0..whole.len() {
            assert_eq!(validity(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_any_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = validity(&bytes);
        }

        #[test]
        fn nor_does_a_certificate_with_bytes_changed(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8)
        ) {
            let times = [utc("260101000000Z"), utc("270101000000Z")].concat();
            let mut bytes = certificate(&tagged(VERSION, &[2, 1, 2]), b"issuer", &times);
            for (index, byte) in changes {
                *index.get_mut(&mut bytes) = byte;
            }
            let _ = validity(&bytes);
        }
    }
}
