//! What the pod has of a file that is written here, and the changes that bring it the rest.
//!
//! Programs write to the session's copy without our knowing where. So the pod's content is remembered as a hash of each
//! block, and what is compared with it is the copy. A file that is only appended to needs none of this.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;

use protocol::files::{Edit, PIECE};

/// What is compared and sent as a whole, in bytes: a page.
const BLOCK: usize = 4096;

/// How much is looked at at a time, in bytes.
const WINDOW: usize = 256 * BLOCK;

/// What the pod has.
#[derive(Debug, Default)]
pub(super) struct Sent {
    size: u64,
    /// A hash of each block, as far as it was compared.
    blocks: Vec<u64>,
    /// Everything is written to the end, and what stands before it is never looked at.
    appends: bool,
    /// The pod's file may have another size.
    unsure: bool,
    /// The copy ends with a hole that the pod's file does not have yet.
    ends_in_hole: bool,
}

/// A part of the way through a file.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) edits: Vec<Edit>,
    /// Where to go on.
    pub(super) next: Option<u64>,
}

impl Sent {
    /// Anything, of a file that has become empty here.
    pub(super) fn emptied(appends: bool) -> Self {
        Self { appends, unsure: true, ..Self::default() }
    }

    /// So many bytes, to which others will be appended.
    pub(super) fn beginning(size: u64) -> Self {
        Self { size, appends: true, ..Self::default() }
    }

    /// All that is in the copy.
    pub(super) fn all(copy: &File, hasher: &RandomState) -> io::Result<Self> {
        let mut sent = Self { size: copy.metadata()?.len(), ..Self::default() };
        sent.compare_from_now(copy, hasher)?;
        Ok(sent)
    }

    /// Whether everything is written to the end.
    pub(super) fn appends(&self) -> bool {
        self.appends
    }

    /// How much the pod has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// From now on the file may be written anywhere; until now it was only appended to.
    pub(super) fn compare_from_now(&mut self, copy: &File, hasher: &RandomState) -> io::Result<()> {
        self.appends = false;
        self.blocks.clear();
        let (mut room, mut at) = (vec![0; WINDOW], 0);
        while at < self.size {
            let wanted = (self.size - at).min(WINDOW as u64) as usize;
            let length = read(copy, &mut room[..wanted], at)?;
            self.blocks.extend(room[..length].chunks(BLOCK).map(|block| hasher.hash_one(block)));
            if length < wanted {
                break;
            }
            at += length as u64;
        }
        Ok(())
    }

    /// The pod may have anything: what is there is sent again. What was appended is not: some of it may be there, and
    /// what others have appended must not be lost.
    pub(super) fn forget(&mut self) {
        if !self.appends {
            self.blocks.clear();
            self.unsure = true;
        }
    }

    /// The changes of the part from `at` on, which count as sent. The first part is at 0.
    pub(super) fn changes(&mut self, copy: &File, at: u64, hasher: &RandomState) -> io::Result<Changes> {
        let size = copy.metadata()?.len();
        let mut changes = Changes::default();
        if at == 0 && size < self.size {
            changes.edits.push(Edit::SetLength(size));
            self.size = size;
            self.blocks.truncate(size.div_ceil(BLOCK as u64) as usize);
        }
        if self.appends {
            self.append(copy, size, &mut changes)?
        } else {
            self.compare(copy, at, hasher, &mut changes)?
        }
        if changes.next.is_none() && (self.unsure || self.ends_in_hole) {
            (self.unsure, self.ends_in_hole) = (false, false);
            changes.edits.push(Edit::SetLength(self.size));
        }
        Ok(changes)
    }

    fn append(&mut self, copy: &File, size: u64, changes: &mut Changes) -> io::Result<()> {
        let mut room = vec![0; PIECE];
        let end = size.min(self.size + WINDOW as u64);
        while self.size < end {
            let wanted = (end - self.size).min(PIECE as u64) as usize;
            let length = read(copy, &mut room[..wanted], self.size)?;
            if length == 0 {
                return Ok(());
            }
            changes.edits.push(Edit::Append(room[..length].to_vec()));
            self.size += length as u64;
        }
        changes.next = (self.size < size).then_some(self.size);
        Ok(())
    }

