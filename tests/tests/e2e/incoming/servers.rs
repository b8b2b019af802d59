//! Servers of the usual kinds get the pod's connections and see who the client is.

use std::io::Write;
use std::process::Command;

use tests::{Cluster, Laptop, Running, kill};

use super::Pods;

const NODE: &str = r#"
const [port, workers] = process.argv.slice(2).map(Number);
const cluster = require("cluster");
if (workers && cluster.isPrimary) {
    for (let n = 0; n < workers; n++) cluster.fork();
} else {
    require("http").createServer((request, response) => {
        response.end(request.socket.remoteAddress + " at " + request.socket.localAddress + " " + request.socket.localPort);
    }).listen(port, () => console.log("serves " + port));
}
"#;

const PYTHON: &str = r#"
def wsgi(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_ADDR"].encode()]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = "%s at %s %d" % (scope["client"][0], *scope["server"])
    await send({"type": "http.response.body", "body": body.encode()})
"#;

const JAVA: &str = r#"
public class Serve {
    public static void main(String[] arguments) throws Exception {
        var at = new java.net.InetSocketAddress(Integer.parseInt(arguments[0]));
        var server = com.sun.net.httpserver.HttpServer.create(at, 0);
        server.createContext("/", exchange -> {
            var local = exchange.getLocalAddress();
            var remote = exchange.getRemoteAddress().getAddress().getHostAddress();
            var body = (remote + " at " + local.getAddress().getHostAddress() + " " + local.getPort()).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        System.out.println("serves " + arguments[0]);
    }
}
"#;

/// Both kinds of workers, and one that asks another process: `HOME` is the folder of all files.
const NGINX: &str = r#"
worker_processes 2;
daemon off;
pid nginx.pid;
error_log stderr notice;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server { listen 8210; location / { return 200 "$remote_addr at $server_addr $server_port"; } }
    server { listen 8211 reuseport; location / { return 200 "$remote_addr at $server_addr $server_port"; } }
    server {
        listen 8212;
        location / {
            fastcgi_pass unix:HOME/fpm.sock;
            fastcgi_param SCRIPT_FILENAME HOME/page.php;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_param SERVER_ADDR $server_addr;
            fastcgi_param SERVER_PORT $server_port;
        }
    }
}
"#;

const PHP_FPM: &str = "
[global]
error_log = HOME/fpm.log
[www]
listen = HOME/fpm.sock
pm = static
pm.max_children = 2
";

const PHP: &str = "<?php echo \"$_SERVER[REMOTE_ADDR] at $_SERVER[SERVER_ADDR] $_SERVER[SERVER_PORT]\";";

/// A process with a listener of its own on a port that others listen on, too.
const REUSE: &str = r#"
import os, socket, sys
listener = socket.create_server(("", int(sys.argv[1])), reuse_port=True)
print("serves", os.getpid(), flush=True)
while True:
    client, peer = listener.accept()
    client.recv(65536)
    body = "%s of %d" % (peer[0], os.getpid())
    client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode()))
    client.close()
"#;

/// A shell in a session, which starts a server for each line that it reads.
fn shell(laptop: &Laptop, pods: &Pods) -> Command {
    let script =
        "set -m; while read -r line; do timeout 100 $line & done; for job in $(jobs -p); do kill -- -$job; done; wait";
    let target = format!("pod/{}", pods.server);
    laptop.mirror(["exec", "-q", "-t", &target, "--steal", "--", "bash", "-c", script])
}

fn start(shell: &mut Running, command: &str, said: &str) -> String {
    writeln!(shell.stdin(), "{command}").expect("the shell reads");
    shell.wait_for(said)
}

