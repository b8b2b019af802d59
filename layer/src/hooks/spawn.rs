//! `posix_spawn` and `posix_spawnp`, for which the rules of `exec` hold. Inside, glibc executes by itself.

use core::ffi::c_char;

use libc::{c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use crate::hooks::exec::{Strings, program_at, program_in_path, with_environment};
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
    let Some(next) = next::posix_spawn.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments. A relative path that a file action (`chdir`) gives another
    // meaning may be taken for another program; the one that matters then is judged when it executes.
    unsafe {
        let program = program_at(libc::AT_FDCWD, path);
        with_environment(environment, program, |environment| {
            next(pid, path, actions, attributes, arguments, environment)
        })
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
        let program = program_in_path(file);
        with_environment(environment, program, |environment| {
            next(pid, file, actions, attributes, arguments, environment)
        })
    }
}
