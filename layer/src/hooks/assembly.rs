//! Functions that Rust cannot define, because of C's variable arguments or because their caller must stay
//! visible: their heads are in assembly.
//!
//! * `dlopen` jumps on with one flag less, and with the path of the copy of a library of the pod.
//! * `syscall` jumps to the next one with every register and the stack as they were, unless the number is
//!   one of ours (`by_number`). So even calls that return twice or on another stack behave natively.
//! * `execl` and its relatives push their register arguments in front of those on the stack, which makes
//!   the whole list the array that `execv` wants, without copying or counting.

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_long, c_void};

use crate::hooks::exec::{self, Strings};
use crate::hooks::fetched::library;
use crate::interpose;
use crate::table::{exported, next};
use crate::{sandbox, session};

/// Numbers above this are not ours.
const NUMBERS: usize = 512;

/// One bit per number, set for those that [`handled`] looks at.
static OURS: [u64; NUMBERS / 64] = {
    let (mut bits, mut at) = ([0; NUMBERS / 64], 0);
    while at < HOOKED.len() + WATCHED.len() {
        let number = if at < HOOKED.len() { HOOKED[at] } else { WATCHED[at - HOOKED.len()] } as usize;
        bits[number / 64] |= 1 << (number % 64);
        at += 1;
    }
    bits
};

/// glibc's `syscall(2)`.
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe extern "C-unwind" fn syscall() {
    naked_asm!(
        "cmp rdi, {numbers}", "jae 3f",
        "lea rax, [rip + {ours}]",
        "bt qword ptr [rax], rdi", "jc 2f",
        "3: mov rax, [rip + {next}]",
        "cmp rax, 1", "jbe 2f",
        "jmp rax",
        "2: jmp {handled}",
        numbers = const NUMBERS,
        ours = sym OURS,
        next = sym next::syscall,
        handled = sym handled,
    )
}

/// glibc's `syscall(2)`.
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe extern "C-unwind" fn syscall() {
    naked_asm!(
        "cmp x0, #{numbers}", "b.hs 3f",
        "adrp x9, {ours}",
        "add x9, x9, :lo12:{ours}",
        "lsr x10, x0, #6",
        "ldr x9, [x9, x10, lsl #3]",
        "lsr x9, x9, x0",
        "tbnz x9, #0, 2f",
        "3: adrp x9, {next}",
        "ldr x9, [x9, :lo12:{next}]",
        "cmp x9, #1", "b.ls 2f",
        "br x9",
        "2: b {handled}",
        numbers = const NUMBERS,
        ours = sym OURS,
        next = sym next::syscall,
        handled = sym handled,
    )
}

