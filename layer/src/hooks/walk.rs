//! `glob`, `nftw` and `ftw`, inside which the C library opens directories by itself, and what it opens for programs
//! that it starts.
//!
//! `glob` can be told to use other functions, and is told ours. A walk that begins at the pod's is done here, by
//! hooked functions. The program's function may leave it for good, by cancellation or `siglongjmp`: nothing here waits
//! to be dropped then.

use core::ffi::{c_char, c_void};
use core::mem::ManuallyDrop;
use std::collections::BTreeSet;

use libc::{AT_FDCWD, c_int, c_long, mode_t, posix_spawn_file_actions_t};

use super::files::{instead, seek, with};
use crate::interpose::{self, Verdict};
use crate::ops::files::Place;
use crate::ops::shadow::{self, Wish};
use crate::table::{exported, next};

/// `GLOB_ALTDIRFUNC` of `glob.h`.
const OTHER_FUNCTIONS: c_int = 1 << 9;

/// `glob_t` of `glob.h`.
#[repr(C)]
pub(crate) struct Glob {
    paths: usize,
    list: *mut *mut c_char,
    reserved: usize,
    flags: c_int,
    /// `closedir`, `readdir`, `opendir`, `lstat` and `stat`.
    functions: [*const c_void; 5],
}

/// # Safety
/// As `glob(3)`.
pub(crate) unsafe fn glob(
    pattern: *const c_char,
    flags: c_int,
    error: *const c_void,
    out: *mut Glob,
) -> Verdict<c_int> {
    if !shadow::is_on() || flags & OTHER_FUNCTIONS != 0 || out.is_null() {
        return Verdict::Bypass;
    }
    let ours = [
        libc::closedir as *const c_void,
        libc::readdir as *const c_void,
        exported::opendir as *const c_void,
        look_at_link as *const c_void,
        look_at as *const c_void,
    ];
    // SAFETY: glob(3): the program's structure, of which it reads these fields only with that flag.
    let theirs = unsafe { core::ptr::replace(&raw mut (*out).functions, ours) };
    let verdict = instead!(glob(pattern, flags | OTHER_FUNCTIONS, error, out));
    // SAFETY: as above.
    unsafe {
        (*out).functions = theirs;
        (*out).flags &= !OTHER_FUNCTIONS;
    }
    verdict
}

/// `stat`, which C libraries before 2.33 have under another name only.
unsafe extern "C-unwind" fn look_at(path: *const c_char, out: *mut c_void) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { if next::stat.get().is_some() { exported::stat(path, out) } else { exported::__xstat(1, path, out) } }
}

/// `lstat`, likewise.
unsafe extern "C-unwind" fn look_at_link(path: *const c_char, out: *mut c_void) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { if next::lstat.get().is_some() { exported::lstat(path, out) } else { exported::__lxstat(1, path, out) } }
}

/// `struct FTW` of `ftw.h`.
#[repr(C)]
pub(crate) struct Level {
    base: c_int,
    level: c_int,
}

/// The program's function of `nftw`; `ftw` leaves the last argument out.
type Visit = unsafe extern "C-unwind" fn(*const c_char, *const libc::stat64, c_int, *mut Level) -> c_int;
type VisitShort = unsafe extern "C-unwind" fn(*const c_char, *const libc::stat64, c_int) -> c_int;

// Flags and types of `ftw.h`.
const PHYS: c_int = 1;
const MOUNT: c_int = 2;
const CHDIR: c_int = 4;
const DEPTH: c_int = 8;
const ACTIONS: c_int = 16;
const SKIP_SUBTREE: c_int = 2;
const SKIP_SIBLINGS: c_int = 3;
const FILE: c_int = 0;
const DIRECTORY: c_int = 1;
const UNREADABLE: c_int = 2;
const UNKNOWN: c_int = 3;
const LINK: c_int = 4;
const DIRECTORY_AFTER: c_int = 5;
const DANGLING: c_int = 6;

