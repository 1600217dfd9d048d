//! CRC-32, the check sum by which damage to a line of the journal is noticed.
//!
//! The common one: polynomial 0x04C11DB7 with the bits of each byte turned round, as in IEEE 802.3 and
//! ISO 3309, and in gzip (RFC 1952, section 8). It finds every damage that spans up to 32 bits, and all
//! but one in four billion of the rest. It proves nothing about who wrote a line. Called by
//! [`journal`](super::journal).

/// The polynomial, least significant bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// By byte: what is left of it when it has gone through the division.
const REMAINDERS: [u32; 256] = remainders();

/// The check sum of a text.
pub(super) fn crc32(text: &[u8]) -> u32 {
    !text.iter().fold(!0, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ REMAINDERS.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    })
}

const fn remainders() -> [u32; 256] {
    let mut remainders = [0; 256];
    let mut rest: &mut [u32] = &mut remainders;
    let mut byte = 0;
    while let [first, others @ ..] = rest {
        let (mut remainder, mut bits) = (byte, 8);
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
