//! `sendmmsg` and `recvmmsg`: many messages by one call.

use core::mem::MaybeUninit;

use libc::{c_int, c_uint, mmsghdr, sockaddr, timespec};

use crate::address::Encoded;
use crate::hooks::datagram::{Naming, Outlet, naming, outlet, receive_cut, redirect, rename};
use crate::interpose::Verdict;
use crate::ops::{datagram, unix};
use crate::sys::memory::is_readable_range;
use crate::table::next;

/// The most messages that the kernel takes at once (`UIO_MAXIOV`).
const MOST: c_uint = 1024;

/// Messages that are prepared on the stack at a time.
const CHUNK: usize = 8;

/// Most control data, in bytes, of one of several messages in which a source address is found.
const CONTROL: usize = 128;

/// The program's messages; the count is bounded as the kernel bounds it. `None` if they cannot be read.
fn readable(messages: *mut mmsghdr, count: c_uint) -> Option<usize> {
    let count = count.min(MOST) as usize;
    is_readable_range(messages.addr(), count * size_of::<mmsghdr>()).then_some(count)
}

/// # Safety
/// As `sendmmsg(2)`.
pub(crate) unsafe fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> Verdict<c_int> {
    let Some(next) = next::sendmmsg.get() else { return Verdict::Bypass };
    let opens = flags & libc::MSG_FASTOPEN != 0;
    if !(opens || datagram::is_on() || unix::is_on()) {
        return Verdict::Bypass;
    }
    let Some(count) = readable(messages, count) else { return Verdict::Bypass };
    // SAFETY: readable, as just asked.
    let is_named = |at: usize| unsafe { !(&raw const (*messages.add(at)).msg_hdr.msg_name).read_unaligned().is_null() };
    if !(0..count).any(is_named) {
        return Verdict::Bypass;
    }
    if opens {
        // SAFETY: the program's own arguments; the first message is readable.
        let first = unsafe { (&raw const (*messages).msg_hdr).read_unaligned() };
        // SAFETY: likewise.
        match unsafe { outlet(fd, flags, first.msg_name.cast(), first.msg_namelen) } {
            Outlet::Opened => {
                // SAFETY: likewise. A connected TCP socket does not look at the addresses.
                let sent = unsafe { next(fd, messages, count as c_uint, flags & !libc::MSG_FASTOPEN) };
                return Verdict::of(sent);
            }
            Outlet::Fail(errno) => return Verdict::Fail(errno),
            Outlet::Native | Outlet::To(_) => {}
        }
    }
    let mut sent = 0;
    while sent < count {
        // SAFETY: the messages from `sent` on are readable, and the program's as sendmmsg(2) has them.
        match unsafe { send_some(fd, messages.add(sent), (count - sent).min(CHUNK), flags) } {
            Ok((now, true)) => sent += now,
            Ok((now, false)) => return Verdict::Success((sent + now) as c_int),
            Err(verdict) if sent == 0 => return verdict,
            Err(_) => break,
        }
    }
    Verdict::Success(sent as c_int)
}

