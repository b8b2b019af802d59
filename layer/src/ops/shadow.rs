//! Files that the rules name: the pod's, as real files in a folder of the session, which the host brings up
//! to date when it is asked.

use core::ffi::CStr;
use std::io::Write;

use decide::files::{Rule, Table, plain_into};
use libc::{AT_FDCWD, c_int};
use protocol::codec;
use protocol::layer::{FileReply, FileRules, MAX_PATH, MAX_SHADOW, Purpose, Request};

use crate::client::{AskError, Patience, ask_as};
use crate::ops::files::{Decision, File, Place};
use crate::{sandbox, session, sys};

/// Room of a request and of a reply, beside the path.
const ENVELOPE: usize = 64;

/// Longest path of a folder that others are relative to.
pub(crate) const FOLDER: usize = MAX_SHADOW + MAX_PATH;

/// What this process knows of the shadow.
pub(crate) struct Shadow {
    root: [u8; MAX_SHADOW],
    root_length: usize,
    table: Table<'static>,
}

impl Shadow {
    /// Maps the table, which the host `host` has.
    pub(crate) fn new(rules: &FileRules<'_>, host: u32) -> Option<Self> {
        let mut path = [0; 32];
        write!(&mut path[..], "/proc/{host}/fd/{}", rules.table).ok()?;
        let table = sys::memory::map_file(CStr::from_bytes_until_nul(&path).ok()?, rules.size as usize).ok()?;
        let mut root = [0; MAX_SHADOW];
        root.get_mut(..rules.shadow.len())?.copy_from_slice(rules.shadow);
        Some(Self { root, root_length: rules.shadow.len(), table: Table::read(table)? })
    }

    fn root(&self) -> &[u8] {
        self.root.get(..self.root_length).unwrap_or_default()
    }

    /// Whether a path is absolute and plain, and no rule names it: then there is nothing to be done for it here.
    pub(crate) fn leaves_alone(&self, path: &[u8]) -> bool {
        let is_plain = path.first() == Some(&b'/') && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        // What may be relative to a descriptor.
        let is_kernels = path.starts_with(b"/proc/");
        let is_own = path.starts_with(self.root());
        is_plain && !is_kernels && !is_own && self.table.rule(path.iter().copied()).is_none()
    }

    /// The pod's path of what is in the shadow.
    fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        match path.strip_prefix(self.root())? {
            [] => Some(b"/"),
            below @ [b'/', ..] => Some(below),
            _ => None,
        }
    }
}

/// A path to ask the host for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    bytes: [u8; MAX_PATH],
    length: usize,
}

impl Whole {
    fn path(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What a program wants of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// A link at its end is followed.
    pub(crate) follow: bool,
    pub(crate) purpose: Purpose,
    /// What is there is to be changed.
    pub(crate) changes: bool,
}

impl Wish {
    /// `stat` and the like.
    pub(crate) const LOOK: Self = Self { follow: true, purpose: Purpose::Look, changes: false };
    /// `lstat` and the like.
    pub(crate) const LINK: Self = Self { follow: false, purpose: Purpose::Look, changes: false };
    /// `open` and the like.
    pub(crate) const OPEN: Self = Self { follow: true, purpose: Purpose::Open, changes: false };
    /// `opendir` and the like.
    pub(crate) const LIST: Self = Self { follow: true, purpose: Purpose::List, changes: false };

    /// `LOOK` or `LINK`, by the flags of a call that takes `AT_SYMLINK_NOFOLLOW`.
    pub(crate) fn at(flags: c_int) -> Self {
        if flags & libc::AT_SYMLINK_NOFOLLOW == 0 { Self::LOOK } else { Self::LINK }
    }

