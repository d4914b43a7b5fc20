//! Tenants on several databases: where they go, how they are found, and how they move. The second of two shards is a
//! database on the server where worlds are.

mod hash;
mod moves;
mod opening;
mod routed;
mod world;
