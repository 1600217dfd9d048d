//! What a server leaves behind for its next start: one more cursor in the change log, whose reader is a
//! file of lines.
//!
//! A [`Writer`] writes what changed, newest record of each client once, and then how far each neighbour
//! has told what stands above; a [`Replay`] takes a file in, however it was cut or spoilt; a [`Gate`]
//! keeps a reply back until what it promises is on disk, or refuses it. Nothing here opens, writes or syncs a file:
//! `server` does, and the simulator does it with a disk that it made up. The lines are those of
//! [`wire::journal`](crate::wire::journal).
//!
//! # Why a mark may be believed
//!
//! A TAKEN line is written only by a writer that has come to the end of the change log. So all that the
//! server held then stands above it: what the neighbour told up to that mark, and also what the neighbour
//! left out because it came from here. A crash takes the end of a file, and so no record without the
//! marks that cover it. Damage in the middle might: marks below damage are not believed, and the
//! neighbour sends again what was taken in since.
//!
//! # How a file is written anew
//!
//! A rewrite is nothing but a second writer, from the beginning and to another file, that is pumped a
//! share in each turn while the first goes on. Once it has come to the end, it takes the place of the
//! first in one assignment, and its file that of the old one: synced, renamed, the folder synced. If
//! that fails, the first writer goes on where it stopped.

mod gate;
mod replay;
mod writer;

pub use gate::{Gate, Verdict};
pub use replay::{Replay, Replayed};
pub use writer::{REWRITE_SLACK_BYTES, Writer};

#[cfg(test)]
mod tests;
