//! Functions that change what is at a path, or ask for little about it. For a file of the pod the host has the pod make
//! the change, and shows it in the session's folder; what can only be read fails as on a file system that is mounted so.

use core::ffi::{CStr, c_char, c_void};

use libc::{AT_FDCWD, c_int, c_uint, dev_t, gid_t, mode_t, off_t, size_t, ssize_t, uid_t};
use protocol::files::{Removal, Time};
use protocol::layer::{MAX_PATH, PathChange};

use super::files::{Sought, at_place, instead, seek, with};
use crate::interpose::Verdict;
use crate::ops::files::{Decision, Place};
use crate::ops::shadow::{self, Outcome, Wish};
use crate::sys::memory::is_readable_range;
use crate::table::next;

/// The wish for an entry of a directory that is to be changed.
const ENTRY: Wish = Wish::LINK.changing(true);

/// Has the pod make a change; `here` is what this machine does instead.
pub(super) fn change(
    sought: Sought,
    change: PathChange<'_>,
    here: impl FnOnce(&CStr) -> Verdict<c_int>,
) -> Verdict<c_int> {
    if sought.is_native() {
        return Verdict::Bypass;
    }
    let makes = shadow::makes(&change);
    let outcome = match sought.decision() {
        Decision::Ask(whole) => shadow::change(&whole, change),
        Decision::Settled(Place::Native) => Outcome::Native,
        Decision::Settled(Place::Absent(errno)) => Outcome::Failed(if makes { errno } else { libc::ENOENT }),
        Decision::Settled(Place::Failed(errno)) => Outcome::Failed(errno),
        Decision::Settled(Place::At(file)) if file.is_local() => Outcome::Local(file),
        Decision::Settled(Place::At(file)) => Outcome::Failed(if makes { libc::EEXIST } else { file.refusal() }),
    };
    match outcome {
        Outcome::Native => Verdict::Bypass,
        Outcome::Local(file) => here(file.path()),
        Outcome::Done => Verdict::Success(0),
        Outcome::Failed(errno) => Verdict::Fail(errno),
        Outcome::Apart => Verdict::Fail(libc::EIO),
    }
}

/// Defines hooks: `$hook(directory?, path, after…)`, each with the change that it is.
macro_rules! changes {
    (@from) => { AT_FDCWD };
    (@from $directory:ident) => { $directory };
    ($($hook:ident [$($directory:ident)?] path [$($after:ident: $after_type:ty),*] $wish:ident => $change:expr;)*) => {$(
        /// # Safety
        /// As the libc function of this name.
        #[allow(unused_variables, reason = "no file of the pod permits some changes, whatever their arguments")]
        pub(crate) unsafe fn $hook(
            $($directory: c_int,)?
            path: *const c_char,
            $($after: $after_type,)*
        ) -> Verdict<c_int> {
            // SAFETY: the program's own argument.
            let sought = unsafe { seek(changes!(@from $($directory)?), path, Wish::$wish.changing(true)) };
            change(sought, $change, |path| instead!($hook($($directory,)? path.as_ptr() $(, $after)*)))
        }
    )*};
}

/// What cannot be done to files of the pod.
const CANNOT_CHANGE: PathChange<'_> = PathChange::Unsupported { makes: false };
const CANNOT_MAKE: PathChange<'_> = PathChange::Unsupported { makes: true };

fn owner(user: uid_t, group: gid_t, follow: bool) -> PathChange<'static> {
    PathChange::SetOwner { user, group, follow }
}

fn follows(flags: c_int) -> bool {
    flags & libc::AT_SYMLINK_NOFOLLOW == 0
}

fn removal(flags: c_int) -> PathChange<'static> {
    PathChange::Remove(if flags & libc::AT_REMOVEDIR != 0 { Removal::Directory } else { Removal::File })
}

