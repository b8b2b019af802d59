//! The program that chooses the socket of a new connection: ours for a subscribed port, the usual one else.
//!
//! It runs in the kernel for each new connection to the pod (`BPF_PROG_TYPE_SK_LOOKUP`, kernel 5.9;
//! Documentation/bpf/prog_sk_lookup.rst). It reads three maps and never refuses anything: what it does not
//! understand goes the usual way.

use std::ops::RangeInclusive;

/// Descriptors of the maps.
pub(super) struct Maps {
    /// Subscribed ports as bits: port n is bit n % 64 of entry n / 64.
    pub(super) ports: i32,
    /// At 0: until when to choose at all (`CLOCK_MONOTONIC`, in ns).
    pub(super) state: i32,
    /// At 0 the listener of IPv4, at 1 that of IPv6.
    pub(super) listeners: i32,
}

/// Offsets in `struct bpf_sk_lookup`.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const REMOTE_IP4: i16 = 16;
const REMOTE_IP6: i16 = 20;
const REMOTE_PORT: i16 = 36;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;
const LOCAL_PORT: i16 = 60;

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const IPPROTO_TCP: i32 = 6;

/// Helpers (`enum bpf_func_id`).
const MAP_LOOKUP_ELEM: i32 = 1;
const KTIME_GET_NS: i32 = 5;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;

/// Lets the newest program win where several choose.
const SK_LOOKUP_F_REPLACE: i32 = 1;
const SK_PASS: i32 = 1;

/// Operations (`linux/bpf_common.h`, `linux/bpf.h`).
const LOAD_32: u8 = 0x61;
const LOAD_16: u8 = 0x69;
const LOAD_64: u8 = 0x79;
const STORE_32: u8 = 0x63;
const STORE_32_NUMBER: u8 = 0x62;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const AND_NUMBER: u8 = 0x57;
const SHIFT_RIGHT_NUMBER: u8 = 0x77;
const SHIFT_RIGHT: u8 = 0x7f;
const TO_BIG_ENDIAN: u8 = 0xdc;
const JUMP: u8 = 0x05;
const IF_EQUAL_NUMBER: u8 = 0x15;
const IF_NOT_EQUAL_NUMBER: u8 = 0x55;
const IF_NOT_EQUAL: u8 = 0x5d;
const IF_GREATER: u8 = 0x2d;
const IF_GREATER_NUMBER: u8 = 0x25;
const IF_LESS_NUMBER: u8 = 0xa5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const LOAD_MAP: u8 = 0x18;

/// In the source's place of [`LOAD_MAP`]: the number is a descriptor.
const MAP_BY_DESCRIPTOR: u8 = 1;

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const CONTEXT: u8 = 6;
const R7: u8 = 7;
const STACK: u8 = 10;

/// A map's key on the stack.
const KEY: i16 = -4;

/// A place in the program that is known only later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Ends with the usual choice.
    Pass,
    Foreign,
    SameAddress,
    Six,
    Choose,
}

/// The program's instructions (`struct bpf_insn`). Connections from ports of `passed` at the same address as they go
/// to are those of agents, which go on.
pub(super) fn instructions(maps: &Maps, passed: &RangeInclusive<u16>) -> Vec<u64> {
    let mut program = Program::default();
    program.add(MOVE, CONTEXT, R1, 0, 0);
    program.load(LOAD_32, R1, PROTOCOL);
    program.jump(IF_NOT_EQUAL_NUMBER, R1, IPPROTO_TCP, Place::Pass);
    program.pass_when_late(maps);
    program.pass_agents_own(passed);
    program.at(Place::Foreign);
    program.pass_other_ports(maps);
    program.choose(maps);
    program.at(Place::Pass);
    program.add(MOVE_NUMBER, R0, 0, 0, SK_PASS);
    program.add(EXIT, 0, 0, 0, 0);
    program.finish()
}

#[derive(Default)]
struct Program {
    instructions: Vec<u64>,
    jumps: Vec<(usize, Place)>,
    places: Vec<(Place, usize)>,
}

impl Program {
    fn add(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: i32) {
        let registers = from << 4 | to;
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = number.to_le_bytes();
        self.instructions.push(u64::from_le_bytes([operation, registers, low, high, a, b, c, d]));
    }

    /// Loads a field of the context.
    fn load(&mut self, operation: u8, to: u8, field: i16) {
        self.add(operation, to, CONTEXT, field, 0);
    }

    fn jump(&mut self, operation: u8, register: u8, number: i32, place: Place) {
        self.jumps.push((self.instructions.len(), place));
        self.add(operation, register, 0, 0, number);
    }

    fn jump_registers(&mut self, operation: u8, left: u8, right: u8, place: Place) {
        self.jumps.push((self.instructions.len(), place));
        self.add(operation, left, right, 0, 0);
    }

    fn at(&mut self, place: Place) {
        self.places.push((place, self.instructions.len()));
    }

