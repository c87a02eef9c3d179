//! Resumes a second of `cu run`, compared with other tools that are given the same jobs on this machine, two at a
//! time: cluster_utils 3.0.0, GNU parallel with its job log, and task-spooler. The program is `job.sh` for all.
//!
//! `cargo run --release -p cu-rivals -- [ROUNDS] [RIVAL…]`: all of them, or those that are named (`cluster_utils`,
//! `parallel`, `tsp`). One that is not installed is an error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cu_benches::statistics::{median, three_digits};
use cu_benches::{built_cu, scratch_in};

/// Jobs and resumes.
const WORKS: [(usize, usize); 2] = [(4, 25), (64, 5)];
const AT_A_TIME: usize = 2;
/// The longest time of a turn.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often is looked whether all jobs are done.
const LOOK: Duration = Duration::from_millis(20);

const RIVALS: [Rival; 3] = [
    Rival {
        name: "cluster_utils",
        install: "run `python3 -m venv target/rivals && target/rivals/bin/pip install \
                  'cluster_utils[runner]==3.0.0'`, and install util-linux for `script`",
        is_there: |place| {
            works(Command::new(place.python()).args(["-c", "import cluster_utils.grid_search"]))
        },
        run: cluster_utils,
    },
    Rival {
        name: "parallel",
        install: "install GNU parallel, by `apt install parallel` for example",
        is_there: |_| works(Command::new("parallel").arg("--version")),
        run: parallel,
    },
    Rival {
        name: "tsp",
        install: "install task-spooler, by `apt install task-spooler` for example",
        is_there: |_| works(Command::new("tsp").arg("-V")),
        run: task_spooler,
    },
];

/// Another tool.
struct Rival {
    name: &'static str,
    /// How to install it.
    install: &'static str,
    is_there: fn(&Place<'_>) -> bool,
    run: fn(&Place<'_>) -> Result<()>,
}

/// One turn of one contender.
struct Place<'a> {
    directory: &'a Path,
    target: &'a Path,
    cu: &'a Path,
    jobs: usize,
    resumes: usize,
}

impl Place<'_> {
    fn python(&self) -> PathBuf {
        self.target.join("rivals/bin/python")
    }

    /// Where the jobs count their attempts.
    fn counts(&self) -> PathBuf {
        self.directory.join("counts")
    }

    fn program(&self) -> PathBuf {
        self.directory.join("job.sh")
    }

    /// The variables that all jobs get.
    fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("PLACE", self.counts().display().to_string()),
            ("RESUMES", self.resumes.to_string()),
        ]
    }

    /// Resumes a second, from the beginning of the first attempt to the end of the last.
    fn rate(&self) -> Result<f64> {
        let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
        for job in 0..self.jobs {
            let text = fs::read_to_string(self.counts().join(job.to_string()))?;
            ensure!(
                text.lines().count() == self.resumes + 1,
                "job {job} had {} attempts instead of {}",
                text.lines().count(),
                self.resumes + 1
            );
            for time in text.split_whitespace() {
                let time: f64 = time.parse()?;
                (first, last) = (first.min(time), last.max(time));
            }
        }
        Ok((self.jobs * self.resumes) as f64 / (last - first))
    }

    fn is_done(&self) -> bool {
        self.rate().is_ok()
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = match words.first() {
        Some(word) => word
            .parse()
            .with_context(|| format!("{word:?} is not a number of rounds"))?,
        None => 3,
    };
    let named: Vec<&String> = words.iter().skip(1).collect();
    if let Some(unknown) = named
        .iter()
        .find(|name| RIVALS.iter().all(|it| it.name != ***name))
    {
        bail!("unknown rival {unknown:?}; use cluster_utils, parallel or tsp");
    }
    let rivals = RIVALS.iter();
    let rivals: Vec<_> = rivals
        .filter(|rival| named.is_empty() || named.iter().any(|name| *name == rival.name))
        .collect();
    let (cu, target) = built_cu()?;
    println!("{AT_A_TIME} attempts at a time, {rounds} rounds in turns\n");
    println!("| | resumes a second | `cu run` is faster by |");
    println!("| --- | --- | --- |");
    for (jobs, resumes) in WORKS {
        let turn = |run: fn(&Place<'_>) -> Result<()>, rival: Option<&Rival>| {
            let scratch = scratch_in(&target)?;
            let place = Place {
                directory: scratch.path(),
                target: &target,
                cu: &cu,
                jobs,
                resumes,
            };
            if let Some(rival) = rival
                && !(rival.is_there)(&place)
            {
                bail!("{} is not installed; {}", rival.name, rival.install);
            }
            fs::create_dir(place.counts())?;
            fs::copy(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("job.sh"),
                place.program(),
            )?;
            run(&place)?;
            place.rate()
        };
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); rivals.len()];
        for _ in 0..rounds {
            ours.push(turn(cu_run, None)?);
            for (rival, rates) in rivals.iter().zip(&mut theirs) {
                rates.push(turn(rival.run, Some(rival)).context(rival.name)?);
            }
        }
        let known = |rates: &[f64]| median(rates).context("there is at least one round");
        let own = known(&ours)?;
        println!(
            "| {jobs} jobs × {resumes} resumes, `cu run` | {} | |",
            three_digits(own)
        );
        for (rival, rates) in rivals.iter().zip(&theirs) {
            let ratios: Vec<f64> = ours.iter().zip(rates).map(|(own, its)| own / its).collect();
            println!(
                "| {jobs} jobs × {resumes} resumes, {} | {} | {} |",
                rival.name,
                three_digits(known(rates)?),
                three_digits(known(&ratios)?)
            );
        }
    }
    Ok(())
}

