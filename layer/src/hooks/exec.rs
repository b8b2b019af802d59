//! The `exec` family: programs started with a cleaned environment stay in the session, and programs whose
//! loader would break on this library are spared it.
//!
//! A child of `vfork` runs here on its parent's memory, so nothing allocates, locks or keeps anything: all
//! room is on the stack. Environments beyond the bounds below go on unchanged.

use core::ffi::{CStr, c_char};
use core::ptr::null;
use std::sync::OnceLock;

use libc::c_int;
use protocol::layer::SESSION_VARIABLE;

use super::fetched::{self, INTERPRETERS, Instead};
use super::files::seek;
use crate::interpose::Verdict;
use crate::ops::preload::{self, Change};
use crate::ops::program::{self, Head, Program};
use crate::ops::shadow::Wish;
use crate::table::next;
use crate::{sandbox, sys};

/// A list of C strings that ends with null: arguments or an environment.
pub(crate) type Strings = *const *const c_char;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// Longest changed `LD_PRELOAD` entry, with its NUL.
const PRELOAD_ROOM: usize = 4096;

/// Most interpreters behind each other that the kernel follows.
const SCRIPTS: usize = 5;

/// The session's two entries, as the library found them when it was loaded.
struct Entries {
    /// `LD_PRELOAD=<this library>` and NUL.
    preload: Vec<u8>,
    /// The session variable and NUL.
    session: Vec<u8>,
}

static ENTRIES: OnceLock<Entries> = OnceLock::new();

/// Notes what children need, at load.
pub(crate) fn remember(session_value: &[u8]) {
    // SAFETY: Dl_info is pointers only.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: dladdr(3) with an address of this library and room for the answer.
    let found = unsafe { libc::dladdr((&raw const ENTRIES).cast(), &mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return;
    }
    // SAFETY: dladdr(3): a C string that lives as long as the library.
    let path = unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes_with_nul();
    let session = [SESSION_VARIABLE.as_bytes(), b"=", session_value, b"\0"].concat();
    let _ = ENTRIES.set(Entries { preload: [PRELOAD, path].concat(), session });
}

/// # Safety
/// As `execve(2)`.
pub(crate) unsafe fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { execute(path, arguments, environment, INTERPRETERS) }
}

/// `execve`, also of a program of the pod, behind which at most so many interpreters stand.
///
/// # Safety
/// As `execve(2)`.
unsafe fn execute(path: *const c_char, arguments: Strings, environment: Strings, depth: usize) -> Verdict<c_int> {
    let Some(next) = next::execve.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments, or strings of ours.
    unsafe {
        let run = |path: *const c_char| {
            let program = program_at(libc::AT_FDCWD, path);
            with_environment(environment, program, |environment| next(path, arguments, environment))
        };
        match fetched::instead(libc::AT_FDCWD, path) {
            Instead::Nothing => run(path),
            Instead::Failed(errno) => Verdict::Fail(errno),
            Instead::File(file) => {
                passed(run(file.path().as_ptr()), || next(file.path().as_ptr(), arguments, environment))
            }
            Instead::Interpreter(..) if depth == 0 => Verdict::Fail(libc::ELOOP),
            Instead::Interpreter(interpreter, argument) => {
                let mut verdict = Verdict::Fail(libc::ENOENT);
                let again = |arguments| {
                    verdict = execute(interpreter.as_ptr().cast(), arguments, environment, depth - 1);
                    0
                };
                match fetched::with_interpreter(&interpreter, &argument, path, arguments, again) {
                    Ok(_) => passed(verdict, || next(interpreter.as_ptr().cast(), arguments, environment)),
                    Err(errno) => Verdict::Fail(errno),
                }
            }
        }
    }
}

/// A bypass would go to the program's own path.
fn passed(verdict: Verdict<c_int>, run: impl FnOnce() -> c_int) -> Verdict<c_int> {
    if verdict == Verdict::Bypass { Verdict::Passed(run()) } else { verdict }
}

