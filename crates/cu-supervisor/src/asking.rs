//! Decides which processes are asked to stop, and by which signal: one rule for the whole tree of an
//! attempt's processes.
//!
//! The wish goes to the topmost process of each branch that handles the signal, whatever group or session
//! it is in. Its descendants hear of it from their parent, or not at all: a second signal would end a
//! program that is saving, and one to its workers would take away what it saves with. A process without a
//! handler is passed over, since it would only die of the signal; its descendants are looked at instead.
//!
//! [`Manner::Auto`] chooses the signal for each process by what that handles:
//!
//! | a process | is asked by | because |
//! | --- | --- | --- |
//! | handles USR1, USR2 and TERM | USR1 | it takes each of them as the wish, and its second TERM may end it |
//! | handles TERM | TERM | its USR1 may be anything: a debugger in Node, nothing at all in GROMACS |
//! | handles USR1, else USR2 | that | |
//! | handles INT, if nobody in the tree handles any of these | INT | Python's `KeyboardInterrupt` |
//! | is R | none of these | R's own handlers of USR1, USR2 and INT quit, and scripts can't replace them |
//! | is Julia | TERM | its USR1 prints a profile, its USR2 is its own |
//! | is `srun` | USR1 | it passes that on to its tasks, which are not our descendants; TERM ends them |
//! | is `mpirun` | USR1, if its ranks would be asked by that | it passes that on to all hosts; TERM kills ranks after 1 s |
//! | is `xargs` | none of these | USR1 and USR2 change how many commands it runs at once |
//!
//! Some kinds of process are asked only if none of their descendants handles a signal: `timeout`, which
//! passes a signal on to a whole group; `make`, which passes TERM on to commands that may want another
//! signal; GNU `parallel`, which kills its commands a moment after TERM; `mpirun` otherwise; and who handles
//! nearly all signals, as a bash with a trap on `EXIT` does, which would run that trap and end, unless its script has
//! traps for signals as well, which are read from its text ([`traps`]). A shell that waits for a command catches
//! INT and goes by what becomes of the command. So whoever handles INT together with CHLD gets an INT that
//! is named in the config only if nobody below handles it, and then together with all below, as from a
//! terminal.
//!
//! A process that handles USR1, USR2 and TERM may also be a wrapper that passes each on. So it is asked by TERM if
//! that is what its programs handle; and a shell by USR1 or USR2 if these are what its programs handle.
//!
//! Every Python handles INT, a mere wrapper too, and `subprocess.run` kills its child soon after it. So
//! who does nothing but wait for a child gets INT only if nobody below handles it.
//!
//! A fork that has lost its parent and runs the same program as a process that is asked is left out: it
//! is a worker of that one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use cu_run_dir::StopSignal;
use cu_system::process::{
    ProcessId, SignalSet, Stat, executable, handled, name, waits_for_a_child,
};
use rustix::process::Signal;

use crate::members::{descendants_in, survey};
use crate::traps;

/// What `mpirun` passes on to its ranks, on all hosts.
const PASSED_ON: [Signal; 2] = [Signal::USR1, Signal::USR2];

/// They handle USR1 and USR2 only if a script says so.
const SHELLS: [&str; 5] = ["bash", "sh", "dash", "ksh", "zsh"];

/// How a program is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By the signal that suits each process.
    Auto,
    /// By this signal.
    By(Signal),
    /// By the stop file alone.
    File,
}

impl From<StopSignal> for Manner {
    fn from(chosen: StopSignal) -> Self {
        match chosen {
            StopSignal::Auto => Self::Auto,
            StopSignal::None => Self::File,
            StopSignal::Hup => Self::By(Signal::HUP),
            StopSignal::Int => Self::By(Signal::INT),
            StopSignal::Term => Self::By(Signal::TERM),
            StopSignal::Usr1 => Self::By(Signal::USR1),
            StopSignal::Usr2 => Self::By(Signal::USR2),
        }
    }
}

/// A descendant of the supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Relative {
    pub id: ProcessId,
    pub parent: u32,
    pub name: String,
    handled: SignalSet,
    is_fork: bool,
    /// It waits for a child and does nothing else.
    waits: bool,
    /// Same for a process and what it forks, until that executes something.
    image: (Option<PathBuf>, u64),
}

