//! A disk that loses what it was not told to keep: the least that a server may rely on.
//!
//! Of a file, what was synced survives. Of what was written after that, a power failure leaves any
//! prefix, whose end may be garbled; the death of the process alone leaves all of it, still not synced.
//! A rename survives for certain only when the folder has been synced.

use super::random::Random;

#[derive(Default)]
pub struct File {
    pub bytes: Vec<u8>,
    /// How much of it survives a power failure.
    pub synced: usize,
}

/// A server's folder: the journal, and the file that is to take its place.
#[derive(Default)]
pub struct Disk {
    pub journal: File,
    pub fresh: Option<File>,
    /// The fresh file has the journal's name, but the folder is not synced.
    pub renamed: bool,
    /// Of what is appended, only a part is written.
    pub full: bool,
}

impl File {
    /// Whether there is something that a sync would make safe.
    pub fn is_dirty(&self) -> bool {
        self.synced < self.bytes.len()
    }

    fn lose_power(&mut self, random: &mut Random) {
        let tail = self.bytes.len() - self.synced;
        self.bytes.truncate(self.synced + random.index(tail + 1));
        let tail = self.bytes.len() - self.synced;
        if tail > 0 && random.one_in(3) {
            let garbled = 1 + random.index(tail);
            let start = self.bytes.len() - garbled;
            let zeros = random.one_in(2);
            for byte in &mut self.bytes[start..] {
                *byte = if zeros { 0 } else { random.next().to_le_bytes()[0] };
            }
        }
        self.synced = self.bytes.len();
    }
}

impl Disk {
    /// The process is gone; what it wrote is there, except for a file that had no name yet.
    pub fn process_died(&mut self) {
        if let Some(fresh) = self.fresh.take().filter(|_| self.renamed) {
            self.journal = fresh;
        }
        self.renamed = false;
    }

    /// The machine is gone.
    pub fn lose_power(&mut self, random: &mut Random) {
        if random.one_in(2) {
            self.renamed = false;
        }
        self.process_died();
        self.journal.lose_power(random);
    }

    /// What the journal has after any power failure.
    pub fn durable(&self) -> &[u8] {
        &self.journal.bytes[..self.journal.synced]
    }

    /// One bit, anywhere, is not what was written.
    pub fn spoil(&mut self, random: &mut Random) {
        if !self.journal.bytes.is_empty() {
            let place = random.index(self.journal.bytes.len());
            self.journal.bytes[place] ^= 1 << random.below(8);
        }
    }
}

#[test]
fn what_was_synced_survives_and_of_the_rest_any_prefix_may() {
    let mut random = Random::new(1);
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let (bytes, synced) = (b"kept, perhaps".to_vec(), 4);
        let fresh = Some(File { bytes: b"fresh".to_vec(), synced: 5 });
        let journal = File { bytes, synced };
        let mut disk = Disk { journal, fresh, renamed: random.one_in(2), full: false };
        let renamed = disk.renamed;
        disk.lose_power(&mut random);
        assert!(disk.fresh.is_none());
        if disk.journal.bytes == b"fresh" {
            assert!(renamed);
            continue;
        }
        assert_eq!(&disk.journal.bytes[..4], b"kept");
        lengths.insert(disk.journal.bytes.len());
    }
    assert_eq!(lengths, (4..=13).collect());
}
