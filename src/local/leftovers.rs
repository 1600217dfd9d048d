//! What an earlier process of a name left behind: its process file and its socket.
//!
//! Called before a process of that name is started.

use std::fs;

use super::local_herd::LocalHerd;
use super::print::remark;
use super::process::{self, Noted, Process};

/// Looks whether a process of that name runs, and clears away what an earlier one left behind.
pub fn settle(herd: &LocalHerd, name: &str) -> Result<Option<Process>, String> {
    let file = herd.run.process_file(name);
    match process::noted(&file)? {
        Noted::Running(process) => return Ok(Some(process)),
        Noted::Stale(why) => {
            let shown = herd.run.shown(&file);
            remark(&format!("{name}: {shown} is left from earlier ({why}); removed."));
            let _ = fs::remove_file(&file);
        }
        Noted::Nothing => {}
    }
    let _ = fs::remove_file(herd.run.socket(name));
    Ok(None)
}
