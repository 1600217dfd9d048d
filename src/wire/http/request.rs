//! Requests to bytes, and the address they go to: the client's half of HTTP/1.1.
//!
//! [`write_request`] appends one request with the fields that every request of ours carries; [`Url`]
//! reads the address that `--places` gives. Nothing here decides what to ask: the upstreams do. What
//! came from outside passes [`percent_encode`] or is refused, so no text can end a line of a head.

use std::net::Ipv6Addr;

use super::HttpError;

/// Who asks. Overpass refuses requests that do not say.
const USER_AGENT: &str = concat!("herd/", env!("CARGO_PKG_VERSION"));

/// The port of `https:` (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// The longest name of a host, in bytes (RFC 1035 §2.3.4, in its text form).
const HOST_MAX_BYTES: usize = 253;

/// The longest label between two points of it, in bytes.
const LABEL_MAX_BYTES: usize = 63;

/// One request, as its parts.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Upper-case letters: `GET`.
    pub method: &'a str,
    /// The `Host` field, see [`Url::host_field`].
    pub host: &'a str,
    /// Path and query, beginning with `/`, percent-encoded.
    pub target: &'a str,
    /// Fields beyond those that every request has.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; `Content-Length` is written for it.
    pub body: Option<&'a [u8]>,
}

/// Appends `request` to `out`. A part that could break out of its place is an error that names the
/// part, not its text (which may be a key), and then nothing is appended.
pub fn write_request(out: &mut Vec<u8>, request: &Request<'_>) -> Result<(), HttpError> {
    check(request)?;
    for piece in [request.method, " ", request.target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    write_field(out, "Host", request.host);
    write_field(out, "User-Agent", USER_AGENT);
    write_field(out, "Accept", "application/json");
    // The body is passed on byte for byte, so it must not come compressed.
    write_field(out, "Accept-Encoding", "identity");
    write_field(out, "Connection", "keep-alive");
    for (name, value) in request.headers {
        write_field(out, name, value);
    }
    if let Some(body) = request.body {
        write_field(out, "Content-Length", &body.len().to_string());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(request.body.unwrap_or_default());
    Ok(())
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for piece in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Refuses a request with a byte where it could be read as the end of its part.
fn check(request: &Request<'_>) -> Result<(), HttpError> {
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let unless = |fine: bool, part| if fine { Ok(()) } else { Err(HttpError::UnsafeRequest(part)) };
    let method = request.method;
    unless(!method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()), "method")?;
    unless(graphic(request.target) && request.target.starts_with('/'), "target")?;
    unless(graphic(request.host), "host")?;
    for (name, value) in request.headers {
        unless(is_token(name.as_bytes()), "header name")?;
        let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        unless(printable, "header value")?;
    }
    Ok(())
}

/// A token, of which methods and field names are made (RFC 9110 §5.6.2).
pub(in crate::wire) fn is_token(text: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// Appends `bytes` so that they can stand as a value in a query: everything that is not unreserved in
/// RFC 3986 §2.3 as `%` and two digits.
pub fn percent_encode(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).map_or('0', |&byte| char::from(byte));
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

/// The address of an upstream: `https://host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A name, an IPv4 address, or an IPv6 address without its brackets: as a look-up and a
    /// certificate want it.
    pub host: String,
    /// 443 unless the address says otherwise.
    pub port: u16,
    /// What stands before the upstream's own path: empty, or a `/`, then no `/` at its end.
    pub prefix: String,
}

impl Url {
    /// Reads an address. The error says what is wrong with it, and repeats none of it where it could
    /// hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("the address has no scheme; write https://HOST[:PORT][/PREFIX]".into());
        };
        if !scheme.eq_ignore_ascii_case("https") {
            return Err("the address is not https; only https:// is spoken to Places".into());
        }
        // Wherever the @ stands: a password may hold a `/`, and would then be taken for a port.
        if rest.contains('@') {
            return Err(
                "the address holds an @: a user name or password is not sent, and in a path \
                        it is written %40"
                    .into(),
            );
        }
        let (authority, prefix) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if prefix.contains(['?', '#']) {
            return Err("the address has a query or fragment; the upstream's own follows it".into());
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the address's path holds a byte that must be percent-encoded".into());
        }
        let (host, port) = split_authority(authority)?;
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self { host, port: parse_port(port)?, prefix })
    }

    /// The host as the `Host` field has it: brackets around IPv6, the port unless it is 443.
    pub fn host_field(&self) -> String {
        let is_ipv6 = self.host.contains(':');
        let host = if is_ipv6 { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == HTTPS_PORT { host } else { format!("{host}:{}", self.port) }
    }
}