    /// By the flags of `open`.
    pub(crate) fn open(flags: c_int) -> Self {
        let purpose = match flags {
            _ if flags & libc::O_PATH != 0 => Purpose::Look,
            _ if flags & libc::O_DIRECTORY != 0 => Purpose::List,
            _ => Purpose::Open,
        };
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_TRUNC | libc::O_CREAT) != 0;
        Self { follow: flags & libc::O_NOFOLLOW == 0, purpose, changes: writes && flags & libc::O_PATH == 0 }
    }

    /// The same, to change what is there if `changes`.
    pub(crate) const fn changing(self, changes: bool) -> Self {
        Self { changes, ..self }
    }
}

/// Decides for a path, which may be relative to `directory`; `None` where the rules say nothing.
pub(crate) fn decide(shadow: &Shadow, directory: c_int, path: &[u8], wish: Wish) -> Option<Decision> {
    let mut room = [0; FOLDER];
    let (directory, path) = below_descriptor(path).unwrap_or((directory, path));
    let folder = match path {
        [] => return None,
        [b'/', ..] => &[],
        _ => folder(directory, &mut room)?,
    };
    let is_inside = shadow.inside(folder).is_some();
    let folder = shadow.inside(folder).unwrap_or(folder);
    let mut whole = Whole { bytes: [0; MAX_PATH], length: 0 };
    let Some(plain) = plain_into(&[folder, path], &mut whole.bytes) else {
        // Nobody's file is taken for another's.
        let between: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let rule = shadow.table.rule(folder.iter().chain(between).chain(path).copied());
        let is_remote = is_inside || rule.is_some_and(|rule| !is_local(rule, wish));
        return is_remote.then_some(Decision::Settled(Place::Failed(libc::ENAMETOOLONG)));
    };
    whole.length = plain.len();
    // A program may have found the shadow's own path out.
    let (from, is_inside) = match shadow.inside(plain) {
        Some(_) => (shadow.root_length.min(whole.length - 1), true),
        None => (0, is_inside),
    };
    whole.bytes.copy_within(from..whole.length, 0);
    whole.length -= from;
    match shadow.table.rule(whole.path().iter().copied()) {
        Some(Rule::NotFound) => Some(Decision::Settled(Place::Absent(libc::EACCES))),
        Some(rule) if !is_local(rule, wish) => Some(Decision::Ask(whole)),
        _ if is_inside || leaves_the_pod(shadow, folder, path) => {
            Some(Decision::Settled(File::local(whole.path()).map_or(Place::Failed(libc::ENAMETOOLONG), Place::At)))
        }
        Some(_) => Some(Decision::Settled(Place::Native)),
        None => None,
    }
}

/// Whether a path that ends at this machine's goes up from what is the pod's: this machine may not have that folder.
fn leaves_the_pod(shadow: &Shadow, folder: &[u8], path: &[u8]) -> bool {
    let ups = path.windows(3).enumerate().filter(|(_, three)| *three == b"/..").map(|(at, _)| at);
    ups.filter(|at| matches!(path.get(at + 3), None | Some(b'/'))).any(|at| {
        let mut room = [0; MAX_PATH];
        let above = path.get(..at).and_then(|above| plain_into(&[folder, above], &mut room));
        let rule = above.and_then(|above| shadow.table.rule(above.iter().copied()));
        rule.is_some_and(|rule| !is_local(rule, Wish::LOOK))
    })
}

/// Whether what a rule names is this machine's for somebody with that wish.
fn is_local(rule: Rule, wish: Wish) -> bool {
    match rule {
        Rule::Local | Rule::Unnamed => true,
        Rule::Read => wish.changes,
        Rule::Mapping | Rule::NotFound | Rule::ReadWrite | Rule::ReadOnly => false,
    }
}

/// `/proc/self/fd/<n>/…` and `/proc/self/cwd/…` are relative to a descriptor.
fn below_descriptor(path: &[u8]) -> Option<(c_int, &[u8])> {
    let rest = path.strip_prefix(b"/proc/self/")?;
    let (number, rest) = match rest.strip_prefix(b"fd/") {
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = rest.split_at_checked(digits)?;
            (core::str::from_utf8(digits).ok()?.parse().ok()?, rest)
        }
        None => (AT_FDCWD, rest.strip_prefix(b"cwd")?),
    };
    let below = rest.iter().position(|byte| *byte != b'/').filter(|slashes| *slashes > 0)?;
    Some((number, rest.get(below..)?))
}

