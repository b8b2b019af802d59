//! **The table of hooked symbols.** A row makes the exported symbol, the next definition of it, and the line
//! in `docs/hooks.md`; a new hook is one row here and one function in `hooks`.

use core::ffi::c_void;

use libc::{DIR, FILE, addrinfo, c_char, c_int, c_long, c_uint, c_ulong, hostent, mode_t, pid_t, size_t, sockaddr};
use libc::{dev_t, gid_t, mmsghdr, msghdr, off_t, uid_t};
use libc::{posix_spawn_file_actions_t, posix_spawnattr_t};
use libc::{socklen_t, ssize_t, timespec, utsname};

use crate::hooks;
use crate::hooks::background::{Event, Request};
use crate::hooks::exec::Strings;
use crate::hooks::walk::Glob;
use crate::inflight;
use crate::interpose::{self, Failing, Next, Stage, Verdict, guard};
use crate::session;

/// One interposed symbol, for the document.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// The symbol that is exported.
    pub(crate) symbol: &'static str,
    /// The file of `hooks` that has it.
    pub(crate) family: &'static str,
    /// What it does.
    pub(crate) purpose: &'static str,
}

/// Kinds of rows:
/// * `plain`: the hook runs under [`guard`] as a whole;
/// * `waiting`: it may wait for the session host or the C library, and guards its pieces by itself (see
///   `interpose`);
/// * `assembly`: the exported function is written in `hooks/assembly.rs`.
macro_rules! hooks {
    ($($kind:ident [$symbol:ident $(, $alias:ident)*] $arguments:tt -> $result:ty => $family:ident :: $hook:ident: $purpose:literal;)*) => {
        /// Every exported symbol.
        #[cfg(test)]
        pub(crate) const HOOKED: &[Hook] = &[$(
            hooks!(@hook $symbol, $family, $hook, $purpose),
            $(hooks!(@hook $alias, $family, $hook, $purpose),)*
        )*];

        /// The definitions behind ours.
        #[allow(non_upper_case_globals)]
        pub(crate) mod next {
            use super::*;
            $(hooks!(@next $symbol, $arguments -> $result);)*
        }

        /// Looks every next definition up, while that is safe: a hook may run in a signal handler.
        pub(crate) fn resolve() {
            $(next::$symbol.get();)*
        }

        /// The functions that the program finds.
        pub(crate) mod exported {
            use super::*;
            $(
                hooks!(@export $kind $symbol, $symbol, $arguments -> $result, $family::$hook);
                $(hooks!(@export $kind $alias, $symbol, $arguments -> $result, $family::$hook);)*
            )*
        }
    };

    (@hook $symbol:ident, $family:ident, $hook:ident, $purpose:literal) => {
        Hook { symbol: stringify!($symbol), family: stringify!($family), purpose: $purpose }
    };

    (@next $symbol:ident, ($($argument:ident: $type:ty),*) -> $result:ty) => {
        pub(crate) static $symbol: Next<unsafe extern "C-unwind" fn($($type),*) -> $result> = {
            const NAME: &core::ffi::CStr =
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($symbol), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("identifiers have no NUL"),
                };
            // SAFETY: the row states the symbol's type as its man page does.
            unsafe { Next::new(NAME) }
        };
    };

    (@export assembly $($rest:tt)*) => {};

    (@export $kind:ident $symbol:ident, $next:ident, ($($argument:ident: $type:ty),*) -> $result:ty, $family:ident :: $hook:ident) => {
        /// A hook of the table.
        ///
        /// # Safety
        /// As the libc function of this name.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C-unwind" fn $symbol($($argument: $type),*) -> $result {
            if !session::is_passive() {
                let errno = interpose::errno();
                let verdict = hooks!(@run $kind, hooks::$family::$hook($($argument),*));
                if let Some(result) = settle(verdict, errno) {
                    return result;
                }
            }
            match next::$next.get() {
                // SAFETY: the program's own arguments.
                Some(next) => unsafe { next($($argument),*) },
                None => {
                    interpose::set_errno(libc::ENOSYS);
                    <$result>::FAILURE
                }
            }
        }
    };

    (@run plain, $call:expr) => {
        // SAFETY: the program's own arguments.
        guard(Stage::Before, Verdict::Bypass, || unsafe { $call })
    };

    (@run waiting, $call:expr) => {{
        let frame = 0u8;
        inflight::reclaim((&raw const frame).addr());
        // SAFETY: the program's own arguments.
        unsafe { $call }
    }};
}