/// What follows from a process's name, and not from its handlers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    R,
    Julia,
    Srun,
    Mpirun,
    Xargs,
    /// It starts other programs, and ends them if it is asked itself.
    Starter,
}

impl Relative {
    fn kind(&self) -> Kind {
        match self.name.as_str() {
            "R" => Kind::R,
            "julia" => Kind::Julia,
            "srun" => Kind::Srun,
            "mpirun" | "mpiexec" | "orterun" | "prterun" => Kind::Mpirun,
            "xargs" => Kind::Xargs,
            "timeout" | "make" | "gmake" | "ninja" | "parallel" => Kind::Starter,
            _ => Kind::Ordinary,
        }
    }

    /// By which signal it can be asked.
    fn signal(&self, manner: Manner) -> Option<Signal> {
        let candidates: &[Signal] = match manner {
            _ if self.kind() == Kind::Xargs => &[],
            Manner::By(signal) => &[signal],
            Manner::File => &[],
            Manner::Auto => match self.kind() {
                Kind::R => &[],
                Kind::Julia | Kind::Mpirun => &[Signal::TERM],
                Kind::Srun => &[Signal::USR1],
                _ if self.takes_any() => &[Signal::USR1],
                _ => &[Signal::TERM, Signal::USR1, Signal::USR2],
            },
        };
        let handles = |signal: &&Signal| self.handled.has(**signal);
        candidates.iter().find(handles).copied()
    }

    fn takes_any(&self) -> bool {
        let any = [Signal::USR1, Signal::USR2, Signal::TERM];
        self.handled.has_all(any.into_iter().collect()) && !self.catches_nearly_all()
    }

    /// As a shell with a trap on `EXIT` does, or a Go program.
    fn catches_nearly_all(&self) -> bool {
        let few_handle = [
            Signal::ILL,
            Signal::TRAP,
            Signal::ABORT,
            Signal::FPE,
            Signal::SYS,
            Signal::ALARM,
            Signal::VTALARM,
            Signal::XCPU,
        ];
        self.handled.has_all(few_handle.into_iter().collect())
    }

    /// The same process, which handles no other signals than those for which its script has a `trap`, and those that
    /// every bash handles that waits for a command. If the script has none, nothing is known.
    fn with_traps(self, traps: SignalSet) -> Self {
        let meant = self.handled & traps;
        let every_bash = SignalSet::from_iter([Signal::CHILD, Signal::INT]);
        let handled = match meant == SignalSet::default() {
            true => self.handled,
            false => meant | every_bash,
        };
        Self { handled, ..self }
    }

    /// The name of the program that it executes, which for a script is that of the shell.
    fn program(&self) -> &str {
        let executable = self.image.0.as_deref().and_then(Path::file_name);
        executable.and_then(OsStr::to_str).unwrap_or(&self.name)
    }

    fn may_be_a_waiting_shell(&self) -> bool {
        self.handled
            .has_all([Signal::INT, Signal::CHILD].into_iter().collect())
    }

    /// Whether it is asked only if none of its descendants is.
    fn gives_way(&self, signal: Signal) -> bool {
        match self.kind() {
            Kind::Starter => true,
            Kind::Mpirun => !PASSED_ON.contains(&signal),
            _ => {
                self.catches_nearly_all()
                    || signal == Signal::INT && (self.waits || self.may_be_a_waiting_shell())
            }
        }
    }
}

/// All living descendants of this process.
pub(crate) fn relatives() -> Vec<Relative> {
    let all = survey();
    let descendants = descendants_in(&all, &[std::process::id()]);
    described(&all, &descendants.into_iter().collect())
}

/// Those of these processes that live.
pub(crate) fn relatives_among(pids: &[u32]) -> Vec<Relative> {
    described(&survey(), &pids.iter().copied().collect())
}

