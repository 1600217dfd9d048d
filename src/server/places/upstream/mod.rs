//! What is asked of whom: the four services that can answer a WHATSAT.
//!
//! An [`Upstream`] is a small value that knows how to build a request, where its JSON keeps the list,
//! and what its statuses mean. It opens no connection and keeps no state; Places does, and asks it.
//! A request never depends on an asker's bound, only on place and radius: questions for the same
//! place and radius share one, so each asks for the most that any bound allows.

pub mod google;
pub mod google_new;
pub mod overpass;
pub mod tweets;

use std::fmt;

use crate::wire::http::HttpError;
use crate::wire::http::request::{Request, write_request};
use crate::wire::http::response::Response;
use crate::wire::json::member;

/// The greatest bound that a WHATSAT may have, which is what every request asks for.
pub const RESULTS_MAX: usize = 20;

/// The environment variable that holds the key, whichever upstream it is for.
pub const KEY_ENVIRONMENT: &str = "PLACES_API_KEY";

/// The longest key, in bytes. Google's have 39, bearer tokens about 120.
pub const KEY_MAX_BYTES: usize = 4096;

/// The longest host that an error about a redirect shows, in bytes.
const SHOWN_HOST_MAX_BYTES: usize = 253;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// Google Places, Nearby Search in its older form; also what the stand-in speaks.
    Google,
    /// Google Places, Nearby Search (New).
    GoogleNew,
    /// `OpenStreetMap` through the Overpass API.
    Overpass,
    /// Posts on X near the point.
    Tweets,
}

/// What is asked: two askers with equal questions share one request.
///
/// The numbers are texts, and stand in the request as they stand here: plain decimals as JSON has
/// them, so no `+`, no exponent, no padding zeros in front, digits on both sides of a point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Degrees north.
    pub latitude: String,
    /// Degrees east.
    pub longitude: String,
    /// The radius in metres, 0 to 50000.
    pub radius_metres: String,
}

impl Question {
    /// The radius in metres as a number, brought within the limits of an upstream.
    fn metres_within(&self, least: f64, most: f64) -> f64 {
        self.radius_metres.parse().unwrap_or(least).clamp(least, most)
    }
}

/// As a log line has it; the request's own bytes may hold the key.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{} within {} m", self.latitude, self.longitude, self.radius_metres)
    }
}

/// Where a request goes, as an upstream needs it.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// The `Host` field.
    pub host_field: &'a str,
    /// What stands before the upstream's own path; often empty.
    pub prefix: &'a str,
}

impl Upstream {
    /// All of them, in the order in which words list them.
    pub const ALL: [Self; 4] = [Self::Google, Self::GoogleNew, Self::Overpass, Self::Tweets];

    /// Reads the value of `--upstream`.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|upstream| upstream.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown upstream {name:?}; there are {names}")
        })
    }

    /// The name that [`Upstream::parse`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::GoogleNew => "google-new",
            Self::Overpass => "overpass",
            Self::Tweets => "tweets",
        }
    }

    /// The host that is asked unless `--places` names another one, over HTTPS on port 443.
    pub fn default_host(self) -> &'static str {
        match self {
            Self::Google => "maps.googleapis.com",
            Self::GoogleNew => "places.googleapis.com",
            Self::Overpass => "overpass-api.de",
            Self::Tweets => "api.x.com",
        }
    }

    /// The field of the answer's top-level object that holds the list.
    pub fn list_name(self) -> &'static str {
        match self {
            Self::Google => "results",
            Self::GoogleNew => "places",
            Self::Overpass => "elements",
            Self::Tweets => "data",
        }
    }

    /// Whether its own servers answer nobody without a key.
    pub fn needs_key(self) -> bool {
        self != Self::Overpass
    }

    /// Appends the request to `out`. Without a key the request is made all the same, and the upstream
    /// says what it thinks of that: a stand-in may not need one. An error means that a part of it was
    /// not fit to stand in a head; then nothing is appended.
    pub fn build(
        self,
        out: &mut Vec<u8>,
        server: Server<'_>,
        question: &Question,
        key: Option<&Secret>,
    ) -> Result<(), HttpError> {
        match self {
            Self::Google => google::build(out, server, question, key),
            Self::GoogleNew => google_new::build(out, server, question, key),
            Self::Overpass => overpass::build(out, server, question),
            Self::Tweets => tweets::build(out, server, question, key),
        }
    }

    /// Whether the answer's body may be passed on. Only 200 promises the JSON that was asked for; the
    /// words for any other status are for the client, and hold neither key nor body.
    pub fn judge(self, answer: &Response) -> Result<(), String> {
        let status = answer.status;
        if status == 200 {
            return Ok(());
        }
        if let (300..=399, Some(location)) = (status, &answer.location) {
            let target = redirect_target(location);
            return Err(format!(
                "places: answered {status}, a redirect to {target}, which is not followed"
            ));
        }
        let meaning = match self {
            Self::Google => google::meaning(status),
            Self::GoogleNew => google_new::meaning(status),
            Self::Overpass => overpass::meaning(status),
            Self::Tweets => tweets::meaning(status),
        };
        Err(match meaning {
            Some(meaning) => format!("places: answered {status} ({meaning})"),
            None => format!("places: answered {status}"),
        })
    }
}

