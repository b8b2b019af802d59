//! What holds whatever a peer sends, and whatever the users of streams do. `cargo xtask fuzz` looks for exceptions; the
//! tests see that there is none among the seeds.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use protocol::packet::{HEADER, Header, MAX_PAYLOAD};
use tokio::time::Instant;

use crate::mux::{FIRST_WINDOW, Mux, Read, Side, Write};
use crate::packets::Packets;

const STREAMS: usize = 4;
const GROWTH: usize = 256 * 1024;

/// A peer may say anything: it is understood or the link ends, and what it makes us keep is bounded.
pub fn peer(bytes: &[u8]) {
    let [how, bytes @ ..] = bytes else { return };
    let side = if how & 1 == 0 { Side::Accepts } else { Side::Opens };
    let mut mux = Mux::new(side, STREAMS, GROWTH);
    mux.round_trip = (how & 2 != 0).then_some(Duration::from_secs(1));
    let now = Instant::now();
    let mut packets = Packets::new(now, Duration::from_secs(1));
    let mut open: Vec<u32> = (0..2).filter_map(|_| (side == Side::Opens).then(|| mux.open(b"ask"))?).collect();
    let mut rest = bytes;
    let mut out = Vec::new();
    while let Some((header, more)) = rest.split_first_chunk::<HEADER>() {
        let Ok(header) = Header::decode(*header) else { return };
        assert!(Header::decode(header.encode()) == Ok(header));
        let length = if let Header::Data { length, .. } = header { length as usize } else { 0 };
        let Some((payload, more)) = more.split_at_checked(length) else { return };
        rest = more;
        if packets.receive(header, now).is_err() || mux.receive(payload).is_err() {
            return;
        }
        open.extend(mux.take_arrived());
        assert!(open.len() <= STREAMS, "more streams than are permitted");
        // The users read a little, write a little, and one of them goes.
        let mut kept = 0;
        for id in &open {
            kept += mux.unread(*id);
            let _ = mux.read(*id, &mut [0; 16], Waker::noop());
            let _ = mux.write(*id, b"answer", Waker::noop());
        }
        assert!(kept <= GROWTH + STREAMS * FIRST_WINDOW as usize, "{kept} bytes are kept");
        if how & 4 != 0 && open.len() == STREAMS {
            mux.release(open.remove(0));
        }
        out.clear();
        packets.fill(now, &mut out);
        let before = out.len();
        mux.fill(&mut out, before + MAX_PAYLOAD);
        assert!(out.len() - before <= MAX_PAYLOAD);
    }
}

/// What is written into a stream comes out of its other end, whatever is done in between. Each two bytes are something
/// that somebody does.
pub fn users(bytes: &[u8]) {
    let mut sides = [Mux::new(Side::Opens, STREAMS, GROWTH), Mux::new(Side::Accepts, STREAMS, GROWTH)];
    let mut streams: HashMap<u32, [Half; 2]> = HashMap::new();
    let mut number = 0_u8;
    for [what, which] in bytes.as_chunks::<2>().0 {
        let side = usize::from(what & 1);
        let mut ids: Vec<u32> = streams.keys().copied().collect();
        ids.sort_unstable();
        let id = ids.get(usize::from(*which) % ids.len().max(1)).copied();
        match (what >> 1, id) {
            (0, _) => {
                if let Some(id) = sides[0].open(&[*which]) {
                    let opened = Half { written: vec![*which], is_here: true, ..Half::default() };
                    streams.insert(id, [opened, Half::default()]);
                }
            }
            (1..=40, Some(id)) => {
                let half = &mut streams.get_mut(&id).expect("known")[side];
                number = number.wrapping_add(1);
                let text = vec![number; 1 + usize::from(*what) * 37];
                if half.is_here
                    && !half.has_ended
                    && let Write::Bytes(count) = sides[side].write(id, &text, Waker::noop())
                {
                    half.written.extend_from_slice(&text[..count]);
                }
            }
            (41..=80, Some(id)) => read(&mut sides[side], &mut streams, id, side, usize::from(*what) * 53),
            (81..=84, Some(id)) => {
                sides[side].shutdown(id);
                streams.get_mut(&id).expect("known")[side].has_ended |= streams[&id][side].is_here;
            }
            (85, Some(id)) if streams[&id][side].is_here => {
                sides[side].release(id);
                streams.get_mut(&id).expect("known").iter_mut().for_each(|half| half.may_reset = true);
                streams.get_mut(&id).expect("known")[side].is_here = false;
            }
            _ => {
                exchange(&mut sides, &mut streams, 1 + usize::from(*which) * 256);
            }
        }
    }
    // In the end everybody reads everything.
    loop {
        let ids: Vec<u32> = streams.keys().copied().collect();
        ids.iter().for_each(|id| (0..2).for_each(|side| read(&mut sides[side], &mut streams, *id, side, 1 << 16)));
        if !exchange(&mut sides, &mut streams, MAX_PAYLOAD) {
            break;
        }
    }
    for [one, other] in streams.values() {
        for (writer, reader) in [(one, other), (other, one)] {
            let is_whole = !reader.is_here || reader.may_reset || reader.read == writer.written;
            assert!(is_whole, "{} of {} bytes came", reader.read.len(), writer.written.len());
        }
    }
}

/// One user's end of a stream.
#[derive(Default)]
struct Half {
    written: Vec<u8>,
    read: Vec<u8>,
    is_here: bool,
    has_ended: bool,
    /// Somebody has left: what was not read may be lost.
    may_reset: bool,
}

fn read(mux: &mut Mux, streams: &mut HashMap<u32, [Half; 2]>, id: u32, side: usize, most: usize) {
    let halves = streams.get_mut(&id).expect("known");
    if !halves[side].is_here {
        return;
    }
    let mut buffer = vec![0; most];
    if let Read::Bytes(count) = mux.read(id, &mut buffer, Waker::noop()) {
        halves[side].read.extend_from_slice(&buffer[..count]);
        let is_beginning = halves[1 - side].written.starts_with(&halves[side].read);
        assert!(is_beginning, "what is read is what was written");
    }
}

/// Each side sends a packet, if it has anything to say.
fn exchange(sides: &mut [Mux; 2], streams: &mut HashMap<u32, [Half; 2]>, length: usize) -> bool {
    let mut has_said = false;
    for from in 0..2 {
        let mut packet = Vec::new();
        sides[from].fill(&mut packet, length);
        assert!(packet.len() <= length, "a packet of {} bytes", packet.len());
        sides[1 - from].receive(&packet).expect("both keep to the protocol");
        has_said |= !packet.is_empty();
    }
    for id in sides[1].take_arrived() {
        streams.get_mut(&id).expect("opened")[1].is_here = true;
    }
    has_said
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a property on the seeds of its target, of which there are some.
    fn seeds(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files {
            property(&std::fs::read(file.expect("a file").path()).expect("readable"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    #[test]
    fn what_holds_for_any_bytes_holds_for_the_seeds() {
        seeds("link_peer", super::peer);
        seeds("link_users", super::users);
    }
}
