//! Attempts without the cost of loading their program: copies of one that is loaded already.
//!
//! A fork server (`cu_system::fork_server`) has a few processes stand by, as many as attempts run, up to
//! [`MOST`]. Each takes one attempt after the other, and no attempt finds anything of another. Nothing waits for
//! them: what finds none is started as any other command. When nothing was started for a while, they go, and
//! the server too as soon as no attempt is its child.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use cu_system::fork_server::{Busy, Ended, ForkServer, News, Order, Standby};

use super::process::{Leader, NotStarted, append_to};
use super::record::Cause;
use crate::Submission;

/// How many processes are made to stand by at most.
const MOST: usize = 8;
/// How many stand by at most that have had attempts at once. Each holds two descriptors of those that are kept free.
const MOST_AGAIN: usize = 64;
/// How long they stand by while nothing is started.
const IDLE: Duration = Duration::from_secs(10);
/// A copy that was asked for this long ago, and is not there, was refused by the system.
const REFUSED: Duration = Duration::from_secs(5);
/// How long to wait for the end of the server at the end of its owner. It does nothing meanwhile.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to do without, after the server has ended.
const PAUSE: Duration = Duration::from_secs(10);

/// A process that loads a program once, for many attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preloaded {
    /// The words with which the command of such a submission begins. The rest is what the server's work is
    /// called with.
    pub prefix: Vec<String>,
    /// The command of the server: it calls `cu_system::fork_server::serve`.
    pub server: Vec<String>,
    /// How long a start waits for a copy. Zero, except for tests that want all attempts to be copies: an
    /// ordinary start takes no longer than making a copy.
    pub patience: Duration,
}

/// A copy has ended.
#[derive(Debug)]
pub(super) struct EndOfCopy {
    pub pid: i32,
    pub cause: Cause,
    pub group_lives: bool,
}

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub ends: Vec<EndOfCopy>,
    /// Nobody reports the end of what it had started.
    pub server_is_gone: bool,
}

/// A copy that stands by.
#[derive(Debug)]
pub(super) struct Ready {
    /// It would be that of an attempt.
    pub leader: Leader,
    standby: Standby,
}

/// The fork server and its copies.
#[derive(Debug)]
pub(super) struct Warm {
    options: Option<Preloaded>,
    server: Option<ForkServer>,
    /// The one that was last used first: most of its memory is its own already, and in the caches.
    standbys: VecDeque<Ready>,
    /// Asked for, and not there yet.
    coming: usize,
    /// When the last ones were asked for.
    asked: Instant,
    /// When something was last started that could be a copy.
    last_start: Option<Instant>,
    /// The server is not started before.
    not_before: Option<Instant>,
    /// Servers that were dismissed, and are to be waited for.
    dismissed: Vec<Child>,
}

impl Warm {
    pub fn new(options: Option<Preloaded>) -> Self {
        Self {
            options,
            server: None,
            standbys: VecDeque::new(),
            coming: 0,
            asked: Instant::now(),
            last_start: None,
            not_before: None,
            dismissed: Vec::new(),
        }
    }

    /// Whether this submission may be handed over to a process that stands by.
    fn serves(&self, submission: &Submission) -> bool {
        let prefix = self.options.as_ref().map(|options| &options.prefix);
        prefix.is_some_and(|prefix| submission.command.starts_with(prefix))
            // The environment that others see is that of the server, and says nothing of the graphics processors.
            && submission.resources.gpus == 0
            // Else the error of an ordinary start explains it.
            && submission.working_directory.is_dir()
    }

    /// Takes a process that stands by, if there is one for this submission.
    pub fn take(&mut self, submission: &Submission) -> Option<Ready> {
        if !self.serves(submission) {
            return None;
        }
        self.last_start = Some(Instant::now());
        self.standbys.pop_front()
    }

    /// For how long to wait until there are enough for so many starts, if at all.
    pub fn patience_for(&mut self, starts: usize) -> Option<Duration> {
        let patience = self.options.as_ref()?.patience;
        if patience.is_zero() || self.standbys.len() >= starts.min(MOST) {
            return None;
        }
        self.last_start = Some(Instant::now());
        Some(patience)
    }

    /// Puts one back that was not used.
    pub fn put_back(&mut self, ready: Ready) {
        self.standbys.push_front(ready);
    }

    /// Takes one back whose attempt is over, while so many run. It ends if the server has ended, which would
    /// report its end, or if enough stand by.
    pub fn take_back(&mut self, busy: Busy, leader: Leader, running: usize) {
        let is_ours = leader.is_copy() && !leader.is_reported() && self.server.is_some();
        if is_ours && self.standbys.len() < running.clamp(MOST, MOST_AGAIN) {
            let standby = busy.stands_by();
            self.standbys.push_front(Ready { leader, standby });
        }
    }