#[test]
fn nginx_with_workers_of_both_kinds_and_with_php_fpm_sees_the_client() {
    let laptop = Laptop::new();
    let mut pods = Pods::start(&laptop, 8209);
    let home = laptop.home().display().to_string();
    for (name, text) in [("nginx.conf", NGINX), ("fpm.conf", PHP_FPM), ("page.php", PHP)] {
        laptop.write(name, &text.replace("HOME", &home));
    }
    let programs = std::fs::read_dir("/usr/sbin").expect("the folder of servers").flatten();
    let mut names = programs.map(|program| program.file_name().to_string_lossy().into_owned());
    let fpm = names.find(|name| name.starts_with("php-fpm")).expect("php-fpm is installed");
    let mut shell = laptop.start(shell(&laptop, &pods));
    start(&mut shell, &format!("/usr/sbin/{fpm} -F -O -y {home}/fpm.conf"), "ready to handle connections");
    start(&mut shell, &format!("nginx -p {home} -c nginx.conf -e stderr"), "start worker process ");
    let (client, address) = (pods.client(), pods.address.clone());
    for port in [8210, 8211, 8212] {
        pods.port = port;
        for _ in 0..4 {
            assert_eq!(pods.ask("/"), format!("{client} at {address} {port}"));
        }
    }
    shell.close_stdin();
    shell.wait();
}

#[test]
fn workers_that_each_listen_come_and_go_and_the_port_stays_the_programs() {
    let laptop = Laptop::new();
    let mut pods = Pods::start(&laptop, 8213);
    laptop.write("reuse.py", REUSE);
    let mut shell = laptop.start(shell(&laptop, &pods));
    let pid = |line: &str| line.rsplit(' ').next().and_then(|pid| pid.parse::<i32>().ok()).expect("a pid");
    let command = "/usr/bin/python3 reuse.py 8214";
    let first = pid(&start(&mut shell, command, "serves"));
    let second = pid(&start(&mut shell, command, "serves"));
    pods.port = 8214;
    let client = pods.client();
    let of = |pid: i32| format!("{client} of {pid}");
    let mut answers = std::collections::BTreeSet::new();
    // The kernel chooses one of them by the client's port.
    for _ in 0..50 {
        if answers.len() < 2 {
            answers.insert(pods.ask("/"));
        }
    }
    assert_eq!(answers, [of(first), of(second)].into());
    kill(&[first]);
    for _ in 0..4 {
        assert_eq!(pods.ask("/"), of(second));
    }
    let third = pid(&start(&mut shell, command, "serves"));
    kill(&[second]);
    for _ in 0..4 {
        assert_eq!(pods.ask("/"), of(third));
    }
    shell.close_stdin();
    shell.wait();
}

#[test]
fn servers_of_the_usual_kinds_see_the_client() {
    let laptop = Laptop::new();
    let mut pods = Pods::start(&laptop, 8201);
    for (name, text) in [("node.js", NODE), ("app.py", PYTHON), ("Serve.java", JAVA)] {
        laptop.write(name, text);
    }
    laptop.write("page.php", "<?php echo $_SERVER['REMOTE_ADDR'];");
    let mut command = shell(&laptop, &pods);
    command.env("PYTHONPATH", Cluster::shared().libraries().join("python"));
    let mut shell = laptop.start(command);
    let (client, address) = (pods.client(), pods.address.clone());
    let python = "/usr/bin/python3 -m";
    for (port, command, said, tells_own) in [
        (8201, "node node.js 8201".to_owned(), "serves 8201", true),
        (8202, "node node.js 8202 2".to_owned(), "serves 8202", true),
        (8203, format!("{python} gunicorn --workers 2 --bind 0.0.0.0:8203 app:wsgi"), "Booting worker", false),
        (8204, format!("{python} uvicorn --host 0.0.0.0 --port 8204 app:asgi"), "Uvicorn running", true),
        (8205, "java Serve.java 8205".to_owned(), "serves 8205", true),
        (8206, "env PHP_CLI_SERVER_WORKERS=2 php -S 0.0.0.0:8206 page.php".to_owned(), "Development Server", false),
    ] {
        start(&mut shell, &command, said);
        pods.port = port;
        let answer = pods.ask("/").replace("::ffff:", "");
        let wanted = if tells_own { format!("{client} at {address} {port}") } else { client.clone() };
        assert_eq!(answer, wanted, "{command}");
        assert_eq!(pods.ask("/").replace("::ffff:", ""), wanted, "{command}");
    }
    shell.close_stdin();
    shell.wait();
}
