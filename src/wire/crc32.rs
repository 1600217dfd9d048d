//! CRC-32, the check sum by which damage to a line of the journal is noticed.
//!
//! The common one: polynomial 0x04C11DB7 with the bits of each byte turned round, as in IEEE 802.3 and
//! ISO 3309, and in gzip (RFC 1952, section 8). It finds every damage that spans up to 32 bits, and all
//! but one in four billion of the rest. It proves nothing about who wrote a line. Called by
//! [`journal`](super::journal).

/// The polynomial, least significant bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// What is left of a byte when it and the bytes behind it in its step, all zero, have gone through the
/// division; by the byte's place in the step, and the byte.
///
/// The division is linear: what is left of eight bytes is what is left of each by itself, taken
/// together. So eight can be looked up side by side, where one by one each look-up waits for the last
/// (M. Kounavis and F. Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation",
/// 2008).
const REMAINDERS: [[u32; 256]; 8] = [
    remainders(7),
    remainders(6),
    remainders(5),
    remainders(4),
    remainders(3),
    remainders(2),
    remainders(1),
    remainders(0),
];

/// The check sum of a text.
pub(super) fn crc32(text: &[u8]) -> u32 {
    let [.., last] = &REMAINDERS;
    let (steps, rest) = text.as_chunks::<8>();
    let crc = steps.iter().fold(!0, |crc: u32, step| {
        let step = (u64::from_le_bytes(*step) ^ u64::from(crc)).to_le_bytes();
        // From the end, which needs not wait for what the step before has left: that is in the first half.
        step.iter().zip(&REMAINDERS).rev().fold(0, |crc, (byte, table)| crc ^ of(table, *byte))
    });
    !rest.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ of(last, low ^ byte)
    })
}

fn of(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

const fn remainders(zeros: u32) -> [u32; 256] {
    let mut remainders = [0; 256];
    let mut rest: &mut [u32] = &mut remainders;
    let mut byte = 0;
    while let [first, others @ ..] = rest {
        let (mut remainder, mut bits) = (byte, 8 * (zeros + 1));
        while bits > 0 {
            let lost = remainder & 1;
            remainder >>= 1;
            if lost == 1 {
                remainder ^= POLYNOMIAL;
            }
            bits -= 1;
        }
        *first = remainder;
        byte += 1;
        rest = others;
    }
    remainders
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_check_value_of_the_catalogues() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn eight_at_a_step_is_the_same_as_one_by_one() {
        let text: Vec<u8> = (0..100u8).map(|byte| byte.wrapping_mul(151)).collect();
        for length in 0..text.len() {
            let one_by_one = text[..length].iter().fold(!0u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                    if crc & 1 == 1 { crc >> 1 ^ super::POLYNOMIAL } else { crc >> 1 }
                })
            });
            assert_eq!(crc32(&text[..length]), !one_by_one, "{length}");
        }
    }

    #[test]
    fn a_change_of_any_bit_or_two_bytes_shows() {
        let text = *b"AT Alford +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127";
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text;
                damaged[place] ^= 1 << bit;
                assert_ne!(crc32(&damaged), crc32(&text));
            }
            let mut swapped = text;
            swapped.swap(place, (place + 1) % text.len());
            assert_eq!(crc32(&swapped) == crc32(&text), swapped == text);
        }
    }
}