/// The hooks that are reached by number: a row for each. A hook that the C library has no function for leaves
/// its number alone.
macro_rules! by_number {
    ($($(#[$only:meta])? $number:ident => $hook:ident($($argument:ident),*);)*) => {
        const HOOKED: &[c_long] = &[$($(#[$only])? libc::$number,)*];

        /// Calls the hook of `number`; `None` if it has none.
        ///
        /// # Safety
        /// As `syscall(2)`.
        unsafe fn hooked(number: c_long, arguments: [c_long; 6]) -> Option<c_long> {
            match number {
                $($(#[$only])? libc::$number if next::$hook.get().is_some() => {
                    let [$($argument,)* ..] = arguments;
                    // SAFETY: the program's own arguments, in the types of the call's man page.
                    Some(unsafe { exported::$hook($($argument as _),*) } as c_long)
                })*
                _ => None,
            }
        }
    };
}

by_number! {
    SYS_connect => connect(a, b, c);
    SYS_bind => bind(a, b, c);
    SYS_getpeername => getpeername(a, b, c);
    SYS_getsockname => getsockname(a, b, c);
    SYS_getsockopt => getsockopt(a, b, c, d, e);
    SYS_listen => listen(a, b);
    SYS_accept => accept(a, b, c);
    SYS_accept4 => accept4(a, b, c, d);
    SYS_sendto => sendto(a, b, c, d, e, f);
    SYS_sendmsg => sendmsg(a, b, c);
    SYS_sendmmsg => sendmmsg(a, b, c, d);
    SYS_recvfrom => recvfrom(a, b, c, d, e, f);
    SYS_recvmsg => recvmsg(a, b, c);
    SYS_recvmmsg => recvmmsg(a, b, c, d, e);
    #[cfg(target_arch = "x86_64")]
    SYS_open => open(a, b, c);
    SYS_openat => openat(a, b, c, d);
    #[cfg(target_arch = "x86_64")]
    SYS_stat => stat(a, b);
    #[cfg(target_arch = "x86_64")]
    SYS_lstat => lstat(a, b);
    SYS_newfstatat => fstatat(a, b, c, d);
    SYS_statx => statx(a, b, c, d, e);
    #[cfg(target_arch = "x86_64")]
    SYS_access => access(a, b);
    SYS_faccessat2 => faccessat(a, b, c, d);
    #[cfg(target_arch = "x86_64")]
    SYS_readlink => readlink(a, b, c);
    SYS_readlinkat => readlinkat(a, b, c, d);
    SYS_close => close(a);
    SYS_fsync => fsync(a);
    SYS_fdatasync => fdatasync(a);
    SYS_uname => uname(a);
    SYS_execve => execve(a, b, c);
    SYS_execveat => execveat(a, b, c, d, e);
}

/// Calls without a hook that [`handled`] refuses or takes note of.
const WATCHED: &[c_long] = &[libc::SYS_io_uring_setup, libc::SYS_prctl, libc::SYS_seccomp];

/// The numbers of ours, and everything while the next symbol is not known yet.
unsafe extern "C-unwind" fn handled(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let pass = || match next::syscall.get() {
        // SAFETY: the program's own arguments.
        Some(next) => unsafe { next(number, a, b, c, d, e, f) },
        None => {
            interpose::set_errno(libc::ENOSYS);
            -1
        }
    };
    if session::is_passive() {
        return pass();
    }
    // SAFETY: the program's own arguments.
    if let Some(result) = unsafe { hooked(number, [a, b, c, d, e, f]) } {
        return result;
    }
    match number {
        // Rings do what hooks cannot see; programs fall back without them.
        libc::SYS_io_uring_setup => {
            interpose::set_errno(libc::ENOSYS);
            -1
        }
        _ => {
            let result = pass();
            if result == 0 {
                note_filter(number, a, b);
            }
            result
        }
    }
}

fn note_filter(number: c_long, operation: c_long, flags: c_long) {
    const SECCOMP_FILTER_FLAG_TSYNC: c_long = 1;
    let sets_mode = operation == c_long::from(libc::SECCOMP_SET_MODE_STRICT)
        || operation == c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    if number == libc::SYS_seccomp && sets_mode {
        sandbox::note_filter(flags & SECCOMP_FILTER_FLAG_TSYNC != 0);
    } else if number == libc::SYS_prctl && operation == c_long::from(libc::PR_SET_SECCOMP) {
        sandbox::note_filter(false);
    }
}

/// `RTLD_DEEPBIND` of `dlfcn.h`, by its bit: the library's calls then go to what it is linked with first, and
/// see no preloaded library (PHP loads its extensions so).
const DEEPBIND: u32 = 3;

/// glibc's `dlopen(3)` without `RTLD_DEEPBIND`, for a path that [`library`] says. A jump and not a call: the C library takes the caller's library,
/// whose search path counts, from the return address.
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe extern "C-unwind" fn dlopen() {
    naked_asm!(
        "cmp byte ptr [rip + {active}], 0", "je 3f",
        "btr esi, {deepbind}",
        "push rsi",
        "call {library}",
        "pop rsi",
        "mov rdi, rax",
        "3: mov rax, [rip + {next}]",
        "cmp rax, 1", "jbe 2f",
        "jmp rax",
        "2: jmp {late}",
        active = sym session::ACTIVE,
        deepbind = const DEEPBIND,
        library = sym library,
        next = sym next::dlopen,
        late = sym dlopen_late,
    )
}

/// glibc's `dlopen(3)` without `RTLD_DEEPBIND`.
///
/// # Safety
/// As that.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe extern "C-unwind" fn dlopen() {
    naked_asm!(
        "adrp x9, {active}",
        "ldrb w9, [x9, :lo12:{active}]",
        "cbz w9, 3f",
        "and w1, w1, #{keep}",
        "stp x1, x30, [sp, #-16]!",
        "bl {library}",
        "ldp x1, x30, [sp], #16",
        "3: adrp x9, {next}",
        "ldr x9, [x9, :lo12:{next}]",
        "cmp x9, #1", "b.ls 2f",
        "br x9",
        "2: b {late}",
        active = sym session::ACTIVE,
        keep = const !(1u32 << DEEPBIND),
        library = sym library,
        next = sym next::dlopen,
        late = sym dlopen_late,
    )
}

/// While the next symbol is not known yet: another library's constructor calls.
unsafe extern "C-unwind" fn dlopen_late(path: *const c_char, flags: c_int) -> *mut c_void {
    match next::dlopen.get() {
        // SAFETY: the program's own arguments.
        Some(next) => unsafe { next(path, flags) },
        None => core::ptr::null_mut(),
    }
}

/// Defines `$name(first, argument...)` as `$list(first, array of the arguments)`.
macro_rules! with_list {
    ($name:ident, $list:ident) => {
        /// glibc's `exec(3)` with a list of arguments.
        ///
        /// # Safety
        /// As that.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "x86_64")]
        pub(crate) unsafe extern "C-unwind" fn $name() {
            naked_asm!(
                // The return address makes way for the last register argument and moves below the array.
                "pop rax",
                "push r9", "push r8", "push rcx", "push rdx", "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {list}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                list = sym $list,
            )
        }

        /// glibc's `exec(3)` with a list of arguments.
        ///
        /// # Safety
        /// As that.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "aarch64")]
        pub(crate) unsafe extern "C-unwind" fn $name() {
            naked_asm!(
                "sub sp, sp, #64",
                "stp x30, x1, [sp]",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "add x1, sp, #8",
                "bl {list}",
                "ldr x30, [sp]",
                "add sp, sp, #64",
                "ret",
                list = sym $list,
            )
        }
    };
}

with_list!(execl, execl_list);
with_list!(execle, execle_list);
with_list!(execlp, execlp_list);

unsafe extern "C-unwind" fn execl_list(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's own arguments as an array.
    unsafe { exported::execv(path, arguments) }
}

unsafe extern "C-unwind" fn execlp_list(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's own arguments as an array.
    unsafe { exported::execvp(file, arguments) }
}

unsafe extern "C-unwind" fn execle_list(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the list ends with null, and the environment stands behind that.
    let environment = unsafe {
        let count = exec::strings(arguments).count();
        arguments.add(count + 1).cast::<Strings>().read()
    };
    // SAFETY: the program's own arguments as arrays.
    unsafe { exported::execve(path, arguments, environment) }
}