impl Upstream {
    /// Whether an answer with status 200 is the upstream's last word on the question, so that it may serve those
    /// who ask the same a few seconds later: no error, and not a part. Google says so in a `status`; the others
    /// have none, and add a member where something is missing.
    pub fn is_settled(self, body: &[u8]) -> bool {
        match self {
            Self::Google => {
                let status = member(body, "status");
                let status = status.and_then(|text| serde_json::from_str::<String>(text).ok());
                status.is_some_and(|status| status == "OK" || status == "ZERO_RESULTS")
            }
            Self::GoogleNew => member(body, "error").is_none(),
            // "runtime error: Query timed out" beside what was found until then.
            Self::Overpass => member(body, "remark").is_none(),
            Self::Tweets => member(body, "errors").is_none(),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The path of a request: the server's prefix with the upstream's own path behind it. A prefix that ends with
/// that path already, since the whole address was given, stays as it is.
fn path(prefix: &str, own: &str) -> String {
    if prefix.ends_with(own) { prefix.to_owned() } else { format!("{prefix}{own}") }
}

/// Appends a GET of `target`, which begins with the server's prefix.
fn write_get(
    out: &mut Vec<u8>,
    server: Server<'_>,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<(), HttpError> {
    let host = server.host_field;
    write_request(out, &Request { method: "GET", host, target, headers, body: None })
}

/// The host of a redirect in words, and nothing else of it: its path and query may repeat ours, with
/// the key (RFC 9110 §10.2.2 allows a reference without a host).
fn redirect_target(location: &str) -> String {
    let authority = match location.split_once("//") {
        Some(("" | "http:" | "https:" | "HTTP:" | "HTTPS:", rest)) => {
            rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()
        }
        _ if location.starts_with(['/', '?', '.']) => return "the same host".into(),
        _ => return "no readable address".into(),
    };
    // What stands before an `@` is a user name and a password.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.is_empty() || host.len() > SHOWN_HOST_MAX_BYTES || !host.bytes().all(plausible) {
        return "no readable address".into();
    }
    format!("host \"{host}\"")
}

/// A key or token. It cannot be printed; only the upstreams read it, into a request.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Reads a key out of a file or the environment: printable ASCII without white space inside, as
    /// it must stand in a head; white space around it is not part of it. The words of the error hold
    /// none of it; the caller adds where it came from.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Err("the key is empty".into());
        }
        if bytes.len() > KEY_MAX_BYTES {
            return Err(format!("the key is longer than {KEY_MAX_BYTES} bytes; is it a key?"));
        }
        if let Some(index) = bytes.iter().position(|byte| !byte.is_ascii_graphic()) {
            let place = index + 1;
            return Err(format!("byte {place} of the key is white space or no printable ASCII"));
        }
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests;
