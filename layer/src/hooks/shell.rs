//! `system` and `popen`. Both start a shell inside libc with the process's own environment, which the
//! program may have cleaned (`clearenv`); then the command puts the session's entries back for what the
//! shell starts.

use core::ffi::{CStr, c_char};
use std::ffi::CString;
use std::mem::ManuallyDrop;

use libc::{FILE, c_int};

use crate::hooks::exec::{own_environment, session_entries, would_leave};
use crate::interpose::{Stage, Verdict, guard};
use crate::table::next;

/// # Safety
/// As `system(3)`.
pub(crate) unsafe fn system(command: *const c_char) -> Verdict<c_int> {
    let Some(next) = next::system.get() else { return Verdict::Bypass };
    // SAFETY: system(3): null or a C string.
    let Some(command) = (unsafe { completed(command) }) else { return Verdict::Bypass };
    // Not dropped if the thread is cancelled while the shell runs: unwinding must meet nothing to drop.
    let mut command = ManuallyDrop::new(command);
    // SAFETY: a C string.
    let result = unsafe { next(command.as_ptr()) };
    // SAFETY: neither used nor dropped again.
    unsafe { ManuallyDrop::drop(&mut command) };
    Verdict::Passed(result)
}

/// # Safety
/// As `popen(3)`.
pub(crate) unsafe fn popen(command: *const c_char, mode: *const c_char) -> Verdict<*mut FILE> {
    let Some(next) = next::popen.get() else { return Verdict::Bypass };
    // SAFETY: popen(3): a C string.
    let Some(command) = (unsafe { completed(command) }) else { return Verdict::Bypass };
    let mut command = ManuallyDrop::new(command);
    // SAFETY: C strings.
    let result = unsafe { next(command.as_ptr(), mode) };
    // SAFETY: neither used nor dropped again.
    unsafe { ManuallyDrop::drop(&mut command) };
    Verdict::Passed(result)
}

/// The command with the entries that the environment lacks; `None` if it lacks nothing.
///
/// # Safety
/// `command` must be null or a C string.
unsafe fn completed(command: *const c_char) -> Option<CString> {
    guard(Stage::Before, None, || {
        // SAFETY: the process's own environment.
        if command.is_null() || !unsafe { would_leave(own_environment()) } {
            return None;
        }
        // SAFETY: by the caller's word.
        let command = unsafe { CStr::from_ptr(command) }.to_bytes();
        let mut line = b"export".to_vec();
        for entry in session_entries()? {
            let equals = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = entry.split_at(equals + 1);
            line.push(b' ');
            line.extend_from_slice(name);
            line.push(b'\'');
            for byte in value {
                match byte {
                    b'\'' => line.extend_from_slice(br"'\''"),
                    _ => line.push(*byte),
                }
            }
            line.push(b'\'');
        }
        line.extend_from_slice(b"; ");
        line.extend_from_slice(command);
        CString::new(line).ok()
    })
}
