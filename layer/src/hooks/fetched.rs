//! Programs and libraries of the pod: fetched like any file, and executed or loaded from where they are then.
//!
//! A script gets its own path as the pod says it, not that of the copy: so its interpreter is looked up here, as the
//! kernel does, and not by the kernel. A child of `vfork` runs here, so nothing allocates (see `exec`).

use core::ffi::{CStr, c_char};
use core::ptr::null;

use libc::c_int;

use super::exec::{Strings, strings};
use super::files::seek;
use crate::interpose::without_cancellation;
use crate::ops::files::{File, Place};
use crate::ops::program::{self, HEAD};
use crate::ops::shadow::Wish;
use crate::sys::{self, Errno};

/// Most interpreters behind each other (`execve(2)`).
pub(crate) const INTERPRETERS: usize = 5;

/// A program that is to be executed in place of the program's path.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack: a child of `vfork` must not allocate")]
pub(crate) enum Instead {
    /// The path is this machine's.
    Nothing,
    /// It cannot be executed.
    Failed(Errno),
    /// This one, with the same arguments.
    File(File),
    /// An interpreter, with its argument or nothing, before the path and the other arguments.
    Interpreter([u8; HEAD + 1], [u8; HEAD + 1]),
}

/// What to execute for a path.
///
/// # Safety
/// `path` must be the argument of `execveat(2)`.
pub(crate) unsafe fn instead(directory: c_int, path: *const c_char) -> Instead {
    // SAFETY: by the caller's word.
    let sought = unsafe { seek(directory, path, Wish::OPEN) };
    let file = match without_cancellation(|| sought.place()) {
        Place::Native => return Instead::Nothing,
        Place::Absent(_) => return Instead::Failed(libc::ENOENT),
        Place::Failed(errno) => return Instead::Failed(errno),
        Place::At(file) => file,
    };
    if let Some(Err(errno)) = file.access(libc::X_OK) {
        return Instead::Failed(errno);
    }
    if file.is_local() {
        return Instead::File(file);
    }
    let Ok(fd) = sys::open_program(libc::AT_FDCWD, file.path()) else { return Instead::File(file) };
    let mut first = [0; HEAD];
    let read = sys::read_at(fd, &mut first, 0);
    sys::close(fd);
    match program::interpreter(first.get(..read).unwrap_or_default()) {
        None => Instead::File(file),
        Some((interpreter, argument)) => Instead::Interpreter(copied(interpreter), copied(argument)),
    }
}

/// With a NUL.
fn copied(text: &[u8]) -> [u8; HEAD + 1] {
    let mut room = [0; HEAD + 1];
    if let Some(place) = room.get_mut(..text.len().min(HEAD)) {
        place.copy_from_slice(text.get(..place.len()).unwrap_or_default());
    }
    room
}

/// Calls `run` with the arguments of an interpreter: its own name and argument, the script's path, and the script's
/// other arguments. More of them than fit are an error (`E2BIG`).
///
/// # Safety
/// As [`strings`]; `run` may use its argument only during the call.
pub(crate) unsafe fn with_interpreter(
    interpreter: &[u8; HEAD + 1],
    argument: &[u8; HEAD + 1],
    path: *const c_char,
    arguments: Strings,
    run: impl FnOnce(Strings) -> c_int,
) -> Result<c_int, Errno> {
    let argument = Some(argument.as_ptr().cast::<c_char>()).filter(|_| argument.first() != Some(&0));
    let front = [Some(interpreter.as_ptr().cast()), argument, Some(path)];
    // SAFETY: by the caller's word.
    unsafe {
        match strings(arguments).count() + front.len() + 1 {
            0..=64 => Ok(listed::<64>(&front, arguments, run)),
            65..=1024 => Ok(listed::<1024>(&front, arguments, run)),
            1025..=8192 => Ok(listed::<8192>(&front, arguments, run)),
            _ => Err(libc::E2BIG),
        }
    }
}

/// # Safety
/// As [`strings`], with room for all.
#[inline(never)]
unsafe fn listed<const N: usize>(
    front: &[Option<*const c_char>],
    arguments: Strings,
    run: impl FnOnce(Strings) -> c_int,
) -> c_int {
    let mut list = [null(); N];
    // SAFETY: by the caller's word.
    let others = unsafe { strings(arguments) }.skip(1).map(CStr::as_ptr);
    let all = front.iter().copied().flatten().chain(others);
    list.iter_mut().zip(all).for_each(|(place, argument)| *place = argument);
    run(list.as_ptr())
}

/// What `dlopen` is to be called with: the loader opens files by itself. A path of the pod's stays in memory, for the
/// loader reads it after us.
///
/// # Safety
/// `path` must be the argument of `dlopen(3)`.
pub(crate) unsafe extern "C" fn library(path: *const c_char) -> *const c_char {
    // SAFETY: by the caller's word.
    let sought = unsafe { seek(libc::AT_FDCWD, path, Wish::OPEN) };
    // SAFETY: as above; a name without a slash is looked for in the loader's own folders.
    if sought.is_native() || !unsafe { CStr::from_ptr(path) }.to_bytes().contains(&b'/') {
        return path;
    }
    let copied = |front: &[u8], path: &[u8]| {
        // SAFETY: malloc(3).
        let room = unsafe { libc::calloc(front.len() + path.len() + 1, 1) }.cast::<u8>();
        if room.is_null() {
            return c"/dev/null/".as_ptr();
        }
        // SAFETY: just asked for.
        unsafe {
            core::ptr::copy_nonoverlapping(front.as_ptr(), room, front.len());
            core::ptr::copy_nonoverlapping(path.as_ptr(), room.add(front.len()), path.len());
        }
        room.cast_const().cast()
    };
    match without_cancellation(|| sought.place()) {
        Place::Native => path,
        Place::At(file) => copied(b"", file.path().to_bytes()),
        // Nothing is below that, so the loader says that it cannot open it.
        // SAFETY: as above.
        Place::Absent(_) | Place::Failed(_) => copied(b"/dev/null", unsafe { CStr::from_ptr(path) }.to_bytes()),
    }
}
