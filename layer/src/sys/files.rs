//! Calls about files.

use core::ffi::c_int;

use protocol::files::Time;

use super::{Errno, call, close};

/// Opens a program file for a look at its head.
pub(crate) fn open_program(directory: c_int, path: &core::ffi::CStr) -> Result<c_int, Errno> {
    // Not blocking: a pipe of that name must not hold us up.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: openat(2) with a C string.
    let opened =
        unsafe { call(libc::SYS_openat, [directory as usize, path.as_ptr() as usize, flags as usize, 0, 0, 0]) };
    opened.map(|fd| fd as c_int)
}

/// Reads at a place of a file; the number of bytes read, 0 on any error.
pub(crate) fn read_at(fd: c_int, buffer: &mut [u8], offset: u64) -> usize {
    let arguments = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), offset as usize, 0, 0];
    // SAFETY: pread64(2) with room that is ours.
    unsafe { call(libc::SYS_pread64, arguments) }.unwrap_or(0)
}

/// A whole file of at most `longest` bytes; `None` for what is longer or cannot be read.
pub(crate) fn read_file(path: &core::ffi::CStr, longest: usize) -> Option<Vec<u8>> {
    let fd = open_program(libc::AT_FDCWD, path).ok()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let whole = loop {
        match read_at(fd, &mut piece, bytes.len() as u64) {
            0 => break true,
            _ if bytes.len() >= longest => break false,
            more => bytes.extend_from_slice(piece.get(..more).unwrap_or_default()),
        }
    };
    close(fd);
    whole.then_some(bytes)
}

/// Where a link leads, as far as `room` holds it (`readlink(2)`).
pub(crate) fn read_link<'a>(path: &core::ffi::CStr, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, room.as_mut_ptr() as usize, room.len(), 0, 0];
    // SAFETY: readlinkat(2) with a C string and room that is ours.
    let length = unsafe { call(libc::SYS_readlinkat, arguments) }?;
    Ok(room.get(..length).unwrap_or_default())
}

/// The current folder's path, as the kernel says it (`getcwd(2)`).
pub(crate) fn current_folder(room: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: getcwd(2) with room that is ours.
    let length = unsafe { call(libc::SYS_getcwd, [room.as_mut_ptr() as usize, room.len(), 0, 0, 0, 0]) }?;
    // The number counts the NUL.
    room.get(..length.saturating_sub(1)).ok_or(libc::ERANGE)
}

fn describe(directory: c_int, path: &core::ffi::CStr, flags: c_int) -> Result<libc::stat, Errno> {
    // SAFETY: all zero is a valid stat.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    let arguments = [directory as usize, path.as_ptr() as usize, (&raw mut found).addr(), flags as usize, 0, 0];
    // SAFETY: newfstatat(2) with a C string and room for the answer.
    unsafe { call(libc::SYS_newfstatat, arguments) }?;
    Ok(found)
}

/// What tells a file from all others: its device and its number there (`inode(7)`).
pub(crate) fn identity(directory: c_int, path: &core::ffi::CStr) -> Result<(u64, u64), Errno> {
    describe(directory, path, 0).map(|found| (found.st_dev, found.st_ino))
}

/// Whether `path` leads to a directory.
pub(crate) fn is_directory(path: &core::ffi::CStr) -> bool {
    describe(libc::AT_FDCWD, path, 0).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// What stands in a directory.
pub(crate) struct Entry {
    /// `S_IFMT`.
    pub(crate) kind: libc::mode_t,
    pub(crate) size: u64,
    pub(crate) modified: Time,
}

/// What is at `path`, which is not followed if it is a link.
pub(crate) fn entry(path: &core::ffi::CStr) -> Option<Entry> {
    let found = describe(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW).ok()?;
    let modified = Time { seconds: found.st_mtime, nanoseconds: u32::try_from(found.st_mtime_nsec).ok()? };
    Some(Entry { kind: found.st_mode & libc::S_IFMT, size: found.st_size.cast_unsigned(), modified })
}

/// Whether no link is on the way to `path`, nor at its end. Kernels before 5.6 do not say (`openat2(2)`).
pub(crate) fn is_without_links(path: &core::ffi::CStr) -> bool {
    // `struct open_how`: flags, mode, resolve.
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY;
    let how = [flags as u64, 0, libc::RESOLVE_NO_SYMLINKS];
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, (&raw const how).addr(), size_of_val(&how), 0, 0];
    // SAFETY: openat2(2) with a C string and a structure of ours.
    let opened = unsafe { call(libc::SYS_openat2, arguments) };
    opened.map(|fd| close(fd as c_int)).is_ok()
}

/// The time of day.
pub(crate) fn now() -> Time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) with room; no system call where the kernel shows the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    Time { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
}

/// Whether `path` may be executed.
pub(crate) fn is_executable(path: &core::ffi::CStr) -> bool {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, libc::X_OK as usize, 0, 0, 0];
    // SAFETY: faccessat(2) with a C string.
    unsafe { call(libc::SYS_faccessat, arguments) }.is_ok()
}

/// How a descriptor's file may be accessed (`O_ACCMODE`); `None` where it only names the file.
pub(crate) fn access_mode(fd: c_int) -> Option<c_int> {
    let arguments = [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
    // SAFETY: fcntl(2) with a command that takes no pointer.
    let flags = unsafe { call(libc::SYS_fcntl, arguments) }.ok()? as c_int;
    (flags & libc::O_PATH == 0).then_some(flags & libc::O_ACCMODE)
}

/// Device, number and kind (`S_IFMT`) of a descriptor's file.
pub(crate) fn file_of(fd: c_int) -> Option<(u64, u64, u32)> {
    // SAFETY: all zero is a valid stat.
    let mut found: libc::stat = unsafe { core::mem::zeroed() };
    let arguments = [fd as usize, (&raw mut found).addr(), 0, 0, 0, 0];
    // SAFETY: fstat(2) with room for the answer.
    unsafe { call(libc::SYS_fstat, arguments) }.ok()?;
    Some((found.st_dev, found.st_ino, found.st_mode & libc::S_IFMT))
}
