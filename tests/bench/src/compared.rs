//! What several rows do alike: servers of ours and of others, measured in turn with the same words.
//!
//! Called by the rows.

use crate::bench::Bench;
use crate::load::{Samples, in_turn};
use crate::peers::Peer;
use crate::servers::{Server, Stage};
use crate::table::short;

/// The key of `herd load` for the server's CPU time.
pub const CPU: &str = "server_cpu_ns_per_reply";

/// The name of our own servers in figures.
pub const HERD: &str = "herd";

/// A herd of one and some peers, all measured in turn with the same words.
pub struct Compared {
    titles: Vec<String>,
    samples: Vec<Samples>,
}

/// Starts a server of ours with these flags, and those of the peers that are installed; measures them in
/// turn.
pub fn compare(
    bench: &mut Bench,
    flags: &str,
    peers: &[Peer],
    words: &str,
) -> Result<Compared, String> {
    let stage = Stage::alone(bench)?;
    let mut servers = vec![stage.serve(bench, "Alford", HERD, flags)?];
    for peer in bench.peers.clone().into_iter().filter(|peer| peers.contains(peer)) {
        let port = bench.port()?;
        servers.push(Server::peer(bench, peer, "Alford", port, &[])?);
    }
    let samples = in_turn(bench, &servers, words)?;
    for server in servers.iter().filter(|server| server.title == HERD) {
        server.note_turn(bench);
    }
    let titles = servers.iter().map(|server| server.title.clone()).collect();
    Ok(Compared { titles, samples })
}

impl Compared {
    /// The least of a figure, for each.
    pub fn least(&self, key: &str) -> Result<Figures, String> {
        self.each(|samples| samples.least(key))
    }

    /// The median of a figure, for each.
    pub fn median(&self, key: &str) -> Result<Figures, String> {
        self.each(|samples| samples.median(key))
    }

    /// Whether the machine was never calm while ours was measured.
    pub fn disturbed(&self) -> bool {
        self.samples.first().is_some_and(Samples::disturbed)
    }

    fn each(&self, figure: impl Fn(&Samples) -> Result<f64, String>) -> Result<Figures, String> {
        let both = self.titles.iter().zip(&self.samples);
        let figures = both.map(|(title, samples)| Ok((title.clone(), figure(samples)?)));
        Ok(Figures(figures.collect::<Result<_, String>>()?))
    }
}

/// One figure of each of several servers, by their titles.
pub struct Figures(pub Vec<(String, f64)>);

impl Figures {
    /// That of one of them, if it was measured.
    pub fn of(&self, title: &str) -> Option<f64> {
        self.0.iter().find(|(found, _)| found == title).map(|(_, figure)| *figure)
    }

    /// That of a peer.
    pub fn peer(&self, peer: Peer) -> Option<f64> {
        self.of(peer.name())
    }

    /// That of our server.
    pub fn herd(&self) -> Result<f64, String> {
        self.of(HERD).ok_or_else(|| "herd was not measured".to_owned())
    }

    /// Those of the peers, least first: `echo 128, Redis 608 ns`.
    pub fn told(&self, unit: &str) -> String {
        let mut peers: Vec<_> =
            self.0.iter().filter(|(title, _)| !title.starts_with(HERD)).collect();
        peers.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let told: Vec<String> =
            peers.iter().map(|(title, figure)| format!("{title} {}", short(*figure))).collect();
        if told.is_empty() {
            return String::new();
        }
        format!("{} {unit}", told.join(", ")).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_peers_are_told_the_least_first() {
        let figures = [("herd", 250.0), ("tokio", 612.0), ("echo", 128.0), ("herd, TLS", 300.0)];
        let figures = Figures(figures.map(|(title, figure)| (title.to_owned(), figure)).to_vec());
        assert_eq!(figures.told("ns"), "echo 128, tokio 612 ns");
        assert_eq!(figures.told(""), "echo 128, tokio 612");
        assert_eq!(figures.herd(), Ok(250.0));
        assert_eq!(figures.peer(Peer::Redis), None);
    }
}
