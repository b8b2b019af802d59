//! What the session host has answered about datagrams, so that it is asked once and not per datagram.
//!
//! A fixed table in static memory, without locks: a signal handler may use it in the middle of a use, and a
//! fork may copy it in the middle of a write. A slot that is being written is a miss for everybody else; one
//! that stays half written because its writer was left by a jump or by a fork is lost until the program ends.

use core::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use decide::outgoing::unmapped;

/// Answers that are kept. More push older ones out.
const SLOTS: usize = 512;

/// Slots in which one key may stand.
const WAYS: usize = 4;

/// What a slot is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// By what a socket reaches a remote address. Cookies are never used twice, so the answer stays true.
    Relay { cookie: u64, peer: SocketAddr },
    /// Who stands behind a relay's address. IPv4 relays are never used twice by a session (cookie 0); those on
    /// `::1` share their ports with everybody, but stand as long as the socket that they send to.
    Behind { cookie: u64, relay: SocketAddr },
    /// Whether a connected socket whose far end is on `::1` is of the session.
    Connected { cookie: u64, peer: SocketAddr },
    /// Whether it was us who gave a socket its address and port.
    Bound { cookie: u64 },
}

/// What is known of a [`Subject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// This address.
    Address(SocketAddr),
    /// It is this machine's business.
    Local,
    /// It was this machine's business at this second of the system's clock.
    LocalAt(u32),
}

const ADDRESS: u64 = 1;
const LOCAL: u64 = 2;
const LOCAL_AT: u64 = 3;

/// Key and value as numbers: cookie, address (two), port with kind; address (two), port with kind.
const WORDS: usize = 7;

struct Slot {
    /// Odd while the slot is written; different after each write.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

struct Table {
    slots: [Slot; SLOTS],
    /// Chooses who makes way.
    turn: AtomicU32,
}

static TABLE: Table = Table::new();

/// What is known of `subject`.
pub(crate) fn get(subject: Subject) -> Option<Known> {
    TABLE.get(subject)
}

/// Notes what is known of `subject`, unless that would have to wait.
pub(crate) fn put(subject: Subject, known: Known) {
    TABLE.put(subject, known);
}

impl Slot {
    const fn empty() -> Self {
        Self { sequence: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] }
    }

    /// The words, `None` while somebody writes them.
    fn read(&self) -> Option<[u64; WORDS]> {
        let before = self.sequence.load(Ordering::Acquire);
        let words = core::array::from_fn(|at| self.words.get(at).map_or(0, |word| word.load(Ordering::Relaxed)));
        fence(Ordering::Acquire);
        (before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before).then_some(words)
    }

    fn write(&self, words: [u64; WORDS]) {
        let before = self.sequence.load(Ordering::Relaxed);
        let taken = before.is_multiple_of(2)
            && self.sequence.compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            fence(Ordering::Release);
            for (place, word) in self.words.iter().zip(words) {
                place.store(word, Ordering::Relaxed);
            }
            self.sequence.store(before + 2, Ordering::Release);
        }
    }
}

impl Table {
    const fn new() -> Self {
        Self { slots: [const { Slot::empty() }; SLOTS], turn: AtomicU32::new(0) }
    }

    fn get(&self, subject: Subject) -> Option<Known> {
        let key = key(subject);
        self.ways(key).filter_map(Slot::read).find(|words| words.starts_with(&key)).and_then(|words| known(&words))
    }

    fn put(&self, subject: Subject, known: Known) {
        let key = key(subject);
        let is_at_home = |slot: &&Slot| slot.read().is_some_and(|words| words.starts_with(&key));
        let is_free = |slot: &&Slot| slot.read() == Some([0; WORDS]);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % WAYS;
        let place = self.ways(key).find(is_at_home).or_else(|| self.ways(key).find(is_free));
        let mut words = [0; WORDS];
        words[..4].copy_from_slice(&key);
        words[4..].copy_from_slice(&value(known));
        if let Some(slot) = place.or_else(|| self.ways(key).nth(turn)) {
            slot.write(words);
        }
    }

