//! Starts a main process, in the foreground or in the background, and ends it on Ctrl-C.

pub mod background;
pub mod dropped_input;
pub mod follow;
pub mod foreground;
pub mod interrupt;
pub mod logging;
pub mod on_end;
pub mod variables;
pub mod watched;
