//! The process in an allocation. It takes one attempt after another, runs each as a process of its own, and
//! leaves when nothing is due any more, or its time is over.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use cu_system::causes::in_one_line;
use tokio::time::sleep;

use super::attempt::{Outcome, Watched};
use super::files::{Allocation, Class, Due, End, Key, Order, Room};
use super::signals::Signals;
use crate::{ClusterEnd, ClusterState, EndCause};

/// How long an allocation waits for an attempt with nothing to do. What a main process submits anew gathers for two
/// seconds, and shared file systems show it late.
const IDLE: Duration = Duration::from_secs(15);
/// How often an allocation with nothing to do looks for an attempt, at first and later.
const LOOK_SOON: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(500);

/// What an allocation exits with if it can't work, such as for lack of the file system. Not that of a program
/// that ran.
const UNUSABLE: u8 = 200;

/// Serves attempts in an allocation until it has to leave. `arguments` are those that the backend wrote into
/// the allocation's command, behind the words that lead here. Returns the exit code.
#[must_use]
pub fn serve(arguments: &[OsString]) -> u8 {
    let begun = || {
        let host = Host::of(arguments)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(host.serve())
    };
    begun().unwrap_or_else(|error| {
        eprintln!("cu exec: this allocation can't be used: {error}");
        UNUSABLE
    })
}

struct Host {
    room: Room,
    class: Class,
    number: Allocation,
    /// Until when attempts may start here.
    open_until: Instant,
    /// When the scheduler ends the allocation, if that is known.
    deadline: Option<SystemTime>,
    /// From SIGTERM to SIGKILL.
    kill_wait: Duration,
    /// What was due at the last look.
    waiting: std::vec::IntoIter<Due>,
}

impl Host {
    fn of(arguments: &[OsString]) -> io::Result<Self> {
        let wrong = || io::Error::other("expected DIRECTORY CLASS ALLOCATION MILLISECONDS");
        let [directory, class, number, keep] = arguments else {
            return Err(wrong());
        };
        let number_of = |word: &OsString| word.to_str().and_then(|it| it.parse::<u64>().ok());
        let room = Room::new(directory);
        cu_system::files::own_directory(room.path())?;
        let class = room.class_named(class.to_str().ok_or_else(wrong)?);
        let keep = Duration::from_millis(number_of(keep).ok_or_else(wrong)?);
        let seconds = |name: &str| std::env::var(name).ok()?.trim().parse::<f64>().ok();
        let seconds = |name: &str| Duration::try_from_secs_f64(seconds(name)?).ok();
        Ok(Self {
            room,
            class,
            number: number_of(number)
                .and_then(|it| it.try_into().ok())
                .ok_or_else(wrong)?,
            open_until: Instant::now() + keep,
            deadline: seconds("CU_DEADLINE").and_then(|at| SystemTime::UNIX_EPOCH.checked_add(at)),
            kill_wait: seconds("CU_KILL_WAIT").unwrap_or(Duration::from_secs(30)),
            waiting: Vec::new().into_iter(),
        })
    }

    async fn serve(mut self) -> io::Result<u8> {
        // Processes that an attempt leaves behind are ended before the next one starts.
        let own = rustix::process::getpid();
        let _ = rustix::process::set_child_subreaper(Some(own));
        let mut signals = Signals::caught()?;
        if !self.class.begin(self.number)? {
            eprintln!("cu exec: this allocation is not needed any more");
            return Ok(0);
        }
        self.settle_the_last()?;
        let mut idle_since = Instant::now();
        let mut is_first = true;
        while idle_since.elapsed() < IDLE && Instant::now() < self.open_until {
            let Some(key) = self.take(is_first)? else {
                let pause = match idle_since.elapsed() < 5 * LOOK {
                    true => LOOK_SOON,
                    false => LOOK,
                };
                tokio::select! {
                    () = sleep(pause) => continue,
                    // It is about to end.
                    _ = signals.next() => break,
                }
            };
            is_first = false;
            if let Some(code) = self.run(&key, &mut signals).await? {
                return Ok(code);
            }
            idle_since = Instant::now();
        }
        self.class.leave(self.number)?;
        Ok(0)
    }