    fn ways(&self, key: [u64; 4]) -> impl Iterator<Item = &Slot> {
        // Fibonacci hashing, once per word.
        let mixed =
            key.iter().fold(0u64, |mixed, word| (mixed.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let first = (mixed >> 40) as usize;
        (0..WAYS).filter_map(move |way| self.slots.get((first + way) % SLOTS))
    }
}

fn key(subject: Subject) -> [u64; 4] {
    let (kind, cookie, address) = match subject {
        Subject::Relay { cookie, peer } => (1, cookie, Some(peer)),
        Subject::Behind { cookie, relay } => (2, cookie, Some(relay)),
        Subject::Connected { cookie, peer } => (3, cookie, Some(peer)),
        Subject::Bound { cookie } => (4, cookie, None),
    };
    let [high, low, port] = address.map_or([0; 3], numbers);
    [cookie, high, low, port | kind << 16]
}

fn value(known: Known) -> [u64; 3] {
    match known {
        Known::Address(address) => {
            let [high, low, port] = numbers(address);
            [high, low, port | ADDRESS << 16]
        }
        Known::Local => [0, 0, LOCAL << 16],
        Known::LocalAt(second) => [0, 0, LOCAL_AT << 16 | u64::from(second) << 32],
    }
}

fn known(words: &[u64; WORDS]) -> Option<Known> {
    let [_, _, _, _, high, low, port] = *words;
    match port >> 16 & 0xffff {
        ADDRESS => Some(Known::Address(address(high, low, port))),
        LOCAL => Some(Known::Local),
        LOCAL_AT => Some(Known::LocalAt((port >> 32) as u32)),
        _ => None,
    }
}

/// An address as two halves, and its port with its scope. IPv4 stands in its v4-mapped form.
fn numbers(address: SocketAddr) -> [u64; 3] {
    let (ip, scope) = match unmapped(address) {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    let ip = u128::from(ip);
    [(ip >> 64) as u64, ip as u64, u64::from(address.port()) | u64::from(scope) << 32]
}

fn address(high: u64, low: u64, port: u64) -> SocketAddr {
    let ip = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
    unmapped(SocketAddr::V6(SocketAddrV6::new(ip, port as u16, 0, (port >> 32) as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_put_is_got() {
        let table = Table::new();
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, 3));
        let pairs = [
            (Subject::Relay { cookie: 7, peer: at("10.0.0.1:53") }, Known::Address(at("127.77.1.2:4000"))),
            (Subject::Relay { cookie: 8, peer: at("10.0.0.1:53") }, Known::Local),
            (Subject::Behind { cookie: 0, relay: at("127.77.1.2:4000") }, Known::Address(at("[fd00::1]:53"))),
            (Subject::Behind { cookie: 7, relay: at("127.77.1.2:4000") }, Known::Address(scoped)),
            (Subject::Connected { cookie: 7, peer: at("[::1]:1") }, Known::LocalAt(u32::MAX)),
            (Subject::Bound { cookie: 7 }, Known::Local),
        ];
        for (subject, _) in pairs {
            assert_eq!(table.get(subject), None);
        }
        for (subject, known) in pairs {
            table.put(subject, known);
        }
        for (subject, known) in pairs {
            assert_eq!(table.get(subject), Some(known));
        }
        table.put(pairs[0].0, Known::Local);
        assert_eq!(table.get(pairs[0].0), Some(Known::Local));
        let mapped = Subject::Relay { cookie: 8, peer: at("[::ffff:10.0.0.1]:53") };
        assert_eq!(table.get(mapped), Some(Known::Local), "one address, written in two ways");
    }

    #[test]
    fn more_than_fits_pushes_others_out_and_never_mixes_them() {
        let table = Table::new();
        let subject = |n: u16| Subject::Relay { cookie: u64::from(n) / 7, peer: SocketAddr::from(([10, 0, 0, 1], n)) };
        let known = |n: u16| Known::Address(SocketAddr::from(([127, 77, 1, 2], n)));
        for n in 0..10_000 {
            table.put(subject(n), known(n));
            assert_eq!(table.get(subject(n)), Some(known(n)), "the latest is there");
        }
        let kept: Vec<u16> = (0..10_000).filter(|n| table.get(subject(*n)).is_some()).collect();
        assert!(kept.len() > SLOTS / 2 && kept.len() <= SLOTS, "{}", kept.len());
        assert!(kept.iter().all(|n| table.get(subject(*n)) == Some(known(*n))));
    }

    #[test]
    fn a_slot_that_was_left_half_written_is_a_miss() {
        let table = Table::new();
        let subject = Subject::Bound { cookie: 9 };
        table.put(subject, Known::Local);
        for slot in &table.slots {
            slot.sequence.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(table.get(subject), None);
        table.put(subject, Known::Local);
        assert_eq!(table.get(subject), None);
    }

    #[test]
    fn threads_never_read_half_of_an_answer() {
        let table = Table::new();
        // All keys fight for the same few slots, and each value follows from its key.
        let subject = |n: u16| Subject::Relay { cookie: 1, peer: SocketAddr::from(([10, 0, 0, 1], n)) };
        let known = |n: u16| Known::Address(SocketAddr::from(([n as u8, 2, 3, 4], n)));
        std::thread::scope(|scope| {
            for start in 0..4u16 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..50_000u32 {
                        let n = (u32::from(start) * 977 + round * 31) as u16 % 2_048;
                        table.put(subject(n), known(n));
                        assert!(table.get(subject(n)).is_none_or(|found| found == known(n)));
                    }
                });
            }
        });
    }
}
