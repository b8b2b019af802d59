//! International names (`AI_IDN`, `AI_CANONIDN`, `NI_IDN`): glibc has libidn2 convert them, and so do we. It is
//! loaded when first needed; without it such names fail as they do with glibc.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::ops::names::NAME_ROOM;

/// `int idn2_lookup_ul(const char *name, char **out, int flags)` and `idn2_to_unicode_lzlz` of the same type.
type Convert = unsafe extern "C" fn(*const c_char, *mut *mut c_char, c_int) -> c_int;

static TO_ASCII: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static TO_UNICODE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// A name that takes no dropping, so that a thread may be cancelled while one is on its stack.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; NAME_ROOM],
    length: usize,
}

impl Name {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// `None` for what is longer than any name.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let mut room = [0; NAME_ROOM];
        // One byte stays for a NUL.
        room.get_mut(..bytes.len()).filter(|place| place.len() < NAME_ROOM)?.copy_from_slice(bytes);
        Some(Self { bytes: room, length: bytes.len() })
    }
}

/// The form in which `name`, written in the locale's character set, is asked of name servers. `None` where glibc
/// says `EAI_IDN_ENCODE`.
pub(crate) fn to_ascii(name: &[u8]) -> Option<Name> {
    if name.is_ascii() {
        return Name::new(name);
    }
    // What an escape means inside such a name is not defined.
    if name.contains(&b'\\') { None } else { convert(&TO_ASCII, c"idn2_lookup_ul", &Name::new(name)?) }
}

/// The form of a name that people read, in the locale's character set; `None` where it has none.
pub(crate) fn to_unicode(name: &[u8]) -> Option<Name> {
    convert(&TO_UNICODE, c"idn2_to_unicode_lzlz", &Name::new(name)?)
}

fn convert(cache: &AtomicPtr<c_void>, symbol: &CStr, name: &Name) -> Option<Name> {
    let mut function = cache.load(Ordering::Relaxed);
    if function.is_null() {
        // SAFETY: dlopen(3) with a C string. It stays loaded, as glibc's own does.
        let library = unsafe { libc::dlopen(c"libidn2.so.0".as_ptr(), libc::RTLD_NOW) };
        if !library.is_null() {
            // SAFETY: dlsym(3) with a handle and a C string.
            function = unsafe { libc::dlsym(library, symbol.as_ptr()) };
        }
        if function.is_null() {
            // SAFETY: dlerror(3). Takes our failure away, so that the program does not read it as its own.
            unsafe { libc::dlerror() };
            return None;
        }
        cache.store(function, Ordering::Relaxed);
    }
    // SAFETY: the symbol's type in `idn2.h`.
    let convert = unsafe { core::mem::transmute::<*mut c_void, Convert>(function) };
    let mut out = null_mut();
    // SAFETY: a C string (the name's room ends with NUL) and a place for the result.
    if unsafe { convert(name.bytes.as_ptr().cast(), &mut out, 0) } != 0 || out.is_null() {
        return None;
    }
    // SAFETY: a fresh C string of the library.
    let converted = Name::new(unsafe { CStr::from_ptr(out) }.to_bytes());
    // SAFETY: free(3), which is what `idn2_free` is.
    unsafe { libc::free(out.cast()) };
    converted
}
