//! Thousands of generated exchanges, said to a port that a session takes and to one of the same server that it leaves
//! alone: what is answered is the same, of HTTP/1 to the byte and of HTTP/2 to the message.
//!
//! The servers answer with a function of what they got (`apps/incoming/record.py`, `messages.js`), here and in the pod.
//! So equal answers also mean that nothing was added, lost or moved on the way.

use std::io::Write;
use std::process::Command;

use tests::{Cluster, Laptop, Random, Running};

use super::Pods;

const RECORD: &str = include_str!("../../../apps/incoming/record.py");

const MESSAGES: &str = include_str!("../../../apps/incoming/messages.js");

/// Requests of a run, of HTTP/1 and of HTTP/2.
const EXCHANGES: usize = 5000;
const STREAMS: usize = 2000;

/// A connection of the client's.
struct Said {
    /// How its bytes are cut.
    cuts: usize,
    requests: Vec<Vec<u8>>,
    /// How many of them are the program's where requests with [`TAG`] are.
    taken: usize,
}

/// The header that the filter wants.
const TAG: &str = "User: me\r\n";

/// What follows a request in its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Another,
    /// It is the last that is read.
    Nothing,
    /// Whoever has it decides what is the next.
    Unknown,
}

/// Heads that two servers may read in two ways, or that are no HTTP/1: `NAME` stands for a method and a path, `TAGGED`
/// for more headers.
const UNCLEAR: &[&str] = &[
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: 4\r\nContent-Length: 9\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: 4, 4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: +4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length: 4x\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length : 4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDContent-Length:\r\n 4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGED Content-Length: 4\r\n\r\nabcd",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.0\r\nTAGGEDConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NAME HTTP/1.1\nTAGGED\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGED\n",
    "NAME HTTP/1.1\r\nTAGGEDA: b\nC: d\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDA: b\r\n folded\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDA: b\r\n\tfolded\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDA: b\rc\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDA: b\0c\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGEDno colon\r\n\r\n",
    "NAME HTTP/1.1\r\nTAGGED: no name\r\n\r\n",
    "NAME HTTP/1.2\r\nTAGGED\r\n",
    "NAME HTTP/2.0\r\nTAGGED\r\n",
    "NAME HTTP/0.9\r\nTAGGED\r\n",
    "NAME http/1.1\r\nTAGGED\r\n",
    "NAME  HTTP/1.1\r\nTAGGED\r\n",
    "NAME\r\nTAGGED\r\n",
    "\r\nNAME HTTP/1.1\r\nTAGGED\r\n",
    " NAME HTTP/1.1\r\nTAGGED\r\n",
    "\x16\x03\x01\x02hello\r\n\r\n",
    "*1\r\n$4\r\nPING\r\n\r\n",
    "G\0T / HTTP/1.1\r\nTAGGED\r\n",
];

/// Bodies in chunks of which a careless server may see another end; nothing follows them.
const ODD_CHUNKS: &[&str] = &[
    "3 \r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3;\x01\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nA: b\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "3\r\nabc\r\n-1\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "ffffffff\r\nabc",
    "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
];

/// One connection with up to eight requests.
fn connection(random: &mut Random) -> Said {
    let mut said = Said { cuts: random.below(1 << 30), requests: Vec::new(), taken: 0 };
    // Behind what is unclear all is the application's.
    let (mut is_clear, mut is_over) = (true, false);
    for _ in 0..1 + random.below(8) {
        let is_tagged = random.below(2) == 0;
        if random.below(12) == 0 {
            let text = UNCLEAR[random.below(UNCLEAR.len())];
            let tag = if is_tagged { TAG } else { "" };
            said.requests.push(text.replace("NAME", "POST /fixed").replace("TAGGED", tag).into_bytes());
            is_clear = false;
            continue;
        }
        let (request, then) = request(random, is_tagged);
        said.requests.push(request);
        said.taken += usize::from(is_tagged && is_clear && !is_over);
        is_over |= then == Then::Nothing;
        if then == Then::Unknown || is_over && random.below(2) == 0 {
            return said;
        }
    }
    if random.below(12) == 0 {
        // The client ends in the middle of a head.
        said.requests.push(format!("GET /cut HTTP/1.1\r\n{TAG}").into_bytes());
    }
    said
}

