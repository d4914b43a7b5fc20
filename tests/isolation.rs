//! No tenant reaches into another: every public operation, on every store, with what it must refuse.
//!
//! [`calls::CALLS`] calls each operation of the one table; a test fails when an operation has no entry there. The
//! scenarios below go over the whole table, so a new operation is covered by being named.

mod calls;
mod keys;
mod logs;
mod outside;
mod scenarios;
mod strings;
mod world;
