//! Servers of the usual kinds get the pod's connections and see who the client is.

use std::io::Write;

use tests::{Cluster, Laptop};

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

#[test]
fn servers_of_the_usual_kinds_see_the_client() {
    let laptop = Laptop::new();
    let mut pods = Pods::start(&laptop, 8201);
    for (name, text) in [("node.js", NODE), ("app.py", PYTHON), ("Serve.java", JAVA)] {
        laptop.write(name, text);
    }
    laptop.write("page.php", "<?php echo $_SERVER['REMOTE_ADDR'];");
    let script =
        "set -m; while read -r line; do timeout 100 $line & done; for job in $(jobs -p); do kill -- -$job; done; wait";
    let target = format!("pod/{}", pods.server);
    let mut command = laptop.mirror(["exec", "-q", "-t", &target, "--steal", "--", "bash", "-c", script]);
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
        writeln!(shell.stdin(), "{command}").expect("the shell reads");
        shell.wait_for(said);
        pods.port = port;
        let answer = pods.ask("/").replace("::ffff:", "");
        let wanted = if tells_own { format!("{client} at {address} {port}") } else { client.clone() };
        assert_eq!(answer, wanted, "{command}");
        assert_eq!(pods.ask("/").replace("::ffff:", ""), wanted, "{command}");
    }
    shell.close_stdin();
    shell.wait();
}
