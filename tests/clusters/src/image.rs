//! An image for Apptainer, and programs that show that they run in it.

use std::path::{Path, PathBuf};

use cu_tests::run::Run;
use serde_json::Value;

use crate::Instance;
use crate::runs::program;

/// Makes an image with Apptainer: a shell, the commands in the backends' scripts, their libraries, and
/// a mark.
const MAKE: &str = r#"
set -e
for program in /bin/sh /bin/date /bin/sleep /bin/mv /bin/rm; do
    mkdir -p small/bin
    cp "$program" small/bin/
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
        mkdir -p "small${library%/*}"
        cp "$library" "small$library"
    done
done
echo 'in the image' >small/mark
exec apptainer build --sandbox image small
"#;

/// The shell and the mark are those of the image.
const SCRIPT: &str = "read -r mark </mark; echo \"$mark\" >>marks; exec \"$0\"";

/// Makes the image in `directory`.
pub fn make(cluster: &Instance, directory: &Path) -> PathBuf {
    let mut namespace = cluster.on_login_node("/usr/bin/unshare");
    namespace.args(["--user", "true"]).current_dir("/tmp");
    let namespace = namespace.output().expect("the wrapper is there");
    assert!(
        namespace.status.success(),
        "a container needs a namespace of users, and none can be made here: {namespace:?}. \
         In a chroot nobody may make one"
    );
    let mut make = cluster.on_login_node("/bin/sh");
    make.args(["-c", MAKE]).current_dir(directory);
    let made = make.env("HOME", directory).output().expect("a shell");
    assert!(made.status.success(), "{made:?}");
    directory.join("image")
}

/// The command of a `tiny_job` that leaves the image's mark at each start, and the directory that it
/// and `cu` lie in, which is not in the image.
pub fn marked_tiny_job() -> ([String; 4], PathBuf) {
    let tiny_job = program("tiny_job").remove(0);
    let programs = Path::new(&tiny_job)
        .parent()
        .expect("a directory")
        .to_owned();
    let command = ["/bin/sh".into(), "-c".into(), SCRIPT.into(), tiny_job];
    (command, programs)
}

/// Every start of the run's job 0 was in the image.
pub fn assert_marked(run: &Run, job: &Value) {
    let marks = std::fs::read_to_string(run.output(0, "marks")).expect("marks");
    let starts = job["attempts"].as_array().expect("attempts").len();
    assert_eq!(marks, "in the image\n".repeat(starts));
}