/// A request that all read alike.
fn request(random: &mut Random, is_tagged: bool) -> (Vec<u8>, Then) {
    let paths = ["/fixed", "/chunked", "/large", "/none", "/same", "/hints", "/early", "/", "/a?b=c", "/close", "/end"];
    let mut then = Then::Another;
    let path = random.choose(&paths);
    let method = random.choose(&["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "X-OTHER"]);
    let is_old = random.below(10) == 0;
    let mut head = format!("{method} {path} HTTP/1.{}\r\nHost: shop\r\n", u8::from(!is_old));
    if is_tagged {
        head += random.choose(&[TAG, "user:me\r\n", "USER: \t me \r\n"]);
    }
    if is_old && random.below(2) == 0 {
        head += "Connection: Keep-Alive\r\n";
    } else if is_old {
        then = Then::Nothing;
    }
    for _ in 0..random.below(4) {
        let name = random.choose(&["Accept", "Cookie", "X-Empty", "X-Long", "x-user", "Referer"]);
        let value = random.choose(&["a", "", "a, b;c=\"d e\"", "\u{e9}\u{4e16}", "User: me too"]);
        let times = 1 + random.below(30);
        head += &format!("{name}: {}\r\n", value.repeat(if name == "X-Long" { times } else { 1 }));
    }
    if ["/close", "/end"].contains(&path) {
        then = Then::Nothing;
    } else if random.below(25) == 0 {
        head += "Connection: foo, close\r\n";
        then = Then::Nothing;
    }
    let size = random.choose(&[0, 1, 10, 100, 5000, 20_000]);
    let body: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
    let bytes = match random.below(10) {
        0..=4 => [head.as_bytes(), b"\r\n"].concat(),
        5 if random.below(8) == 0 && path != "/early" => {
            head += "Upgrade: x\r\nConnection: upgrade\r\n\r\n";
            then = Then::Nothing;
            [head.as_bytes(), &body].concat()
        }
        5..=7 => {
            head += &format!("{}: {}\r\n", random.choose(&["Content-Length", "content-length"]), body.len());
            if random.below(8) == 0 && path != "/early" && size > 0 {
                head += "Expect: 100-continue\r\n";
            }
            [head.as_bytes(), b"\r\n", &body].concat()
        }
        _ if is_old => [head.as_bytes(), b"\r\n"].concat(),
        8 if random.below(4) == 0 => {
            then = Then::Unknown;
            let odd = ODD_CHUNKS[random.below(ODD_CHUNKS.len())];
            [head.as_bytes(), b"Transfer-Encoding: chunked\r\n\r\n", odd.as_bytes()].concat()
        }
        _ => {
            head += random.choose(&["Transfer-Encoding: chunked\r\n\r\n", "transfer-encoding:CHUNKED\r\n\r\n"]);
            let mut bytes = head.into_bytes();
            for chunk in body.chunks(1 + random.below(3000)) {
                let extension = random.choose(&["", ";a", ";a=b", ";a=\"b c\""]);
                bytes.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(random.choose(&["0\r\n\r\n", "000\r\n\r\n", "0\r\nA: b\r\nC:\r\n\r\n"]).as_bytes());
            bytes
        }
    };
    (bytes, then)
}

/// Says everything to both ports, and returns what the client tells of it.
fn compare(laptop: &Laptop, pods: &Pods, direct: u16, said: &[Said]) -> String {
    let mut command = Command::new(Cluster::shared().kubectl_path());
    command.args(["exec", "-i", "deploy/debian", "-c", "nginx", "--", "timeout", "600", "python3", "-c"]);
    command.arg(include_str!("../../../apps/incoming/compare.py"));
    command.args([&pods.address, &direct.to_string(), &pods.port.to_string()]);
    let mut client = laptop.start(command);
    for said in said {
        let requests: Vec<String> = said.requests.iter().map(|request| hex(request)).collect();
        writeln!(client.stdin(), "{} {}", said.cuts, requests.join(" ")).expect("the client reads");
    }
    client.close_stdin();
    client.rest()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server on this machine, which gets requests with a header.
fn steal(laptop: &Laptop, pods: &Pods, header: &str, command: &[&str]) -> Running {
    let incoming = format!(r#"{{"mode": "steal", "http_filter": {{"header_filter": "{header}"}}}}"#);
    laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {incoming}}}}}}}"#));
    let (target, port) = (format!("pod/{}", pods.server), pods.port.to_string());
    let command = [&["exec", "-q", "-t", &target, "--"], command, &[&port]].concat();
    let mut program = laptop.start(laptop.mirror(command));
    program.wait_for("listens");
    program
}

