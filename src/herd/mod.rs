//! The herd's own truth: who belongs to it, what it knows of each client, what a neighbour lacks.

pub mod topology;
