//! A Slurm made of stubs: a queue and accounts in files, and an sbatch that does as it is told.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cu_scheduler::slurm::{Slurm, SlurmOptions};
use cu_scheduler::{Resources, Submission, SubmissionName};
use tempfile::TempDir;

/// Takes a script: a row for each of its tasks appears in the queue.
pub const TAKES: &str = r#"
take() {
    name=$(sed -n 's/^#SBATCH --job-name="\(.*\)"$/\1/p' "$1")
    last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*$/\1/p' "$1")
    id=$(($(cat "$directory/last_id") + 1))
    echo "$id" >"$directory/last_id"
    if [ -z "$last" ]; then
        echo "$id|PENDING|0:0|0|1|N/A|N/A||Priority|$name|" >>"$directory/queue"
    else
        for task in $(seq 0 "$last"); do
            echo "${id}_$task|PENDING|0:0|0|1|N/A|N/A||Priority|$name|" >>"$directory/queue"
        done
    fi
}
"#;

const CONFIG: &str = "ClusterName = stubs\nSLURM_VERSION = 24.11.5\nMaxArraySize = 1001\n\
    AccountingStorageType = accounting_storage/slurmdbd\n";
const PARTITIONS: &str = "PartitionName=debug Default=YES DefaultTime=01:00:00 \
    MaxTime=UNLIMITED State=UP\n";

pub struct Stubs {
    directory: TempDir,
}

impl Stubs {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        // It is one file, never written by this process, so that it can be executed at any time.
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stubs/command");
        for command in ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"] {
            symlink(&stub, directory.path().join(command)).unwrap();
        }
        let stubs = Self { directory };
        stubs.write("config", CONFIG);
        stubs.write("partition", PARTITIONS);
        for empty in ["queue", "accounts", "scancel.sh"] {
            stubs.write(empty, "");
        }
        stubs.write("last_id", "100");
        stubs.does("scontrol", "cat \"$directory/$3\"");
        stubs.does("squeue", "cat \"$directory/queue\"");
        stubs.does("sacct", "cat \"$directory/accounts\"");
        stubs.sbatch("take \"$2\"; echo \"$id\"");
        stubs
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.path().join(file), text).unwrap();
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(file)).unwrap_or_default()
    }

    /// What a command does from now on, in shell.
    pub fn does(&self, command: &str, script: &str) {
        self.write(&format!("{command}.sh"), script);
    }

    /// The same for sbatch, which can `take` a script.
    pub fn sbatch(&self, script: &str) {
        self.does("sbatch", &format!("{TAKES}{script}"));
    }

    /// How often a command was called.
    pub fn calls(&self, command: &str) -> usize {
        self.read(&format!("{command}.calls")).lines().count()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub fn options(&self) -> SlurmOptions {
        let mut options = SlurmOptions::new(self.path("state"));
        options.commands = Some(self.directory.path().to_path_buf());
        options
    }

    pub async fn open(&self) -> Slurm {
        Slurm::open(self.options()).await.unwrap()
    }

    /// A submission of attempt `attempt`, in a directory of its own.
    pub fn submission(&self, attempt: u32) -> Submission {
        let directory = self.path(&format!("attempt-{attempt}"));
        std::fs::create_dir_all(&directory).unwrap();
        Submission {
            name: name(attempt),
            command: vec!["/bin/echo".into(), "it runs".into()],
            environment: BTreeMap::new(),
            working_directory: self.directory.path().to_path_buf(),
            directory,
            resources: Resources::default(),
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    pub fn submissions(&self, count: u32) -> Vec<Submission> {
        (0..count).map(|attempt| self.submission(attempt)).collect()
    }

    /// Replaces a word in the queue.
    pub fn becomes(&self, from: &str, to: &str) {
        let queue = self.read("queue");
        assert!(queue.contains(from), "{from} in {queue}");
        self.write("queue", &queue.replace(from, to));
    }
}

pub fn name(attempt: u32) -> SubmissionName {
    SubmissionName::new("run", 1, attempt).unwrap()
}