fn described(all: &[(u32, Stat)], pids: &BTreeSet<u32>) -> Vec<Relative> {
    let describe = |(pid, stat): &(u32, Stat)| {
        let relative = Relative {
            id: ProcessId {
                pid: *pid,
                start_ticks: stat.start_ticks,
            },
            parent: stat.parent,
            name: name(*pid).unwrap_or_default(),
            // What the kernel withholds is passed over.
            handled: handled(*pid).unwrap_or_default(),
            is_fork: stat.is_fork,
            waits: waits_for_a_child(*pid),
            image: (executable(*pid), stat.stack),
        };
        match relative.program() == "bash" && relative.catches_nearly_all() {
            true => relative.with_traps(traps::of(*pid)),
            false => relative,
        }
    };
    let belongs = |(pid, _): &&(u32, Stat)| pids.contains(pid);
    all.iter().filter(belongs).map(describe).collect()
}

/// Whom of `family` to ask in this manner, and by which signal.
pub(crate) fn whom_to_ask(family: &[Relative], manner: Manner) -> Vec<(&Relative, Signal)> {
    let tree = Tree::of(family);
    let mut asked = tree.ask_all(&|relative| relative.signal(manner));
    if asked.is_empty() && manner == Manner::Auto {
        let interrupt = |relative: &Relative| {
            let is_meant = relative.kind() == Kind::Ordinary
                && relative.handled.has(Signal::INT)
                && !relative.may_be_a_waiting_shell();
            is_meant.then_some(Signal::INT)
        };
        asked = tree.ask_all(&interrupt);
    }
    let originals: BTreeSet<_> = asked
        .iter()
        .filter(|(relative, _)| !relative.is_fork && relative.image.1 != 0)
        .map(|(relative, _)| relative.image.clone())
        .collect();
    asked.retain(|(relative, _)| !relative.is_fork || !originals.contains(&relative.image));
    asked
}

struct Tree<'a> {
    roots: Vec<&'a Relative>,
    children: BTreeMap<u32, Vec<&'a Relative>>,
}

impl<'a> Tree<'a> {
    fn of(family: &'a [Relative]) -> Self {
        let known: BTreeSet<u32> = family.iter().map(|relative| relative.id.pid).collect();
        let mut tree = Self {
            roots: Vec::new(),
            children: BTreeMap::new(),
        };
        for relative in family {
            match known.contains(&relative.parent) {
                true => tree
                    .children
                    .entry(relative.parent)
                    .or_default()
                    .push(relative),
                false => tree.roots.push(relative),
            }
        }
        tree
    }

    fn ask_all(&self, choose: &dyn Fn(&Relative) -> Option<Signal>) -> Vec<(&'a Relative, Signal)> {
        let ask = |root: &&'a Relative| self.ask(root, choose);
        self.roots.iter().flat_map(ask).collect()
    }

    fn ask_children(
        &self,
        parent: &Relative,
        choose: &dyn Fn(&Relative) -> Option<Signal>,
    ) -> Vec<(&'a Relative, Signal)> {
        let children = self.children.get(&parent.id.pid).into_iter().flatten();
        children.flat_map(|child| self.ask(child, choose)).collect()
    }

