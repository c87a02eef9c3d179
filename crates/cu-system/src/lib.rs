//! What Linux says about this machine: its processes, its name and boot, its files; and threads of it.
#![doc = include_str!("../README.md")]
//!
//! # A map of this crate
//! - [`causes`] writes an error with its causes in one line.
//! - [`children`] waits for children, and says what each has needed.
//! - [`files`] opens and reads files that others could have put in the way.
//! - [`reuse`] replaces small files again and again without a new one each time.
//! - [`fork_server`] starts processes as copies of one that is loaded already.
//! - [`process`] finds processes, and never takes a later one for an earlier one of the same number.
//! - [`machine`] names this machine and its boot.
//! - [`shell`] quotes words for a shell.
//! - [`trust`] finds out who else may replace what lies at a path.
//! - [`users`] names users and groups, and says who is at the other end of a socket.
//! - [`sockets`] sets options of sockets.
//! - [`tail`] reads the end of a text file that may be long.
//! - [`threads`] has threads for work that blocks, made before they are needed.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod causes;
pub mod children;
pub mod durations;
pub mod files;
pub mod fork_server;
pub mod machine;
pub mod process;
pub mod reuse;
pub mod script;
pub mod shell;
pub mod sockets;
pub mod tail;
pub mod threads;
pub mod trust;
pub mod users;