/// Splits `host[:port]` or `[v6][:port]` and checks the host.
fn split_authority(authority: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return Err("the address has a [ without a ]".into());
        };
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{address:?} in brackets is not an IPv6 address"));
        }
        return match (after, after.strip_prefix(':')) {
            ("", _) => Ok((address.to_owned(), None)),
            (_, Some(port)) => Ok((address.to_owned(), Some(port))),
            (_, None) => Err("after ] only :PORT or a path may follow".into()),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if !is_host_name(host) {
        return Err(format!("{host:?} is not a host name (an IPv6 address stands in brackets)"));
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// Labels of letters, digits, `-` and `_`, with points between them; so an IPv4 address too.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_MAX_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.len() <= HOST_MAX_BYTES && host.split('.').all(is_label)
}

fn parse_port(port: Option<&str>) -> Result<u16, String> {
    let Some(text) = port else { return Ok(HTTPS_PORT) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port; a port is a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(target: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request { method: "GET", host: "places.test:8443", target, headers, body: None }
    }

    #[test]
    fn a_get_is_written_to_the_letter() {
        let mut out = b"before ".to_vec();
        write_request(&mut out, &get("/a?b=c", &[("Authorization", "Bearer x y")])).unwrap();
        let expected = format!(
            "before GET /a?b=c HTTP/1.1\r\nHost: places.test:8443\r\nUser-Agent: herd/{}\r\n\
             Accept: application/json\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n\
             Authorization: Bearer x y\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_post_has_its_length_and_its_body() {
        let mut out = Vec::new();
        let body = Some(b"{\"a\":1}".as_slice());
        write_request(&mut out, &Request { method: "POST", body, ..get("/", &[]) }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("POST / HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 7\r\n\r\n{\"a\":1}"), "{text}");
    }

    #[test]
    fn nothing_can_break_out_of_its_place() {
        let cases: &[(Request<'_>, &str)] = &[
            (Request { method: "GET / HTTP/1.1\r\nX:", ..get("/", &[]) }, "method"),
            (Request { method: "", ..get("/", &[]) }, "method"),
            (Request { host: "a\r\nX: y", ..get("/", &[]) }, "host"),
            (Request { host: "", ..get("/", &[]) }, "host"),
            (get("/a b", &[]), "target"),
            (get("/a\nb", &[]), "target"),
            (get("/caf\u{e9}", &[]), "target"),
            (get("a", &[]), "target"),
            (get("/", &[("X\r\nY", "z")]), "header name"),
            (get("/", &[("X:", "z")]), "header name"),
            (get("/", &[("X", "secret\r\nY: z")]), "header value"),
            (get("/", &[("X", "secret\0")]), "header value"),
        ];
        for (request, part) in cases {
            let mut out = Vec::new();
            let error = write_request(&mut out, request).unwrap_err();
            assert_eq!(error, HttpError::UnsafeRequest(part));
            assert!(out.is_empty() && !error.to_string().contains("secret"));
        }
    }

    #[test]
    fn percent_encoding_leaves_only_the_unreserved() {
        let mut out = String::from("q=");
        percent_encode(&mut out, b"aZ09-._~ &=+%/:,[]\r\n\xff");
        assert_eq!(out, "q=aZ09-._~%20%26%3D%2B%25%2F%3A%2C%5B%5D%0D%0A%FF");
    }

    #[test]
    fn addresses_are_read() {
        let cases = [
            ("https://maps.googleapis.com", "maps.googleapis.com", 443, "", "maps.googleapis.com"),
            ("HTTPS://LocalHost:8443/", "localhost", 8443, "", "localhost:8443"),
            ("https://127.0.0.1:1/a/b//", "127.0.0.1", 1, "/a/b", "127.0.0.1:1"),
            ("https://[::1]:8443/x", "::1", 8443, "/x", "[::1]:8443"),
            ("https://[::1]", "::1", 443, "", "[::1]"),
            ("https://a:443", "a", 443, "", "a"),
        ];
        for (text, host, port, prefix, host_field) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.prefix.as_str()), (host, port, prefix));
            assert_eq!(url.host_field(), host_field);
        }
    }

    #[test]
    fn wrong_addresses_are_refused_in_words() {
        let long_label = format!("https://{}", "a".repeat(LABEL_MAX_BYTES + 1));
        let long_name = format!("https://{}a", "a.".repeat(HOST_MAX_BYTES / 2 + 1));
        let cases = [
            ("localhost:8443", "no scheme"),
            ("http://localhost", "not https"),
            ("https://", "not a host name"),
            ("https://a b", "not a host name"),
            ("https://a..b", "not a host name"),
            ("https://::1", "not a host name"),
            ("https://a\r\nb", "not a host name"),
            (long_label.as_str(), "not a host name"),
            (long_name.as_str(), "not a host name"),
            ("https://[::1", "[ without a ]"),
            ("https://[localhost]", "not an IPv6 address"),
            ("https://[::1]8443", "after ]"),
            ("https://a:", "not a port"),
            ("https://a:0", "not a port"),
            ("https://a:65536", "not a port"),
            ("https://a:+1", "not a port"),
            ("https://user:hunter2@a", "password"),
            ("https://user:hunter2/x@a", "password"),
            ("https://a/?key=x", "query"),
            ("https://a#x", "query"),
            ("https://a/b c", "percent-encoded"),
        ];
        for (text, words) in cases {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
