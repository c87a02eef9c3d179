//! The real `cu`, from the outside: one file a concern.

mod bad_input;
mod interrupt;
mod json;
mod operate;
mod run;
mod support;