/// Sends up to [`CHUNK`] messages; how many went, and whether those were all. The error is that of the first.
///
/// # Safety
/// As `sendmmsg(2)`, with readable messages.
#[inline(never)]
unsafe fn send_some(
    fd: c_int,
    messages: *mut mmsghdr,
    count: usize,
    flags: c_int,
) -> Result<(usize, bool), Verdict<c_int>> {
    let Some(next) = next::sendmmsg.get() else { return Err(Verdict::Bypass) };
    let mut chunk = [const { MaybeUninit::<mmsghdr>::uninit() }; CHUNK];
    let mut names = [Encoded::NONE; CHUNK];
    let mut rooms = [[0u8; CONTROL]; CHUNK];
    let mut last = (core::ptr::null_mut(), 0, Outlet::Native);
    let (mut prepared, mut failure) = (0, None);
    for ((place, name), room) in chunk.iter_mut().zip(&mut names).zip(&mut rooms).take(count) {
        // SAFETY: `count` messages are readable.
        let mut message = unsafe { messages.add(prepared).read_unaligned() };
        let header = &mut message.msg_hdr;
        // Mostly all go to one address.
        if (header.msg_name, header.msg_namelen) != (last.0, last.1) {
            // SAFETY: the program's own address.
            let outlet = unsafe { outlet(fd, flags & !libc::MSG_FASTOPEN, header.msg_name.cast(), header.msg_namelen) };
            last = (header.msg_name, header.msg_namelen, outlet);
        }
        match last.2 {
            Outlet::To(to) => {
                *name = to;
                // SAFETY: name and room live as long as the chunk.
                unsafe { redirect(header, name, room) };
            }
            Outlet::Fail(errno) => {
                failure = Some(Verdict::Fail(errno));
                break;
            }
            Outlet::Native | Outlet::Opened => {}
        }
        place.write(message);
        prepared += 1;
    }
    if let (0, Some(failure)) = (prepared, failure) {
        return Err(failure);
    }
    // SAFETY: that many messages are prepared, with the program's data and addresses that live.
    let sent = unsafe { next(fd, chunk.as_mut_ptr().cast(), prepared as c_uint, flags) };
    let Ok(sent) = usize::try_from(sent) else { return Err(Verdict::Passed(sent)) };
    for (at, message) in chunk.iter().enumerate().take(sent) {
        // SAFETY: prepared above; the kernel has written its result, which belongs to the program's message.
        unsafe { (&raw mut (*messages.add(at)).msg_len).write_unaligned(message.assume_init_ref().msg_len) };
    }
    Ok((sent, sent == count))
}

/// # Safety
/// As `recvmmsg(2)`.
pub(crate) unsafe fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> Verdict<c_int> {
    let Some(next) = next::recvmmsg.get() else { return Verdict::Bypass };
    if !datagram::is_on() {
        return Verdict::Bypass;
    }
    let Some(count) = readable(messages, count) else { return Verdict::Bypass };
    // SAFETY: readable, as just asked.
    let name = |at: usize| unsafe {
        let header = &raw const (*messages.add(at)).msg_hdr;
        ((&raw const (*header).msg_name).read_unaligned(), (&raw const (*header).msg_namelen).read_unaligned() as usize)
    };
    // Lengths are overwritten by the call; programs have the same room everywhere.
    let Some(room) = (0..count).map(name).filter(|(name, _)| !name.is_null()).map(|(_, room)| room).min() else {
        return Verdict::Bypass;
    };
    match naming(fd, flags, room) {
        Naming::Native => Verdict::Bypass,
        Naming::InPlace => {
            // SAFETY: the program's own arguments.
            let received = unsafe { next(fd, messages, count as c_uint, flags, timeout) };
            for at in 0..usize::try_from(received).unwrap_or(0) {
                let (name, told) = name(at);
                if !name.is_null() {
                    // SAFETY: the kernel has just written the name and its length.
                    unsafe { rename(fd, name.cast::<sockaddr>(), room, told) };
                }
            }
            Verdict::of(received)
        }
        // SAFETY: the program's own arguments.
        Naming::Cut => unsafe { receive_one(fd, messages, flags) },
    }
}

/// Receives one message, which is always permitted: the time limit only counts between messages.
unsafe fn receive_one(fd: c_int, messages: *mut mmsghdr, flags: c_int) -> Verdict<c_int> {
    // SAFETY: the first message is readable.
    let mut message = unsafe { messages.read_unaligned() };
    let header = &mut message.msg_hdr;
    if header.msg_name.is_null() || header.msg_namelen == 0 {
        return Verdict::Bypass;
    }
    // SAFETY: the program's own message.
    let verdict = unsafe { receive_cut(fd, header, flags & !libc::MSG_WAITFORONE) };
    match verdict {
        Verdict::Success(received) => {
            message.msg_len = received as c_uint;
            // SAFETY: the message is the program's to be written to.
            unsafe { messages.write_unaligned(message) };
            Verdict::Success(1)
        }
        Verdict::Fail(errno) => Verdict::Fail(errno),
        Verdict::Passed(_) => Verdict::Passed(-1),
        Verdict::Bypass => Verdict::Bypass,
    }
}
