//! Where a program starts, what it is told, and what becomes of programs that nobody changed and that
//! write beside themselves.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cu_tests::process::{Exit, Process, freeze, thaw};
use cu_tests::run::Run;
use rustix::process::{Pid, Signal, kill_process};

/// A training that knows nothing of `cu`: it reads data and keeps its checkpoints beside itself, and
/// handles no signal.
const TRAIN: &str = r#"
import argparse, os, time
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--epochs", type=int, default=12)
arguments = parser.parse_args()
rows = open(arguments.data).read().split()
os.makedirs("ckpt", exist_ok=True)
begin = max([int(name) for name in os.listdir("ckpt") if name.isdigit()], default=0)
with open("begun", "a") as begun:
    print(begin, file=begun)
for epoch in range(begin, arguments.epochs):
    time.sleep(0.4)
    with open("ckpt/part", "w") as part:
        part.write(str(len(rows) * (epoch + 1)))
    os.rename("ckpt/part", "ckpt/" + str(epoch + 1))
"#;

/// The surroundings of commands without a config.
fn project() -> Run {
    let run = Run::new(&["true"], "");
    fs::create_dir(run.path("data")).expect("a directory");
    fs::write(run.path("data/train.npz"), "1 2 3").expect("a file");
    run
}

/// `cu run` of a command on this machine, until it has ended.
fn ran(run: &Run, options: &[&str], command: &[&str]) -> Exit {
    // On a busy machine Python may need longer to start than an attempt lasts.
    let common = [
        "run",
        "--backend",
        "local",
        "--name",
        "run",
        "--stuck-after",
        "1000",
    ];
    run.cu(&[&common[..], options, &["--"], command].concat())
}

fn assert_trained(run: &Run, exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
    assert_eq!(
        fs::read_to_string(run.path("ckpt/12")).expect("what it saved"),
        "36"
    );
    let begun = fs::read_to_string(run.path("begun")).expect("what it began with");
    assert!(begun.lines().count() >= 2, "it was never resumed: {begun}");
}

#[test]
fn an_unmodified_training_with_relative_paths_is_resumed() {
    let run = project();
    fs::write(run.path("train.py"), TRAIN).unwrap();
    let command = ["python3", "train.py", "--data", "data/train.npz"];
    let exit = ran(&run, &["--stop-after", "3s"], &command);
    assert_trained(&run, &exit);
}

#[test]
fn a_module_in_the_current_directory_is_resumed_to_its_end() {
    let run = project();
    fs::create_dir(run.path("mypkg")).unwrap();
    fs::write(run.path("mypkg/__init__.py"), "").unwrap();
    fs::write(run.path("mypkg/__main__.py"), TRAIN).unwrap();
    let command = ["python3", "-m", "mypkg", "--data=data/train.npz"];
    let exit = ran(&run, &["--stop-after", "3s"], &command);
    assert_trained(&run, &exit);
}

#[test]
fn no_argument_is_rewritten_though_a_file_has_its_name() {
    let run = project();
    fs::write(run.path("adam"), "").unwrap();
    let script = "printf '%s\\n' \"$@\" >words";
    let exit = ran(
        &run,
        &[],
        &[
            "sh",
            "-c",
            script,
            "sh",
            "adam",
            "data/train.npz",
            "{print $1}",
        ],
    );
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let words = fs::read_to_string(run.path("words")).unwrap();
    assert_eq!(words, "adam\ndata/train.npz\n{print $1}\n");
}

