//! The keys by which the servers know each other: made on first use, so that a herd is protected without
//! anybody thinking of it.
//!
//! Decides only whose keys are used and that none runs out; how keys are made is `herd::keys`, the same that
//! `herd keys` calls. Called by `start`, before the servers that are to have them.

use crate::keys::{Renew, SERVER_DAYS, Wanted, make, unix_seconds};
use std::time::SystemTime;

use super::local_herd::LocalHerd;
use super::options::KEYS;

/// The flag that gives a server its keys. They are made for servers that have none, and made anew for
/// those that would soon have to warn; none of this when the keys come from elsewhere.
pub fn keys_arguments(herd: &LocalHerd) -> Result<Vec<String>, String> {
    if herd.options.get(KEYS).is_some() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = herd.topology.ids().map(|id| herd.topology.name(id)).collect();
    let wanted = Wanted {
        names: &names,
        authority_key: None,
        renew: Renew::Expiring,
        days: SERVER_DAYS,
        now: unix_seconds(SystemTime::now()),
    };
    let dir = herd.keys();
    make(&dir, &wanted).map_err(|fault| {
        let shown = herd.run.shown(&dir);
        format!("the servers' keys are not right: {fault}.\nWithout {shown} all are made anew.")
    })?;
    Ok(vec![KEYS.to_owned(), dir.to_string_lossy().into_owned()])
}
