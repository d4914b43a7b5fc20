//! Record conversations with providers and replay them over real HTTP.
//!
//! A [`Recorder`] stands in front of a transport and collects every [`Exchange`], without keys; [`save`] writes them to
//! a cassette, one JSON document per line, and [`load`] reads it. A [`ReplayServer`] serves a cassette on the loopback,
//! in order, and refuses a request that differs from the recorded one. So what is tested is the whole way: the request
//! as it is sent, the transport, and the body in the pieces in which it once arrived.

mod cassette;
mod recorder;
mod server;

pub use cassette::{Exchange, Piece, RecordedRequest, RecordedResponse, load, save};
pub use recorder::Recorder;
pub use server::{ReplayOptions, ReplayServer};
