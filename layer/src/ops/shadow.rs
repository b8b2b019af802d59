//! Files that the rules name: the pod's, as real files in a folder of the session, which the host brings up
//! to date when it is asked.

use core::ffi::CStr;
use std::io::Write;

use decide::files::{Rule, Table, plain_into};
use libc::{AT_FDCWD, c_int, mode_t};
use protocol::codec;
use protocol::files::Opening;
use protocol::layer::{
    ChangeReply, FileReply, FileRules, Lease, MAX_PATH, MAX_REQUEST, MAX_SHADOW, PathChange, Purpose, Request, SHADOW,
    SHADOW_LARGE, SHADOW_LEASES,
};

use crate::client::{AskError, Patience, ask_as};
use crate::ops::files::{Decision, File, Place};
use crate::sys::{self, Errno};
use crate::{sandbox, session};

/// Room of a request and of a reply, beside the path.
const ENVELOPE: usize = 64;

/// Longest path of a folder that others are relative to.
pub(crate) const FOLDER: usize = MAX_SHADOW + MAX_PATH;

/// What this process knows of the shadow.
pub(crate) struct Shadow {
    root: [u8; MAX_SHADOW],
    root_length: usize,
    /// As long as the other one, as is the next.
    large_root: [u8; MAX_SHADOW],
    leases: [u8; MAX_SHADOW],
    largest: u64,
    table: Table<'static>,
    written_on: Option<u64>,
}

impl Shadow {
    /// Maps the table, which the host `host` has.
    pub(crate) fn new(rules: &FileRules<'_>, host: u32) -> Option<Self> {
        let mut path = [0; 32];
        write!(&mut path[..], "/proc/{host}/fd/{}", rules.table).ok()?;
        let table = sys::memory::map_file(CStr::from_bytes_until_nul(&path).ok()?, rules.size as usize).ok()?;
        let mut root = [0; MAX_SHADOW];
        root.get_mut(..rules.shadow.len())?.copy_from_slice(rules.shadow);
        let table = Table::read(table)?;
        let root_length = rules.shadow.len();
        let beside = |other: &str| {
            let mut path = root;
            let name = root_length.checked_sub(SHADOW.len())?..root_length;
            path.get_mut(name)?.copy_from_slice(other.as_bytes());
            Some(path)
        };
        let (large_root, leases) = (beside(SHADOW_LARGE)?, beside(SHADOW_LEASES)?);
        Some(Self {
            root,
            root_length,
            large_root,
            leases,
            largest: rules.largest,
            table,
            written_on: rules.written_on,
        })
    }

    fn root(&self) -> &[u8] {
        self.root.get(..self.root_length).unwrap_or_default()
    }

    fn large_root(&self) -> &[u8] {
        self.large_root.get(..self.root_length).unwrap_or_default()
    }

    /// Whether a path is absolute and plain, and no rule names it: then there is nothing to be done for it here.
    pub(crate) fn leaves_alone(&self, path: &[u8]) -> bool {
        let is_plain = path.first() == Some(&b'/') && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        // What may be relative to a descriptor.
        let is_kernels = path.starts_with(b"/proc/");
        let is_own = self.inside(path).is_some();
        is_plain && !is_kernels && !is_own && self.table.rule(path.iter().copied()).is_none()
    }

    /// What the shadow has at a path, if the host promises that it is what the pod has, and it is no link to be followed.
    fn leased(&self, path: &[u8], follow: bool) -> Option<File> {
        let above = path.get(..path.iter().rposition(|byte| *byte == b'/').filter(|at| at + 1 < path.len())?)?;
        if sandbox::is_closed() {
            return None;
        }
        let mut name = [b'/'; 17];
        name[1..].copy_from_slice(&Lease::name(if above.is_empty() { b"/" } else { above }));
        let lease = File::in_shadow(self.leases.get(..self.root_length)?, &name, 0, false)?;
        if !Lease::holds(sys::entry(lease.path())?.modified, sys::now()) {
            return None;
        }
        // A pod can find another path of that name: none that leads out of the shadow is taken.
        if !sys::is_without_links(File::in_shadow(self.root(), above, 0, false)?.path()) {
            return None;
        }
        let file = File::in_shadow(self.root(), path, 0, false)?;
        match sys::entry(file.path())? {
            sys::Entry { kind: libc::S_IFLNK, .. } if follow => None,
            sys::Entry { kind: libc::S_IFREG, size, .. } if size > self.largest => None,
            _ => Some(file),
        }
    }