changes! {
    truncate [] path [length: off_t] LOOK => PathChange::SetLength(length);
    chmod [] path [mode: mode_t] LOOK => PathChange::SetMode { mode, follow: true };
    lchmod [] path [mode: mode_t] LINK => PathChange::SetMode { mode, follow: false };
    fchmodat [directory] path [mode: mode_t, flags: c_int] LINK => PathChange::SetMode { mode, follow: follows(flags) };
    chown [] path [user: uid_t, group: gid_t] LOOK => owner(user, group, true);
    lchown [] path [user: uid_t, group: gid_t] LINK => owner(user, group, false);
    fchownat [directory] path [user: uid_t, group: gid_t, flags: c_int] LINK => owner(user, group, follows(flags));
    unlink [] path [] LINK => PathChange::Remove(Removal::File);
    unlinkat [directory] path [flags: c_int] LINK => removal(flags);
    rmdir [] path [] LINK => PathChange::Remove(Removal::Directory);
    remove [] path [] LINK => PathChange::Remove(Removal::Any);
    setxattr [] path [name: *const c_char, value: *const c_void, size: size_t, flags: c_int] LOOK => CANNOT_CHANGE;
    lsetxattr [] path [name: *const c_char, value: *const c_void, size: size_t, flags: c_int] LINK => CANNOT_CHANGE;
    removexattr [] path [name: *const c_char] LOOK => CANNOT_CHANGE;
    lremovexattr [] path [name: *const c_char] LINK => CANNOT_CHANGE;
    mkdir [] path [mode: mode_t] LINK => PathChange::MakeDirectory(mode);
    mkdirat [directory] path [mode: mode_t] LINK => PathChange::MakeDirectory(mode);
    mknod [] path [mode: mode_t, device: dev_t] LINK => CANNOT_MAKE;
    mknodat [directory] path [mode: mode_t, device: dev_t] LINK => CANNOT_MAKE;
    mkfifo [] path [mode: mode_t] LINK => CANNOT_MAKE;
    mkfifoat [directory] path [mode: mode_t] LINK => CANNOT_MAKE;
}

/// Defines hooks that set times: `$hook(directory?, path, times, flags?)`, with how their times are read.
macro_rules! times {
    (@from) => { AT_FDCWD };
    (@from $directory:ident) => { $directory };
    (@follow true) => { true };
    (@follow false) => { false };
    (@follow $flags:ident) => { follows($flags) };
    ($($hook:ident [$($directory:ident)?] path [$($flags:ident)?] $read:ident $follow:tt;)*) => {$(
        /// # Safety
        /// As the libc function of this name.
        pub(crate) unsafe fn $hook(
            $($directory: c_int,)?
            path: *const c_char,
            times: *const c_void,
            $($flags: c_int,)?
        ) -> Verdict<c_int> {
            let follow = times!(@follow $follow);
            let wish = if follow { Wish::LOOK } else { Wish::LINK }.changing(true);
            // SAFETY: the program's own argument.
            let sought = unsafe { seek(times!(@from $($directory)?), path, wish) };
            if sought.is_native() {
                return Verdict::Bypass;
            }
            // SAFETY: likewise.
            let Some(told) = (unsafe { $read(times) }) else { return Verdict::Fail(libc::EFAULT) };
            change(sought, PathChange::SetTimes { times: told, follow }, |path| {
                instead!($hook($($directory,)? path.as_ptr(), times $(, $flags)?))
            })
        }
    )*};
}

times! {
    utime [] path [] seconds true;
    utimes [] path [] microseconds true;
    lutimes [] path [] microseconds false;
    futimesat [directory] path [] microseconds true;
    utimensat [directory] path [flags] nanoseconds flags;
}

/// Both times are the present.
const NOW: [Time; 2] = [Time { seconds: 0, nanoseconds: libc::UTIME_NOW as u32 }; 2];

