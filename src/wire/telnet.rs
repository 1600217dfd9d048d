//! Telnet commands in the input (RFC 854, RFC 855): taken out, and refused.
//!
//! Owns the state inside a command, byte by byte, so that a command may be cut anywhere. It holds
//! no text and writes to nobody: the line receiver feeds it from an IAC on, and hands the answer
//! up. The server offers no option and accepts none, so each request has one fixed answer, and
//! what is no request needs none, which is also what keeps two ends from answering for ever.

/// Interpret As Command: every command begins with it.
pub const IAC: u8 = 255;

const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
/// Begins a sub-negotiation.
const SB: u8 = 250;
/// Ends a sub-negotiation, and is the lowest command: an IAC before a lesser byte is no command.
const SE: u8 = 240;

/// Where in a command the input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Telnet {
    /// In no command.
    #[default]
    Text,
    /// After an IAC.
    Command,
    /// After a request, which is answered with this verb once the option is known.
    Request { answer: u8 },
    /// After WONT or DONT, whose option is of no interest.
    Statement,
    /// Between `IAC SB` and `IAC SE`.
    Subnegotiation,
    /// After an IAC in there.
    SubnegotiationCommand,
}

/// What a byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Part of a command, or the end of one that needs no answer.
    Taken,
    /// Part of a sub-negotiation.
    Skipped,
    /// The end of a request: this is to be sent back.
    Answer([u8; 3]),
    /// The second IAC of two, which stand for one ordinary byte 255.
    Escaped,
    /// No part of a command. The IAC before it was an ordinary byte; this byte is still to be read.
    NotACommand,
}

impl Telnet {
    /// Looks at the byte after an IAC, or further inside a command.
    pub(super) fn step(&mut self, byte: u8) -> Step {
        let (next, step) = match (*self, byte) {
            (Self::Command, IAC) => (Self::Text, Step::Escaped),
            (Self::Command, DO) => (Self::Request { answer: WONT }, Step::Taken),
            (Self::Command, WILL) => (Self::Request { answer: DONT }, Step::Taken),
            (Self::Command, DONT | WONT) => (Self::Statement, Step::Taken),
            (Self::Command, SB) => (Self::Subnegotiation, Step::Taken),
            // Interrupt, are-you-there, erase and so on: two bytes, and nothing to answer.
            (Self::Command, SE..) | (Self::Statement, _) => (Self::Text, Step::Taken),
            (Self::Command | Self::Text, _) => (Self::Text, Step::NotACommand),
            (Self::Request { answer }, option) => (Self::Text, Step::Answer([IAC, answer, option])),
            (Self::Subnegotiation, IAC) => (Self::SubnegotiationCommand, Step::Skipped),
            (Self::SubnegotiationCommand, SE) => (Self::Text, Step::Skipped),
            // An IAC in a sub-negotiation stands for itself when doubled. Before anything else it
            // is a fault of the sender; the sub-negotiation then goes on until it does end.
            (Self::Subnegotiation | Self::SubnegotiationCommand, _) => {
                (Self::Subnegotiation, Step::Skipped)
            }
        };
        *self = next;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All steps of the bytes after an IAC, and the state they end in.
    fn steps(bytes: &[u8]) -> (Vec<Step>, Telnet) {
        let mut telnet = Telnet::Command;
        (bytes.iter().map(|byte| telnet.step(*byte)).collect(), telnet)
    }

    #[test]
    fn every_do_is_answered_wont_and_every_will_dont() {
        for option in 0..=255 {
            let (answered, telnet) = steps(&[DO, option]);
            assert_eq!(answered, [Step::Taken, Step::Answer([255, 252, option])]);
            assert_eq!(telnet, Telnet::Text);
            let (answered, telnet) = steps(&[WILL, option]);
            assert_eq!(answered, [Step::Taken, Step::Answer([255, 254, option])]);
            assert_eq!(telnet, Telnet::Text);
        }
    }

    #[test]
    fn wont_and_dont_and_two_byte_commands_get_no_answer() {
        for option in 0..=255 {
            assert_eq!(steps(&[WONT, option]), (vec![Step::Taken; 2], Telnet::Text));
            assert_eq!(steps(&[DONT, option]), (vec![Step::Taken; 2], Telnet::Text));
        }
        for command in 240..=249 {
            assert_eq!(steps(&[command]), (vec![Step::Taken], Telnet::Text));
        }
    }

    #[test]
    fn a_sub_negotiation_ends_at_iac_se_only() {
        let bytes = [SB, 24, 0, b'\n', SE, IAC, IAC, SE, IAC, DO, 1, IAC, SE];
        let (skipped, telnet) = steps(&bytes);
        assert_eq!(skipped[0], Step::Taken);
        assert!(skipped[1..].iter().all(|step| *step == Step::Skipped));
        assert_eq!(telnet, Telnet::Text);
        assert_ne!(steps(&bytes[..bytes.len() - 1]).1, Telnet::Text);
    }

    #[test]
    fn two_iacs_are_one_byte_and_an_iac_before_a_low_byte_is_none() {
        assert_eq!(steps(&[IAC]), (vec![Step::Escaped], Telnet::Text));
        for byte in 0..240 {
            assert_eq!(steps(&[byte]), (vec![Step::NotACommand], Telnet::Text));
        }
    }
}
