//! A fork server for the tests to start: each order is a command. It takes the place of the copy that got it, or
//! with `RESIDENT` in its environment is run by the copy, which then stands by again unless `LEAVES` names what is
//! left of the order. With `DONE`, the copy first says that it is done. It is not published.

use std::os::unix::process::CommandExt;
use std::process::Command;

use cu_system::fork_server::{Afterwards, Owner, serve};

fn main() -> std::io::Result<()> {
    serve(|| obey)
}

fn obey(words: &[String], owner: &Owner) -> Afterwards {
    if std::env::var_os("DONE").is_some() {
        owner.done();
    }
    let Some((program, arguments)) = words.split_first() else {
        return Afterwards::Exits(0);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if std::env::var_os("RESIDENT").is_none() {
        let error = command.exec();
        eprintln!("{program}: {error}");
        return Afterwards::Exits(127);
    }
    let code = command.status().ok().and_then(|status| status.code());
    match std::env::var("LEAVES").as_deref() {
        Ok("a child") => drop(Command::new("/bin/sleep").arg("1000").spawn()),
        Ok("a file") => std::mem::forget(std::fs::File::open("/dev/null")),
        Ok("a thread") => drop(std::thread::spawn(|| std::thread::sleep(HOURS))),
        _ => {}
    }
    Afterwards::StandsBy(code.and_then(|code| code.try_into().ok()).unwrap_or(255))
}

/// As long as no test.
const HOURS: std::time::Duration = std::time::Duration::from_secs(3600);
