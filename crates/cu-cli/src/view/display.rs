//! A run on a terminal, in at most a dozen lines: counts and times, a bar, and the running jobs with their last
//! words. A thread of its own reads and draws, so that neither a slow disk nor a stopped terminal holds up the
//! main process.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use cu_core::{Reader, RunDir, RunningJob, Status};
use cu_protocol::{Attempt, JobId, Timestamp};
use cu_system::tail::last_lines;
use cu_system::threads;

use super::canvas::Canvas;
use super::estimate::Estimate;
use super::frame::{MOST_LINES, Picture, Shown};
use super::{Lines, View};
use crate::terminal;

const STACK_BYTES: usize = 1024 * 1024;
/// The least time between two pictures, and the most.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(1);
/// Reading what runs takes at most this part of the time.
const PAUSES: u32 = 20;
/// How long the display may take to make room. A thread that hangs is not waited for.
const ROOM: Duration = Duration::from_secs(1);
/// The last line of an output is looked for in its last bytes.
const LAST_BYTES: u64 = 2048;

enum Order {
    Status(Box<Status>),
    Notice(String),
    Pause(Sender<()>),
    GoOn,
}

/// A display that is renewed at least once a second.
pub struct Display(Sender<Order>);

impl Display {
    /// One on stderr, if that is a terminal that can be drawn on.
    pub fn new() -> Option<Self> {
        let canvas = Canvas::new()?;
        let (sender, orders) = mpsc::channel();
        threads::spawn("display", STACK_BYTES, move || {
            Drawer::new(canvas).work(&orders)
        })
        .ok()?;
        Some(Self(sender))
    }

    fn send(&self, order: Order) {
        // The thread lives as long as this, unless it has panicked, which it has said.
        let _ = self.0.send(order);
    }
}

impl View for Display {
    fn status(&mut self, status: &Status, _: Instant) {
        self.send(Order::Status(Box::new(status.clone())));
    }

    fn tick(&mut self, _: Instant) {}

    fn notice(&mut self, text: &str) {
        self.send(Order::Notice(text.to_owned()));
    }

    fn pause(&mut self) {
        let (done, is_done) = mpsc::channel();
        self.send(Order::Pause(done));
        let _ = is_done.recv_timeout(ROOM);
    }

    fn go_on(&mut self) {
        self.send(Order::GoOn);
    }
}

struct Drawer {
    canvas: Canvas,
    status: Option<Box<Status>>,
    estimate: Estimate,
    running: Running,
    /// Shows the run while another process has the terminal.
    behind: Lines,
    is_in_front: bool,
    is_paused: bool,
}

impl Drawer {
    fn new(canvas: Canvas) -> Self {
        Self {
            canvas,
            status: None,
            estimate: Estimate::default(),
            running: Running::default(),
            behind: Lines::new(terminal::say, true),
            is_in_front: true,
            is_paused: false,
        }
    }

    fn work(mut self, orders: &Receiver<Order>) {
        let mut drawn = Instant::now();
        loop {
            let is_new = self.status.is_some() && drawn.elapsed() < LATE;
            let wait = if is_new {
                LATE - drawn.elapsed().min(LATE)
            } else {
                LATE
            };
            match orders.recv_timeout(wait) {
                Ok(order) => {
                    self.obey(order);
                    // What comes at the same time is drawn at once.
                    while let Ok(order) = orders.try_recv() {
                        self.obey(order);
                    }
                    std::thread::sleep(SOON.saturating_sub(drawn.elapsed()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(order) = orders.try_recv() {
                self.obey(order);
            }
            self.draw();
            drawn = Instant::now();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Status(status) => self.status = Some(status),
            Order::Notice(text) => {
                if self.canvas.is_in_front() {
                    self.canvas.clear();
                }
                terminal::say(&text);
            }
            Order::Pause(done) => {
                if self.canvas.is_in_front() {
                    self.canvas.clear();
                }
                self.is_paused = true;
                let _ = done.send(());
            }
            Order::GoOn => self.is_paused = false,
        }
    }

    fn draw(&mut self) {
        let Some(status) = self.status.as_deref().filter(|_| !self.is_paused) else {
            return;
        };
        let now = Instant::now();
        if !self.canvas.is_in_front() {
            if std::mem::take(&mut self.is_in_front) {
                self.canvas.leave();
            }
            self.behind.status(status, now);
            return;
        }
        if !std::mem::replace(&mut self.is_in_front, true) {
            self.canvas.leave();
        }
        let (width, height) = self.canvas.size();
        let picture = Picture {
            status,
            running: self.running.look(status, now),
            now: Timestamp::from(SystemTime::now()),
            left: self.estimate.left(status, now),
            width,
            height,
        };
        self.canvas.draw(&picture.lines());
    }
}

/// The running jobs, read now and then.
#[derive(Default)]
struct Running {
    reader: Option<Reader>,
    shown: Vec<Shown>,
    next: Option<Instant>,
    /// The last lines, so that one stays while its file can't be read.
    words: HashMap<(JobId, Attempt), String>,
}

impl Running {
    fn look(&mut self, status: &Status, now: Instant) -> &[Shown] {
        if self.next.is_none_or(|next| next <= now) {
            let run = RunDir::new(&status.run_dir);
            // What can't be read is not shown; the main process reports such errors.
            if let Ok(jobs) = self.read(&run) {
                self.words.retain(|(job, attempt), _| {
                    let is_it =
                        |running: &RunningJob| running.job == *job && running.attempt == *attempt;
                    jobs.iter().any(is_it)
                });
                self.shown = jobs
                    .into_iter()
                    .map(|job| self.with_words(&run, job))
                    .collect();
            }
            self.next = Some(Instant::now() + LATE.max(now.elapsed() * PAUSES));
        }
        &self.shown
    }

    fn read(&mut self, run: &RunDir) -> cu_core::Result<Vec<RunningJob>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(run)?,
        };
        self.reader.insert(reader).running(MOST_LINES)
    }

    fn with_words(&mut self, run: &RunDir, job: RunningJob) -> Shown {
        let key = (job.job, job.attempt);
        if let Some(words) = last_words(run, &job) {
            self.words.insert(key, words);
        }
        Shown {
            last_line: self.words.get(&key).cloned().unwrap_or_default(),
            job,
        }
    }
}

/// The last line of the attempt's output: of stdout or stderr, whichever was written last.
fn last_words(run: &RunDir, job: &RunningJob) -> Option<String> {
    let directory = run.attempt(job.job, job.attempt);
    let outputs = ["stdout", "stderr"].map(|name| directory.join(name));
    let mut outputs: Vec<_> = outputs
        .into_iter()
        .filter_map(|path| {
            let metadata = path.metadata().ok().filter(|metadata| metadata.len() > 0)?;
            Some((metadata.modified().ok()?, path))
        })
        .collect();
    outputs.sort();
    outputs.iter().rev().find_map(|(_, path)| {
        let lines = last_lines(path, 1, LAST_BYTES).ok()?;
        let line = lines.last()?;
        // A progress bar begins its line anew; what it showed last counts.
        let shown = line.split('\r').rfind(|part| !part.trim().is_empty())?;
        let is_ours = shown.starts_with("cu exec: ");
        (!is_ours).then(|| shown.trim().to_owned())
    })
}
