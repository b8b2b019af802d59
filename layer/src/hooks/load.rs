//! The constructor: joins the session when the environment names one, else leaves the library passive.

use core::ffi::{CStr, c_char, c_int};

use protocol::layer::SESSION_VARIABLE;

use crate::interpose::{self, Stage, guard};
use crate::{hooks::exec, sandbox, session, sys, table};

type Strings = *const *const c_char;

/// glibc hands `main`'s arguments to constructors.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: unsafe extern "C" fn(c_int, Strings, Strings) = load;

unsafe extern "C" fn load(_: c_int, arguments: Strings, environment: Strings) {
    let errno = interpose::errno();
    guard(Stage::Before, (), || {
        // SAFETY: the loader's own list of C strings, ended by null.
        let Some(value) = (unsafe { variable(environment, SESSION_VARIABLE.as_bytes()) }) else { return };
        // A panic's message must not reach the program's stderr.
        std::panic::set_hook(Box::new(|_| {}));
        // SAFETY: as above; `argv` may be empty, then its first entry is null.
        let program = unsafe { arguments.as_ref().and_then(|first| first.as_ref()) };
        // SAFETY: a C string of the loader.
        let program = program.map_or(&[][..], |first| unsafe { CStr::from_ptr(first) }.to_bytes());
        table::resolve();
        sys::prepare();
        sys::memory::note_stack(arguments.addr());
        sandbox::note_load();
        exec::remember(value);
        session::attach(value, program);
        #[cfg(debug_assertions)]
        // SAFETY: as above.
        if let Some(value) = unsafe { variable(environment, interpose::fault::VARIABLE.as_bytes()) } {
            interpose::fault::arm(value);
        }
    });
    interpose::set_errno(errno);
}

/// The value of a variable.
///
/// # Safety
/// `environment` must be null or a list of C strings that is ended by null and lives as long as the value.
unsafe fn variable<'a>(environment: Strings, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: by the caller's word.
    unsafe { exec::strings(environment) }.find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}
