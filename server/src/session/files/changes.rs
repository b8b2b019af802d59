//! Changes of what is at a path: the pod makes them, and the shadow shows what has come of them.

use decide::files::Rule;
use protocol::files::{Change, ChangePath, Changed, FileKind, Metadata};
use protocol::layer::{ChangeReply, MAX_PATH, PathChange, Purpose};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::{Files, Wish, answered};

/// What a layer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) enum ChangeAnswer {
    Done,
    Local(Vec<u8>),
    Apart,
    Failed(Errno),
}

impl ChangeAnswer {
    pub(in crate::session) fn reply(&self) -> ChangeReply<'_> {
        match self {
            Self::Done => ChangeReply::Done,
            Self::Local(path) => ChangeReply::Local(path),
            Self::Apart => ChangeReply::Apart,
            Self::Failed(errno) => ChangeReply::Failed(errno.raw_os_error()),
        }
    }
}

impl Files {
    /// Carries out what a layer asks for.
    pub(in crate::session) async fn change(&self, path: &[u8], change: PathChange<'_>) -> ChangeAnswer {
        let decision = self.rules.decide(path);
        let (rule, path) = (decision.rule(), decision.path);
        let makes = is_making(&change);
        let tried = match (rule, &change) {
            (_, PathChange::Rename { to, .. } | PathChange::Link { to, .. }) => {
                let second = self.rules.decide(to);
                let rules = (rule, second.rule());
                return self.change_two(rules, &path, second.path, change).await;
            }
            (Some(Rule::NotFound), _) => Err(if makes { Errno::ACCESS } else { Errno::NOENT }),
            (Some(Rule::ReadOnly), _) => self.refuse(&path, makes, Errno::ROFS).await,
            (Some(Rule::ReadWrite), PathChange::Unsupported { makes }) => {
                self.refuse(&path, *makes, if *makes { Errno::PERM } else { Errno::OPNOTSUPP }).await
            }
            (Some(Rule::ReadWrite), _) => match owned(change) {
                Some(change) => self.carry_out(&path, change).await,
                None => Err(Errno::OPNOTSUPP),
            },
            _ if path.len() > MAX_PATH || !path.starts_with(b"/") => Err(Errno::NAMETOOLONG),
            _ => return ChangeAnswer::Local(path),
        };
        tried.map_or_else(ChangeAnswer::Failed, |()| ChangeAnswer::Done)
    }

    async fn change_two(
        &self,
        rules: (Option<Rule>, Option<Rule>),
        from: &[u8],
        to: Vec<u8>,
        change: PathChange<'_>,
    ) -> ChangeAnswer {
        let is_pods = |rule: Option<Rule>| rule.is_some_and(|rule| !rule.is_local(true));
        let change = match change {
            PathChange::Rename { flags, .. } => Change::Rename { to, flags },
            PathChange::Link { follow, .. } => Change::Link { to, follow },
            _ => return ChangeAnswer::Failed(Errno::INVAL),
        };
        let tried = match rules {
            (Some(Rule::ReadWrite), Some(Rule::ReadWrite)) => self.carry_out(from, change).await,
            (Some(Rule::NotFound), _) => Err(Errno::NOENT),
            (from, to) if !(is_pods(from) && is_pods(to)) => return ChangeAnswer::Apart,
            (_, Some(Rule::NotFound)) => Err(Errno::ACCESS),
            _ => self.refuse(from, false, Errno::ROFS).await,
        };
        tried.map_or_else(ChangeAnswer::Failed, |()| ChangeAnswer::Done)
    }

    /// What cannot be done fails as it would on a file system where it cannot.
    async fn refuse(&self, path: &[u8], makes: bool, errno: Errno) -> Result<(), Errno> {
        let wish = Wish { path: path.to_vec(), follow: false, purpose: Purpose::Look };
        match self.look(&wish).await {
            Ok(_) if makes => Err(Errno::EXIST),
            Err(Errno::NOENT) if makes => Err(errno),
            Ok(_) => Err(errno),
            Err(other) => Err(other),
        }
    }

