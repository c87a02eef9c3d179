//! A fork server for the tests to start: each order is a command, which takes the place of the copy that
//! got it. With `RESIDENT` in its environment, the copy runs it and stands by again. With `DONE`, the copy first
//! says that it is done. It is not published.

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
    match code.and_then(|code| code.try_into().ok()) {
        Some(code) => Afterwards::StandsBy(code),
        None => Afterwards::Exits(255),
    }
}
