//! `prctl`, only to see a seccomp filter go in. Libraries for filters call it or `syscall` (see `assembly`).

use libc::{c_int, c_ulong};

use crate::interpose::Verdict;
use crate::sandbox;
use crate::table::next;

/// # Safety
/// As `prctl(2)`.
pub(crate) unsafe fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> Verdict<c_int> {
    if option != libc::PR_SET_SECCOMP {
        return Verdict::Bypass;
    }
    let Some(next) = next::prctl.get() else { return Verdict::Bypass };
    // SAFETY: the program's own arguments.
    let result = unsafe { next(option, a, b, c, d) };
    if result == 0 {
        sandbox::note_filter(false);
    }
    Verdict::Passed(result)
}