/// Reads numbers that the program has passed; `None` if they cannot be read.
///
/// # Safety
/// They must not stop being readable during the call.
unsafe fn numbers<const N: usize>(place: *const c_void) -> Option<[i64; N]> {
    if !is_readable_range(place.addr(), size_of::<[i64; N]>()) {
        return None;
    }
    // SAFETY: readable, as just asked.
    Some(unsafe { place.cast::<[i64; N]>().read_unaligned() })
}

/// The times of `utime(2)`.
///
/// # Safety
/// As [`numbers`].
unsafe fn seconds(times: *const c_void) -> Option<[Time; 2]> {
    if times.is_null() {
        return Some(NOW);
    }
    // SAFETY: by the caller's word.
    let numbers = unsafe { numbers::<2>(times) }?;
    Some(numbers.map(|seconds| Time { seconds, nanoseconds: 0 }))
}

/// Those of `utimes(2)`.
///
/// # Safety
/// As [`numbers`].
pub(super) unsafe fn microseconds(times: *const c_void) -> Option<[Time; 2]> {
    if times.is_null() {
        return Some(NOW);
    }
    // SAFETY: by the caller's word.
    let [a, b, c, d] = unsafe { numbers::<4>(times) }?;
    Some([(a, b), (c, d)].map(|(seconds, micros)| Time { seconds, nanoseconds: (micros * 1000) as u32 }))
}

/// Those of `utimensat(2)`.
///
/// # Safety
/// As [`numbers`].
pub(super) unsafe fn nanoseconds(times: *const c_void) -> Option<[Time; 2]> {
    if times.is_null() {
        return Some(NOW);
    }
    // SAFETY: by the caller's word.
    let [a, b, c, d] = unsafe { numbers::<4>(times) }?;
    Some([(a, b), (c, d)].map(|(seconds, nanos)| Time { seconds, nanoseconds: nanos as u32 }))
}

/// Defines hooks that ask: `$hook(path, after…)`.
macro_rules! asks {
    ($($hook:ident path [$($after:ident: $after_type:ty),*] $wish:ident -> $result:ty;)*) => {$(
        /// # Safety
        /// As the libc function of this name.
        pub(crate) unsafe fn $hook(path: *const c_char, $($after: $after_type,)*) -> Verdict<$result> {
            // SAFETY: the program's own argument.
            let sought = unsafe { seek(AT_FDCWD, path, Wish::$wish) };
            with(sought, false, |file| instead!($hook(file.path().as_ptr() $(, $after)*)))
        }
    )*};
}

asks! {
    getxattr path [name: *const c_char, value: *mut c_void, size: size_t] LOOK -> ssize_t;
    lgetxattr path [name: *const c_char, value: *mut c_void, size: size_t] LINK -> ssize_t;
    listxattr path [list: *mut c_char, size: size_t] LOOK -> ssize_t;
    llistxattr path [list: *mut c_char, size: size_t] LINK -> ssize_t;
    statfs path [out: *mut c_void] LOOK -> c_int;
    statvfs path [out: *mut c_void] LOOK -> c_int;
}

/// # Safety
/// As `inotify_add_watch(2)`.
pub(crate) unsafe fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::OPEN) }, false, |file| {
        instead!(inotify_add_watch(fd, file.path().as_ptr(), mask))
    })
}

/// # Safety
/// As `symlink(2)`. Where the link leads is text.
pub(crate) unsafe fn symlink(target: *const c_char, path: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    unsafe { symlinkat(target, AT_FDCWD, path) }
}

/// # Safety
/// As `symlinkat(2)`. Where the link leads is text.
pub(crate) unsafe fn symlinkat(target: *const c_char, directory: c_int, path: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(directory, path, ENTRY) };
    if sought.is_native() || target.is_null() {
        return Verdict::Bypass;
    }
    // SAFETY: symlinkat(2): a C string.
    let destination = unsafe { CStr::from_ptr(target) }.to_bytes();
    if destination.len() > MAX_PATH {
        return Verdict::Fail(libc::ENAMETOOLONG);
    }
    change(sought, PathChange::Symlink(destination), |path| instead!(symlinkat(target, AT_FDCWD, path.as_ptr())))
}