fn works(command: &mut Command) -> bool {
    let run = command.stdin(Stdio::null()).output();
    run.is_ok_and(|run| run.status.success())
}

fn cu_run(place: &Place<'_>) -> Result<()> {
    let numbers: Vec<_> = (0..place.jobs).collect();
    let [(place_name, counts), (resumes_name, resumes)] = place.variables();
    let config = place.directory.join("run.toml");
    fs::write(
        &config,
        format!(
            "name = \"run\"\nresults_dir = {:?}\ncommand = [{:?}]\n\
             environment.{place_name} = {counts:?}\nenvironment.{resumes_name} = {resumes:?}\n\
             working_directory = \"{{output_dir}}\"\ngrid.number = {numbers:?}\n\
             resume.submissions_per_hour = 1000000\nresume.stuck_after = 1000\n\
             backend.kind = \"local\"\nbackend.local.cpus = {AT_A_TIME}\n",
            place.directory,
            place.program(),
        ),
    )?;
    let run = Command::new(place.cu)
        .arg("run")
        .arg(&config)
        .stdin(Stdio::null())
        .output()?;
    ensure!(run.status.success(), "cu run: {run:?}");
    Ok(())
}

fn cluster_utils(place: &Place<'_>) -> Result<()> {
    let numbers: Vec<_> = (0..place.jobs).collect();
    let config = place.directory.join("config.json");
    fs::write(
        &config,
        format!(
            r#"{{"optimization_procedure_name": "rival", "run_in_working_dir": true, "git_params": {{}},
            "script_relative_path": "job.sh", "results_dir": {:?}, "environment_setup": {{"is_python_script": false}},
            "cluster_requirements": {{"request_cpus": 1, "max_cpus": {AT_A_TIME}}}, "fixed_params": {{}},
            "hyperparam_list": [{{"param": "number", "values": {numbers:?}}}], "restarts": 1, "samples": null,
            "load_existing_results": false, "generate_report": "never", "num_best_jobs_whose_data_is_kept": 0}}"#,
            place.directory.join("results"),
        ),
    )?;
    // It wants a terminal, and asks whether to run on this machine.
    let command = format!(
        "{} -m cluster_utils.grid_search config.json",
        place.python().display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .envs(place.variables())
        .current_dir(place.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("can't start `script`")?;
    let mut asked = child.stdin.take().context("its input is a pipe")?;
    asked.write_all(b"Y\n")?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            bail!("it took longer than {PATIENCE:?}");
        }
        sleep(LOOK);
    }
    Ok(())
}

/// It runs what failed once more as long as something fails.
fn parallel(place: &Place<'_>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let run = Command::new("parallel")
            .args(["--will-cite", "--joblog", "log", "--resume-failed"])
            .args(["-j", &AT_A_TIME.to_string()])
            .arg(place.program())
            .arg(":::")
            .args((0..place.jobs).map(|job| job.to_string()))
            .envs(place.variables())
            .current_dir(place.directory)
            .stdin(Stdio::null())
            .output()?;
        if run.status.success() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "it took longer than {PATIENCE:?}: {run:?}"
        );
    }
}

/// Each job that is to be resumed puts itself into the queue again.
fn task_spooler(place: &Place<'_>) -> Result<()> {
    let socket = place.directory.join("socket");
    let tsp = |words: &[&str]| {
        let mut command = Command::new("tsp");
        command
            .args(words)
            .envs(place.variables())
            .env("AGAIN", "tsp -n")
            .env("TS_SOCKET", &socket)
            .env("TS_MAXFINISHED", "10")
            .env("TMPDIR", place.directory)
            .current_dir(place.directory)
            .stdin(Stdio::null());
        let run = command.output()?;
        ensure!(run.status.success(), "tsp: {run:?}");
        anyhow::Ok(())
    };
    tsp(&["-S", &AT_A_TIME.to_string()])?;
    let program = place.program().display().to_string();
    for job in 0..place.jobs {
        tsp(&["-n", &program, &job.to_string()])?;
    }
    let begun = Instant::now();
    while !place.is_done() && begun.elapsed() < PATIENCE {
        sleep(LOOK);
    }
    tsp(&["-K"])
}
