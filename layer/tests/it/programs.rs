//! Real programs of several runtimes: names, connections and socket names together.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use crate::host::{Asked, FakeHost, Reply, pod_end, server};
use crate::run::{finish, hooked, installed};

/// The address of every name, and of every server.
const FAR: [u8; 4] = [10, 96, 7, 7];

/// A server for the far side: answers each HTTP request with `body`.
fn http_server(body: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    })
}

/// A session in which `api` is a server that answers `from the pod`.
fn web() -> FakeHost {
    let server = http_server("from the pod");
    FakeHost::start(move |asked| match asked {
        Asked::Resolve { name, .. } if name == "api" => Reply::Addresses(Ok(vec![IpAddr::from(FAR)])),
        Asked::Connect { destination, .. } if destination.ip() == IpAddr::from(FAR) => Reply::Relay(server),
        _ => Reply::Default,
    })
}

#[test]
fn curl_gets_a_page() {
    if installed("curl") {
        let host = web();
        let shown = finish(hooked(&host, "curl").args([
            "-sS",
            "--noproxy",
            "*",
            "-w",
            " %{remote_ip}:%{remote_port} %{local_ip}:%{local_port}",
            "http://api:8080/",
        ]));
        let own = pod_end(0);
        assert_eq!(shown.output(), format!("from the pod 10.96.7.7:8080 {}:{}", own.ip(), own.port()));
        let destination = SocketAddr::from((FAR, 8080));
        assert!(
            host.asked()
                .iter()
                .any(|asked| matches!(asked, Asked::Connect { destination: d, .. } if *d == destination))
        );
    }
}

#[test]
fn wget_gets_a_page() {
    if installed("wget") {
        let host = web();
        let shown = finish(hooked(&host, "wget").args(["-q", "--no-proxy", "-O", "-", "http://api:8080/"]));
        assert_eq!(shown.output(), "from the pod");
    }
}

#[test]
fn netcat_talks() {
    if installed("nc") {
        let server = crate::host::echo_server();
        let host = FakeHost::start(move |asked| match asked {
            Asked::Resolve { .. } => Reply::Addresses(Ok(vec![IpAddr::from(FAR)])),
            Asked::Connect { .. } => Reply::Relay(server),
            _ => Reply::Default,
        });
        assert_eq!(finish(hooked(&host, "nc").args(["-N", "api", "9000"])).output(), "hello\n");
    }
}

#[test]
fn python_sees_the_pods_side() {
    if installed("python3") {
        let host = web();
        let program = "
import socket, urllib.request
s = socket.create_connection(('api', 8080), 5)
print(s.getsockname(), s.getpeername())
s.close()
print(socket.gethostbyname('api'), socket.gethostbyname_ex('api')[2])
try: socket.getaddrinfo('nowhere', 80)
except socket.gaierror as error: print(error.errno == socket.EAI_NONAME)
try: socket.create_connection(('10.96.7.8', 80), 5)
except OSError as error: print(error.strerror)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open('http://api:8080/').read().decode())
";
        let shown = finish(hooked(&host, "python3").args(["-c", program])).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "('10.244.0.9', 40000) ('10.96.7.7', 8080)",
                "10.96.7.7 ['10.96.7.7']",
                "True",
                "No route to host",
                "from the pod"
            ]
        );
    }
}

#[test]
fn python_asyncio_connects_without_blocking() {
    if installed("python3") {
        let host = web();
        let program = "
import asyncio
async def main():
    reader, writer = await asyncio.open_connection('api', 8080)
    print(writer.get_extra_info('peername'))
    writer.write(b'GET / HTTP/1.1\\r\\n\\r\\n')
    print((await reader.read()).endswith(b'from the pod'))
    try: await asyncio.open_connection('10.96.7.8', 80)
    except OSError as error: print(error.errno)
asyncio.run(main())
";
        let shown = finish(hooked(&host, "python3").args(["-c", program])).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines, ["('10.96.7.7', 8080)", "True", &libc::EHOSTUNREACH.to_string()]);
        let nonblocking = |asked: &Asked| matches!(asked, Asked::Connect { nonblocking: true, .. });
        assert!(host.asked().iter().any(nonblocking));
    }
}

#[test]
fn node_fetches_and_spawns() {
    if installed("node") {
        let host = web();
        let program = "
const http = require('http'), child = require('child_process'), fs = require('fs');
http.get('http://api:8080/', (answer) => {
  const s = answer.socket;
  console.log(s.remoteAddress, s.remotePort, s.localAddress);
  let text = '';
  answer.on('data', (part) => text += part);
  answer.on('end', () => {
    console.log(text, fs.statSync('/').isDirectory());
    const own = { encoding: 'utf8', env: { PATH: process.env.PATH } };
    console.log(child.execFileSync('env', [], own).includes('LD_PRELOAD'));
    http.get('http://10.96.7.8/').on('error', (error) => console.log(error.code));
  });
});
";
        let shown = finish(hooked(&host, "node").args(["-e", program])).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines, ["10.96.7.7 8080 10.244.0.9", "from the pod true", "true", "EHOSTUNREACH"]);
    }
}

#[test]
fn java_connects_blocking_and_by_channel() {
    if installed("java") {
        let host = web();
        let source = crate::run::workspace().join("tests/apps/layer/Single.java");
        let shown = finish(hooked(&host, "java").arg("-XX:TieredStopAtLevel=1").arg(source)).output();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            ["/10.244.0.9 api/10.96.7.7:8080", "from the pod", "/10.96.7.7:8080", "from the pod", "No route to host"]
        );
    }
}
