//! Says what the program listens on.

use libc::c_int;
use protocol::codec;
use protocol::layer::Request;

use crate::client::{Patience, ask_as};
use crate::interpose::{Stage, guard};
use crate::session::{self, Session};
use crate::sys::{self, End, Speaks};

/// Whether connections of the pod may come to listeners.
pub(crate) fn is_on() -> bool {
    session::get().is_some_and(|session| session.incoming)
}

/// Tells the host that `fd` listens, and waits until connections of the pod come. A host that is lost sends none.
/// Returns 0, or the errno with which `listen` is to fail.
pub(crate) fn announce(fd: c_int) -> c_int {
    let Some((session, request)) = guard(Stage::After, None, || request(fd)) else { return 0 };
    ask_as::<c_int, 64, 16>(session, request, Patience::LookUp, |body| codec::decode(body).ok()).unwrap_or(0)
}

fn request(fd: c_int) -> Option<(&'static Session, Request<'static>)> {
    let session = session::get().filter(|_| sys::speaks(fd) == Speaks::Tcp)?;
    let bound = sys::name_of(fd, End::Local).filter(|bound| !session.is_debugger_port(bound.port()))?;
    Some((session, Request::Listen { cookie: sys::cookie(fd).ok()?, bound }))
}
