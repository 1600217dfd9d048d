//! The name of a socket: a slot in the slab, and the generation that says whose turn in that slot it is.
//!
//! Slots are used again; a generation is not. Whoever keeps a token past its connection's end holds a
//! name that no longer matches anything: a write to it answers `false`, and no stranger ever gets the
//! text. Kernel events carry the token too, so a stale event falls out in the same way.

use std::fmt;

/// The name of one listener or connection of one reactor. Small, copied freely, never dangling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    pub(super) fn new(slot: usize, generation: u32) -> Self {
        // Four billion sockets do not fit in any process; a slot past that could only name a socket
        // that no lookup finds.
        Self { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation }
    }

    /// A name for tests of what is kept by name, in which no socket is.
    #[cfg(test)]
    pub(crate) fn of_test(slot: usize) -> Self {
        Self::new(slot, 0)
    }

    pub(super) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(super) fn generation(self) -> u32 {
        self.generation
    }

    /// What is handed to the kernel with a registration: both halves in one word.
    pub(super) fn to_mio(self) -> mio::Token {
        // On a machine of 32 bits the generation would be lost, so such a build is refused.
        const { assert!(usize::BITS >= 64, "a kernel token must hold a slot and a generation") }
        mio::Token((self.generation as usize) << 32 | self.slot as usize)
    }

    /// The inverse of [`Token::to_mio`].
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    pub(super) fn from_mio(token: mio::Token) -> Self {
        Self { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_through_the_kernel() {
        for (slot, generation) in [(0, 0), (1, u32::MAX - 1), (77_777, 3), (u32::MAX as usize, 9)] {
            let token = Token::new(slot, generation);
            assert_eq!(Token::from_mio(token.to_mio()), token);
            assert_eq!((token.slot(), token.generation()), (slot, generation));
        }
    }
}