    /// The pod's path of what is in the shadow.
    fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        match path.strip_prefix(self.root()).or_else(|| path.strip_prefix(self.large_root()))? {
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
    pub(crate) fn path(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What a program wants of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// A link at its end is followed.
    pub(crate) follow: bool,
    pub(crate) purpose: Purpose,
    /// Nothing but what `stat` and `readlink` tell is wanted, so that a [`Lease`] will do.
    pub(crate) glance: bool,
}

impl Wish {
    /// `access`, `chdir` and the like.
    pub(crate) const LOOK: Self = Self { follow: true, purpose: Purpose::Look, glance: false };
    /// A path that is meant itself.
    pub(crate) const LINK: Self = Self { follow: false, ..Self::LOOK };
    /// `stat`.
    pub(crate) const STAT: Self = Self { glance: true, ..Self::LOOK };
    /// `lstat` and `readlink`.
    pub(crate) const LSTAT: Self = Self { glance: true, ..Self::LINK };
    /// `open` and the like.
    pub(crate) const OPEN: Self = Self { purpose: Purpose::Open, ..Self::LOOK };
    /// `opendir` and the like.
    pub(crate) const LIST: Self = Self { purpose: Purpose::List, ..Self::LOOK };

    /// By the flags of a call that takes `AT_SYMLINK_NOFOLLOW`.
    pub(crate) const fn at(self, flags: c_int) -> Self {
        Self { follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0, ..self }
    }

    /// By the flags of `open`, and the mode of a file that it makes.
    pub(crate) fn open(flags: c_int, mode: mode_t) -> Self {
        let has = |flag| flags & flag != 0;
        let (follow, access) = (!has(libc::O_NOFOLLOW), flags & libc::O_ACCMODE);
        let purpose = match flags {
            _ if has(libc::O_PATH) => Purpose::Look,
            _ if has(libc::O_DIRECTORY) && access == libc::O_RDONLY && !has(libc::O_TRUNC) => Purpose::List,
            _ if has(libc::O_DIRECTORY) => Purpose::Change,
            _ if access == libc::O_RDONLY && !has(libc::O_CREAT | libc::O_TRUNC) => Purpose::Open,
            _ => Purpose::Write(Opening {
                follow,
                read: access != libc::O_WRONLY,
                write: access != libc::O_RDONLY,
                create: has(libc::O_CREAT).then_some(mode),
                exclusive: has(libc::O_EXCL),
                truncate: has(libc::O_TRUNC),
                append: has(libc::O_APPEND),
            }),
        };
        Self { follow, purpose, glance: false }
    }

    /// The same, to change what is there if `changes`.
    pub(crate) const fn changing(self, changes: bool) -> Self {
        if changes { Self { purpose: Purpose::Change, glance: false, ..self } } else { self }
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
        let is_remote = is_inside || rule.is_some_and(|rule| !rule.is_local(wish.purpose.changes()));
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
        Some(rule) if !rule.is_local(wish.purpose.changes()) => Some(Decision::Ask(whole)),
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
        rule.is_some_and(|rule| !rule.is_local(false))
    })
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
    if let Some(file) = wish.glance.then(|| shadow.leased(whole.path(), wish.follow)).flatten() {
        return Place::At(file);
    }
    let request = Request::File { path: whole.path(), follow: wish.follow, purpose: wish.purpose };
    const ROOM: usize = MAX_PATH + ENVELOPE;
    let place = |body: &[u8]| {
        Some(match codec::decode(body).ok()? {
            FileReply::Shadow { path, may, large, writable } => {
                let root = if large { shadow.large_root() } else { shadow.root() };
                Place::At(File::in_shadow(root, path, may, writable)?)
            }
            FileReply::Local(path) => Place::At(File::local(path)?),
            FileReply::Failed(libc::ENOENT) => Place::Absent(libc::ENOENT),
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

/// What has become of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nothing allocates where a signal handler may run")]
pub(crate) enum Outcome {
    /// The file is this machine's, under this path or under the program's own.
    Local(File),
    Native,
    /// The pod has it.
    Done,
    /// Of two paths, each is to be asked for alone.
    Apart,
    Failed(Errno),
}

/// Whether there must be nothing at the path.
pub(crate) fn makes(change: &PathChange<'_>) -> bool {
    matches!(change, PathChange::MakeDirectory(_) | PathChange::Symlink(_) | PathChange::Unsupported { makes: true })
}

/// Has the host carry a change out. Waits.
pub(crate) fn change(whole: &Whole, change: PathChange<'_>) -> Outcome {
    let Some(session) = session::get() else { return Outcome::Native };
    let request = Request::ChangeFile { path: whole.path(), change };
    const OUT: usize = MAX_REQUEST;
    const IN: usize = MAX_PATH + ENVELOPE;
    let outcome = |body: &[u8]| {
        Some(match codec::decode(body).ok()? {
            ChangeReply::Done => Outcome::Done,
            ChangeReply::Local(path) => Outcome::Local(File::local(path)?),
            ChangeReply::Apart => Outcome::Apart,
            ChangeReply::Failed(errno @ 1..4096) => Outcome::Failed(errno),
            ChangeReply::Failed(_) => return None,
        })
    };
    match ask_as::<_, OUT, IN>(session, request, Patience::Fetch, outcome) {
        Ok(outcome) => outcome,
        Err(AskError::Sandboxed) => Outcome::Native,
        Err(AskError::NoDescriptor(errno)) => Outcome::Failed(errno),
        Err(_) => Outcome::Failed(libc::EIO),
    }
}

/// What a descriptor is open on, as far as it matters for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// A file of the session, by its number.
    File(u64),
    Directory,
}

/// What of the pod may be written through a descriptor, or made durable. Nearly all descriptors are something else,
/// which takes two short system calls where files of the pod may be written, and none elsewhere.
pub(crate) fn written(fd: c_int) -> Option<Written> {
    let device = session::get()?.shadow.as_ref()?.written_on?;
    if sandbox::is_closed() {
        return None;
    }
    let access = sys::access_mode(fd)?;
    let (on, inode, kind) = sys::file_of(fd)?;
    match kind {
        _ if on != device => None,
        libc::S_IFREG if access != libc::O_RDONLY => Some(Written::File(inode)),
        libc::S_IFDIR => Some(Written::Directory),
        _ => None,
    }
}

/// Returns once the pod has what was written to a file of the session: 0 or an errno.
pub(crate) fn settle(inode: u64, durable: bool) -> Errno {
    let Some(session) = session::get() else { return 0 };
    let request = Request::Settle { inode, durable };
    let errno = |body: &[u8]| codec::decode(body).ok();
    match ask_as::<Errno, ENVELOPE, ENVELOPE>(session, request, Patience::Fetch, errno) {
        Ok(errno @ 0..4096) => errno,
        Err(AskError::Sandboxed) => 0,
        Err(AskError::NoDescriptor(errno)) => errno,
        _ => libc::EIO,
    }
}

/// The path of what a descriptor is open on, if the host decides for it.
pub(crate) fn path_of(fd: c_int) -> Option<Whole> {
    let shadow = session::get()?.shadow.as_ref().filter(|shadow| shadow.written_on.is_some())?;
    let mut room = [0; FOLDER];
    let inside = shadow.inside(folder(fd, &mut room)?)?;
    let mut whole = Whole { bytes: [0; MAX_PATH], length: inside.len() };
    whole.bytes.get_mut(..inside.len())?.copy_from_slice(inside);
    Some(whole)
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
