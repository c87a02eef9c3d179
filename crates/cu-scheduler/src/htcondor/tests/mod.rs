//! Tests of the parts together, on what a real pool wrote and on what chance makes of it.

mod description;
mod log;
mod recorded;
mod script;
mod state;
