//! The multiplexer without IO: two of them, and packets handed from one to the other.

use std::task::Waker;
use std::time::Duration;

use super::*;

const PACKET: usize = 64 * 1024;

fn pair() -> (Mux, Mux) {
    (Mux::new(Side::Opens, 8, 1 << 20), Mux::new(Side::Accepts, 8, 1 << 20))
}

/// Hands one packet over; false when there was none.
fn carry(from: &mut Mux, to: &mut Mux) -> bool {
    let mut packet = Vec::new();
    from.fill(&mut packet, PACKET);
    assert!(packet.len() <= PACKET);
    to.receive(&packet).expect("the peer keeps to the protocol");
    !packet.is_empty()
}

fn exchange(a: &mut Mux, b: &mut Mux) {
    while carry(a, b) | carry(b, a) {}
}

fn write(mux: &mut Mux, id: u32, bytes: &[u8]) -> Write {
    mux.write(id, bytes, Waker::noop())
}

fn read(mux: &mut Mux, id: u32) -> (Vec<u8>, Read) {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match mux.read(id, &mut buffer, Waker::noop()) {
            Read::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            end => return (all, end),
        }
    }
}

/// A stream that both sides know.
fn stream(client: &mut Mux, agent: &mut Mux) -> u32 {
    let id = client.open(b"?").expect("room");
    exchange(client, agent);
    assert_eq!(agent.take_arrived(), [id]);
    assert_eq!(read(agent, id), (b"?".to_vec(), Read::Wait));
    id
}

#[test]
fn each_direction_ends_by_itself_and_the_entries_go() {
    let (mut client, mut agent) = pair();
    let id = stream(&mut client, &mut agent);
    client.shutdown(id);
    exchange(&mut client, &mut agent);
    assert_eq!(read(&mut agent, id).1, Read::End);
    assert_eq!(write(&mut client, id, b"late"), Write::AfterShutdown);
    assert_eq!(write(&mut agent, id, b"still"), Write::Bytes(5));
    agent.shutdown(id);
    agent.release(id);
    exchange(&mut client, &mut agent);
    assert_eq!(read(&mut client, id), (b"still".to_vec(), Read::End));
    client.release(id);
    exchange(&mut client, &mut agent);
    assert!(client.streams.is_empty() && agent.streams.is_empty());
}

#[test]
fn dropping_without_shutdown_resets_even_after_the_peers_end() {
    for half_closed in [false, true] {
        let (mut client, mut agent) = pair();
        let id = stream(&mut client, &mut agent);
        if half_closed {
            client.shutdown(id);
        }
        exchange(&mut client, &mut agent);
        write(&mut agent, id, b"half an ans");
        exchange(&mut client, &mut agent);
        agent.release(id);
        exchange(&mut client, &mut agent);
        assert_eq!(read(&mut client, id), (b"half an ans".to_vec(), Read::Reset), "{half_closed}");
        client.release(id);
        exchange(&mut client, &mut agent);
        assert!(client.streams.is_empty() && agent.streams.is_empty(), "{half_closed}");
    }
}

#[test]
fn a_writer_learns_that_its_reader_left_after_a_half_close() {
    let (mut client, mut agent) = pair();
    let id = stream(&mut client, &mut agent);
    client.shutdown(id);
    client.release(id);
    exchange(&mut client, &mut agent);
    assert_eq!(read(&mut agent, id).1, Read::End);
    assert_eq!(write(&mut agent, id, b"x"), Write::Reset);
    assert!(agent.is_aborted(id, Waker::noop()));
}

#[test]
fn bytes_written_before_shutdown_and_drop_arrive_although_the_peer_writes_first() {
    let (mut client, mut agent) = pair();
    let id = stream(&mut client, &mut agent);
    let (mut sent, mut echoed) = (0, 0);
    while let Write::Bytes(count) = write(&mut agent, id, &[2; 9000]) {
        sent += count;
        exchange(&mut client, &mut agent);
    }
    agent.shutdown(id);
    agent.release(id);
    // The client writes more than a window before it reads at all: thrown away, but not stuck.
    while echoed < 4 * USUAL_WINDOW as usize {
        let Write::Bytes(count) = write(&mut client, id, &[1; 9000]) else { panic!("stuck at {echoed}") };
        echoed += count;
        exchange(&mut client, &mut agent);
    }
    let mut got = 0;
    loop {
        let (bytes, end) = read(&mut client, id);
        got += bytes.len();
        if end != Read::Wait {
            assert_eq!((got, end), (sent, Read::End));
            break;
        }
        exchange(&mut client, &mut agent);
    }
}

