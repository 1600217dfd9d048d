//! Whom the lines of a read seem to be about, before any of them is read.
//!
//! A guess for whoever wants memory to be ready for them: it accepts no line and refuses none, and
//! nothing that is answered or kept may hang on it. Called by [`herd`](crate::herd).

use memchr::memchr;

use super::scan::find_white_space;

/// The clients in the first `lines_max` whole lines of `data`, as far as these look like an IAMAT or an AT
/// line in its plain spelling.
pub fn clients_in(data: &[u8], lines_max: usize) -> impl Iterator<Item = &[u8]> {
    lines(data).take(lines_max).filter_map(|line| {
        if let Some(fields) = line.strip_prefix(b"IAMAT ") {
            return field(fields).map(|(client, _)| client);
        }
        let (_server, fields) = field(line.strip_prefix(b"AT ")?)?;
        let (_difference, fields) = field(fields)?;
        field(fields).map(|(client, _)| client)
    })
}

/// What stands before each LF.
fn lines(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (line, rest) = data.split_at_checked(memchr(b'\n', data)?)?;
        data = rest.get(1..)?;
        Some(line)
    })
}

/// What stands before the first white space, and what behind it.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (field, rest) = text.split_at_checked(find_white_space(text)?)?;
    Some((field, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_of_whole_plain_lines_are_found_and_anything_else_is_passed_over() {
        let data = b"ed line\nIAMAT kiwi +1-1 7\r\n\nAT Ball +0.5 fig +1-1 7\nWHATSAT kiwi 1 1\n\
            AT Ball\nAT Ball +1 \nIAMAT\nIAMAT  plum +1-1 7\nMARK 7\n\xff\xfe\nIAMAT half +1-1 7";
        let found: Vec<_> = clients_in(data, 100).map(String::from_utf8_lossy).collect();
        assert_eq!(found, ["kiwi", "fig", ""]);
        assert_eq!(clients_in(data, 3).count(), 1);
    }
}