    /// `top` and its descendants.
    fn branch(&self, top: &'a Relative) -> Vec<&'a Relative> {
        let mut branch = vec![top];
        for child in self.children.get(&top.id.pid).into_iter().flatten() {
            branch.extend(self.branch(child));
        }
        branch
    }

    /// The signal by which all below `top` would be asked, if `top` may handle several signals to pass each on.
    fn what_it_passes_on(
        &self,
        top: &'a Relative,
        choose: &dyn Fn(&Relative) -> Option<Signal>,
    ) -> Option<Signal> {
        let mut below = self.ask_children(top, choose);
        below.retain(|(it, _)| !it.is_fork || it.image != top.image);
        let (_, first) = below.first().copied()?;
        let is_the_same = below.iter().all(|(_, signal)| *signal == first);
        // Programs other than shells may handle USR1 for something else, such as a dump of their stacks.
        let may_pass_on = match first {
            Signal::TERM => top.takes_any(),
            _ => SHELLS.contains(&top.program()),
        };
        (is_the_same && may_pass_on && top.handled.has(first)).then_some(first)
    }

    /// Whom to ask in the branch that begins with `top`.
    fn ask(
        &self,
        top: &'a Relative,
        choose: &dyn Fn(&Relative) -> Option<Signal>,
    ) -> Vec<(&'a Relative, Signal)> {
        let chosen = choose(top);
        if let Some(signal) = chosen
            && !top.gives_way(signal)
        {
            let signal = self.what_it_passes_on(top, choose).unwrap_or(signal);
            return vec![(top, signal)];
        }
        let mut below = self.ask_children(top, choose);
        // A fork that is about to execute something has its parent's handlers, and does nothing with them.
        // Every fork of Python's handles INT.
        below.retain(|(it, signal)| {
            let is_copy = it.is_fork && it.image == top.image;
            !(is_copy && (it.gives_way(*signal) || *signal == Signal::INT))
        });
        let Some((_, first)) = below.first().copied() else {
            return match chosen {
                // As from a terminal: a shell goes by what becomes of the command that it waits for.
                Some(Signal::INT) if top.may_be_a_waiting_shell() => {
                    let all = self.branch(top).into_iter();
                    all.map(|relative| (relative, Signal::INT)).collect()
                }
                chosen => chosen.map(|signal| (top, signal)).into_iter().collect(),
            };
        };
        let is_the_same = below.iter().all(|(_, signal)| *signal == first);
        if top.kind() == Kind::Mpirun && is_the_same && PASSED_ON.contains(&first) {
            return vec![(top, first)];
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLES: [(&str, &[Signal]); 12] = [
        ("trainer", &[Signal::TERM]),
        ("usr1", &[Signal::USR1]),
        ("usr2", &[Signal::USR2, Signal::HUP]),
        (
            "door",
            &[Signal::USR1, Signal::USR2, Signal::TERM, Signal::INT],
        ),
        ("python3", &[Signal::INT]),
        ("bash", &[Signal::INT, Signal::CHILD]),
        ("gmx", &[Signal::TERM, Signal::INT, Signal::USR1]),
        (
            "node",
            &[Signal::INT, Signal::USR1, Signal::TERM, Signal::SEGV],
        ),
        (
            "R",
            &[Signal::INT, Signal::USR1, Signal::USR2, Signal::SEGV],
        ),
        (
            "julia",
            &[Signal::INT, Signal::USR1, Signal::USR2, Signal::TERM],
        ),
        (
            "srun",
            &[
                Signal::INT,
                Signal::HUP,
                Signal::USR1,
                Signal::USR2,
                Signal::TERM,
            ],
        ),
        (
            "mpirun",
            &[
                Signal::INT,
                Signal::USR1,
                Signal::USR2,
                Signal::TERM,
                Signal::CHILD,
            ],
        ),
    ];

    /// `bash>trainer` is a trainer below a shell; `bash>(a b)` has two children, which have none.
    fn family(text: &str) -> Vec<Relative> {
        let mut family = Vec::new();
        let mut parent = 1;
        for level in text.split('>') {
            let first = family.len();
            for name in level.trim_matches(['(', ')']).split(' ') {
                let known = HANDLES.iter().find(|(known, _)| *known == name);
                let handled: &[Signal] = match name {
                    "timeout" => &[Signal::INT, Signal::TERM, Signal::HUP, Signal::CHILD],
                    "sleep" => &[],
                    _ => known.expect("a known name").1,
                };
                family.push(relative(family.len(), parent, name, handled));
            }
            parent = family[first].id.pid;
        }
        family
    }

    fn relative(index: usize, parent: u32, name: &str, handled: &[Signal]) -> Relative {
        let pid = 100 + u32::try_from(index).expect("few");
        Relative {
            id: ProcessId {
                pid,
                start_ticks: 5,
            },
            parent,
            name: name.to_owned(),
            handled: handled.iter().copied().collect(),
            is_fork: false,
            waits: false,
            image: (None, u64::from(pid)),
        }
    }

    fn asked(text: &str, manner: Manner) -> String {
        let family = family(text);
        let name = |(it, signal): (&Relative, Signal)| format!("{} {}", it.name, signal.as_raw());
        let asked = whom_to_ask(&family, manner).into_iter().map(name);
        asked.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_kind_of_process_is_asked_as_the_table_says() {
        let table = [
            ("trainer", "trainer 15"),
            ("usr1", "usr1 10"),
            ("usr2", "usr2 12"),
            ("door", "door 10"),
            ("python3", "python3 2"),
            ("gmx", "gmx 15"),
            ("node", "node 15"),
            ("R", ""),
            ("julia", "julia 15"),
            ("srun", "srun 10"),
            ("bash", ""),
            ("bash>sleep", ""),
            ("bash>R", ""),
            ("bash>python3>trainer", "trainer 15"),
            ("bash>python3>python3", "python3 2"),
            ("bash>(trainer usr1 python3)", "trainer 15, usr1 10"),
            ("trainer>trainer", "trainer 15"),
            ("usr1>trainer", "usr1 10"),
            ("timeout>sleep", "timeout 15"),
            ("timeout>trainer", "trainer 15"),
            ("timeout>bash>usr1", "usr1 10"),
            ("mpirun>(usr1 usr1)", "mpirun 10"),
            ("mpirun>(door door)", "mpirun 10"),
            ("mpirun>(gmx gmx)", "gmx 15, gmx 15"),
            ("mpirun>(usr1 gmx)", "usr1 10, gmx 15"),
            ("mpirun>(sleep sleep)", "mpirun 15"),
            ("bash>timeout>srun", "srun 10"),
        ];
        for (family, expected) in table {
            assert_eq!(asked(family, Manner::Auto), expected, "{family}");
        }
    }

    #[test]
    fn a_named_signal_is_sent_as_it_is_named() {
        let table = [
            ("R", Signal::USR1, "R 10"),
            ("node", Signal::USR1, "node 10"),
            ("trainer", Signal::USR1, ""),
            ("mpirun>(usr1 gmx)", Signal::USR1, "mpirun 10"),
            ("mpirun>(gmx gmx)", Signal::TERM, "gmx 15, gmx 15"),
            ("bash>python3>python3", Signal::INT, "python3 2"),
            ("bash>sleep", Signal::INT, "bash 2, sleep 2"),
        ];
        for (family, signal, expected) in table {
            assert_eq!(asked(family, Manner::By(signal)), expected, "{family}");
        }
        assert_eq!(asked("trainer", Manner::File), "");
    }

    #[test]
    fn a_shell_with_a_trap_on_exit_gives_way_to_its_command() {
        // What bash 5.2 catches then.
        let mask: u64 = 0x0000_0000_4381_7efb;
        let signals = (1..=31).filter(|number| mask >> (number - 1) & 1 == 1);
        let caught: Vec<_> = signals.filter_map(Signal::from_named_raw).collect();
        let mut family = vec![relative(0, 1, "bash", &caught)];
        let asked = |family: &[Relative]| {
            let asked = whom_to_ask(family, Manner::Auto).into_iter();
            asked
                .map(|(it, signal)| (it.id.pid, signal))
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(&family), [(100, Signal::TERM)]);
        // It is just starting a command.
        family.push(relative(1, 100, "bash", &caught));
        family[1].is_fork = true;
        family[1].image = family[0].image.clone();
        assert_eq!(asked(&family), [(100, Signal::TERM)]);
        family[1] = relative(1, 100, "trainer", &[Signal::TERM]);
        assert_eq!(asked(&family), [(101, Signal::TERM)]);
    }

    #[test]
    fn a_wrapper_that_only_waits_gives_way_for_int() {
        let mut family = family("python3>python3");
        family[0].waits = true;
        let asked = |family: &[Relative]| {
            let asked = whom_to_ask(family, Manner::Auto).into_iter();
            asked
                .map(|(it, signal)| (it.id.pid, signal))
                .collect::<Vec<_>>()
        };
        assert_eq!(asked(&family), [(101, Signal::INT)]);
        // A worker that the program forked does not make that a wrapper.
        family[1].is_fork = true;
        family[1].image = family[0].image.clone();
        assert_eq!(asked(&family), [(100, Signal::INT)]);
    }

    #[test]
    fn a_worker_that_lost_its_parent_is_left_out() {
        let handled = [Signal::TERM];
        let mut family = vec![
            relative(0, 1, "python3", &handled),
            relative(1, 1, "python3", &handled),
        ];
        family[1].is_fork = true;
        assert_eq!(whom_to_ask(&family, Manner::Auto).len(), 2);
        family[1].image = family[0].image.clone();
        let asked = whom_to_ask(&family, Manner::Auto);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].0.id.pid, 100);
        // With nobody of whom it could be a worker, it is a program like any other.
        assert_eq!(whom_to_ask(&family[1..], Manner::Auto).len(), 1);
    }
}
