//! The stand-in for Google Places: what `herd places` serves to whoever has no key.
//!
//! It answers Nearby Search in Google's legacy layout, out of a table of real towns that is built
//! into the program. [`gazetteer`] holds the towns and finds the near ones; [`answer`] turns one
//! request into one answer. Both are pure. [`https`] is the server around them, another application on
//! the reactor.

pub mod answer;
pub mod gazetteer;
pub mod https;