#[test]
fn an_unread_stream_fills_its_window_and_holds_up_no_other() {
    let (mut client, mut agent) = pair();
    let slow = stream(&mut client, &mut agent);
    let quick = stream(&mut client, &mut agent);
    write(&mut agent, slow, b"the answer carries the rest of the window");
    exchange(&mut client, &mut agent);
    let mut taken = 0;
    while let Write::Bytes(count) = write(&mut client, slow, &[0; 10_000]) {
        taken += count;
        exchange(&mut client, &mut agent);
    }
    assert!(taken <= USUAL_WINDOW as usize + WRITE_AHEAD, "{taken}");
    for _ in 0..100 {
        assert_eq!(write(&mut client, quick, b"ping"), Write::Bytes(4));
        exchange(&mut client, &mut agent);
        assert_eq!(read(&mut agent, quick).0, b"ping");
    }
    assert_eq!(read(&mut agent, slow).0.len(), USUAL_WINDOW as usize - 1, "one byte was read before");
}

#[test]
fn turns_are_fair_within_a_packet() {
    let (mut client, mut agent) = pair();
    let ids = [(); 3].map(|()| stream(&mut client, &mut agent));
    for id in ids {
        write(&mut client, id, &[0; WRITE_AHEAD]);
    }
    carry(&mut client, &mut agent);
    for id in ids {
        assert!(!read(&mut agent, id).0.is_empty());
    }
}

#[test]
fn windows_grow_for_quick_readers_within_the_budget_and_give_it_back() {
    let (mut client, mut agent) = pair();
    let id = stream(&mut client, &mut agent);
    agent.round_trip = Some(Duration::from_secs(3600));
    for _ in 0..200 {
        write(&mut client, id, &[0; WRITE_AHEAD]);
        exchange(&mut client, &mut agent);
        read(&mut agent, id);
        exchange(&mut client, &mut agent);
    }
    assert_eq!(agent.growth, 1 << 18, "a quarter is for others");
    assert_eq!(agent.streams[&id].window, FIRST_WINDOW + (3 << 18));
    client.release(id);
    agent.release(id);
    exchange(&mut client, &mut agent);
    assert_eq!(agent.growth, 1 << 20);
}

/// Sends on every stream all that the other side takes.
fn flood(from: &mut Mux, to: &mut Mux, ids: &[u32]) {
    let more = |from: &mut Mux| ids.iter().any(|id| matches!(write(from, *id, &[0; 10_000]), Write::Bytes(_)));
    while more(from) {
        exchange(from, to);
    }
}

#[test]
fn unread_bytes_stay_within_their_bound_on_both_sides_and_all_streams_go_on() {
    const STREAMS: usize = 500;
    const BUDGET: usize = 4 << 20;
    let (mut client, mut agent) = (Mux::new(Side::Opens, STREAMS, BUDGET), Mux::new(Side::Accepts, STREAMS, BUDGET));
    let ids: Vec<_> = (0..STREAMS).map(|_| client.open(b"?").expect("room")).collect();
    exchange(&mut client, &mut agent);
    flood(&mut agent, &mut client, &ids);
    flood(&mut client, &mut agent, &ids);
    let wide = BUDGET / 2 / (USUAL_WINDOW - FIRST_WINDOW) as usize;
    for mux in [&mut client, &mut agent] {
        let unread: usize = mux.streams.values().map(|entry| entry.inbox.len()).sum();
        assert!(unread <= BUDGET + STREAMS * FIRST_WINDOW as usize, "{unread}");
        let at_once = mux.streams.values().filter(|entry| entry.window == USUAL_WINDOW).count();
        assert_eq!(at_once, wide);
        assert!(mux.streams.values().all(|entry| entry.granted == 0), "nobody may send another byte");
        mux.round_trip = Some(Duration::from_secs(3600));
    }
    let mut overrun = Vec::new();
    Frame::Data(b"x").append(ids[STREAMS - 1], &mut overrun);
    assert!(agent.receive(&overrun).is_err());
    for _ in 0..20 {
        for id in &ids {
            assert_eq!(read(&mut agent, *id).1, Read::Wait);
        }
        exchange(&mut client, &mut agent);
        flood(&mut client, &mut agent, &ids);
        let windows: usize = agent.streams.values().map(|entry| entry.window as usize).sum();
        assert_eq!(windows + agent.growth, BUDGET + STREAMS * FIRST_WINDOW as usize);
        let filled = |entry: &Entry| entry.inbox.len() + entry.consumed as usize == entry.window as usize;
        assert!(agent.streams.values().all(filled));
    }
    assert_eq!(agent.growth, 0);
}

#[test]
fn a_first_message_longer_than_the_first_window_arrives_before_any_answer() {
    let (mut client, mut agent) = pair();
    let message = [5; 3 * FIRST_WINDOW as usize];
    let id = client.open(&message).expect("room");
    let mut got = Vec::new();
    while got.len() < message.len() {
        assert!(carry(&mut client, &mut agent), "stuck at {}", got.len());
        got.extend(read(&mut agent, id).0);
        carry(&mut agent, &mut client);
    }
    assert_eq!(got, message);
}