    /// Looks the key on the stack up; the entry's address or 0 is in [`R0`] then.
    fn look_up(&mut self, map: i32) {
        self.add(LOAD_MAP, R1, MAP_BY_DESCRIPTOR, 0, map);
        // The upper half of the number.
        self.add(0, 0, 0, 0, 0);
        self.add(MOVE, R2, STACK, 0, 0);
        self.add(ADD_NUMBER, R2, 0, 0, i32::from(KEY));
        self.add(CALL, 0, 0, 0, MAP_LOOKUP_ELEM);
    }

    fn look_up_number(&mut self, map: i32, key: i32) {
        self.add(STORE_32_NUMBER, STACK, 0, KEY, key);
        self.look_up(map);
        self.jump(IF_EQUAL_NUMBER, R0, 0, Place::Pass);
    }

    /// An agent that has not said lately that it lives chooses nothing.
    fn pass_when_late(&mut self, maps: &Maps) {
        self.look_up_number(maps.state, 0);
        self.add(LOAD_64, R7, R0, 0, 0);
        self.add(CALL, 0, 0, 0, KTIME_GET_NS);
        self.jump_registers(IF_GREATER, R0, R7, Place::Pass);
    }

    fn pass_agents_own(&mut self, passed: &RangeInclusive<u16>) {
        self.load(LOAD_16, R1, REMOTE_PORT);
        self.add(TO_BIG_ENDIAN, R1, 0, 0, 16);
        self.jump(IF_LESS_NUMBER, R1, i32::from(*passed.start()), Place::Foreign);
        self.jump(IF_GREATER_NUMBER, R1, i32::from(*passed.end()), Place::Foreign);
        self.load(LOAD_32, R1, FAMILY);
        self.jump(IF_NOT_EQUAL_NUMBER, R1, AF_INET, Place::Six);
        self.load(LOAD_32, R1, REMOTE_IP4);
        self.load(LOAD_32, R2, LOCAL_IP4);
        self.jump_registers(IF_NOT_EQUAL, R1, R2, Place::Foreign);
        self.jump(JUMP, 0, 0, Place::SameAddress);
        self.at(Place::Six);
        for word in (0..16).step_by(4) {
            self.load(LOAD_32, R1, REMOTE_IP6 + word);
            self.load(LOAD_32, R2, LOCAL_IP6 + word);
            self.jump_registers(IF_NOT_EQUAL, R1, R2, Place::Foreign);
        }
        self.at(Place::SameAddress);
        self.jump(JUMP, 0, 0, Place::Pass);
    }

    fn pass_other_ports(&mut self, maps: &Maps) {
        self.load(LOAD_32, R7, LOCAL_PORT);
        self.add(MOVE, R1, R7, 0, 0);
        self.add(SHIFT_RIGHT_NUMBER, R1, 0, 0, 6);
        self.add(STORE_32, STACK, R1, KEY, 0);
        self.look_up(maps.ports);
        self.jump(IF_EQUAL_NUMBER, R0, 0, Place::Pass);
        self.add(LOAD_64, R1, R0, 0, 0);
        self.add(AND_NUMBER, R7, 0, 0, 63);
        self.add(SHIFT_RIGHT, R1, R7, 0, 0);
        self.add(AND_NUMBER, R1, 0, 0, 1);
        self.jump(IF_EQUAL_NUMBER, R1, 0, Place::Pass);
    }

    /// Hands the connection to the listener of its family.
    fn choose(&mut self, maps: &Maps) {
        self.add(STORE_32_NUMBER, STACK, 0, KEY, 0);
        self.load(LOAD_32, R1, FAMILY);
        self.jump(IF_EQUAL_NUMBER, R1, AF_INET, Place::Choose);
        self.jump(IF_NOT_EQUAL_NUMBER, R1, AF_INET6, Place::Pass);
        self.add(STORE_32_NUMBER, STACK, 0, KEY, 1);
        self.at(Place::Choose);
        self.look_up(maps.listeners);
        self.jump(IF_EQUAL_NUMBER, R0, 0, Place::Pass);
        self.add(MOVE, R7, R0, 0, 0);
        self.add(MOVE, R1, CONTEXT, 0, 0);
        self.add(MOVE, R2, R7, 0, 0);
        self.add(MOVE_NUMBER, R3, 0, 0, SK_LOOKUP_F_REPLACE);
        self.add(CALL, 0, 0, 0, SK_ASSIGN);
        self.add(MOVE, R1, R7, 0, 0);
        self.add(CALL, 0, 0, 0, SK_RELEASE);
    }

    /// Puts the distances into the jumps.
    fn finish(mut self) -> Vec<u64> {
        for (at, place) in &self.jumps {
            let target = self.places.iter().find(|(known, _)| known == place).map_or(*at + 1, |(_, target)| *target);
            let distance = (target - at - 1) as u16;
            self.instructions[*at] |= u64::from(distance) << 16;
        }
        self.instructions
    }
}
