//! The login shell's `PATH`: editors that a desktop has started do not have it, and credential plugins lie there.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kube::config::Kubeconfig;

/// Longest wait for a shell to read its start-up files.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stands around the value in what the shell prints: start-up files may print, too.
const MARK: &str = "--mirror-path--";

/// Lets plugins that this process's `PATH` does not have be found in the login shell's. Runs the shell at most once in a
/// process, and only then.
pub(super) fn find_plugins(kubeconfig: &mut Kubeconfig) {
    let own = std::env::var_os("PATH").unwrap_or_default();
    for user in &mut kubeconfig.auth_infos {
        let Some(exec) = user.auth_info.as_mut().and_then(|user| user.exec.as_mut()) else { continue };
        let Some(command) = exec.command.clone().filter(|command| !command.contains('/')) else { continue };
        if find(&command, &own).is_some() {
            continue;
        }
        let Some(path) = of_login_shell() else { return };
        if let Some(found) = find(&command, path) {
            exec.command = Some(found.display().to_string());
            // What the plugin itself runs lies there, too.
            let variable = [("name", "PATH".to_owned()), ("value", path.to_string_lossy().into_owned())];
            let variable = variable.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            exec.env.get_or_insert_default().push(variable);
        }
    }
}

fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Asks the user's shell, as if it were started by a login at a terminal.
fn of_login_shell() -> Option<&'static OsStr> {
    static PATH: OnceLock<Option<OsString>> = OnceLock::new();
    let asked = PATH.get_or_init(|| {
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let path = ask(Path::new(&shell));
        tracing::info!(shell = %Path::new(&shell).display(), found = path.is_some(), "asked the login shell for PATH");
        path
    });
    asked.as_deref()
}

fn ask(shell: &Path) -> Option<OsString> {
    let script = format!("printf '{MARK}%s{MARK}' \"$PATH\"");
    let mut command = Command::new(shell);
    command.args(["-i", "-l", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // An interactive shell takes hold of the terminal's process group; of one of its own there is none.
    command.process_group(0);
    let mut child = command.spawn().ok()?;
    let mut out = child.stdout.take()?;
    let (sender, printed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).ok();
        sender.send(text).ok();
    });
    let deadline = Instant::now() + PATIENCE;
    let text = printed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    child.kill().ok();
    child.wait().ok();
    between_marks(&text.ok()?)
}

fn between_marks(text: &[u8]) -> Option<OsString> {
    let mark = MARK.as_bytes();
    let find = |text: &[u8]| text.windows(mark.len()).position(|window| window == mark);
    let rest = text.get(find(text)? + mark.len()..)?;
    let value = rest.get(..find(rest)?)?;
    (!value.is_empty()).then(|| OsString::from_vec(OsStr::from_bytes(value).as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_value_stands_between_marks() {
        assert_eq!(between_marks(b"hello\n--mirror-path--/a:/b--mirror-path--bye"), Some("/a:/b".into()));
        assert_eq!(between_marks(b"--mirror-path----mirror-path--"), None);
        assert_eq!(between_marks(b"nothing"), None);
    }

    #[test]
    fn a_shells_start_up_files_count_and_a_hanging_one_does_not_hold_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let shell = folder.path().join("shell");
        let write = |text: &str| {
            std::fs::write(&shell, text).expect("written");
            std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        };
        write("#!/bin/sh\necho welcome\nexport PATH=\"/of/login:$PATH\"\nshift 3\neval \"$1\"\n");
        let path = ask(&shell).expect("a path");
        assert!(path.as_bytes().starts_with(b"/of/login:"), "{path:?}");
        assert_eq!(ask(Path::new("/nonexistent")), None);
    }
}