    /// The scheduler may start an allocation again. What ran in it before has ended.
    fn settle_the_last(&self) -> io::Result<()> {
        let taken = self.room.taken()?.into_iter();
        for (key, _) in taken.filter(|(_, allocation)| *allocation == self.number) {
            let text = "the scheduler started its allocation again";
            self.end(&key, EndCause::Preempted, text.to_owned())?;
        }
        Ok(())
    }

    /// Takes the first attempt that is due and for which there is time. The first one of an allocation was counted on
    /// when it was submitted.
    fn take(&mut self, is_first: bool) -> io::Result<Option<Key>> {
        for is_new in [false, true] {
            if is_new {
                self.waiting = self.class.due()?.into_iter();
            }
            while let Some(due) = self.waiting.next() {
                if !is_first && !self.has_time_for(&due)? {
                    return Ok(None);
                }
                if self.room.take(&due, self.number)? {
                    return Ok(Some(due.key));
                }
            }
        }
        Ok(None)
    }

    /// Whether an attempt would have all of its own time limit. Those of one class have the same.
    fn has_time_for(&self, due: &Due) -> io::Result<bool> {
        let Some(deadline) = self.deadline else {
            return Ok(true);
        };
        let limit = match self.class.needs(due) {
            Ok(needs) => needs.time_limit,
            // Somebody else has taken it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let left = deadline.duration_since(SystemTime::now());
        Ok(limit.is_none_or(|limit| left.is_ok_and(|left| limit <= left)))
    }

    /// Runs an attempt to its end. Returns the exit code of this process if it was the last one here: then the end of
    /// the allocation, which the scheduler reports, is the end of the attempt.
    async fn run(&self, key: &Key, signals: &mut Signals) -> io::Result<Option<u8>> {
        let order = self.room.order(key, self.number);
        let started = order.and_then(|order| self.start(key, order));
        let watched = match started {
            Ok(watched) => watched,
            Err(error) => {
                self.end(key, EndCause::NotStarted, in_one_line(&error))?;
                return Ok(None);
            }
        };
        let outcome = watched.until_over(&self.room, key, signals).await?;
        let Outcome {
            cause,
            text,
            is_last,
            leaves_processes,
        } = outcome;
        if is_last {
            return Ok(Some(exit_code(cause)));
        }
        self.end(key, cause, text)?;
        if leaves_processes {
            eprintln!("cu exec: processes that can't be killed are left: leaving the allocation");
            self.class.leave(self.number)?;
            return Ok(Some(0));
        }
        Ok(None)
    }

    fn start(&self, key: &Key, order: Order) -> io::Result<Watched> {
        let now = SystemTime::now();
        let limit = order.resources.time_limit;
        let own = limit.and_then(|limit| now.checked_add(limit));
        let deadline = own.into_iter().chain(self.deadline).min();
        Watched::start(key, order, deadline, self.kill_wait)
    }

    fn end(&self, key: &Key, cause: EndCause, text: String) -> io::Result<()> {
        let end = ClusterEnd {
            cause,
            at: Some(SystemTime::now()),
            text,
        };
        let state = ClusterState::Ended(end);
        let allocation = self.number;
        self.room.end(key, &End { allocation, state })
    }
}

/// As shells have it.
fn exit_code(cause: EndCause) -> u8 {
    match cause {
        EndCause::Exited(code) => code.to_le_bytes()[0],
        EndCause::Signaled(signal) => (128 + signal).to_le_bytes()[0],
        _ => UNUSABLE,
    }
}

/// The words of the command that serves in an allocation, behind those that lead to [`serve`].
pub(super) fn arguments(
    room: &Path,
    class: &Class,
    number: Allocation,
    keep: Duration,
) -> Result<[String; 4], String> {
    let directory = room.to_str();
    let directory =
        directory.ok_or_else(|| format!("the path {} is not valid UTF-8", room.display()))?;
    Ok([
        directory.to_owned(),
        class.name.clone(),
        number.to_string(),
        keep.as_millis().to_string(),
    ])
}
