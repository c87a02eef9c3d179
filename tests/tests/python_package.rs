//! The Python package `cu-job`: built by pip, installed into a clean virtual environment, and enough for
//! a user who has never met Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use cu_tests::python_package::{installed, output, tools};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command that finds only the programs of the virtual environment and of the system.
fn command(programs: &Path, program: &str) -> Command {
    let mut command = Command::new(programs.join(program));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CU_", "PYTHON", "CARGO", "RUST"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
    }
    command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    command
}

/// One test, since the installation takes longer than all that follows.
#[test]
fn pip_install_is_enough() {
    let scratch = tempfile::tempdir().expect("a directory");
    let programs = installed(scratch.path());

    // The command, in the version of the package.
    let version = output(command(&programs, "cu").arg("--version"));
    let listed = output(command(&programs, "pip").args(["show", "cu-job"]));
    let number = listed
        .lines()
        .find_map(|line| line.strip_prefix("Version: "));
    let number = number.expect("a version");
    assert!(
        version.starts_with(&format!("cu {number}")),
        "{version} {listed}"
    );
    is_static(&programs.join("cu"));

    // What the tag promises: any machine with glibc 2.17 or newer, whatever its Python.
    let name = std::fs::read_dir(scratch.path().join("wheel")).expect("a directory");
    let name = name.flatten().next().expect("a wheel").file_name();
    let name = name.to_string_lossy();
    assert!(name.contains("-py3-none-manylinux"), "{name}");

    // The module: the one source, from any directory, and not beside the real cluster_utils' name.
    let module = "import cu_job; print(cu_job.__file__)";
    let module = output(
        command(&programs, "python")
            .args(["-c", module])
            .current_dir("/"),
    );
    assert!(Path::new(&module).starts_with(scratch.path()), "{module}");
    let source = root().join("crates/cu-client/python/cu_job.py");
    let source = std::fs::read(source).expect("a file");
    assert!(
        std::fs::read(&module).expect("a file") == source,
        "{module} differs from cu_job.py"
    );
    let packages = Path::new(&module).ancestors().nth(2).expect("a directory");
    assert!(!packages.join("cluster_utils").exists());

    is_typed(&programs, scratch.path());
    an_example_runs(&programs, scratch.path(), &source);
}

fn is_static(program: &Path) {
    let mut python = Command::new("python3");
    let found = output(python.args(["-c", LOADER]).arg(program));
    assert_eq!(found, "static", "{}", program.display());
}

/// Prints whether an ELF file names a loader of shared libraries.
const LOADER: &str = "import struct, sys
data = open(sys.argv[1], 'rb').read()
offset, = struct.unpack_from('<Q', data, 32)
size, count = struct.unpack_from('<HH', data, 54)
kinds = [struct.unpack_from('<I', data, offset + size * i)[0] for i in range(count)]
print('dynamic' if 3 in kinds else 'static')";

/// A type checker finds the types of the installed module, and the fault in a program.
fn is_typed(programs: &Path, scratch: &Path) {
    let program = scratch.join("typed.py");
    let text = "import cu_job\nsteps: int = cu_job.Job().should_exit\n";
    std::fs::write(&program, text).expect("a file");
    let mut mypy = Command::new(tools().join("mypy"));
    mypy.args(["--strict", "--cache-dir=/dev/null", "--python-executable"]);
    mypy.arg(programs.join("python")).arg(&program);
    let result = mypy.output().expect("mypy can be started");
    let said = String::from_utf8_lossy(&result.stdout);
    assert!(said.contains("Callable[[], bool]"), "{said}");
    assert!(said.contains("Found 1 error in 1 file"), "{said}");
}

/// The example of the repository, without the repository.
fn an_example_runs(programs: &Path, scratch: &Path, source: &[u8]) {
    let project = scratch.join("project");
    std::fs::create_dir(&project).expect("a directory");
    for file in ["job.py", "run.toml"] {
        let from = root().join("examples/python").join(file);
        std::fs::copy(from, project.join(file)).expect("a copy");
    }
    let mut run = command(programs, "cu");
    run.args(["run", "run.toml", "--backend=local", "settings.steps=20"]);
    let said = output(run.current_dir(&project));
    let mut jobs = command(programs, "cu");
    let jobs = output(jobs.args(["jobs", "--json"]).current_dir(&project));
    assert!(jobs.contains("\"pi\""), "{said} {jobs}");

    // One file is enough, too.
    std::fs::write(project.join("cu_job.py"), source).expect("a file");
    let mut python = Command::new("/usr/bin/env");
    python.args(["python3", "-c", "import cu_job; print(cu_job.__file__)"]);
    let copied = output(python.current_dir(&project));
    assert_eq!(Path::new(&copied), project.join("cu_job.py"));
}

/// The tests of what `cu_job` has in common with the Python package `cluster_utils` pass with both, and
/// with the libraries that are optional for `cu_job`.
#[test]
fn cu_job_does_what_the_real_cluster_utils_does() {
    for client in ["cluster_utils", "cu_job"] {
        let mut python = command(tools(), "python");
        python.args([
            "-W",
            "ignore",
            "-m",
            "unittest",
            "test_cluster_utils.SameAsTheirs",
        ]);
        python.current_dir(root().join("crates/cu-client/python"));
        python
            .env("CU_TEST_CLIENT", client)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let _ = output(&mut python);
    }
}