/// # Safety
/// As `execv(3)`.
pub(crate) unsafe fn execv(path: *const c_char, arguments: Strings) -> Verdict<c_int> {
    // SAFETY: the program's own arguments and environment.
    unsafe { execve(path, arguments, own_environment()) }
}

/// # Safety
/// As `execvp(3)`.
pub(crate) unsafe fn execvp(file: *const c_char, arguments: Strings) -> Verdict<c_int> {
    // SAFETY: the program's own arguments and environment.
    unsafe { execvpe(file, arguments, own_environment()) }
}

/// # Safety
/// As `execvpe(3)`.
pub(crate) unsafe fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> Verdict<c_int> {
    let Some(next) = next::execvpe.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    unsafe {
        if is_elsewhere(file) {
            return execve(file, arguments, environment);
        }
        let program = program_in_path(file);
        with_environment(environment, program, |environment| next(file, arguments, environment))
    }
}

/// # Safety
/// As `fexecve(3)`.
pub(crate) unsafe fn fexecve(fd: c_int, arguments: Strings, environment: Strings) -> Verdict<c_int> {
    let Some(next) = next::fexecve.get() else { return Verdict::Bypass };
    let program = program_of(fd);
    // SAFETY: the program's own arguments.
    unsafe { with_environment(environment, program, |environment| next(fd, arguments, environment)) }
}

/// # Safety
/// As `execveat(2)`.
pub(crate) unsafe fn execveat(
    directory: c_int,
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    flags: c_int,
) -> Verdict<c_int> {
    let Some(next) = next::execveat.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    unsafe {
        let whole = flags & libc::AT_EMPTY_PATH != 0 && path.as_ref() == Some(&0);
        if let Instead::File(file) = fetched::instead(directory, path) {
            let program = program_at(libc::AT_FDCWD, file.path().as_ptr());
            let run = |environment| next(libc::AT_FDCWD, file.path().as_ptr(), arguments, environment, flags);
            return with_environment(environment, program, run);
        }
        let program = if whole { program_of(directory) } else { program_at(directory, path) };
        with_environment(environment, program, |environment| next(directory, path, arguments, environment, flags))
    }
}

/// Whether a program that is given by its path is not this machine's.
///
/// # Safety
/// `file` must be the argument of `execvp(3)`.
pub(crate) unsafe fn is_elsewhere(file: *const c_char) -> bool {
    // SAFETY: by the caller's word.
    let sought = unsafe { seek(libc::AT_FDCWD, file, Wish::OPEN) };
    // SAFETY: what concerns us is a C string.
    !sought.is_native() && unsafe { CStr::from_ptr(file) }.to_bytes().contains(&b'/')
}

/// The process's own environment.
pub(crate) fn own_environment() -> Strings {
    unsafe extern "C" {
        static environ: Strings;
    }
    // SAFETY: environ(7).
    unsafe { environ }
}

/// The strings of a list.
///
/// # Safety
/// `list` must be null or a list of C strings that is ended by null and lives as long as they are used.
pub(crate) unsafe fn strings<'a>(list: Strings) -> impl Iterator<Item = &'a CStr> {
    let mut place = list;
    core::iter::from_fn(move || {
        // SAFETY: by the caller's word.
        let entry = unsafe { place.as_ref() }.copied().filter(|entry| !entry.is_null())?;
        // SAFETY: the list goes on until its null, which was not met.
        place = unsafe { place.add(1) };
        // SAFETY: by the caller's word.
        Some(unsafe { CStr::from_ptr(entry) })
    })
}

/// Where an environment has what concerns us, by index.
struct Found<'a> {
    count: usize,
    preload: Option<(usize, &'a [u8])>,
    has_session: bool,
}