    fn compare(&mut self, copy: &File, at: u64, hasher: &RandomState, changes: &mut Changes) -> io::Result<()> {
        let mut room = vec![0; WINDOW];
        let length = read(copy, &mut room, at)?;
        let first = (at / BLOCK as u64) as usize;
        for (index, block) in room[..length].chunks(BLOCK).enumerate() {
            let (offset, hash) = (at + (index * BLOCK) as u64, hasher.hash_one(block));
            let known = self.blocks.get_mut(first + index);
            let is_new = known.is_none();
            match known {
                Some(known) if *known == hash => continue,
                Some(known) => *known = hash,
                None => self.blocks.push(hash),
            }
            // A hole at the end costs nothing but its size.
            if is_new && offset >= self.size && !self.unsure && block.iter().all(|byte| *byte == 0) {
                self.ends_in_hole = true;
                continue;
            }
            self.ends_in_hole = false;
            add(&mut changes.edits, offset, block);
        }
        let end = at + length as u64;
        self.size = self.size.max(end);
        changes.next = (length == WINDOW).then_some(end);
        Ok(())
    }
}

/// Adds a block, to the last edit where it goes on from there.
fn add(edits: &mut Vec<Edit>, at: u64, block: &[u8]) {
    match edits.last_mut() {
        Some(Edit::Write { offset, bytes })
            if *offset + bytes.len() as u64 == at && bytes.len() + block.len() <= PIECE =>
        {
            bytes.extend_from_slice(block);
        }
        _ => edits.push(Edit::Write { offset: at, bytes: block.to_vec() }),
    }
}

/// As much as there is.
fn read(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < room.len() {
        match file.read_at(&mut room[length..], at + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// Carries changes out on what the pod has.
    fn bring(pod: &mut Vec<u8>, sent: &mut Sent, copy: &File, hasher: &RandomState) -> usize {
        let (mut at, mut carried) = (Some(0), 0);
        while let Some(from) = at {
            let Changes { edits, next } = sent.changes(copy, from, hasher).expect("reads");
            for edit in edits {
                match edit {
                    Edit::Write { offset, bytes } => {
                        assert!(bytes.len() <= PIECE);
                        carried += bytes.len();
                        let end = offset as usize + bytes.len();
                        pod.resize(pod.len().max(end), 0);
                        pod[offset as usize..end].copy_from_slice(&bytes);
                    }
                    Edit::Append(bytes) => {
                        carried += bytes.len();
                        pod.extend(bytes);
                    }
                    Edit::SetLength(size) => pod.resize(size as usize, 0),
                    Edit::Flush { .. } => unreachable!("not a change"),
                }
            }
            at = next;
        }
        carried
    }

    #[test]
    fn only_what_has_changed_travels() {
        let hasher = RandomState::new();
        let mut copy = tempfile::tempfile().expect("a file");
        let content: Vec<u8> = (0..3 * WINDOW + 100).map(|at| (at / 7) as u8).collect();
        copy.write_all(&content).expect("written");
        let (mut pod, mut sent) = (content.clone(), Sent::all(&copy, &hasher).expect("reads"));
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 0);
        copy.write_all_at(b"changed", 2 * WINDOW as u64 + 5).expect("written");
        copy.seek(SeekFrom::End(0)).expect("seeks");
        copy.write_all(b"and more").expect("written");
        let carried = bring(&mut pod, &mut sent, &copy, &hasher);
        assert_eq!(carried, BLOCK + 108, "a block, and the last one");
        let whole = |copy: &File| {
            let mut bytes = vec![0; copy.metadata().expect("there").len() as usize];
            copy.read_exact_at(&mut bytes, 0).expect("reads");
            bytes
        };
        assert!(pod == whole(&copy));
        copy.set_len(10).expect("cut");
        copy.write_all_at(b"x", 5).expect("written");
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 10);
        copy.set_len(5 << 20).expect("grown");
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), BLOCK, "a hole is only a size");
        assert!(pod == whole(&copy));
        sent.forget();
        pod = vec![7; 6 << 20];
        bring(&mut pod, &mut sent, &copy, &hasher);
        assert!(pod == whole(&copy));
    }

    #[test]
    fn appends_travel_as_appends() {
        let hasher = RandomState::new();
        let mut copy = tempfile::tempfile().expect("a file");
        copy.set_len(8).expect("grown");
        copy.seek(SeekFrom::End(0)).expect("seeks");
        copy.write_all(b"mine\n").expect("written");
        let (mut pod, mut sent) = (b"theirs, and longer\n".to_vec(), Sent::beginning(8));
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 5);
        assert_eq!(pod, b"theirs, and longer\nmine\n");
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 0);
        copy.write_all(&vec![b'x'; 2 * WINDOW]).expect("written");
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 2 * WINDOW);
        sent.compare_from_now(&copy, &hasher).expect("reads");
        assert_eq!(bring(&mut pod, &mut sent, &copy, &hasher), 0);
    }
}
