//! What a shell does before each program starts: `backend.modules` and `backend.activate`.

use cu_run_dir::Activation;

use super::error::Result;
use super::source::Parsed;

/// What `parsed` asks of the shell. The script `is_made` with the run, or must be here.
///
/// # Errors
/// If a module can't be called so, or the script is missing here and no container has files of its own.
pub fn activation(parsed: &Parsed, is_made: bool) -> Result<Activation> {
    let backend = &parsed.file.backend;
    let modules = backend.modules.clone().unwrap_or_default();
    for name in &modules {
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(|it| it.is_ascii_graphic())
        {
            let reason = format!(
                "{name:?} can't be the name of a module: it has visible ASCII characters and does not begin \
                 with `-`"
            );
            return Err(parsed.wrong("backend.modules", reason));
        }
    }
    let script = backend.activate.as_ref().map(|path| path.0.clone());
    if let Some(path) = &script
        && !is_made
        && !backend.has_image()
        && !path.is_file()
    {
        let shown = path.display();
        let reason = match path.is_dir() {
            true => format!(
                "{shown} is a directory; name the script in it that activates it, such as bin/activate"
            ),
            false if path.exists() => format!("{shown} is not a regular file"),
            false => format!("there is no file {shown}"),
        };
        return Err(parsed.wrong("backend.activate", reason));
    }
    Ok(Activation { modules, script })
}