/// Has the pod make a change that concerns two paths; `call` is what this machine does instead. Between this machine
/// and the pod is a border of file systems.
fn between(
    sought: [Sought; 2],
    paths: [*const c_char; 2],
    change: impl for<'a> Fn(&'a [u8]) -> PathChange<'a>,
    call: impl FnOnce(*const c_char, *const c_char) -> Verdict<c_int>,
) -> Verdict<c_int> {
    let [from, to] = sought;
    if from.is_native() && to.is_native() {
        return Verdict::Bypass;
    }
    if let (Decision::Ask(old), Decision::Ask(new)) = (from.decision(), to.decision()) {
        match shadow::change(&old, change(new.path())) {
            Outcome::Done => return Verdict::Success(0),
            Outcome::Failed(errno) => return Verdict::Fail(errno),
            Outcome::Native | Outcome::Local(_) | Outcome::Apart => {}
        }
    }
    let (from, to) = (from.place(), to.place());
    let path = |place: &Place, path: *const c_char| match place {
        Place::At(file) if file.is_local() => Some(file.path().as_ptr()),
        Place::Native => Some(path),
        _ => None,
    };
    match (path(&from, paths[0]), path(&to, paths[1])) {
        (Some(_), Some(_)) if from == Place::Native && to == Place::Native => Verdict::Bypass,
        (Some(from), Some(to)) => call(from, to),
        (None, Some(_)) => at_place(from, false, |_| Verdict::Fail(libc::EXDEV)),
        (Some(_), None) => Verdict::Fail(libc::EXDEV),
        (None, None) => at_place(from, false, |file| Verdict::Fail(file.refusal())),
    }
}

/// # Safety
/// As `rename(2)`.
pub(crate) unsafe fn rename(from: *const c_char, to: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let sought = unsafe { [seek(AT_FDCWD, from, ENTRY), seek(AT_FDCWD, to, ENTRY)] };
    between(sought, [from, to], |to| PathChange::Rename { to, flags: 0 }, |from, to| instead!(rename(from, to)))
}

/// # Safety
/// As `renameat(2)`.
pub(crate) unsafe fn renameat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let sought = unsafe { [seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)] };
    between(
        sought,
        [from, to],
        |to| PathChange::Rename { to, flags: 0 },
        |from, to| instead!(renameat(from_directory, from, to_directory, to)),
    )
}

/// # Safety
/// As `renameat2(2)`.
pub(crate) unsafe fn renameat2(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_uint,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let sought = unsafe { [seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)] };
    between(
        sought,
        [from, to],
        |to| PathChange::Rename { to, flags },
        |from, to| instead!(renameat2(from_directory, from, to_directory, to, flags)),
    )
}

/// # Safety
/// As `link(2)`.
pub(crate) unsafe fn link(from: *const c_char, to: *const c_char) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let sought = unsafe { [seek(AT_FDCWD, from, ENTRY), seek(AT_FDCWD, to, ENTRY)] };
    between(sought, [from, to], |to| PathChange::Link { to, follow: false }, |from, to| instead!(link(from, to)))
}

/// # Safety
/// As `linkat(2)`.
pub(crate) unsafe fn linkat(
    from_directory: c_int,
    from: *const c_char,
    to_directory: c_int,
    to: *const c_char,
    flags: c_int,
) -> Verdict<c_int> {
    // SAFETY: the program's own arguments.
    let sought = unsafe { [seek(from_directory, from, ENTRY), seek(to_directory, to, ENTRY)] };
    let follow = flags & libc::AT_SYMLINK_FOLLOW != 0;
    between(
        sought,
        [from, to],
        |to| PathChange::Link { to, follow },
        |from, to| instead!(linkat(from_directory, from, to_directory, to, flags)),
    )
}
