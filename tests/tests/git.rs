//! Runs from a clone of a git repository, and what a run records of the working tree that it is started in.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;

use cu_tests::repository::{Project, said};
use cu_tests::wait::until;
use serde_json::Value;

#[test]
fn a_run_has_the_commit_and_not_what_is_edited() {
    let project = Project::new();
    let commit = project.version(2);
    project.config("repository = \".\"");
    project.executable("code/main.sh", "#!/bin/sh\necho edited\n");
    let (said, printed) = project.run(&[]);
    let place = project.clone_dir().display().to_string();
    assert_eq!(printed, format!("version 2 in {place}\n"));
    assert!(
        said.contains("code has uncommitted changes, which are not in the clone"),
        "{said}"
    );
    assert!(!project.clone_dir().exists(), "the clone is needed no more");
    let status = project.json(&["status", "--json"]);
    let expected = serde_json::json!({"version": 1, "repository": project.path("code"), "origin": null,
        "branch": "main", "commit": commit, "dirty": true, "clone": place});
    assert_eq!(status["git"], expected);
    assert_eq!(project.json(&["list", "--json"])[0]["git"], expected);
    assert_eq!(project.json(&["show", "0", "--json"])["git"], expected);
    let line = format!("code: commit {} (branch main) of ", &commit[..12]);
    for command in ["show", "status"] {
        let output = project.cu(&[command]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&line), "{text}");
    }
    // Nothing is left to do, so no clone is made for it.
    let again = project.cu(&["resume"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert!(!project.clone_dir().exists());
}

#[test]
fn paths_are_in_the_clone_as_beside_the_config() {
    let project = Project::new();
    project.write("code/runs/in.txt", "committed");
    project.executable(
        "code/runs/show.sh",
        "#!/bin/sh\ncat; echo; cat $1; echo; pwd\n",
    );
    project.version(1);
    project.write("code/runs/in.txt", "edited");
    let config = "name = \"a\"\ncommand = [\"./show.sh\", \"{config_dir}/in.txt\"]\nstdin = \"in.txt\"\n\
                  [git]\nrepository = \"..\"\n";
    project.write("code/runs/run.toml", config);
    let output = project.cu(&["run", "runs/run.toml", "--backend=local"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = project.read("code/results/a/attempts/0/0/stdout");
    let place = project.clone_dir().join("runs");
    assert_eq!(
        printed,
        format!("committed\ncommitted\n{}\n", place.display())
    );
    // A repository elsewhere has its top in that place.
    project.remove_run();
    project.config("");
    let (_, printed) = project.run(&[&format!(
        "git.repository=file://{}",
        project.path("code").display()
    )]);
    assert_eq!(
        printed,
        format!("version 1 in {}\n", project.clone_dir().display())
    );
}

#[test]
fn a_retry_has_the_same_commit_though_the_branch_moved() {
    let project = Project::new();
    project.executable(
        "code/main.sh",
        "#!/bin/sh\necho first\n[ -e ../../../go ]\n",
    );
    project.git("code", &["commit", "--quiet", "--all", "--message", "Wait"]);
    let commit = project.git("code", &["rev-parse", "HEAD"]);
    project.config("repository = \".\"\nbranch = \"main\"");
    let failed = project.cu(&["run", "run.toml", "--backend=local"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(
        project.clone_dir().join("main.sh").exists(),
        "a failed run keeps its clone"
    );
    project.version(2);
    std::fs::remove_dir_all(project.clone_dir()).expect("removed");
    // What a main process has left that was killed as it made the clone anew.
    project.write("code/results/a/.cu-clone-999999999/main.sh", "half");
    project.write("code/go", "");
    let retried = project.cu(&["retry", "all"]);
    assert_eq!(retried.status.code(), Some(0), "{retried:?}");
    let at = |name| project.git("code/results/a/clone", &["rev-parse", name]);
    assert_eq!((at("HEAD"), at("main")), (commit.clone(), commit.clone()));
    let resumed = project.cu(&["resume"]);
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    assert_eq!(
        project.read("code/results/a/attempts/0/1/stdout"),
        "first\n"
    );
    assert!(!project.clone_dir().exists());
    assert!(!project.path("code/results/a/.cu-clone-999999999").exists());
    assert_eq!(
        project.json(&["status", "--json"])["git"]["commit"],
        commit.as_str()
    );
}

#[test]
fn branch_commit_and_depth_choose_what_runs() {
    let project = Project::new();
    let first = project.git("code", &["rev-parse", "HEAD"]);
    project.version(2);
    project.git("code", &["tag", "v2"]);
    project.git("code", &["switch", "--quiet", "--create", "side"]);
    let side = project.version(3);
    project.git("code", &["switch", "--quiet", "main"]);
    project.version(4);
    // A branch that only the origin has.
    project.git(".", &["clone", "--quiet", "code", "other"]);
    project.git("other", &["switch", "--quiet", "--create", "theirs", "v2"]);
    project.git("code", &["remote", "add", "origin", "../other"]);
    project.git("code", &["fetch", "--quiet"]);
    project.config("repository = \".\"\nkeep = true");
    let url = format!("git.repository=file://{}", project.path("code").display());
    for (overrides, version, commits) in [
        (&["git.branch=side"][..], 3, 3),
        (&["git.branch=v2"], 2, 2),
        (&["git.branch=theirs"], 2, 2),
        (&[&format!("git.commit={}", &first[..10])], 1, 1),
        (&["git.depth=1"], 4, 1),
        (&["git.depth=2", "git.branch=side"], 3, 2),
        // Such a clone does not have it.
        (&["git.depth=1", &format!("git.commit={first}")], 1, 1),
        (&[&url, "git.depth=1", &format!("git.commit={side}")], 3, 1),
        (
            &[&url, "git.depth=1", &format!("git.commit={}", &side[..12])],
            3,
            3,
        ),
    ] {
        let (_, printed) = project.run(overrides);
        assert!(
            printed.starts_with(&format!("version {version} ")),
            "{overrides:?}: {printed}"
        );
        let count = project.git("code/results/a/clone", &["rev-list", "--count", "HEAD"]);
        assert_eq!(count, commits.to_string(), "{overrides:?}");
        project.remove_run();
    }
}

#[test]
fn submodules_are_there_as_beside_the_origin() {
    let project = Project::new();
    project.git("lib", &["init", "--quiet"]);
    project.write("lib/word", "of the library\n");
    project.git("lib", &["add", "word"]);
    project.git("lib", &["commit", "--quiet", "--message", "A library"]);
    project.git(
        ".",
        &["clone", "--quiet", "--bare", "lib", "server/lib.git"],
    );
    let allowed = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
    ];
    let url = format!("{}/server/lib.git", project.home().display());
    project.git("code", &[&allowed[..], &[&url, "lib"]].concat());
    // Relative to the origin of the repository, not to where its clone is.
    project.git(
        "code",
        &[
            "config",
            "--file=.gitmodules",
            "submodule.lib.url",
            "../lib.git",
        ],
    );
    project.executable("code/main.sh", "#!/bin/sh\ncat lib/word\n");
    project.git("code", &["add", "--all"]);
    project.git(
        "code",
        &["commit", "--quiet", "--message", "Use the library"],
    );
    let origin = format!("{}/server/code.git", project.home().display());
    project.git("code", &["remote", "add", "origin", &origin]);
    project.config("repository = \".\"");
    let refused = project.refused(&[]);
    assert!(
        refused.contains("transport 'file' not allowed"),
        "{refused}"
    );
    assert!(
        refused.contains("hint: git refuses submodules that are paths"),
        "{refused}"
    );
    project.git(
        "code",
        &["config", "--global", "protocol.file.allow", "always"],
    );
    for depth in [&[][..], &["git.depth=1"]] {
        let (_, printed) = project.run(depth);
        assert_eq!(printed, "of the library\n");
        assert!(
            !project.clone_dir().exists(),
            "what is in a submodule is committed"
        );
        assert_eq!(
            project.json(&["status", "--json"])["git"]["origin"],
            origin.as_str()
        );
        project.remove_run();
    }
}

#[test]
fn a_clone_with_files_of_programs_is_kept() {
    let project = Project::new();
    let program = "#!/bin/sh\nmkdir __pycache__\ntouch __pycache__/a.pyc\n[ ! -e \"$WITH\" ] || touch model.pt\n";
    project.executable("code/main.sh", program);
    project.git(
        "code",
        &["commit", "--quiet", "--all", "--message", "Leave files"],
    );
    project.config("repository = \".\"");
    project.run(&[]);
    assert!(!project.clone_dir().exists(), "caches keep nothing");
    project.remove_run();
    let (said, _) = project.run(&["environment.WITH=/"]);
    let expected = format!(
        "the clone {} is kept: model.pt in it",
        project.clone_dir().display()
    );
    assert!(said.contains(&expected), "{said}");
    assert!(project.clone_dir().join("model.pt").exists());
}

#[test]
fn a_clone_that_was_killed_is_made_anew() {
    let project = Project::new();
    project.executable("code/main.sh", "#!/bin/sh\nls -A ..\n");
    project.git("code", &["commit", "--quiet", "--all", "--message", "List"]);
    project.config("repository = \".\"");
    // Writes something, and stays.
    project.executable(
        "bin/git",
        "#!/bin/sh\ncase \" $* \" in *' clone '*) ;; *) exec /usr/bin/git \"$@\" ;; esac\n\
         for last; do :; done\nmkdir -p \"$last\"; touch \"$last/half\"; exec sleep 600\n",
    );
    let mut cu = project.start(&["run", "run.toml", "--backend=local"]);
    let mut cu = cu
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cu");
    let run = project.path("code/results/a");
    let half = || {
        let entries = std::fs::read_dir(&run).ok()?.flatten();
        let mut entries = entries.map(|entry| entry.path().join("half"));
        entries.find(|path| path.exists())
    };
    let half = until("a half-made clone", half);
    cu.kill().expect("killed");
    cu.wait().expect("its end");
    // The stand-in for git lives on. It is ours alone to end.
    let pid = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .find_map(|entry| {
            let text = std::fs::read(entry.path().join("environ")).ok()?;
            let is_ours = String::from_utf8_lossy(&text)
                .contains(&format!("HOME={}\0", project.home().display()));
            entry.file_name().to_str()?.parse().ok().filter(|_| is_ours)
        });
    let pid = rustix::process::Pid::from_raw(pid.expect("sleep")).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ended");
    std::fs::remove_file(project.path("bin/git")).expect("removed");
    // A whole clone of a run that was not made in the end, which lacks what is committed since.
    project.write("code/results/a/clone/old", "");
    let (_, printed) = project.run(&[]);
    assert!(
        printed.contains("clone\n") && !printed.contains(".cu-clone-"),
        "{printed}"
    );
    assert!(!half.exists(), "the half-made clone is left");
}

#[test]
fn a_file_that_is_not_committed_is_named_at_the_start() {
    let project = Project::new();
    project.config("repository = \".\"");
    project.executable("code/new.sh", "#!/bin/sh\n");
    let said = project.refused(&["command=[\"./new.sh\"]"]);
    assert!(
        said.contains("there is no file ") && said.contains("/clone/new.sh"),
        "{said}"
    );
    let checked = project.cu(&["config", "check", "run.toml", "git.repository=nowhere"]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    let checked = project.cu(&["config", "check", "run.toml", "working_directory=later"]);
    assert_eq!(
        checked.status.code(),
        Some(0),
        "what is cloned is not here: {checked:?}"
    );
    let said = project.refused(&["working_directory=new"]);
    assert!(said.contains("/clone/new is not a directory"), "{said}");
    for (overrides, words) in [
        (
            &["git.branch=none"][..],
            "`git ls-remote --heads --tags URL` lists",
        ),
        (&["git.commit=abcdef"], "it has no commit abcdef"),
        (&["git.repository=/"], "/ is not in a git repository"),
        (
            &["git.repository=nowhere"],
            "a repository on another machine is https://HOST/PATH",
        ),
        (
            &["git.repository=ext::sh -c id"],
            "names a program that git would run",
        ),
        (&["git.repository=--upload-pack=touch x"], "begins with `-`"),
    ] {
        let said = project.refused(overrides);
        assert!(said.contains(words), "{overrides:?}: {said}");
    }
    project.config("branch = \"main\"");
    let said = project.refused(&[]);
    assert!(
        said.contains("`git.branch`: it needs `git.repository`"),
        "{said}"
    );
    project.git("empty", &["init", "--quiet"]);
    project.config("repository = \"../empty\"");
    let said = project.refused(&[]);
    assert!(said.contains("the repository has no commit yet"), "{said}");
}

#[test]
fn hooks_of_a_user_and_variables_of_a_hook_change_nothing() {
    let project = Project::new();
    let hook = format!("#!/bin/sh\ntouch {}/ran\n", project.home().display());
    project.executable("template/hooks/post-checkout", &hook);
    project.executable("hooks/post-checkout", &hook);
    for (key, value) in [
        ("init.templateDir", "template"),
        ("core.hooksPath", "hooks"),
    ] {
        let value = project.path(value).display().to_string();
        project.git("code", &["config", "--global", key, &value]);
    }
    project.git("other", &["init", "--quiet"]);
    let _ = std::fs::remove_file(project.path("ran"));
    project.config("repository = \".\"");
    let mut cu = project.start(&["run", "run.toml", "--backend=local"]);
    cu.env("GIT_DIR", project.path("other/.git"))
        .env("GIT_WORK_TREE", project.path("other"));
    let output = cu.output().expect("cu");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        project
            .read("code/results/a/attempts/0/0/stdout")
            .starts_with("version 1")
    );
    assert!(!project.path("ran").exists(), "a hook ran");
}

#[test]
fn git_asks_nobody_for_a_password_and_shows_none() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let answer = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n";
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    let project = Project::new();
    project.config("");
    project.executable(
        "bin/ask",
        &format!("#!/bin/sh\ntouch {}/asked\n", project.home().display()),
    );
    for (user, hint) in [
        ("", "cu never asks for a password"),
        ("ada:s3cret@", "cu never asks for a password"),
    ] {
        let overrides = format!("git.repository=http://{user}127.0.0.1:{port}/code.git");
        let mut cu = project.start(&["run", "run.toml", "--backend=local", &overrides]);
        cu.env("SSH_ASKPASS", project.path("bin/ask"))
            .env("DISPLAY", ":0");
        let output = cu.output().expect("cu");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = said(&output);
        assert!(said.contains(hint), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
    assert!(!project.path("asked").exists(), "a person was asked");
    // The ssh of a user is told so, too.
    project.executable(
        "bin/my-ssh",
        &format!(
            "#!/bin/sh\necho \"$@\" >{}/words\nexit 255\n",
            project.home().display()
        ),
    );
    project.git(
        "code",
        &["config", "--global", "core.sshCommand", "my-ssh -v"],
    );
    let _ = project.refused(&["git.repository=git@example.org:code.git"]);
    let words = project.read("words");
    assert!(words.starts_with("-v -o BatchMode=yes "), "{words}");
}

#[test]
fn a_run_in_a_working_tree_records_what_it_finds() {
    let project = Project::new();
    project.config("");
    project.run(&[]);
    let code = || project.json(&["status", "--json"])["git"].clone();
    let commit = project.git("code", &["rev-parse", "HEAD"]);
    let expected = serde_json::json!({"version": 1, "repository": project.path("code"), "origin": null,
        "branch": "main", "commit": commit, "dirty": false, "clone": null});
    // The new files run.toml and results/ are not changes of the commit.
    assert_eq!(code(), expected);
    project.remove_run();
    project.executable("code/main.sh", "#!/bin/sh\n# edited\n");
    project.git("code", &["checkout", "--quiet", "--detach"]);
    project.git(
        "code",
        &[
            "remote",
            "add",
            "origin",
            "https://ada:s3cret@example.org/code.git",
        ],
    );
    let lock = project.path("code/.git/index.lock");
    std::fs::write(&lock, "").expect("a file");
    project.run(&[]);
    assert_eq!(code()["dirty"], true);
    assert_eq!(code()["branch"], Value::Null);
    assert_eq!(code()["origin"], "https://ada:***@example.org/code.git");
    assert!(lock.exists(), "the lock of another git");
    project.remove_run();
    // A file system that does not answer, and no git at all.
    project.executable(
        "bin/git",
        "#!/bin/sh\n[ \"$*\" = \"${*#*status}\" ] || exec sleep 600\nexec /usr/bin/git \"$@\"\n",
    );
    project.run(&[]);
    assert_eq!(code()["commit"], commit.as_str());
    assert_eq!(code()["dirty"], Value::Null);
    project.remove_run();
    project.executable("bin/git", "#!/bin/sh\nexit 1\n");
    project.run(&[]);
    assert_eq!(code(), Value::Null);
    assert!(!project.path("code/results/a/git.json").exists());
}