#[test]
fn thousands_of_exchanges_are_answered_as_without_a_session() {
    const DIRECT: u16 = 8461;
    let laptop = Laptop::new();
    let command = ["python3", "-c", RECORD, "8460", &DIRECT.to_string()];
    let pods = Pods::start_command(&laptop, 8460, &command, DIRECT);
    let mut random = Random::new();
    let mut said: Vec<Said> = Vec::new();
    while said.iter().map(|said| said.requests.len()).sum::<usize>() < EXCHANGES {
        said.push(connection(&mut random));
    }
    let taken: usize = said.iter().map(|said| said.taken).sum();
    for (header, taken) in [("^nobody: ever$", 0), ("^user: me$", taken)] {
        let mut program = steal(&laptop, &pods, header, &["/usr/bin/python3", "-c", RECORD]);
        let told = compare(&laptop, &pods, DIRECT, &said);
        let seed = random.seed();
        assert!(told.ends_with("differences 0"), "{header}, MIRROR_TEST_SEED={seed}: {told}");
        program.close_stdin();
        let served = program.wait_for("served");
        assert_eq!(served, format!("served {taken}"), "{header}, MIRROR_TEST_SEED={seed}");
        drop(program);
        laptop.wait_hosts_gone();
    }
}

#[test]
fn thousands_of_messages_of_http2_are_answered_as_without_a_session() {
    const PORT: u16 = 8462;
    const DIRECT: u16 = 8463;
    let laptop = Laptop::new();
    let (port, direct) = (PORT.to_string(), DIRECT.to_string());
    let pods = Pods::start_command(&laptop, PORT, &["node", "-e", MESSAGES, &port, &direct], DIRECT);
    let seed = Random::new().seed().to_string();
    for (header, is_taken) in [("^nobody: ever$", false), ("^user: me$", true)] {
        let mut program = steal(&laptop, &pods, header, &["node", "-e", MESSAGES]);
        let ask = include_str!("../../../apps/incoming/messages_ask.js");
        let mut command = Cluster::shared().on_node("node");
        command.args(["-e", ask, &pods.address, &direct, &port, &STREAMS.to_string(), &seed]);
        let told = laptop.start(command).rest();
        let last: Vec<&str> = told.lines().last().unwrap_or_default().split(' ').collect();
        let ["tagged", tagged, "differences", "0"] = last[..] else {
            panic!("{header}, MIRROR_TEST_SEED={seed}: {told}")
        };
        program.close_stdin();
        let served = program.wait_for("served");
        let taken = if is_taken { tagged } else { "0" };
        assert_eq!(served, format!("served {taken}"), "{header}, MIRROR_TEST_SEED={seed}");
        drop(program);
        laptop.wait_hosts_gone();
    }
}