    async fn carry_out(&self, path: &[u8], change: Change) -> Result<(), Errno> {
        if matches!(change, Change::Rename { .. } | Change::Link { .. } | Change::SetTimes { .. }) {
            self.settle_before(path).await?;
        }
        let request = ChangePath { path: path.to_vec(), change: change.clone() };
        let changed = self.links.control.call(request).await;
        self.ahead.forget();
        let Changed { path, to, about } = answered(changed)?;
        let to = to.unwrap_or_default();
        let shown = match (&change, about) {
            (Change::Remove(_), _) => self.forget(&path),
            (Change::Rename { flags, .. }, _) if flags & RenameFlags::EXCHANGE.bits() != 0 => {
                self.forget(&path).and_then(|()| self.forget(&to))
            }
            (Change::Rename { .. }, Some(about)) => {
                self.writing.renamed(&path, &to);
                self.tree().renamed(&path, &to, &about)
            }
            (Change::Link { .. }, Some(about)) => self.tree().place(&to, &about, None),
            (Change::Symlink { destination }, Some(about)) => self.tree().place(&path, &about, Some(destination)),
            (Change::SetLength(length), Some(about)) => match self.writing.at(&path) {
                Some(writer) => return self.writing.cut(&writer, *length as u64).await,
                None => self.tree().place(&path, &about, None),
            },
            (Change::SetMode { .. } | Change::SetOwner { .. } | Change::SetTimes { .. }, Some(about)) => {
                self.describe(&path, &about)
            }
            (_, Some(about)) => self.tree().place(&path, &about, None),
            (_, None) => Ok(()),
        };
        if let Err(error) = shown {
            // The pod has it, and whoever looks next makes it right.
            tracing::warn!(%error, "cannot show a change of a file of the pod");
        }
        Ok(())
    }

    fn forget(&self, path: &[u8]) -> std::io::Result<()> {
        self.writing.removed(path);
        self.tree().removed(path)
    }

    fn describe(&self, path: &[u8], about: &Metadata) -> std::io::Result<()> {
        // A link is only described where it is not followed, and is shown when it is listed.
        if about.kind == FileKind::Link { Ok(()) } else { self.tree().described(path, about) }
    }

    /// What was written comes first: nobody is to see the new name of a file without its content, and times that are set
    /// stay.
    async fn settle_before(&self, path: &[u8]) -> Result<(), Errno> {
        if self.writing.is_idle() {
            return Ok(());
        }
        self.writing.settle_within(path).await?;
        // The path may lead through links.
        let wish = Wish { path: path.to_vec(), follow: false, purpose: Purpose::Look };
        match self.writing.at(path) {
            Some(_) => Ok(()),
            None => self.writing.settle_within(&self.look(&wish).await?.path).await,
        }
    }
}

fn is_making(change: &PathChange<'_>) -> bool {
    matches!(change, PathChange::MakeDirectory(_) | PathChange::Symlink(_) | PathChange::Unsupported { makes: true })
}

/// As the agent is told; none for what it is not asked for.
fn owned(change: PathChange<'_>) -> Option<Change> {
    Some(match change {
        PathChange::MakeDirectory(mode) => Change::MakeDirectory { mode },
        PathChange::Remove(removal) => Change::Remove(removal),
        PathChange::Rename { to, flags } => Change::Rename { to: to.to_vec(), flags },
        PathChange::Link { to, follow } => Change::Link { to: to.to_vec(), follow },
        PathChange::Symlink(destination) => Change::Symlink { destination: destination.to_vec() },
        PathChange::SetMode { mode, follow } => Change::SetMode { mode, follow },
        PathChange::SetOwner { user, group, follow } => Change::SetOwner { user, group, follow },
        PathChange::SetTimes { times: [accessed, modified], follow } => Change::SetTimes { accessed, modified, follow },
        PathChange::SetLength(length) => Change::SetLength(length),
        PathChange::Sync => Change::Sync,
        PathChange::Unsupported { .. } => return None,
    })
}
