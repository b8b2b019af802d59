//! `posix_spawn` and `posix_spawnp`, for which the rules of `exec` hold. Inside, glibc executes by itself.

use core::ffi::c_char;

use libc::{c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::fetched::{self, INTERPRETERS, Instead};
use crate::hooks::exec::{Strings, is_elsewhere, program_at, program_in_path, with_environment};
use crate::interpose::Verdict;
use crate::table::next;

/// # Safety
/// As `posix_spawn(3)`.
pub(crate) unsafe fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: Strings,
    environment: Strings,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { spawn(path, arguments, INTERPRETERS, &Rest { pid, actions, attributes, environment }) }
}

/// The other arguments of `posix_spawn`.
struct Rest {
    pid: *mut pid_t,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    environment: Strings,
}

/// `posix_spawn`, also of a program of the pod, behind which at most so many interpreters stand.
///
/// # Safety
/// As `posix_spawn(3)`.
unsafe fn spawn(path: *const c_char, arguments: Strings, depth: usize, rest: &Rest) -> Verdict<c_int> {
    let Some(next) = next::posix_spawn.get() else { return Verdict::Bypass };
    let Rest { pid, actions, attributes, environment } = *rest;
    // SAFETY: the program's own arguments. A relative path that a file action (`chdir`) gives another
    // meaning may be taken for another program; the one that matters then is judged when it executes.
    unsafe {
        let run = |path: *const c_char| {
            let program = program_at(libc::AT_FDCWD, path);
            let spawn = |environment| next(pid, path, actions, attributes, arguments, environment);
            match with_environment(environment, program, spawn) {
                // That would be the program's own path.
                Verdict::Bypass => Verdict::Passed(spawn(environment)),
                verdict => verdict,
            }
        };
        match fetched::instead(libc::AT_FDCWD, path) {
            Instead::Nothing => run(path),
            Instead::Failed(errno) => Verdict::Success(errno),
            Instead::File(file) => run(file.path().as_ptr()),
            Instead::Interpreter(..) if depth == 0 => Verdict::Success(libc::ELOOP),
            Instead::Interpreter(interpreter, argument) => {
                let again = |arguments| match spawn(interpreter.as_ptr().cast(), arguments, depth - 1, rest) {
                    Verdict::Passed(code) | Verdict::Success(code) => code,
                    Verdict::Fail(_) | Verdict::Bypass => libc::ENOSYS,
                };
                let done = fetched::with_interpreter(&interpreter, &argument, path, arguments, again);
                Verdict::Success(done.unwrap_or_else(|errno| errno))
            }
        }
    }
}

/// # Safety
/// As `posix_spawnp(3)`.
pub(crate) unsafe fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: Strings,
    environment: Strings,
) -> Verdict<c_int> {
    let Some(next) = next::posix_spawnp.get() else { return Verdict::Bypass };
    // SAFETY: as above.
    unsafe {
        if is_elsewhere(file) {
            return posix_spawn(pid, file, actions, attributes, arguments, environment);
        }
        let program = program_in_path(file);
        with_environment(environment, program, |environment| {
            next(pid, file, actions, attributes, arguments, environment)
        })
    }
}