/// Sets errno as the verdict wants it; `None` is the bypass.
fn settle<R: Failing>(verdict: Verdict<R>, errno: c_int) -> Option<R> {
    match verdict {
        Verdict::Passed(result) => Some(result),
        Verdict::Success(result) => {
            interpose::set_errno(errno);
            Some(result)
        }
        Verdict::Fail(errno) => {
            interpose::set_errno(errno);
            Some(R::FAILURE)
        }
        Verdict::Bypass => {
            interpose::set_errno(errno);
            None
        }
    }
}

hooks! {
    waiting [connect, __connect] (fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int
        => socket::connect: "connects to remote addresses through the session";
    plain [bind] (fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int
        => socket::bind: "binds to the pod's own address";
    waiting [getpeername] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int
        => socket::getpeername: "names the far end as the pod's kernel does";
    waiting [getsockname] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int
        => socket::getsockname: "names the near end as the pod's kernel does";
    waiting [getsockopt] (fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int
        => socket::getsockopt: "says of a late failure what the pod's kernel says";

    waiting [listen] (fd: c_int, backlog: c_int) -> c_int
        => listen::listen: "opens the pod's port";
    waiting [accept] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int
        => listen::accept: "names the client as the pod's kernel does";
    waiting [accept4] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int
        => listen::accept4: "names the client as the pod's kernel does";

    waiting [sendto] (fd: c_int, buffer: *const c_void, length: size_t, flags: c_int, address: *const sockaddr, address_length: socklen_t) -> ssize_t
        => datagram::sendto: "sends datagrams to remote addresses through the session";
    waiting [sendmsg] (fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t
        => datagram::sendmsg: "sends datagrams to remote addresses through the session";
    waiting [sendmmsg, __sendmmsg] (fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int
        => batch::sendmmsg: "sends datagrams to remote addresses through the session";
    waiting [recvfrom] (fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int, address: *mut sockaddr, address_length: *mut socklen_t) -> ssize_t
        => datagram::recvfrom: "names the true sender of a datagram";
    waiting [__recvfrom_chk] (fd: c_int, buffer: *mut c_void, length: size_t, size: size_t, flags: c_int, address: *mut sockaddr, address_length: *mut socklen_t) -> ssize_t
        => datagram::recvfrom_chk: "names the true sender of a datagram";
    waiting [recvmsg] (fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t
        => datagram::recvmsg: "names the true sender of a datagram";
    waiting [recvmmsg] (fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int
        => batch::recvmmsg: "names the true sender of a datagram";

    waiting [getaddrinfo] (node: *const c_char, service: *const c_char, hints: *const addrinfo, out: *mut *mut addrinfo) -> c_int
        => resolve::getaddrinfo: "resolves names as the pod does";
    waiting [getnameinfo] (address: *const sockaddr, length: socklen_t, host: *mut c_char, host_room: socklen_t, service: *mut c_char, service_room: socklen_t, flags: c_int) -> c_int
        => resolve::getnameinfo: "names addresses as the pod does";
    waiting [gethostbyname] (name: *const c_char) -> *mut hostent
        => hostent::gethostbyname: "resolves names as the pod does";
    waiting [gethostbyname2] (name: *const c_char, family: c_int) -> *mut hostent
        => hostent::gethostbyname2: "resolves names as the pod does";
    waiting [gethostbyname_r] (name: *const c_char, entry: *mut hostent, buffer: *mut c_char, room: size_t, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int
        => hostent::gethostbyname_r: "resolves names as the pod does";
    waiting [gethostbyname2_r] (name: *const c_char, family: c_int, entry: *mut hostent, buffer: *mut c_char, room: size_t, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int
        => hostent::gethostbyname2_r: "resolves names as the pod does";
    waiting [gethostbyaddr] (address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent
        => hostent::gethostbyaddr: "names addresses as the pod does";
    waiting [gethostbyaddr_r] (address: *const c_void, length: socklen_t, family: c_int, entry: *mut hostent, buffer: *mut c_char, room: size_t, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int
        => hostent::gethostbyaddr_r: "names addresses as the pod does";

    plain [sethostent] (stays_open: c_int) -> ()
        => entries::sethostent: "begins with the pod's hosts file anew";
    plain [gethostent] () -> *mut hostent
        => entries::gethostent: "reads the pod's hosts file";
    plain [gethostent_r] (entry: *mut hostent, buffer: *mut c_char, room: size_t, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int
        => entries::gethostent_r: "reads the pod's hosts file";
    plain [endhostent] () -> ()
        => entries::endhostent: "ends with the pod's hosts file";

    waiting [getaddrinfo_a] (mode: c_int, list: *const *mut Request, count: c_int, event: *const Event) -> c_int
        => background::getaddrinfo_a: "resolves names as the pod does";
    waiting [gai_suspend] (list: *const *const Request, count: c_int, limit: *const timespec) -> c_int
        => background::gai_suspend: "waits for `getaddrinfo_a`";
    plain [gai_cancel] (request: *const Request) -> c_int
        => background::gai_cancel: "belongs to `getaddrinfo_a`";

    waiting [__res_init] () -> c_int
        => state::res_init: "shows the pod's name servers and search list in `_res`";
    waiting [__res_ninit] (state: *mut c_void) -> c_int
        => state::res_ninit: "shows the pod's name servers and search list in a state";
    waiting [res_query, __res_query] (name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_query: "asks the pod's name servers";
    waiting [res_search, __res_search] (name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_search: "asks the pod's name servers, with its search list";
    waiting [res_querydomain, __res_querydomain] (name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_querydomain: "asks the pod's name servers";
    waiting [res_send, __res_send] (question: *const u8, length: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_send: "asks the pod's name servers";
    waiting [res_nquery, __res_nquery] (state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_nquery: "asks the pod's name servers";
    waiting [res_nsearch, __res_nsearch] (state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_nsearch: "asks the pod's name servers, with its search list";
    waiting [res_nquerydomain, __res_nquerydomain] (state: *mut c_void, name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_nquerydomain: "asks the pod's name servers";
    waiting [res_nsend, __res_nsend] (state: *mut c_void, question: *const u8, length: c_int, answer: *mut u8, room: c_int) -> c_int
        => dns::res_nsend: "asks the pod's name servers";

    waiting [open, open64, __open, __open64] (path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        => files::open: "opens the pod's version of a file";
    waiting [openat, openat64] (directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        => files::openat: "opens the pod's version of a file";
    waiting [__open_2, __open64_2] (path: *const c_char, flags: c_int) -> c_int
        => files::__open_2: "`open` as `_FORTIFY_SOURCE` calls it";
    waiting [__openat_2, __openat64_2] (directory: c_int, path: *const c_char, flags: c_int) -> c_int
        => files::__openat_2: "`openat` as `_FORTIFY_SOURCE` calls it";
    waiting [creat, creat64] (path: *const c_char, mode: mode_t) -> c_int
        => files::creat: "makes the pod's version of a file";
    waiting [fopen, fopen64] (path: *const c_char, mode: *const c_char) -> *mut FILE
        => files::fopen: "opens the pod's version of a file";
    waiting [freopen, freopen64] (path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE
        => files::freopen: "opens the pod's version of a file";
    waiting [stat, stat64] (path: *const c_char, out: *mut c_void) -> c_int
        => files::stat: "describes the pod's version of a file";
    waiting [lstat, lstat64] (path: *const c_char, out: *mut c_void) -> c_int
        => files::lstat: "describes the pod's version of a file";
    waiting [fstatat, fstatat64] (directory: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> c_int
        => files::fstatat: "describes the pod's version of a file";
    waiting [statx] (directory: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut c_void) -> c_int
        => files::statx: "describes the pod's version of a file";
    waiting [__xstat, __xstat64] (version: c_int, path: *const c_char, out: *mut c_void) -> c_int
        => files::__xstat: "`stat` before glibc 2.33";
    waiting [__lxstat, __lxstat64] (version: c_int, path: *const c_char, out: *mut c_void) -> c_int
        => files::__lxstat: "`lstat` before glibc 2.33";
    waiting [__fxstatat, __fxstatat64] (version: c_int, directory: c_int, path: *const c_char, out: *mut c_void, flags: c_int) -> c_int
        => files::__fxstatat: "`fstatat` before glibc 2.33";
    waiting [access] (path: *const c_char, mode: c_int) -> c_int
        => files::access: "looks at the pod's version of a file";
    waiting [euidaccess, eaccess] (path: *const c_char, mode: c_int) -> c_int
        => files::euidaccess: "looks at the pod's version of a file";
    waiting [faccessat] (directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int
        => files::faccessat: "looks at the pod's version of a file";
    waiting [readlink] (path: *const c_char, room: *mut c_char, size: size_t) -> ssize_t
        => files::readlink: "a link of the pod's is read as it stands there; of the files of names it has, none is one";
    waiting [readlinkat] (directory: c_int, path: *const c_char, room: *mut c_char, size: size_t) -> ssize_t
        => files::readlinkat: "a link of the pod's is read as it stands there; of the files of names it has, none is one";
    waiting [__readlink_chk] (path: *const c_char, room: *mut c_char, size: size_t, known: size_t) -> ssize_t
        => files::__readlink_chk: "`readlink` as `_FORTIFY_SOURCE` calls it";
    waiting [__readlinkat_chk] (directory: c_int, path: *const c_char, room: *mut c_char, size: size_t, known: size_t) -> ssize_t
        => files::__readlinkat_chk: "`readlinkat` as `_FORTIFY_SOURCE` calls it";
    waiting [realpath] (path: *const c_char, room: *mut c_char) -> *mut c_char
        => files::realpath: "the pod's files are where they are";
    waiting [__realpath_chk] (path: *const c_char, room: *mut c_char, size: size_t) -> *mut c_char
        => files::__realpath_chk: "`realpath` as `_FORTIFY_SOURCE` calls it";
    waiting [canonicalize_file_name] (path: *const c_char) -> *mut c_char
        => files::canonicalize_file_name: "the pod's files are where they are";

    waiting [opendir] (path: *const c_char) -> *mut DIR
        => folders::opendir: "lists the pod's folders";
    waiting [scandir, scandir64] (path: *const c_char, list: *mut c_void, filter: *const c_void, compare: *const c_void) -> c_int
        => folders::scandir: "lists the pod's folders";
    waiting [scandirat, scandirat64] (directory: c_int, path: *const c_char, list: *mut c_void, filter: *const c_void, compare: *const c_void) -> c_int
        => folders::scandirat: "lists the pod's folders";
    waiting [chdir] (path: *const c_char) -> c_int
        => folders::chdir: "enters the pod's folders";
    waiting [getcwd] (room: *mut c_char, size: size_t) -> *mut c_char
        => folders::getcwd: "says the pod's path of a folder of the pod";
    waiting [__getcwd_chk] (room: *mut c_char, size: size_t, known: size_t) -> *mut c_char
        => folders::__getcwd_chk: "`getcwd` as `_FORTIFY_SOURCE` calls it";
    waiting [getwd] (room: *mut c_char) -> *mut c_char
        => folders::getwd: "says the pod's path of a folder of the pod";
    waiting [get_current_dir_name] () -> *mut c_char
        => folders::get_current_dir_name: "says the pod's path of a folder of the pod";
    waiting [truncate, truncate64] (path: *const c_char, length: off_t) -> c_int
        => changes::truncate: "changes the pod's version of a file";
    waiting [chmod] (path: *const c_char, mode: mode_t) -> c_int
        => changes::chmod: "changes the pod's version of a file";
    waiting [fchmodat] (directory: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int
        => changes::fchmodat: "changes the pod's version of a file";
    waiting [chown] (path: *const c_char, user: uid_t, group: gid_t) -> c_int
        => changes::chown: "changes the pod's version of a file";
    waiting [lchown] (path: *const c_char, user: uid_t, group: gid_t) -> c_int
        => changes::lchown: "changes the pod's version of a file";
    waiting [fchownat] (directory: c_int, path: *const c_char, user: uid_t, group: gid_t, flags: c_int) -> c_int
        => changes::fchownat: "changes the pod's version of a file";
    waiting [utime] (path: *const c_char, times: *const c_void) -> c_int
        => changes::utime: "changes the pod's version of a file";
    waiting [utimes] (path: *const c_char, times: *const c_void) -> c_int
        => changes::utimes: "changes the pod's version of a file";
    waiting [lutimes] (path: *const c_char, times: *const c_void) -> c_int
        => changes::lutimes: "changes the pod's version of a file";
    waiting [futimesat] (directory: c_int, path: *const c_char, times: *const c_void) -> c_int
        => changes::futimesat: "changes the pod's version of a file";
    waiting [utimensat] (directory: c_int, path: *const c_char, times: *const c_void, flags: c_int) -> c_int
        => changes::utimensat: "changes the pod's version of a file";
    waiting [unlink] (path: *const c_char) -> c_int
        => changes::unlink: "changes the pod's version of a file";
    waiting [unlinkat] (directory: c_int, path: *const c_char, flags: c_int) -> c_int
        => changes::unlinkat: "changes the pod's version of a file";
    waiting [rmdir] (path: *const c_char) -> c_int
        => changes::rmdir: "changes the pod's version of a file";
    waiting [remove] (path: *const c_char) -> c_int
        => changes::remove: "changes the pod's version of a file";
    waiting [setxattr] (path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
        => changes::setxattr: "no file of the pod permits it";
    waiting [lsetxattr] (path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
        => changes::lsetxattr: "no file of the pod permits it";
    waiting [removexattr] (path: *const c_char, name: *const c_char) -> c_int
        => changes::removexattr: "no file of the pod permits it";
    waiting [lremovexattr] (path: *const c_char, name: *const c_char) -> c_int
        => changes::lremovexattr: "no file of the pod permits it";
    waiting [mkdir] (path: *const c_char, mode: mode_t) -> c_int
        => changes::mkdir: "changes the pod's version of a file";
    waiting [mkdirat] (directory: c_int, path: *const c_char, mode: mode_t) -> c_int
        => changes::mkdirat: "changes the pod's version of a file";
    waiting [mknod] (path: *const c_char, mode: mode_t, device: dev_t) -> c_int
        => changes::mknod: "no file of the pod permits it";
    waiting [mknodat] (directory: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int
        => changes::mknodat: "no file of the pod permits it";
    waiting [mkfifo] (path: *const c_char, mode: mode_t) -> c_int
        => changes::mkfifo: "no file of the pod permits it";
    waiting [mkfifoat] (directory: c_int, path: *const c_char, mode: mode_t) -> c_int
        => changes::mkfifoat: "no file of the pod permits it";
    waiting [getxattr] (path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
        => changes::getxattr: "asks about the pod's version of a file";
    waiting [lgetxattr] (path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
        => changes::lgetxattr: "asks about the pod's version of a file";
    waiting [listxattr] (path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t
        => changes::listxattr: "asks about the pod's version of a file";
    waiting [llistxattr] (path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t
        => changes::llistxattr: "asks about the pod's version of a file";
    waiting [statfs, statfs64] (path: *const c_char, out: *mut c_void) -> c_int
        => changes::statfs: "asks about the pod's version of a file";
    waiting [statvfs, statvfs64] (path: *const c_char, out: *mut c_void) -> c_int
        => changes::statvfs: "asks about the pod's version of a file";
    waiting [inotify_add_watch] (fd: c_int, path: *const c_char, mask: u32) -> c_int
        => changes::inotify_add_watch: "watches the session's copy";
    waiting [symlink] (target: *const c_char, path: *const c_char) -> c_int
        => changes::symlink: "changes the pod's version of a file";
    waiting [symlinkat] (target: *const c_char, directory: c_int, path: *const c_char) -> c_int
        => changes::symlinkat: "changes the pod's version of a file";
    waiting [rename] (from: *const c_char, to: *const c_char) -> c_int
        => changes::rename: "changes the pod's version of a file";
    waiting [renameat] (from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char) -> c_int
        => changes::renameat: "changes the pod's version of a file";
    waiting [renameat2] (from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char, flags: c_uint) -> c_int
        => changes::renameat2: "changes the pod's version of a file";
    waiting [link] (from: *const c_char, to: *const c_char) -> c_int
        => changes::link: "changes the pod's version of a file";
    waiting [linkat] (from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char, flags: c_int) -> c_int
        => changes::linkat: "changes the pod's version of a file";

    waiting [close, __close] (fd: c_int) -> c_int
        => writing::close: "waits until the pod has what was written";
    waiting [fclose] (stream: *mut FILE) -> c_int
        => writing::fclose: "waits until the pod has what was written";
    waiting [dup2, __dup2] (old: c_int, new: c_int) -> c_int
        => writing::dup2: "waits until the pod has what was written to what it closes";
    waiting [dup3] (old: c_int, new: c_int, flags: c_int) -> c_int
        => writing::dup3: "waits until the pod has what was written to what it closes";
    waiting [fsync] (fd: c_int) -> c_int
        => writing::fsync: "waits until the pod's disk has what was written";
    waiting [fdatasync] (fd: c_int) -> c_int
        => writing::fdatasync: "waits until the pod's disk has what was written";
    waiting [fchmod] (fd: c_int, mode: mode_t) -> c_int
        => writing::fchmod: "changes the pod's version of a file";
    waiting [fchown] (fd: c_int, user: uid_t, group: gid_t) -> c_int
        => writing::fchown: "changes the pod's version of a file";
    waiting [futimens] (fd: c_int, times: *const c_void) -> c_int
        => writing::futimens: "changes the pod's version of a file";
    waiting [futimes] (fd: c_int, times: *const c_void) -> c_int
        => writing::futimes: "changes the pod's version of a file";

    waiting [glob, glob64] (pattern: *const c_char, flags: c_int, error: *const c_void, out: *mut Glob) -> c_int
        => walk::glob: "finds names in the pod's folders";
    waiting [nftw, nftw64] (path: *const c_char, visit: *const c_void, descriptors: c_int, flags: c_int) -> c_int
        => walk::nftw: "walks through the pod's folders";
    waiting [ftw, ftw64] (path: *const c_char, visit: *const c_void, descriptors: c_int) -> c_int
        => walk::ftw: "walks through the pod's folders";
    waiting [mkstemp, mkstemp64] (template: *mut c_char) -> c_int
        => temporary::mkstemp: "makes a file as `open` does";
    waiting [mkostemp, mkostemp64] (template: *mut c_char, flags: c_int) -> c_int
        => temporary::mkostemp: "makes a file as `open` does";
    waiting [mkstemps, mkstemps64] (template: *mut c_char, suffix: c_int) -> c_int
        => temporary::mkstemps: "makes a file as `open` does";
    waiting [mkostemps, mkostemps64] (template: *mut c_char, suffix: c_int, flags: c_int) -> c_int
        => temporary::mkostemps: "makes a file as `open` does";
    waiting [mkdtemp] (template: *mut c_char) -> *mut c_char
        => temporary::mkdtemp: "makes a folder as `mkdir` does";

    waiting [posix_spawn_file_actions_addopen] (actions: *mut posix_spawn_file_actions_t, fd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int
        => walk::posix_spawn_file_actions_addopen: "opens the pod's version of a file in the started program";
    waiting [posix_spawn_file_actions_addchdir_np] (actions: *mut posix_spawn_file_actions_t, path: *const c_char) -> c_int
        => walk::posix_spawn_file_actions_addchdir_np: "starts a program in a folder of the pod";
    waiting [pathconf] (path: *const c_char, name: c_int) -> c_long
        => walk::pathconf: "asks about the pod's version of a file";
    waiting [lchmod] (path: *const c_char, mode: mode_t) -> c_int
        => changes::lchmod: "changes the pod's version of a file";

    plain [gethostname] (room: *mut c_char, size: size_t) -> c_int
        => identity::gethostname: "says the pod's name";
    plain [__gethostname_chk] (room: *mut c_char, size: size_t, known: size_t) -> c_int
        => identity::__gethostname_chk: "`gethostname` as `_FORTIFY_SOURCE` calls it";
    plain [uname] (out: *mut utsname) -> c_int
        => identity::uname: "says the pod's name";

    plain [execve] (path: *const c_char, arguments: Strings, environment: Strings) -> c_int
        => exec::execve: "keeps the started program in the session";
    plain [execv] (path: *const c_char, arguments: Strings) -> c_int
        => exec::execv: "keeps the started program in the session";
    plain [execvp] (file: *const c_char, arguments: Strings) -> c_int
        => exec::execvp: "keeps the started program in the session";
    plain [execvpe] (file: *const c_char, arguments: Strings, environment: Strings) -> c_int
        => exec::execvpe: "keeps the started program in the session";
    plain [fexecve] (fd: c_int, arguments: Strings, environment: Strings) -> c_int
        => exec::fexecve: "keeps the started program in the session";
    plain [execveat] (directory: c_int, path: *const c_char, arguments: Strings, environment: Strings, flags: c_int) -> c_int
        => exec::execveat: "keeps the started program in the session (glibc 2.34 has it)";
    assembly [execl] () -> c_int
        => assembly::execl: "`execv` with a list";
    assembly [execle] () -> c_int
        => assembly::execle: "`execve` with a list";
    assembly [execlp] () -> c_int
        => assembly::execlp: "`execvp` with a list";
    plain [posix_spawn] (pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: Strings, environment: Strings) -> c_int
        => spawn::posix_spawn: "keeps the started program in the session";
    plain [posix_spawnp] (pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: Strings, environment: Strings) -> c_int
        => spawn::posix_spawnp: "keeps the started program in the session";
    waiting [system] (command: *const c_char) -> c_int
        => shell::system: "keeps what the shell starts in the session";
    waiting [popen] (command: *const c_char, mode: *const c_char) -> *mut FILE
        => shell::popen: "keeps what the shell starts in the session";

    assembly [syscall] (number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long
        => assembly::syscall: "the hooked calls by number; refuses `io_uring_setup`";
    assembly [dlopen] (path: *const c_char, flags: c_int) -> *mut c_void
        => assembly::dlopen: "loads the pod's library; takes `RTLD_DEEPBIND` away, which would pass all hooks by";
    plain [prctl] (option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int
        => sandbox::prctl: "sees a seccomp filter go in";
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unhooked;