/// # Safety
/// As `nftw(3)`.
pub(crate) unsafe fn nftw(
    path: *const c_char,
    visit: *const c_void,
    _descriptors: c_int,
    flags: c_int,
) -> Verdict<c_int> {
    // SAFETY: nftw(3): a function of this type.
    unsafe { walk(path, flags, || Function::Full(core::mem::transmute::<*const c_void, Visit>(visit))) }
}

/// # Safety
/// As `ftw(3)`.
pub(crate) unsafe fn ftw(path: *const c_char, visit: *const c_void, _descriptors: c_int) -> Verdict<c_int> {
    // SAFETY: ftw(3): a function of this type.
    unsafe { walk(path, 0, || Function::Short(core::mem::transmute::<*const c_void, VisitShort>(visit))) }
}

#[derive(Clone, Copy)]
enum Function {
    Full(Visit),
    Short(VisitShort),
}

/// # Safety
/// `path` must be the argument of `nftw`.
unsafe fn walk(path: *const c_char, flags: c_int, function: impl FnOnce() -> Function) -> Verdict<c_int> {
    let known = PHYS | MOUNT | CHDIR | DEPTH | ACTIONS;
    let wish = if flags & PHYS == 0 { Wish::STAT } else { Wish::LSTAT };
    // SAFETY: by the caller's word.
    let sought = unsafe { seek(AT_FDCWD, path, wish) };
    if flags & !known != 0 || sought.place() == Place::Native {
        return Verdict::Bypass;
    }
    let mut walk = ManuallyDrop::new(Walk {
        path: Vec::new(),
        shown: 0,
        flags,
        function: function(),
        seen: BTreeSet::new(),
        device: 0,
    });
    // SAFETY: the path concerns us, so it is a C string.
    let begun = unsafe { walk.begin(core::ffi::CStr::from_ptr(path).to_bytes()) };
    let outcome = match begun {
        Err(errno) => Verdict::Fail(errno),
        Ok(base) => {
            // SAFETY: the function is that of the program.
            let result = unsafe { walk.run(base) };
            Verdict::Passed(result)
        }
    };
    drop(ManuallyDrop::into_inner(walk));
    outcome
}

/// A walk through a tree.
struct Walk {
    /// The current path, which ends with a NUL while a function has it.
    path: Vec<u8>,
    /// Where the part that the program sees begins: with `FTW_CHDIR`, what a relative path is relative to is in front.
    shown: usize,
    flags: c_int,
    function: Function,
    /// Directories that were entered: links may lead to them again.
    seen: BTreeSet<(u64, u64)>,
    device: u64,
}

impl Walk {
    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    /// Takes the path on; where its last name begins.
    fn begin(&mut self, path: &[u8]) -> Result<usize, c_int> {
        if self.has(CHDIR) && !path.starts_with(b"/") {
            let mut room = [0; libc::PATH_MAX as usize];
            // SAFETY: getcwd(3) with room.
            let folder = unsafe { exported::getcwd(room.as_mut_ptr().cast(), room.len()) };
            if folder.is_null() {
                return Err(interpose::errno());
            }
            self.path.extend(room.iter().take_while(|byte| **byte != 0));
            self.path.push(b'/');
        }
        self.shown = self.path.len();
        let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
        self.path.extend(path.iter().take((path.len() - slashes).max(1)));
        let last = self.path.iter().skip(self.shown).rposition(|byte| *byte == b'/');
        Ok(last.map_or(0, |at| if self.path.len() == self.shown + 1 { at } else { at + 1 }))
    }

    /// # Safety
    /// The function must be the program's.
    unsafe fn run(&mut self, base: usize) -> c_int {
        let back = match self.has(CHDIR) {
            // SAFETY: open(2) of the current folder.
            true => unsafe { libc::open(c".".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) },
            false => -1,
        };
        if self.has(CHDIR) && base > 0 {
            self.enter_above(base);
        }
        // SAFETY: by the caller's word.
        let result = unsafe { self.entry(base, 0) };
        if back >= 0 {
            let errno = interpose::errno();
            // SAFETY: fchdir(2) and close(2) of our descriptor.
            unsafe {
                libc::fchdir(back);
                libc::close(back);
            }
            interpose::set_errno(errno);
        }
        let is_skipped = self.has(ACTIONS) && matches!(result, SKIP_SUBTREE | SKIP_SIBLINGS);
        if is_skipped { 0 } else { result }
    }

