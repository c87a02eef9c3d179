//! The real `cu`, from the outside: one file a concern.

mod backend;
mod bad_input;
mod defaults;
mod doctor;
mod interrupt;
mod json;
mod operate;
mod report;
mod run;
mod support;
