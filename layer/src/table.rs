//! **The table of hooked symbols.** A row makes the exported symbol, the next definition of it, and the line
//! in `docs/hooks.md`; a new hook is one row here and one function in `hooks`.

use core::ffi::c_void;

use libc::{FILE, addrinfo, c_char, c_int, c_long, c_ulong, hostent, pid_t, size_t, sockaddr, socklen_t};
use libc::{c_uint, mmsghdr, msghdr, ssize_t, timespec};
use libc::{posix_spawn_file_actions_t, posix_spawnattr_t};

use crate::hooks;
use crate::hooks::exec::Strings;
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
    waiting [getpeername] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int
        => socket::getpeername: "names the far end as the pod's kernel does";
    waiting [getsockname] (fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int
        => socket::getsockname: "names the near end as the pod's kernel does";

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
    plain [prctl] (option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int
        => sandbox::prctl: "sees a seccomp filter go in";
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    /// `docs/hooks.md`, which another test compares with the symbols of the built library.
    fn document() -> String {
        let mut text = String::from(
            "# Hooked symbols\n\nGenerated from `layer/src/table.rs` by its test: `UPDATE=1 cargo test -p layer` writes it.\n\n\
             | symbol | file in `layer/src/hooks` | what the hook does |\n|---|---|---|\n",
        );
        for Hook { symbol, family, purpose } in HOOKED {
            writeln!(text, "| `{symbol}` | `{family}.rs` | {purpose} |").expect("a string grows");
        }
        text
    }

    #[test]
    fn the_document_lists_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hooks.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, document()).expect("writes");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, document(), "stale: UPDATE=1 cargo test -p layer");
    }

    #[test]
    fn every_symbol_is_hooked_once() {
        let mut symbols: Vec<_> = HOOKED.iter().map(|hook| hook.symbol).collect();
        symbols.sort_unstable();
        symbols.dedup();
        assert_eq!(symbols.len(), HOOKED.len());
    }
}