    /// Calls `call` with the current path as a C string.
    fn with_path<T>(&mut self, call: impl FnOnce(*const c_char) -> T) -> T {
        self.path.push(0);
        let result = call(self.path.as_ptr().cast());
        self.path.pop();
        result
    }

    /// Makes the current path the current folder.
    fn enter(&mut self) {
        // SAFETY: chdir(2) with a C string.
        self.with_path(|path| unsafe { exported::chdir(path) });
    }

    /// Makes the folder in which the name at `base` is the current one.
    fn enter_above(&mut self, base: usize) {
        let Some(first) = self.path.get_mut(self.shown + base) else { return };
        let kept = core::mem::replace(first, 0);
        // SAFETY: chdir(2) with a C string.
        unsafe { exported::chdir(self.path.as_ptr().cast()) };
        if let Some(first) = self.path.get_mut(self.shown + base) {
            *first = kept;
        }
    }

    /// # Safety
    /// The function must be the program's.
    unsafe fn tell(&mut self, about: &libc::stat64, kind: c_int, base: usize, level: c_int) -> c_int {
        let (function, shown) = (self.function, self.shown);
        let mut place = Level { base: base as c_int, level };
        // SAFETY: the program's function, with a C string.
        self.with_path(|path| unsafe {
            let path = path.add(shown);
            match function {
                Function::Full(visit) => visit(path, about, kind, &mut place),
                Function::Short(visit) => visit(path, about, short(kind)),
            }
        })
    }

    /// # Safety
    /// The function must be the program's.
    unsafe fn entry(&mut self, base: usize, level: c_int) -> c_int {
        // SAFETY: the structure is numbers.
        let mut about: libc::stat64 = unsafe { core::mem::zeroed() };
        let out = (&raw mut about).cast::<c_void>();
        let physical = self.has(PHYS);
        // SAFETY: C strings and room for the answer.
        let looked =
            self.with_path(|path| unsafe { if physical { look_at_link(path, out) } else { look_at(path, out) } });
        let kind = match about.st_mode & libc::S_IFMT {
            _ if looked != 0 && !matches!(interpose::errno(), libc::EACCES | libc::ENOENT) => return -1,
            _ if looked != 0 => {
                // SAFETY: as above.
                let is_link = !physical && self.with_path(|path| unsafe { look_at_link(path, out) }) == 0;
                let is_link = is_link && about.st_mode & libc::S_IFMT == libc::S_IFLNK;
                match (is_link, level) {
                    (true, _) => DANGLING,
                    (false, 0) => return -1,
                    (false, _) => UNKNOWN,
                }
            }
            libc::S_IFDIR => DIRECTORY,
            libc::S_IFLNK => LINK,
            _ => FILE,
        };
        if level == 0 {
            self.device = about.st_dev;
        } else if kind != UNKNOWN && self.has(MOUNT) && about.st_dev != self.device {
            return 0;
        }
        let result = match kind {
            DIRECTORY if !physical && !self.seen.insert((about.st_dev, about.st_ino)) => 0,
            // SAFETY: by the caller's word.
            DIRECTORY => unsafe { self.directory(&about, base, level) },
            // SAFETY: by the caller's word.
            kind => unsafe { self.tell(&about, kind, base, level) },
        };
        if self.has(ACTIONS) && result == SKIP_SUBTREE { 0 } else { result }
    }

    /// # Safety
    /// The function must be the program's.
    unsafe fn directory(&mut self, about: &libc::stat64, base: usize, level: c_int) -> c_int {
        // SAFETY: opendir(3) with a C string.
        let opened = self.with_path(|path| unsafe { exported::opendir(path) });
        if opened.is_null() {
            let is_refused = interpose::errno() == libc::EACCES;
            // SAFETY: by the caller's word.
            return if is_refused { unsafe { self.tell(about, UNREADABLE, base, level) } } else { -1 };
        }
        // SAFETY: just opened.
        let names = unsafe { names(opened) };
        let before = if self.has(DEPTH) {
            0
        } else {
            // SAFETY: by the caller's word.
            unsafe { self.tell(about, DIRECTORY, base, level) }
        };
        // SAFETY: by the caller's word.
        let mut result = if before == 0 { unsafe { self.entries(&names, level + 1) } } else { before };
        drop(ManuallyDrop::into_inner(names));
        if self.has(ACTIONS) && before == 0 && result == SKIP_SIBLINGS {
            result = 0;
        }
        if result == 0 && self.has(DEPTH) {
            // SAFETY: by the caller's word.
            result = unsafe { self.tell(about, DIRECTORY_AFTER, base, level) };
        }
        if self.has(CHDIR) && level > 0 {
            self.enter_above(base);
        }
        result
    }

