//! A fork server for the tests to start: each order is a command, which takes the place of the copy that
//! got it. With `DONE` in its environment, the copy first says that it is done. It is not published.

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() -> std::io::Result<()> {
    cu_system::fork_server::serve(|words, owner| {
        if std::env::var_os("DONE").is_some() {
            owner.done();
        }
        let Some((program, arguments)) = words.split_first() else {
            return 0;
        };
        let error = Command::new(program).args(arguments).exec();
        eprintln!("{program}: {error}");
        127
    })
}
