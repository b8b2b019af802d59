//! The real loader with real chunks: what it executes, what it passes on, and what it says when it cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A folder as the ConfigMap volume is, with `program` in chunks of at most `chunk` bytes.
fn volume(program: &str, chunk: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("creates");
    fs::copy(env!("CARGO_BIN_EXE_loader"), folder.path().join("loader")).expect("copies");
    let packed = loader::pack(&fs::read(program).expect("reads")).expect("packs");
    for (number, bytes) in packed.chunks(chunk).enumerate() {
        fs::write(folder.path().join(format!("agent.{number}")), bytes).expect("writes");
    }
    folder
}

fn start(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(folder.join("loader")).args(arguments).env("PASSED", "on").output().expect("starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn it_executes_the_joined_chunks_with_its_arguments_and_environment() {
    let folder = volume("/bin/sh", 30_000);
    assert!(folder.path().join("agent.1").exists());
    let output = start(folder.path(), &["-c", "echo $0 $1 $PASSED", "zero", "unpack=/nowhere", "one"]);
    assert_eq!(text(&output), "zero one on\n");
    assert!(output.status.success());
}

#[test]
fn a_missing_or_damaged_chunk_is_said_and_nothing_is_executed() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("cannot open chunk agent.0 (errno 2)", |folder| fs::remove_file(folder.join("agent.0")).expect("removes")),
        ("chunks are damaged or incomplete", |folder| fs::remove_file(folder.join("agent.1")).expect("removes")),
        ("chunks are damaged or incomplete", |folder| fs::write(folder.join("agent.1"), "x").expect("writes")),
        ("chunks are damaged or incomplete", |folder| fs::write(folder.join("agent.0"), "").expect("writes")),
    ];
    for (said, damage) in damages {
        let folder = volume("/bin/true", 5_000);
        damage(folder.path());
        let output = start(folder.path(), &[]);
        assert_eq!(output.status.code(), Some(127));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}

#[test]
fn an_unusable_program_is_said_for_both_ways() {
    let folder = volume("/bin/true", 1 << 20);
    let packed = loader::pack(&[0x7f; 5000]).expect("packs");
    fs::write(folder.path().join("agent.0"), packed).expect("writes");
    let to = tempfile::tempdir().expect("creates");
    let unpack = format!("unpack={}", to.path().display());
    // Twice: the file of the first start is in the way of the second.
    for _ in 0..2 {
        let output = start(folder.path(), &[&unpack]);
        let said = text(&output);
        assert_eq!(
            said.matches("executing the agent is forbidden here").count(),
            4,
            "both ways, on both outputs: {said}"
        );
        let mode = fs::metadata(to.path().join("agent")).expect("unpacked").permissions().mode();
        assert_eq!(mode & 0o777, 0o500);
    }
}

#[test]
fn packing_round_trips_any_bytes() {
    let program = fs::read(env!("CARGO_BIN_EXE_loader")).expect("reads");
    for bytes in [&program[..], b"", b"x", &[0; 100_000]] {
        let packed = loader::pack(bytes).expect("packs");
        let mut rest = &packed[..];
        let mut got = Vec::new();
        let read = |buffer: &mut [u8]| {
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            Ok::<_, ()>(count)
        };
        loader::unpack(read, |bytes| {
            got.extend_from_slice(bytes);
            Ok(())
        })
        .expect("unpacks");
        assert!(got == bytes);
        assert_eq!(loader::chunks(&packed).map(|(_, chunk)| chunk.len()).sum::<usize>(), packed.len());
    }
}