    /// # Safety
    /// The function must be the program's.
    unsafe fn entries(&mut self, names: &[u8], level: c_int) -> c_int {
        if self.has(CHDIR) {
            self.enter();
        }
        let end = self.path.len();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if self.path.last() != Some(&b'/') {
                self.path.push(b'/');
            }
            let base = self.path.len() - self.shown;
            self.path.extend_from_slice(name);
            // SAFETY: by the caller's word.
            let result = unsafe { self.entry(base, level) };
            self.path.truncate(end);
            if result != 0 {
                return result;
            }
        }
        0
    }
}

/// What `ftw` calls a kind.
fn short(kind: c_int) -> c_int {
    match kind {
        LINK => FILE,
        DIRECTORY_AFTER => DIRECTORY,
        DANGLING => UNKNOWN,
        kind => kind,
    }
}

/// The names in a directory, each with a NUL; closes it.
///
/// # Safety
/// `directory` must be open.
unsafe fn names(directory: *mut libc::DIR) -> ManuallyDrop<Vec<u8>> {
    let mut names = ManuallyDrop::new(Vec::new());
    loop {
        // SAFETY: by the caller's word.
        let entry = unsafe { libc::readdir64(directory) };
        if entry.is_null() {
            // SAFETY: by the caller's word.
            unsafe { libc::closedir(directory) };
            return names;
        }
        // SAFETY: readdir(3): a C string.
        let name = unsafe { core::ffi::CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes();
        if !matches!(name, b"." | b"..") {
            names.extend_from_slice(name);
            names.push(0);
        }
    }
}

/// # Safety
/// As `posix_spawn_file_actions_addopen(3)`.
pub(crate) unsafe fn posix_spawn_file_actions_addopen(
    actions: *mut posix_spawn_file_actions_t,
    fd: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(AT_FDCWD, path, Wish::open(flags, mode)) };
    let verdict = with(sought, flags & libc::O_CREAT != 0, |file| match file.open_flags(flags) {
        Ok(flags) => instead!(posix_spawn_file_actions_addopen(actions, fd, file.path().as_ptr(), flags, mode)),
        Err(errno) => Verdict::Fail(errno),
    });
    as_number(verdict)
}

/// # Safety
/// As `posix_spawn_file_actions_addchdir_np(3)`.
pub(crate) unsafe fn posix_spawn_file_actions_addchdir_np(
    actions: *mut posix_spawn_file_actions_t,
    path: *const c_char,
) -> Verdict<c_int> {
    // SAFETY: the program's own argument.
    let sought = unsafe { seek(AT_FDCWD, path, Wish::LOOK) };
    as_number(with(sought, false, |file| match file.access(libc::X_OK) {
        Some(Err(errno)) => Verdict::Fail(errno),
        _ => instead!(posix_spawn_file_actions_addchdir_np(actions, file.path().as_ptr())),
    }))
}

/// These functions return their errors.
fn as_number(verdict: Verdict<c_int>) -> Verdict<c_int> {
    if let Verdict::Fail(errno) = verdict { Verdict::Success(errno) } else { verdict }
}

/// # Safety
/// As `pathconf(3)`.
pub(crate) unsafe fn pathconf(path: *const c_char, name: c_int) -> Verdict<c_long> {
    // SAFETY: the program's own argument.
    with(unsafe { seek(AT_FDCWD, path, Wish::LOOK) }, false, |file| instead!(pathconf(file.path().as_ptr(), name)))
}
