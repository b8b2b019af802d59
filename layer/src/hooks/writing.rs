//! Functions that end or synchronise a descriptor: where the program may have written to a file of the pod through it,
//! they return once the pod has what was written, with the pod's error.
//!
//! Whether a descriptor is such a one is asked of the kernel each time, so nothing needs to know of `dup`, `fork` and
//! `exec`. What ends without these functions, as by the end of a process, reaches the pod soon after: the host watches
//! the files. Also those that change a file through a descriptor are here.

use core::ffi::c_void;

use libc::{FILE, c_int, gid_t, mode_t, uid_t};
use protocol::layer::PathChange;

use super::changes::{microseconds, nanoseconds};
use super::files::instead;
use crate::interpose::{Failing, Stage, Verdict, guard};
use crate::ops::shadow::{self, Outcome, Written};
use crate::table::next;

/// The file of the session that a descriptor may have written to.
fn written(fd: c_int) -> Option<Written> {
    guard(Stage::Before, None, || shadow::written(fd))
}

fn written_file(fd: c_int) -> Option<u64> {
    match written(fd) {
        Some(Written::File(inode)) => Some(inode),
        _ => None,
    }
}

/// Ends a descriptor of a file by `end`, and waits for the pod.
fn ending<T: Failing + PartialEq>(inode: u64, failure: T, end: impl FnOnce() -> Verdict<T>) -> Verdict<T> {
    match end() {
        Verdict::Passed(result) if result != failure => match shadow::settle(inode, false) {
            0 => Verdict::Success(result),
            errno => Verdict::Fail(errno),
        },
        failed => failed,
    }
}

/// # Safety
/// As `close(2)`.
pub(crate) unsafe fn close(fd: c_int) -> Verdict<c_int> {
    match written_file(fd) {
        None => Verdict::Bypass,
        Some(inode) => ending(inode, -1, || instead!(close(fd))),
    }
}

/// # Safety
/// As `fclose(3)`.
pub(crate) unsafe fn fclose(stream: *mut FILE) -> Verdict<c_int> {
    // SAFETY: fclose(3): a stream that is open.
    match written_file(unsafe { libc::fileno(stream) }) {
        None => Verdict::Bypass,
        Some(inode) => ending(inode, libc::EOF, || instead!(fclose(stream))),
    }
}

/// What the new number meant is closed, and there is nobody to tell an error.
fn replaced(inode: u64, replace: impl FnOnce() -> Verdict<c_int>) -> Verdict<c_int> {
    match replace() {
        Verdict::Passed(result @ 0..) => {
            shadow::settle(inode, false);
            Verdict::Success(result)
        }
        failed => failed,
    }
}

/// # Safety
/// As `dup2(2)`.
pub(crate) unsafe fn dup2(old: c_int, new: c_int) -> Verdict<c_int> {
    match written_file(new).filter(|_| old != new) {
        None => Verdict::Bypass,
        Some(inode) => replaced(inode, || instead!(dup2(old, new))),
    }
}

/// # Safety
/// As `dup3(2)`.
pub(crate) unsafe fn dup3(old: c_int, new: c_int, flags: c_int) -> Verdict<c_int> {
    match written_file(new) {
        None => Verdict::Bypass,
        Some(inode) => replaced(inode, || instead!(dup3(old, new, flags))),
    }
}

fn synchronise(fd: c_int) -> Verdict<c_int> {
    let errno = match written(fd) {
        None => return Verdict::Bypass,
        Some(Written::File(inode)) => shadow::settle(inode, true),
        Some(Written::Directory) => return through(fd, PathChange::Sync),
    };
    if errno == 0 { Verdict::Success(0) } else { Verdict::Fail(errno) }
}

/// # Safety
/// As `fsync(2)`.
pub(crate) unsafe fn fsync(fd: c_int) -> Verdict<c_int> {
    synchronise(fd)
}

/// # Safety
/// As `fdatasync(2)`.
pub(crate) unsafe fn fdatasync(fd: c_int) -> Verdict<c_int> {
    synchronise(fd)
}

/// Changes what a descriptor is open on, at the path that it has; what has none any more is this machine's alone.
fn through(fd: c_int, change: PathChange<'_>) -> Verdict<c_int> {
    let Some(whole) = guard(Stage::Before, None, || shadow::path_of(fd)) else { return Verdict::Bypass };
    match shadow::change(&whole, change) {
        Outcome::Done => Verdict::Success(0),
        Outcome::Failed(libc::ENOENT) => Verdict::Bypass,
        Outcome::Failed(errno) => Verdict::Fail(errno),
        Outcome::Native | Outcome::Local(_) | Outcome::Apart => Verdict::Bypass,
    }
}

/// # Safety
/// As `fchmod(2)`.
pub(crate) unsafe fn fchmod(fd: c_int, mode: mode_t) -> Verdict<c_int> {
    through(fd, PathChange::SetMode { mode, follow: true })
}

/// # Safety
/// As `fchown(2)`.
pub(crate) unsafe fn fchown(fd: c_int, user: uid_t, group: gid_t) -> Verdict<c_int> {
    through(fd, PathChange::SetOwner { user, group, follow: true })
}

/// # Safety
/// As `futimens(3)`.
pub(crate) unsafe fn futimens(fd: c_int, times: *const c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    match unsafe { nanoseconds(times) } {
        Some(times) => through(fd, PathChange::SetTimes { times, follow: true }),
        None => Verdict::Bypass,
    }
}

/// # Safety
/// As `futimes(3)`.
pub(crate) unsafe fn futimes(fd: c_int, times: *const c_void) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    match unsafe { microseconds(times) } {
        Some(times) => through(fd, PathChange::SetTimes { times, follow: true }),
        None => Verdict::Bypass,
    }
}
