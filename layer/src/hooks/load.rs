//! The constructor: joins the session when the environment names one, and takes its variables if it is to; else leaves
//! the library passive.

use core::ffi::{CStr, c_char, c_int};

use decide::debuggers::{self, Ports};
use protocol::layer::{ENVIRONMENT_VARIABLE, EnvironmentReply, SESSION_VARIABLE};

use crate::interpose::{self, Stage, guard};
use crate::session::Joining;
use crate::{hooks::exec, sandbox, session, sys, table};

/// Most bytes of a file of arguments: its class path may name thousands of archives.
const ARGFILE_ROOM: usize = 4 << 20;

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
        let mut room = [0; libc::PATH_MAX as usize];
        let executable = sys::read_link(c"/proc/self/exe", &mut room).unwrap_or_default();
        // SAFETY: as above.
        let debuggers = unsafe { debugger_ports(arguments, environment) };
        session::attach(value, &Joining { program, executable, debuggers });
        // SAFETY: as above.
        if let Some(kept) = unsafe { variable(environment, ENVIRONMENT_VARIABLE.as_bytes()) }
            && let Some(reply) = session::environment(value)
        {
            // SAFETY: `main` has not begun, so nothing else reads or writes the environment.
            unsafe { take_environment(&reply, kept, environment) };
        }
        #[cfg(debug_assertions)]
        // SAFETY: as above.
        if let Some(value) = unsafe { variable(environment, interpose::fault::VARIABLE.as_bytes()) } {
            interpose::fault::arm(value);
        }
    });
    interpose::set_errno(errno);
}

/// Changes the environment that `main` and all that it starts will have.
///
/// # Safety
/// No other thread may use the environment. `environment` must be null or a list of C strings that is ended by null.
unsafe fn take_environment(reply: &EnvironmentReply, kept: &[u8], environment: Strings) {
    let is_kept = |name: &[u8]| kept.split(|byte| *byte == b',').any(|one| one == name);
    let name = |entry: &'static CStr| entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    let is_unset = |name: &&[u8]| reply.unset.iter().any(|unset| unset.as_bytes().eq_ignore_ascii_case(name));
    // SAFETY: by the caller's word.
    let present: Vec<Vec<u8>> =
        unsafe { exec::strings(environment) }.map(name).filter(is_unset).map(<[u8]>::to_vec).collect();
    let unset = present.iter().map(Vec::as_slice).filter(|name| !is_kept(name));
    for name in unset.chain([ENVIRONMENT_VARIABLE.as_bytes()]) {
        sys::unset_variable(name);
    }
    for (name, value) in reply.set.iter().filter(|(name, _)| !is_kept(name)) {
        sys::set_variable(name, value);
    }
}

/// # Safety
/// Both must be null or lists of C strings that are ended by null.
unsafe fn debugger_ports(arguments: Strings, environment: Strings) -> Ports {
    debuggers::ports(
        // SAFETY: by the caller's word.
        unsafe { exec::strings(arguments) }.map(CStr::to_bytes),
        // SAFETY: by the caller's word.
        |name| unsafe { variable(environment, name.as_bytes()) },
        |path| sys::read_file(&std::ffi::CString::new(path).ok()?, ARGFILE_ROOM),
    )
}

/// The value of a variable.
///
/// # Safety
/// `environment` must be null or a list of C strings that is ended by null and lives as long as the value.
unsafe fn variable<'a>(environment: Strings, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: by the caller's word.
    unsafe { exec::strings(environment) }.find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}
