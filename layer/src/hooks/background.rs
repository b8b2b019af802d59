//! `getaddrinfo_a` and what belongs to it. glibc looks up on threads of its own, which call `getaddrinfo` inside
//! libc, out of reach; so the work is done here: on the caller's thread where it waits, else on one thread per
//! call. `gai_error` only reads what is written here, and stays glibc's.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use libc::{addrinfo, c_char, c_int, timespec};

use crate::interpose::{Stage, Verdict, guard};
use crate::session;
use crate::sys;
use crate::sys::waiting::{self, Waited};
use crate::table::exported;

/// `netdb.h`.
const GAI_WAIT: c_int = 0;
const GAI_NOWAIT: c_int = 1;
const EAI_INPROGRESS: c_int = -100;
const EAI_NOTCANCELED: c_int = -102;
const EAI_ALLDONE: c_int = -103;
const EAI_INTR: c_int = -104;

/// glibc's `struct gaicb`.
#[repr(C)]
pub(crate) struct Request {
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut addrinfo,
    code: AtomicI32,
    reserved: [c_int; 5],
}

/// glibc's `struct sigevent`, as far as it is used.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Event {
    value: usize,
    signal: c_int,
    notify: c_int,
    function: Option<unsafe extern "C-unwind" fn(usize)>,
}

/// One call's requests, for the thread that works on them.
struct Batch {
    requests: Vec<*mut Request>,
    event: Option<Event>,
}

/// Counts requests that were finished, for those who wait for one.
static FINISHED: AtomicU32 = AtomicU32::new(0);

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: Start,
        argument: *mut c_void,
    ) -> c_int;
}

/// # Safety
/// As `getaddrinfo_a(3)`.
pub(crate) unsafe fn getaddrinfo_a(
    mode: c_int,
    list: *const *mut Request,
    count: c_int,
    event: *const Event,
) -> Verdict<c_int> {
    let count = usize::try_from(count).unwrap_or(0);
    if session::get().is_none_or(|session| !session.dns) || !matches!(mode, GAI_WAIT | GAI_NOWAIT) || count == 0 {
        return Verdict::Bypass;
    }
    // SAFETY: getaddrinfo_a(3): so many pointers, some of which may be null.
    let requests = unsafe { core::slice::from_raw_parts(list, count) };
    for request in requests {
        // SAFETY: as above; valid requests.
        if let Some(request) = unsafe { request.as_ref() } {
            request.code.store(EAI_INPROGRESS, Ordering::Relaxed);
        }
    }
    if mode == GAI_WAIT {
        for request in requests {
            // SAFETY: as above.
            unsafe { look_up(*request) };
        }
        return Verdict::Success(0);
    }
    guard(Stage::After, Verdict::Passed(libc::EAI_SYSTEM), || {
        let requests = requests.iter().copied().filter(|request| !request.is_null()).collect();
        // SAFETY: getaddrinfo_a(3): null or a valid event, which need not live longer than the call.
        let batch = Batch { requests, event: unsafe { event.as_ref() }.copied() };
        if start(batch) { Verdict::Success(0) } else { Verdict::Passed(libc::EAI_MEMORY) }
    })
}

/// # Safety
/// `request` must be null or valid.
unsafe fn look_up(request: *mut Request) {
    if request.is_null() {
        return;
    }
    // SAFETY: by the caller's word; the program leaves a request alone until it is finished.
    let code = unsafe {
        let Request { name, service, hints, .. } = *request;
        exported::getaddrinfo(name, service, hints, &raw mut (*request).result)
    };
    // SAFETY: as above.
    unsafe { &(*request).code }.store(code, Ordering::Release);
    FINISHED.fetch_add(1, Ordering::Release);
    waiting::wake_all(&FINISHED);
}

/// Starts a detached thread with all signals blocked, as glibc's own.
fn start(batch: Batch) -> bool {
    let argument = Box::into_raw(Box::new(batch));
    // SAFETY: attributes are bytes only.
    let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
    let mut thread = 0;
    let before = sys::signal_mask(u64::MAX);
    // SAFETY: valid places, and an argument that the thread takes over.
    let failed = unsafe {
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let failed = pthread_create(&mut thread, &attributes, work, argument.cast());
        libc::pthread_attr_destroy(&mut attributes);
        failed
    };
    sys::signal_mask(before);
    if failed != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(argument) });
    }
    failed == 0
}

unsafe extern "C-unwind" fn work(argument: *mut c_void) -> *mut c_void {
    // SAFETY: made by `start` for this thread alone.
    let batch = unsafe { Box::from_raw(argument.cast::<Batch>()) };
    for request in &batch.requests {
        // SAFETY: getaddrinfo_a(3): valid until they are finished.
        unsafe { look_up(*request) };
    }
    let event = batch.event;
    drop(batch);
    match event {
        Some(Event { notify: libc::SIGEV_SIGNAL, signal, value, .. }) => waiting::queue_signal(signal, value),
        Some(Event { notify: libc::SIGEV_THREAD, function: Some(function), value, .. }) => {
            sys::signal_mask(0);
            // SAFETY: sigevent(7): the program's own function, on a thread of its own. It may end the thread.
            unsafe { function(value) };
        }
        _ => {}
    }
    null_mut()
}

/// # Safety
/// As `gai_suspend(3)`.
pub(crate) unsafe fn gai_suspend(list: *const *const Request, count: c_int, limit: *const timespec) -> Verdict<c_int> {
    if session::get().is_none_or(|session| !session.dns) {
        return Verdict::Bypass;
    }
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Verdict::Passed(EAI_ALLDONE);
    }
    // SAFETY: gai_suspend(3): so many pointers, some of which may be null.
    let requests = unsafe { core::slice::from_raw_parts(list, count) };
    let waiting = || {
        let is_waiting = |request: &&*const Request| {
            // SAFETY: as above; valid requests.
            unsafe { request.as_ref() }.is_some_and(|request| request.code.load(Ordering::Acquire) == EAI_INPROGRESS)
        };
        requests.iter().filter(is_waiting).count()
    };
    // SAFETY: gai_suspend(3): null or a valid time, counted from now.
    let deadline = unsafe { limit.as_ref() }.map(|limit| waiting::time_from_now(*limit));
    let at_first = waiting();
    if at_first == 0 {
        return Verdict::Passed(EAI_ALLDONE);
    }
    loop {
        let finished = FINISHED.load(Ordering::Acquire);
        if waiting() < at_first {
            return Verdict::Success(0);
        }
        match waiting::wait_for_change(&FINISHED, finished, deadline) {
            Waited::Changed => {}
            Waited::TimedOut => return Verdict::Passed(libc::EAI_AGAIN),
            Waited::Interrupted => return Verdict::Passed(EAI_INTR),
        }
    }
}

/// # Safety
/// As `gai_cancel(3)`. A request is under way from the beginning.
pub(crate) unsafe fn gai_cancel(request: *const Request) -> Verdict<c_int> {
    if session::get().is_none_or(|session| !session.dns) {
        return Verdict::Bypass;
    }
    // SAFETY: gai_cancel(3): a valid request.
    let code = unsafe { request.as_ref() }.map(|request| request.code.load(Ordering::Acquire));
    Verdict::Passed(if code == Some(EAI_INPROGRESS) { EAI_NOTCANCELED } else { EAI_ALLDONE })
}