/// The path of a directory, as the kernel says it.
fn folder(directory: c_int, room: &mut [u8]) -> Option<&[u8]> {
    if sandbox::is_closed() {
        return None;
    }
    let path = match directory {
        AT_FDCWD => sys::current_folder(room),
        _ => sys::read_link(link_of(directory, &mut [0; 32])?, room),
    };
    path.ok().filter(|path| path.starts_with(b"/"))
}

fn link_of(descriptor: c_int, room: &mut [u8; 32]) -> Option<&CStr> {
    write!(&mut room[..31], "/proc/self/fd/{descriptor}").ok()?;
    CStr::from_bytes_until_nul(room).ok()
}

/// Asks the host to make what is at a path be there, and where. Waits.
pub(crate) fn ask(whole: &Whole, wish: Wish) -> Place {
    let Some((session, shadow)) = session::get().and_then(|session| Some((session, session.shadow.as_ref()?))) else {
        return Place::Native;
    };
    let request = Request::File { path: whole.path(), follow: wish.follow, purpose: wish.purpose };
    const ROOM: usize = MAX_PATH + ENVELOPE;
    let place = |body: &[u8]| {
        Some(match codec::decode(body).ok()? {
            FileReply::Shadow { path, may } => Place::At(File::in_shadow(shadow.root(), path, may)?),
            FileReply::Local(path) => Place::At(File::local(path)?),
            FileReply::Failed(libc::ENOENT) => Place::Absent(libc::EROFS),
            FileReply::Failed(errno @ 1..4096) => Place::Failed(errno),
            FileReply::Failed(_) => return None,
        })
    };
    match ask_as::<_, ROOM, ROOM>(session, request, Patience::Fetch, place) {
        Ok(place) => place,
        Err(AskError::Sandboxed) => Place::Native,
        Err(AskError::NoDescriptor(errno)) => Place::Failed(errno),
        Err(_) => Place::Failed(libc::EIO),
    }
}

/// Whether there is a shadow.
pub(crate) fn is_on() -> bool {
    session::get().is_some_and(|session| session.shadow.is_some())
}

/// Puts the pod's path in the place of one in the shadow, which the kernel has said; its length.
pub(crate) fn show(told: &mut [u8]) -> Option<usize> {
    let shadow = session::get()?.shadow.as_ref()?;
    let length = shadow.inside(told)?.len();
    match told.len().checked_sub(length).filter(|from| *from == shadow.root_length) {
        Some(from) => told.copy_within(from.., 0),
        None => *told.first_mut()? = b'/',
    }
    Some(length)
}

/// The current folder, if it is the pod's.
pub(crate) fn current_folder(room: &mut [u8; FOLDER]) -> Option<&[u8]> {
    let shadow = session::get()?.shadow.as_ref()?;
    shadow.inside(folder(AT_FDCWD, room)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_descriptors_are_known() {
        for (path, expected) in [
            ("/proc/self/fd/7/a/b", Some((7, "a/b"))),
            ("/proc/self/fd/7//a", Some((7, "a"))),
            ("/proc/self/cwd/a", Some((AT_FDCWD, "a"))),
            ("/proc/self/fd/7", None),
            ("/proc/self/fd/7/", None),
            ("/proc/self/fd/7x/a", None),
            ("/proc/self/cwdx", None),
            ("/proc/self/root/a", None),
            ("/app/a", None),
        ] {
            let expected = expected.map(|(number, rest): (c_int, &str)| (number, rest.as_bytes()));
            assert_eq!(below_descriptor(path.as_bytes()), expected, "{path}");
        }
    }
}
