//! Tests of the parts together, on what a real pool wrote and on what chance makes of it.

/// A file that was recorded on a pool.
macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/recorded/htcondor/",
            $name
        ))
    };
}

mod description;
mod log;
mod recorded;
mod script;
mod state;
mod why_queued;