    /// Hands an attempt over. `None` if the process has ended: then the attempt has not begun.
    ///
    /// # Errors
    /// As for an ordinary start.
    pub fn begin(
        &self,
        Ready { leader, standby }: Ready,
        submission: &Submission,
        added: Vec<(&'static str, String)>,
    ) -> Result<Option<(Leader, Busy)>, NotStarted> {
        let stdout = append_to(&submission.directory.join("stdout"))?;
        let stderr = append_to(&submission.directory.join("stderr"))?;
        let prefix = self
            .options
            .as_ref()
            .map_or(0, |options| options.prefix.len());
        let environment = submission.environment.clone().into_iter();
        let added = added
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let order = Order {
            arguments: submission.command[prefix..].to_vec(),
            environment: environment.chain(added).collect(),
            directory: submission.working_directory.clone(),
        };
        let begun = standby.begin(&order, stdout, stderr).ok();
        Ok(begun.map(|busy| (leader, busy)))
    }

    /// Has enough stand by while so many attempts run. Returns the server if it is new, so that it can be
    /// watched.
    pub fn replenish(&mut self, running: usize) -> Option<BorrowedFd<'_>> {
        let options = self.options.as_ref()?;
        if self.is_idle() {
            return None;
        }
        if self.asked.elapsed() >= REFUSED {
            self.coming = 0;
        }
        let wanted = running.clamp(1, MOST);
        let missing = wanted.saturating_sub(self.standbys.len() + self.coming);
        let is_paused = self.not_before.is_some_and(|at| Instant::now() < at);
        if missing == 0 || is_paused {
            return None;
        }
        let is_new = self.server.is_none();
        if is_new {
            match ForkServer::start(&options.server) {
                Ok(server) => self.server = Some(server),
                Err(_) => self.pause(),
            }
        }
        let asked = u8::try_from(missing).unwrap_or(u8::MAX);
        // If it has ended, its socket says so soon.
        if let Some(server) = &self.server
            && server.ask_for(asked).is_ok()
        {
            self.coming += missing;
            self.asked = Instant::now();
        }
        self.server.as_ref().filter(|_| is_new).map(AsFd::as_fd)
    }

    fn is_idle(&self) -> bool {
        self.last_start.is_none_or(|at| at.elapsed() >= IDLE)
    }

    fn pause(&mut self) {
        self.not_before = Some(Instant::now() + PAUSE);
    }

    /// Takes note of what the server reports.
    pub fn look(&mut self) -> Happened {
        self.dismissed
            .retain_mut(|server| matches!(server.try_wait(), Ok(None)));
        let mut happened = Happened::default();
        while let Some(server) = &self.server {
            match server.news() {
                Ok(None) => break,
                Ok(Some(News::StandsBy(standby))) => {
                    self.coming = self.coming.saturating_sub(1);
                    // If it is gone, or no descriptor is free for it, there is one less.
                    let leader = Leader::of_copy(standby.process());
                    let ready = leader.map(|leader| Ready { leader, standby });
                    self.standbys.extend(ready);
                }
                Ok(Some(News::Ended {
                    pid,
                    end,
                    group_lives,
                })) => {
                    self.standbys
                        .retain(|ready| ready.standby.process().pid != pid);
                    happened.ends.push(EndOfCopy {
                        pid: i32::try_from(pid).unwrap_or_default(),
                        cause: match end {
                            Ended::Exited(code) => Cause::Exited(code),
                            Ended::Signaled(signal) => Cause::Signaled(signal),
                            Ended::Unknown => Cause::Unknown,
                        },
                        group_lives,
                    });
                }
                Err(_) => {
                    self.dismiss();
                    self.pause();
                    happened.server_is_gone = true;
                }
            }
        }
        happened
    }

    /// Ends the server, and whatever stands by.
    pub fn dismiss(&mut self) {
        self.standbys.clear();
        self.coming = 0;
        self.dismissed
            .extend(self.server.take().map(ForkServer::dismiss));
    }

    /// Lets go what nothing was started with for a while.
    pub fn rest(&mut self, has_attempts: bool) {
        if self.is_idle() {
            self.make_way(has_attempts);
        }
    }

    /// Lets go what stands by; the server, too, unless attempts are its children.
    pub fn make_way(&mut self, has_attempts: bool) {
        if self.server.is_some() {
            self.standbys.clear();
            self.coming = 0;
            if !has_attempts {
                self.dismiss();
            }
        }
    }

    /// When to call [`rest`](Self::rest) at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let has_any = !self.standbys.is_empty() || self.coming > 0;
        let at = self.last_start.filter(|_| has_any);
        at.map(|at| at + IDLE)
    }
}

impl Drop for Warm {
    /// Ends the server, and waits for it: only then its copies count among the resources that this process and
    /// its children have used.
    fn drop(&mut self) {
        self.dismiss();
        let begun = Instant::now();
        while begun.elapsed() < FAREWELL {
            self.dismissed
                .retain_mut(|server| matches!(server.try_wait(), Ok(None)));
            if self.dismissed.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
