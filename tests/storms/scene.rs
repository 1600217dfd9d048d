//! What every storm begins and ends with: a herd of three with keys that answers, and what its processes
//! hold, as the system counts it.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::random::Random;
use super::support::{Herd, Shape, eventually};

/// What is told from one end to the other passes through the middle, which is where storms strike.
pub const ROW: Shape = &[("Left", "Middle"), ("Middle", "Right"), ("Right", "")];

/// How much more memory a process may keep after a storm: what a table has grown, what the server keeps for
/// the next who comes, and what the allocator has not given back.
pub const KEPT_KIB_MAX: u64 = 4 * 1024;

/// Makes resident memory tell what a process holds: each block of a page or more is then taken from the system
/// by itself and goes back when it is freed (`M_MMAP_THRESHOLD` in mallopt(3)). Otherwise glibc keeps freed
/// memory below the topmost block that lives, be it of 16 bytes: between a tenth and all of what a crowd needed.
const GIVE_BACK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "4096");

/// Looks in a row at which a process has as many descriptors, until that is believed to be what it holds
/// and not a connection on its way out.
const LOOKS: usize = 5;

/// A herd that is linked and has answered, and what each of its processes held then.
pub struct Scene {
    pub herd: Herd,
    before: Vec<(&'static str, Held)>,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
}

impl Scene {
    /// A herd with keys.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        let mut herd = Self::herd(&[&["--log-level", "warn"], arguments].concat());
        herd.start_all();
        Self::of(herd)
    }

    /// The same with journals that are waited for, to be started by the test.
    pub fn keeping(log_level: &str) -> Herd {
        let mut herd = Self::herd(&["--log-level", log_level, "--sync", "always"]);
        let folder = herd.folder.path("journal").display().to_string();
        herd.arguments.extend(["--journal".to_owned(), folder]);
        herd
    }

    fn herd(arguments: &[&str]) -> Herd {
        let mut herd = Herd::new(ROW).with_keys();
        herd.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let (name, value) = GIVE_BACK;
        herd.environment.push((name.to_owned(), value.to_owned()));
        herd
    }

    /// A herd that runs. It is asked everything once, so that what is made on first use is there.
    pub fn of(herd: Herd) -> Self {
        let mut scene = Self { herd, before: Vec::new() };
        scene.answers();
        scene.before = ROW.iter().map(|(name, _)| (*name, scene.held_in_peace(name))).collect();
        scene
    }

    /// That a client of each server is known at the others, under the AT line that it was told; and that
    /// TLS is spoken with clients.
    pub fn answers(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for (heard, _) in ROW {
            let id = format!("witness{}", COUNT.fetch_add(1, Ordering::Relaxed));
            let said = format!("IAMAT {id} +34.068930-118.445127 1479413884.392014450");
            let reply = self.herd.say(heard, &said);
            assert!(reply.starts_with(&format!("AT {heard} +")), "{reply}");
            for (asked, _) in ROW {
                assert_eq!(self.herd.wait_until_known(asked, &id), reply.trim_end());
            }
            assert_eq!(self.herd.tls(heard, None).ask("peace").unwrap(), "? peace");
        }
    }

    /// The end of a storm: the herd is linked and answers, and nothing is left of what was needed for it.
    pub fn is_at_peace(&self) {
        self.is_at_peace_with(KEPT_KIB_MAX);
    }

    /// The same for a storm after which more memory is kept, for a reason.
    pub fn is_at_peace_with(&self, kept_kib_max: u64) {
        for (name, _) in ROW {
            self.herd.wait_until_linked(name);
        }
        self.answers();
        for (name, before) in &self.before {
            let mut seen = *before;
            eventually(&format!("{name} holds what it held"), || {
                let now = self.held(name);
                if std::mem::replace(&mut seen, now) != now {
                    // Shown when the test fails.
                    eprintln!("{name} held {before:?} and holds {now:?}");
                }
                let is_back = now.descriptors <= before.descriptors
                    && now.resident_kib <= before.resident_kib + kept_kib_max;
                is_back.then_some(())
            });
        }
    }

    /// The most memory that the middle server has ever had, beyond what it had before the storm.
    pub fn peak_kib(&self) -> u64 {
        let (_, before) = self.before[1];
        self.memory_kib("Middle", "VmHWM:").saturating_sub(before.resident_kib)
    }

    pub fn connections(&self) -> usize {
        let connections = self.herd.status("Middle")["connections"].as_u64().unwrap();
        usize::try_from(connections).unwrap()
    }

    /// What it holds once those who asked have gone.
    fn held_in_peace(&self, name: &str) -> Held {
        let is_none = |held: &str| self.herd.status(name)[held] == 0;
        eventually("the clients have gone", || {
            ["clients", "questions", "upstream_connections"].into_iter().all(is_none).then_some(())
        });
        let (mut last, mut looks) = (self.held(name), 0);
        eventually("its descriptors stay as they are", || {
            let now = self.held(name);
            looks = if now.descriptors == last.descriptors { looks + 1 } else { 0 };
            last = now;
            (looks == LOOKS).then_some(last)
        })
    }

    fn held(&self, name: &str) -> Held {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid(name))).unwrap().count();
        Held { resident_kib: self.memory_kib(name, "VmRSS:"), descriptors }
    }

    fn memory_kib(&self, name: &str, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(name))).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn pid(&self, name: &str) -> u32 {
        let mut servers = self.herd.servers.iter();
        servers.find(|(n, ..)| n == name).unwrap().2.as_ref().unwrap().child.id()
    }
}

/// Chance from a seed, which is printed when the test fails.
pub fn chance(test: &str) -> Random {
    let given = std::env::var("HERD_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    eprintln!("to see it again: HERD_SEED={seed} cargo test --test storms {test}");
    Random::new(seed)
}
