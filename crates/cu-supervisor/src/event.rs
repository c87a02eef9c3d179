//! All that can happen while a supervisor waits: one closed list, one channel.

use std::sync::mpsc;

use cu_protocol::{Acknowledgement, ProgramAnswer, ProgramRequest};
use rustix::process::Signal;

use crate::relay::Link;

/// Something has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A child has ended. The kernel knows which.
    ChildEnded,
    /// A signal that asks to stop.
    StopSignal(Signal),
    /// The program asks; it waits for the answer.
    Asked(ProgramRequest, mpsc::Sender<ProgramAnswer>),
    /// A message for cluster_utils has arrived.
    MessageForClusterUtils,
    /// The door is closed, and every program that stood in it has left.
    DoorClosed,
    /// There is a connection to the main process.
    Connected(Link, Acknowledgement),
    /// The main process acknowledges something, or has a wish.
    Acknowledged(Acknowledgement),
    /// The main process was not reached, or the connection to it has ended. It is being tried again.
    Unreachable,
}

/// The end into which everything that happens goes.
pub(crate) type Events = mpsc::Sender<Event>;
