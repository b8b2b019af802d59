//! What kind of program a file is, from its head: whether its loader can load this library.

/// What a file's loader does with `LD_PRELOAD` naming this library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Loads it, or has no loader that would look (static programs), or cannot be told.
    Suits,
    /// Refuses to start or complains: another C library, word size or machine.
    Breaks,
}

/// What the head of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Is(Program),
    /// A script for the interpreter whose path is so long and starts there.
    Script {
        start: usize,
        length: usize,
    },
}

/// Bytes that [`head`] looks at first (the kernel's own `BINPRM_BUF_SIZE`).
pub(crate) const HEAD: usize = 256;

/// Most program headers that are looked at; the interpreter's is among the first.
const HEADERS: u64 = 32;

const CLASS_64: u8 = 2;
const PT_INTERP: u32 = 3;
const HEADER_SIZE: usize = 56;

#[cfg(target_arch = "x86_64")]
const OWN_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const OWN_MACHINE: u16 = 183;

/// Reads the kind from a file's first bytes; `read_at` reads more of it and returns how many bytes it got.
pub(crate) fn head(first: &[u8], read_at: impl Fn(&mut [u8], u64) -> usize) -> Head {
    match first {
        [b'#', b'!', line @ ..] => script(line),
        [0x7f, b'E', b'L', b'F', ..] => Head::Is(elf(first, read_at).unwrap_or(Program::Suits)),
        _ => Head::Is(Program::Suits),
    }
}

fn script(line: &[u8]) -> Head {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let front = line.iter().take_while(|byte| blank(byte)).count();
    let rest = line.get(front..).unwrap_or_default();
    let length = rest.iter().position(|byte| blank(byte) || matches!(byte, b'\n' | 0)).unwrap_or(rest.len());
    if length == 0 { Head::Is(Program::Suits) } else { Head::Script { start: 2 + front, length } }
}

/// The interpreter of a script and the one argument that the kernel gives it, from the file's first bytes.
pub(crate) fn interpreter(first: &[u8]) -> Option<(&[u8], &[u8])> {
    let Head::Script { start, length } = head(first, |_, _| 0) else { return None };
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let rest = first.get(start + length..)?;
    let rest = rest.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
    let argument = rest.get(rest.iter().take_while(|byte| blank(byte)).count()..)?;
    let trailing = argument.iter().rev().take_while(|byte| blank(byte)).count();
    Some((first.get(start..start + length)?, argument.get(..argument.len() - trailing)?))
}

/// `None` for files too short to tell (`elf(5)`).
fn elf(first: &[u8], read_at: impl Fn(&mut [u8], u64) -> usize) -> Option<Program> {
    let number = |at: usize| Some(u16::from_ne_bytes(*first.get(at..)?.first_chunk()?));
    let (class, machine) = (*first.get(4)?, number(18)?);
    if class != CLASS_64 || machine != OWN_MACHINE {
        return Some(Program::Breaks);
    }
    let offset = u64::from_ne_bytes(*first.get(32..)?.first_chunk()?);
    let count = u64::from(number(56)?).min(HEADERS);
    for index in 0..count {
        let mut header = [0u8; HEADER_SIZE];
        if read_at(&mut header, offset.checked_add(index * HEADER_SIZE as u64)?) < HEADER_SIZE {
            return None;
        }
        if u32::from_ne_bytes(*header.first_chunk()?) == PT_INTERP {
            let mut path = [0u8; HEAD];
            let place = u64::from_ne_bytes(*header.get(8..)?.first_chunk()?);
            let length = u64::from_ne_bytes(*header.get(32..)?.first_chunk()?) as usize;
            let read = read_at(&mut path, place).min(length);
            return Some(loader(path.get(..read)?));
        }
    }
    Some(Program::Suits)
}

/// glibc's loader is `ld-linux-<machine>.so.2` or so on every distribution.
fn loader(path: &[u8]) -> Program {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.starts_with(b"ld-linux") { Program::Suits } else { Program::Breaks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(file: &[u8]) -> Head {
        head(file.get(..HEAD).unwrap_or(file), |buffer, offset| {
            let rest = file.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            length
        })
    }

    fn program(class: u8, machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut file = vec![0u8; 400];
        file[..4].copy_from_slice(b"\x7fELF");
        file[4] = class;
        file[18..20].copy_from_slice(&machine.to_ne_bytes());
        file[32..40].copy_from_slice(&64u64.to_ne_bytes());
        file[56..58].copy_from_slice(&2u16.to_ne_bytes());
        if let Some(interpreter) = interpreter {
            file[120..124].copy_from_slice(&PT_INTERP.to_ne_bytes());
            file[128..136].copy_from_slice(&300u64.to_ne_bytes());
            file[152..160].copy_from_slice(&(interpreter.len() as u64 + 1).to_ne_bytes());
            file[300..300 + interpreter.len()].copy_from_slice(interpreter.as_bytes());
        }
        file
    }

    #[test]
    fn programs_are_told_by_their_loader() {
        let own = OWN_MACHINE;
        for (file, expected) in [
            (program(2, own, Some("/lib64/ld-linux-x86-64.so.2")), Program::Suits),
            (program(2, own, Some("/nix/store/abc-glibc/lib/ld-linux-aarch64.so.1")), Program::Suits),
            (program(2, own, None), Program::Suits),
            (program(2, own, Some("/lib/ld-musl-x86_64.so.1")), Program::Breaks),
            (program(2, own, Some("/system/bin/linker64")), Program::Breaks),
            (program(1, 3, None), Program::Breaks),
            (program(2, 243, None), Program::Breaks),
            (b"MZ".to_vec(), Program::Suits),
            (Vec::new(), Program::Suits),
            (b"\x7fELF\x02".to_vec(), Program::Suits),
        ] {
            assert_eq!(kind(&file), Head::Is(expected), "{file:?}");
        }
    }

    #[test]
    fn a_script_names_its_interpreter() {
        for (text, expected) in [
            ("#!/bin/sh\n", Head::Script { start: 2, length: 7 }),
            ("#! \t/usr/bin/env python\n", Head::Script { start: 4, length: 12 }),
            ("#!/bin/sh", Head::Script { start: 2, length: 7 }),
            ("#!\n", Head::Is(Program::Suits)),
            ("#!", Head::Is(Program::Suits)),
            ("echo", Head::Is(Program::Suits)),
        ] {
            assert_eq!(kind(text.as_bytes()), expected, "{text:?}");
        }
        for (text, expected) in [
            ("#!/bin/sh\necho", Some(("/bin/sh", ""))),
            ("#! /usr/bin/env  -S python3 -u \t\nx", Some(("/usr/bin/env", "-S python3 -u"))),
            ("#!\n", None),
            ("echo", None),
        ] {
            let expected = expected.map(|(path, argument): (&str, &str)| (path.as_bytes(), argument.as_bytes()));
            assert_eq!(interpreter(text.as_bytes()), expected, "{text:?}");
        }
    }
}
