//! A file that does not open until a test lets it, as on a file server that is gone.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cu_test_privileges::leave_out;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags,
    Response,
};

const BOUND: Duration = Duration::from_secs(60);

/// Opening a marked file blocks in the kernel, until this is dropped.
pub struct Stuck(Arc<Fanotify>);

impl Stuck {
    /// The file `path`; with `children`, those in the directory `path` instead. `None` where that
    /// can't be had and is not expected.
    pub fn mark(path: &Path, children: bool) -> Option<Self> {
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
        let events = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC;
        let fanotify = match Fanotify::init(flags, events) {
            Ok(fanotify) => fanotify,
            Err(error) => {
                leave_out(
                    "files that do not open",
                    format!("fanotify refuses: {error}"),
                );
                return None;
            }
        };
        let mask = match children {
            true => MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_EVENT_ON_CHILD,
            false => MaskFlags::FAN_OPEN_PERM,
        };
        let here = std::fs::File::open("/").expect("a root");
        fanotify
            .mark(MarkFlags::FAN_MARK_ADD, mask, here.as_fd(), Some(path))
            .expect("it can be marked");
        Some(Self(fanotify.into()))
    }

    /// Waits until a process is blocked.
    pub fn wait(&self) -> Vec<FanotifyEvent> {
        let (sender, receiver) = mpsc::channel();
        let fanotify = self.0.clone();
        std::thread::spawn(move || sender.send(fanotify.read_events()));
        let events = receiver.recv_timeout(BOUND).expect("a process opens it");
        events.expect("events can be read")
    }

    /// Lets those through.
    pub fn let_through(&self, events: &[FanotifyEvent]) {
        for event in events {
            let fd = event.fd().expect("an open file");
            let response = FanotifyResponse::new(fd, Response::FAN_ALLOW);
            self.0.write_response(response).expect("it waits");
        }
    }
}
