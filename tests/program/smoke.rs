//! The first thing anybody does: five servers, one report, asked for everywhere.

use super::support::{ALFORD, Herd};

#[test]
fn what_one_server_hears_all_servers_know() {
    let herd = Herd::start(ALFORD);
    let said = "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450";
    let reply = herd.say("Alford", said);
    let record = reply.strip_suffix('\n').unwrap();
    assert!(record.starts_with("AT Alford +"), "{record}");
    assert!(record.ends_with(said.strip_prefix("IAMAT").unwrap()), "{record}");
    for name in ["Alford", "Ball", "Hamilton", "Holiday", "Welsh"] {
        assert_eq!(herd.wait_until_known(name, "kiwi.cs.ucla.edu"), record);
    }
}