#[test]
fn a_stream_costs_one_packet_to_open_and_one_to_answer() {
    let (mut client, mut agent) = pair();
    let id = client.open(b"?").expect("room");
    assert!(carry(&mut client, &mut agent) && !carry(&mut client, &mut agent));
    assert_eq!(read(&mut agent, id).0, b"?");
    assert!(!agent.has_output());
    write(&mut agent, id, b"!");
    assert!(carry(&mut agent, &mut client) && !carry(&mut agent, &mut client));
    assert!(!client.has_output());
    for mux in [&client, &agent] {
        assert_eq!(mux.streams[&id].credit + 1, USUAL_WINDOW);
    }
}

#[test]
fn streams_are_announced_in_order_whatever_happens_to_them_first() {
    let (mut client, mut agent) = pair();
    let ids: Vec<_> = (0..4).map(|_| client.open(b"?").expect("room")).collect();
    write(&mut client, ids[3], b"more");
    client.release(ids[1]);
    client.shutdown(ids[2]);
    client.release(ids[2]);
    exchange(&mut client, &mut agent);
    assert_eq!(agent.take_arrived(), [ids[0], ids[2], ids[3]]);
    assert_eq!(read(&mut agent, ids[2]), (b"?".to_vec(), Read::End));
    assert_eq!(read(&mut agent, ids[3]).0, b"?more");
}

#[test]
fn one_stream_too_many_is_refused_alone() {
    let mut client = Mux::new(Side::Opens, 9, 0);
    let mut agent = Mux::new(Side::Accepts, 8, 0);
    let ids: Vec<_> = (0..9).map(|_| client.open(b"?").expect("room")).collect();
    assert_eq!(client.open(b"?"), None);
    exchange(&mut client, &mut agent);
    assert_eq!(agent.take_arrived(), ids[..8]);
    assert_eq!(read(&mut client, ids[8]).1, Read::Reset);
    assert_eq!(read(&mut client, ids[0]).1, Read::Wait);
}

#[test]
fn the_end_of_the_link_is_never_the_end_of_a_stream() {
    let (mut client, mut agent) = pair();
    let id = stream(&mut client, &mut agent);
    write(&mut agent, id, b"last");
    exchange(&mut client, &mut agent);
    client.end(Ended::Silent);
    assert_eq!(read(&mut client, id), (b"last".to_vec(), Read::Over(Ended::Silent)));
    assert_eq!(write(&mut client, id, b"x"), Write::Over(Ended::Silent));
    client.release(id);
    assert!(client.streams.is_empty());
}

#[test]
fn what_the_protocol_forbids_is_a_violation() {
    let frames = |list: &[(u32, Frame<'_>)]| {
        let mut packet = Vec::new();
        list.iter().for_each(|(id, frame)| frame.append(*id, &mut packet));
        packet
    };
    let flood = vec![0; FIRST_WINDOW as usize + 1];
    for packet in [
        vec![1],
        frames(&[(0, Frame::Open(b""))]),
        frames(&[(1, Frame::Open(b"")), (1, Frame::Open(b""))]),
        frames(&[(2, Frame::Open(b"")), (1, Frame::Open(b""))]),
        frames(&[(1, Frame::Open(&flood))]),
        frames(&[(1, Frame::Open(b"")), (1, Frame::Fin), (1, Frame::Data(b"x"))]),
        frames(&[(1, Frame::Open(b"")), (1, Frame::Credit(u32::MAX))]),
    ] {
        assert!(pair().1.receive(&packet).is_err(), "{:?}", &packet[..packet.len().min(40)]);
    }
    assert!(pair().0.receive(&frames(&[(1, Frame::Open(b""))])).is_err(), "agents open nothing");
    assert!(pair().1.receive(&frames(&[(9, Frame::Data(b"late"))])).is_ok(), "streams that are gone");
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..20_000 {
        let (mut client, mut agent) = pair();
        let id = stream(&mut client, &mut agent);
        // Frames that are nearly right reach further than noise does.
        let mut packet = Vec::new();
        for _ in 0..random() % 8 {
            let body = [0; 64];
            let body = &body[..(random() % 64) as usize];
            let frame = match random() % 6 {
                0 => Frame::Open(body),
                1 | 2 => Frame::Data(body),
                3 => Frame::Fin,
                4 => Frame::Reset,
                _ => Frame::Credit(random() as u32 | 1),
            };
            frame.append((random() % 4) as u32, &mut packet);
        }
        if random() % 2 == 0 && !packet.is_empty() {
            let at = random() as usize % packet.len();
            packet[at] = random() as u8;
        }
        for mux in [&mut client, &mut agent] {
            let _ = mux.receive(&packet);
            read(mux, id);
            write(mux, id, b"x");
            mux.release(id);
            mux.fill(&mut Vec::new(), PACKET);
        }
    }
}