#[test]
fn each_attempt_is_told_its_own_directory_job_and_number() {
    let script = "echo \"$0 $1 $OUT\" >>\"$2/told\"; [ \"$1\" = 1 ] || exit 3; touch \"$3\"";
    let command = [
        "bash",
        "-c",
        script,
        "{job}",
        "{attempt}",
        "{output_dir}",
        "x-{settings.n}",
    ];
    let config = "working_directory = \"work/{job}\"\n\
                  [environment]\nOUT = \"{output_dir}/{settings.n}\"\n[grid]\nn = [7, 8]\n";
    let run = Run::new(&command, config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
    for (job, n) in [(0, 7), (1, 8)] {
        let out = run.output(job, &n.to_string());
        let expected = format!("{job} 0 {0}\n{job} 1 {0}\n", out.display());
        assert_eq!(
            fs::read_to_string(run.output(job, "told")).unwrap(),
            expected
        );
        assert!(run.path(&format!("work/{job}/x-{n}")).exists());
    }
}

#[test]
fn a_misspelt_placeholder_is_refused_with_the_right_one() {
    let run = Run::new(&["true"], "[settings]\na = 1\n");
    for (word, meant) in [
        ("{a}", "{settings.a}"),
        ("{setting.a}", "{settings.a}"),
        ("{outputdir}", "{output_dir}"),
    ] {
        let config = run.config();
        let command = format!("command=[\"true\", \"{word}\"]");
        let exit = run.cu(&["run", config.to_str().unwrap(), &command]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains(meant), "{exit:?}");
        assert!(!run.dir().path().exists());
    }
}

/// Starts `cu` with these arguments and the home directory `home` in the scratch directory.
fn at_home(run: &Run, arguments: &[&str]) -> Exit {
    let mut command = run.command(arguments);
    command.env("HOME", run.path("home"));
    command.env("CU_RESULTS_DIR", "~/runs");
    Process::start(command, &run.path("")).wait()
}

#[test]
fn a_tilde_is_the_home_directory_where_no_shell_has_seen_it() {
    let run = project();
    fs::create_dir_all(run.path("home/work")).unwrap();
    let options = [
        "run",
        "--backend",
        "local",
        "--working-directory=~/work",
        "--name",
        "run",
    ];
    let exit = at_home(&run, &[&options[..], &["--", "touch", "here"]].concat());
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(run.path("home/work/here").exists() && !run.path("~").exists());
    assert!(run.path("home/runs/run/run.sqlite").exists());
    let exit = at_home(&run, &["run", "--working-directory=~eve/x", "--", "true"]);
    assert_eq!(exit.code, Some(2), "{exit:?}");
    assert!(exit.stderr.contains("~eve"), "{exit:?}");
}

#[test]
fn a_variable_that_no_shell_reads_is_refused_or_warned_of() {
    let run = project();
    let home = run.path("home").display().to_string();
    fs::create_dir_all(&home).unwrap();
    for path in ["--results-dir=$HOME/r", "--working-directory=$HOME/{job}"] {
        let exit = at_home(&run, &["run", path, "--", "true"]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(
            exit.stderr.contains(&format!("; write {home}/")),
            "{exit:?}"
        );
    }
    assert!(!run.path("$HOME").exists());
    let command = ["sh", "-c", "echo $BIN $0", "$HOME/x"];
    let options = [
        "run",
        "--backend=local",
        "--name=run",
        "--env=BIN=$HOME/bin",
        "--",
    ];
    let exit = at_home(&run, &[&options[..], &command].concat());
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for warned in [
        "`environment.BIN`: no shell",
        "the argument \"$HOME/x\": no shell",
    ] {
        assert_eq!(exit.stderr.matches(warned).count(), 1, "{exit:?}");
    }
    assert!(!exit.stderr.contains("echo $BIN"), "{exit:?}");
    let exit = at_home(&run, &["logs", "--stdout", "--attempt=0"]);
    assert_eq!(exit.stdout, "$HOME/bin $HOME/x\n");
}

#[test]
fn a_grid_that_nothing_distinguishes_is_warned_of() {
    let warned = |command: &[&str], config: &str| {
        let config = format!("working_directory = \".\"\n{config}[grid]\nseed = [1, 2]\n");
        let run = Run::new(command, &config);
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        exit.stderr.contains("nothing distinguishes them")
            || exit.stderr.contains("different values alone")
    };
    assert!(warned(
        &[
            "sh",
            "-c",
            "mkdir -p ckpt; echo {settings.seed} > ckpt/state"
        ],
        ""
    ));
    assert!(warned(&["true"], ""));
    assert!(!warned(&["true", "runs/{settings.seed}"], ""));
    assert!(!warned(
        &["true"],
        "[environment]\nOUT = \"{output_dir}\"\n"
    ));
    assert!(!warned(
        &["sh", "-c", "true", "$CU_SETTINGS"],
        "stdin = \"config.toml\"\n[environment]\nA = \"{job}\"\n"
    ));
}

#[test]
fn a_first_attempt_that_finds_no_file_says_where_it_ran() {
    let run = project();
    let exit = ran(&run, &[], &["python3", "nope.py"]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let here = run.path("").canonicalize().unwrap();
    let said = run.cu(&["show", "0"]).stdout;
    let expected = format!("it ran in {}", here.display());
    assert!(said.contains(&expected), "{expected}: {said}");
}

#[test]
fn a_working_directory_that_is_gone_is_named_at_the_end() {
    let script =
        "if [ $CU_ATTEMPT = 0 ]; then rmdir \"$PWD\"; touch \"$CU_OUTPUT_DIR/x\"; exit 3; fi";
    let run = Run::new(&["sh", "-c", script], "working_directory = \"gone\"\n");
    fs::create_dir(run.path("gone")).unwrap();
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let said = run.show(0).to_string();
    for word in [
        run.path("gone").to_str().unwrap(),
        "does not exist on",
        "working_directory",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_file_is_the_standard_input_of_each_attempt() {
    let script = "cat >>\"$CU_OUTPUT_DIR/read\"; [ $CU_ATTEMPT = 1 ] || exit 3";
    let run = project();
    fs::write(run.path("in.lj"), "units lj\n").unwrap();
    let exit = ran(&run, &["--stdin", "in.lj"], &["sh", "-c", script]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let read = fs::read_to_string(run.output(0, "read")).unwrap();
    assert_eq!(read, "units lj\nunits lj\n");
    let exit = ran(&run, &["--stdin", "in.no"], &["cat"]);
    assert_eq!(exit.code, Some(2), "{exit:?}");
    assert!(exit.stderr.contains("in.no"), "{exit:?}");
}

/// `cu run -- cat` with this standard input.
fn with_stdin(run: &Run, stdin: Stdio, name: &str) -> Exit {
    let mut command = run.command(&["run", "--backend", "local", "--name", name, "--", "true"]);
    let output = command.stdin(stdin).output().expect("its output");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Exit {
        code: output.status.code(),
        signal: None,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[test]
fn a_redirected_file_is_refused_with_the_option_to_type() {
    let run = project();
    fs::write(run.path("in.lj"), "units lj\n").unwrap();
    let open = || fs::File::open(run.path("in.lj")).unwrap();
    let exit = with_stdin(&run, open().into(), "a");
    assert_eq!(exit.code, Some(2), "{exit:?}");
    assert!(exit.stderr.contains("--stdin in.lj"), "{exit:?}");

    // A loop over the lines of a file, or a script that a shell reads from it, has read something.
    use std::io::Read;
    let mut begun = open();
    begun.read_exact(&mut [0; 3]).unwrap();
    let exit = with_stdin(&run, begun.into(), "b");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for (name, stdin) in [("c", Stdio::null()), ("d", Stdio::piped())] {
        let exit = with_stdin(&run, stdin, name);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(!exit.stderr.contains("stdin"), "{exit:?}");
    }
    assert!(Path::new(&run.path("results/d")).exists());
}

/// A run that is stopped while it is made, with a part of its jobs written: of at least `fewest`, and of more if it
/// was made too soon.
fn half_made(fewest: u32) -> (Run, Process) {
    for jobs in (0..).map(|power| fewest << power) {
        let numbers: Vec<_> = (0..jobs).collect();
        let run = Run::new(&["true"], &format!("grid.number = {numbers:?}"));
        let process = run.start();
        let store = run.dir().store();
        let unfinished = store.with_extension("sqlite.new");
        run.until("the run is being made", || {
            let length = unfinished.metadata().map_or(0, |it| it.len());
            (length > 0 || store.exists()).then_some(())
        });
        freeze(&[process.id()]);
        if !store.exists() {
            return (run, process);
        }
    }
    unreachable!("some run is large enough")
}

#[test]
fn interrupted_while_it_is_made_it_is_no_run_and_made_again() {
    for signal in [Signal::INT, Signal::KILL] {
        let (run, process) = half_made(2048);
        let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process"), signal).expect("it is there");
        thaw(&[process.id()]);
        let exit = process.wait();
        assert_eq!(exit.signal, Some(signal.as_raw()), "{exit:?}");
        assert_eq!(run.json(&["list"]), serde_json::json!([]));
        let config = run.config();
        let again = ["run", config.to_str().expect("UTF-8"), "grid.number=[7]"];
        let exit = run.cu(&again);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert_eq!(run.status()["jobs"]["total"], 1);
    }
}

#[test]
fn a_run_that_is_long_in_the_making_says_how_far_it_is() {
    // One that was stopped behind its last report says nothing more.
    for fewest in (11..16).map(|power| 1 << power) {
        let (run, mut process) = half_made(fewest);
        let stopped = Instant::now();
        run.until("it is long in the making", || {
            (stopped.elapsed() > Duration::from_secs(1)).then_some(())
        });
        thaw(&[process.id()]);
        let said = run.until("a word, or the run", || {
            let said = process.stderr();
            (said.contains("making the run: ") && said.ends_with('\n')
                || run.dir().store().exists())
            .then_some(said)
        });
        let _ = process.kill();
        if let Some((_, line)) = said.split_once("making the run: ") {
            let (made, all) = line.split_once(" of ").expect(line);
            let all = all.split_once(" jobs\n").expect(line).0;
            let [made, all] = [made, all].map(|count| count.parse::<u32>().expect(line));
            assert!(made < all && all >= fewest, "{line}");
            return;
        }
    }
    panic!("it never said how far it is");
}
