//! The machine, named by its kind: how many processors of which family, and which system. And the day.
//!
//! No host name, no serial number. Reads `/proc` where there is one. Called by `bench`.

use std::fs;
use std::num::NonZero;
use std::process::Command;

/// For example `2 virtual CPUs, AMD Zen 3, Linux 6.18`.
pub fn kind() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let uname = Command::new("uname").arg("-sr").output().map(|output| output.stdout);
    let system = String::from_utf8(uname.unwrap_or_default()).unwrap_or_default();
    describe(cpus, &info, &system)
}

/// The day, as `2026-11-21` (UTC); nothing where nobody tells.
pub fn today() -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output().map(|output| output.stdout);
    String::from_utf8_lossy(&date.unwrap_or_default()).trim().to_owned()
}

fn describe(cpus: usize, cpuinfo: &str, uname: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().map(str::trim) == Some(name));
        line.and_then(|line| line.split(':').nth(1)).map(str::trim)
    };
    let flags = field("flags").unwrap_or_default();
    let is_virtual = flags.split(' ').any(|flag| flag == "hypervisor");
    let number = |name| field(name).and_then(|text| text.parse::<u32>().ok());
    let processor = match (field("vendor_id"), number("cpu family"), number("model")) {
        (Some("AuthenticAMD"), Some(family), Some(model)) => zen(family, model).to_owned(),
        _ => field("model name").unwrap_or(std::env::consts::ARCH).to_owned(),
    };
    let mut words = uname.split_whitespace();
    let system = words.next().unwrap_or(std::env::consts::OS);
    let release: Vec<&str> = words.next().unwrap_or_default().split('.').take(2).collect();
    let virtually = if is_virtual { "virtual " } else { "" };
    let plural = if cpus == 1 { "" } else { "s" };
    format!("{cpus} {virtually}CPU{plural}, {processor}, {system} {}", release.join("."))
}

/// AMD's generations by family and model, as the Linux kernel tells them apart (`arch/x86/kernel/cpu/amd.c`).
fn zen(family: u32, model: u32) -> &'static str {
    match (family, model) {
        (0x17, 0x00..=0x2f | 0x50..=0x5f) => "AMD Zen",
        (0x17, _) => "AMD Zen 2",
        (0x19, 0x00..=0x0f | 0x20..=0x5f) => "AMD Zen 3",
        (0x19, _) => "AMD Zen 4",
        (0x1a, _) => "AMD Zen 5",
        _ => "AMD",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_its_kind() {
        let info = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
                    model name\t: AMD EPYC\nflags\t\t: fpu hypervisor sse\n";
        let said = describe(2, info, "Linux 6.18.5-cloud\n");
        assert_eq!(said, "2 virtual CPUs, AMD Zen 3, Linux 6.18");
        let info = "vendor_id\t: GenuineIntel\nmodel name\t: Intel Xeon\nflags\t\t: fpu\n";
        assert_eq!(describe(1, info, "Linux 6.1.0\n"), "1 CPU, Intel Xeon, Linux 6.1");
        let said = describe(8, "", "Darwin 24.1.0\n");
        assert_eq!(said, format!("8 CPUs, {}, Darwin 24.1", std::env::consts::ARCH));
    }
}