impl<'a> Found<'a> {
    /// # Safety
    /// As [`strings`].
    unsafe fn look(environment: Strings) -> Self {
        let mut found = Self { count: 0, preload: None, has_session: false };
        // SAFETY: by the caller's word.
        for entry in unsafe { strings(environment) } {
            let bytes = entry.to_bytes();
            if let (None, Some(value)) = (found.preload, bytes.strip_prefix(PRELOAD)) {
                found.preload = Some((found.count, value));
            }
            found.has_session |=
                bytes.strip_prefix(SESSION_VARIABLE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
            found.count += 1;
        }
        found
    }
}

/// Whether a program started with `environment` would leave the session.
///
/// # Safety
/// As [`strings`].
pub(crate) unsafe fn would_leave(environment: Strings) -> bool {
    // SAFETY: by the caller's word.
    let found = unsafe { Found::look(environment) };
    let value = found.preload.map_or(&[][..], |(_, value)| value);
    !found.has_session || preload::with(value, &[], &mut []) != Change::Keep
}

/// The session's entries as `NAME=value`, unless this process should not spread it.
pub(crate) fn session_entries() -> Option<[&'static [u8]; 2]> {
    let entries = ENTRIES.get().filter(|_| !sandbox::is_closed())?;
    Some([entries.preload.strip_suffix(b"\0")?, entries.session.strip_suffix(b"\0")?])
}

/// Calls `run` with `environment` as `program` needs it. A sandboxed process takes the library away from its
/// children, since they start under its filter.
///
/// # Safety
/// As [`strings`]; `run` may use its argument only during the call.
pub(crate) unsafe fn with_environment(
    environment: Strings,
    program: Program,
    run: impl FnOnce(Strings) -> c_int,
) -> Verdict<c_int> {
    let Some(entries) = ENTRIES.get() else { return Verdict::Bypass };
    // SAFETY: by the caller's word.
    let found = unsafe { Found::look(environment) };
    let spare = program == Program::Breaks || sandbox::is_closed();
    let mut room = [0u8; PRELOAD_ROOM];
    let new_preload = match (found.preload, spare) {
        (None, true) => Change::Keep,
        (None, false) => Change::Write(0),
        (Some((_, value)), true) => preload::without(value, preload_value(&mut room)),
        (Some((_, value)), false) => {
            let own = entries.preload.get(PRELOAD.len()..entries.preload.len() - 1).unwrap_or_default();
            preload::with(value, own, preload_value(&mut room))
        }
    };
    let new_session = !spare && !found.has_session;
    if matches!(new_preload, Change::Keep | Change::NoRoom) && !new_session {
        return Verdict::Passed(run(environment));
    }
    let preload = match (found.preload, new_preload) {
        (None, Change::Write(_)) => Replace::With(entries.preload.as_ptr().cast()),
        (_, Change::Write(_)) => Replace::With(room.as_ptr().cast()),
        (_, Change::Drop) => Replace::Drop,
        (_, Change::Keep | Change::NoRoom) => Replace::Keep,
    };
    let session = if new_session { entries.session.as_ptr().cast() } else { null() };
    let changed = Changed { environment, at: found.preload.map(|(at, _)| at), preload, session };
    // SAFETY: by the caller's word; `found.count` entries were counted.
    Verdict::Passed(unsafe {
        match found.count + 3 {
            0..=64 => changed.run::<64>(run),
            65..=1024 => changed.run::<1024>(run),
            1025..=8192 => changed.run::<8192>(run),
            _ => run(environment),
        }
    })
}

/// The part of `room` behind the variable's name, which is written; the last byte stays NUL.
fn preload_value(room: &mut [u8; PRELOAD_ROOM]) -> &mut [u8] {
    let (name, value) = room.split_at_mut(PRELOAD.len());
    name.copy_from_slice(PRELOAD);
    let end = value.len() - 1;
    &mut value[..end]
}

#[derive(Clone, Copy)]
enum Replace {
    Keep,
    Drop,
    With(*const c_char),
}

/// An environment with one entry replaced or dropped and some added.
struct Changed {
    environment: Strings,
    /// Where `LD_PRELOAD` is.
    at: Option<usize>,
    preload: Replace,
    /// The session's entry, or null.
    session: *const c_char,
}

impl Changed {
    /// # Safety
    /// As [`strings`], with at most `N - 3` entries.
    #[inline(never)]
    unsafe fn run<const N: usize>(&self, run: impl FnOnce(Strings) -> c_int) -> c_int {
        let mut list = [null(); N];
        let mut used = 0;
        let mut push = |entry: *const c_char| {
            if let Some(place) = list.get_mut(used).filter(|_| !entry.is_null()) {
                *place = entry;
                used += 1;
            }
        };
        // SAFETY: by the caller's word.
        for (index, entry) in unsafe { strings(self.environment) }.enumerate() {
            match self.preload {
                Replace::With(new) if self.at == Some(index) => push(new),
                Replace::Drop if self.at == Some(index) => {}
                _ => push(entry.as_ptr()),
            }
        }
        if let (Replace::With(new), None) = (self.preload, self.at) {
            push(new);
        }
        push(self.session);
        run(list.as_ptr())
    }
}

/// What `path` is, seen from the directory `directory`.
///
/// # Safety
/// `path` must be null or a C string.
pub(crate) unsafe fn program_at(directory: c_int, path: *const c_char) -> Program {
    if path.is_null() {
        return Program::Suits;
    }
    // SAFETY: by the caller's word.
    match sys::open_program(directory, unsafe { CStr::from_ptr(path) }) {
        Ok(fd) => read_program(fd),
        Err(_) => Program::Suits,
    }
}

/// What the open file `fd` is; it may be open for execution only, so it is opened anew.
fn program_of(fd: c_int) -> Program {
    use std::io::Write;
    let mut path = [0u8; 32];
    if write!(&mut path[..31], "/proc/self/fd/{fd}").is_err() {
        return Program::Suits;
    }
    // SAFETY: the last byte of the room is NUL.
    unsafe { program_at(libc::AT_FDCWD, path.as_ptr().cast()) }
}

/// Reads and closes `opened`, and follows scripts to what interprets them.
fn read_program(opened: c_int) -> Program {
    let mut fd = opened;
    for _ in 0..SCRIPTS {
        let mut first = [0u8; program::HEAD];
        let read = sys::read_at(fd, &mut first, 0);
        let head = program::head(&first[..read], |buffer, offset| sys::read_at(fd, buffer, offset));
        sys::close(fd);
        let (start, length) = match head {
            Head::Is(program) => return program,
            Head::Script { start, length } => (start, length),
        };
        let mut path = [0u8; program::HEAD + 1];
        path[..length].copy_from_slice(&first[start..start + length]);
        // SAFETY: the path ends with a NUL, as it is shorter than its room.
        fd = match sys::open_program(libc::AT_FDCWD, unsafe { CStr::from_ptr(path.as_ptr().cast()) }) {
            Ok(fd) => fd,
            Err(_) => return Program::Suits,
        };
    }
    sys::close(fd);
    Program::Suits
}

/// What `file` is after a search like that of `execvp(3)`: in `PATH` unless it has a slash.
///
/// # Safety
/// `file` must be null or a C string.
pub(crate) unsafe fn program_in_path(file: *const c_char) -> Program {
    if file.is_null() {
        return Program::Suits;
    }
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(file) }.to_bytes();
    if name.contains(&b'/') {
        // SAFETY: by the caller's word.
        return unsafe { program_at(libc::AT_FDCWD, file) };
    }
    // SAFETY: the process's environment.
    let path = unsafe { strings(own_environment()) }.find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    for directory in path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':') {
        let mut room = [0u8; libc::PATH_MAX as usize];
        let directory = if directory.is_empty() { b"." } else { directory };
        let length = directory.len() + 1 + name.len();
        if length >= room.len() {
            continue;
        }
        room[..directory.len()].copy_from_slice(directory);
        room[directory.len()] = b'/';
        room[directory.len() + 1..length].copy_from_slice(name);
        // SAFETY: the room ends with a NUL.
        let candidate = unsafe { CStr::from_ptr(room.as_ptr().cast()) };
        if sys::is_executable(candidate) {
            // SAFETY: as above.
            return unsafe { program_at(libc::AT_FDCWD, candidate.as_ptr()) };
        }
    }
    Program::Suits
}
