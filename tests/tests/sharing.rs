//! A run that is shared with a group: the group reads it, and neither its secret nor the commands of its jobs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cu_core::RunDir;
use cu_tests::stranger::{Public, STRANGER, can_be_played, for_all};

#[test]
fn a_group_reads_a_run_that_is_shared_and_no_secret_of_it() {
    if !can_be_played() {
        return;
    }
    let public = Public::new();
    let group = STRANGER.to_string();
    let made = public.cu(&[
        "run",
        "backend.kind=local",
        &format!("group=\"{group}\""),
        "resume.failure_retries=0",
        "--name",
        "shared",
        "--",
        "sh",
        "-c",
        "echo seen; echo result > \"$CU_OUTPUT_DIR/result\"",
    ]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let run = RunDir::new(public.path("results/shared"));
    let path = run.path().to_str().expect("UTF-8").to_owned();
    let status = public.cu_of_stranger(&["status", &path]);
    assert!(status.stdout.contains("shared is completed"), "{status:?}");
    let logs = public.cu_of_stranger(&["logs", "0", &path]);
    assert!(logs.stdout.contains("seen"), "{logs:?}");
    let (mut readable, mut private) = (0, Vec::new());
    for_all(run.path(), &mut |path| {
        let found = path.symlink_metadata().expect("it is there");
        assert_eq!(found.mode() & 0o022, 0, "{}", path.display());
        match found.mode() & 0o040 {
            0 => private.push(path.strip_prefix(run.path()).expect("in it").to_owned()),
            _ => readable += 1,
        }
    });
    assert!(readable > 10, "{readable}");
    let mode = run.path().metadata().expect("it is there").mode();
    assert_eq!(mode & 0o7777, 0o750, "nobody else enters it");
    let secret = Path::new("secret");
    assert!(private.contains(&secret.to_owned()), "{private:?}");
    let rest = private.iter().filter(|path| !path.starts_with("backend"));
    let rest: Vec<_> = rest.filter(|path| *path != secret).collect();
    assert_eq!(rest, [Path::new("attempts/0/job.json")]);
    for arguments in [&["stop", &path][..], &["share", "--group", &group, &path]] {
        let refused = public.cu_of_stranger(arguments);
        assert!(!matches!(refused.code, Some(0 | 1)), "{refused:?}");
    }

    let private = public.cu(&[
        "run",
        "--name",
        "private",
        "backend.kind=local",
        "--",
        "true",
    ]);
    assert_eq!(private.code, Some(0), "{private:?}");
    let path = public.path("results/private");
    let path = path.to_str().expect("UTF-8");
    let status = public.cu_of_stranger(&["status", path]);
    assert_ne!(status.code, Some(0), "{status:?}");
    let shared = public.cu(&["share", "private", "--group", &group]);
    assert_eq!(shared.code, Some(0), "{shared:?}");
    let status = public.cu_of_stranger(&["status", path]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let resumed = public.cu(&["resume", path]);
    assert_eq!(resumed.code, Some(0), "it still trusts it: {resumed:?}");
    let none = public.cu(&["run", "group=no-such-group", "--", "true"]);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(
        none.stderr.contains("there is no group `no-such-group`"),
        "{none:?}"
    );
}
