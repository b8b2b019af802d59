//! What a session says of a port is so, and what a program is told of its own sockets is what it asked for.

use std::net::TcpListener;

use tests::{Cluster, Laptop, kill};

use super::{Pods, SERVE};

/// Starts the server without `-q`.
fn exec(laptop: &Laptop, pods: &Pods, options: &[&str], arguments: &[&str]) -> tests::Running {
    laptop.write("serve.py", SERVE);
    let target = format!("pod/{}", pods.server);
    let command = [&["exec", "-t", &target], options, &["--", "/usr/bin/python3", "serve.py"], arguments].concat();
    laptop.start(laptop.mirror(command))
}

#[test]
fn an_open_port_is_told_with_what_was_checked_and_with_its_services() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8250);
    let label = laptop.selector().replace('=', ": ");
    let service = |name: &str, selector: &str, target: &str| {
        Cluster::shared().apply(&format!(
            r#"{{apiVersion: v1, kind: Service, metadata: {{name: {name}, labels: {{{label}}}}}, spec: {{
                selector: {{{selector}}}, ports: [{{port: 80, targetPort: {target}}}]
            }}}}"#
        ));
    };
    let names = ["a", "b", "c"].map(|letter| format!("{}-{letter}", pods.server));
    service(&names[0], &label, "8250");
    service(&names[1], &label, "9");
    service(&names[2], "mirror-test: nobody", "8250");
    let mut program = exec(&laptop, &pods, &["--steal"], &["8250"]);
    let line = program.wait_for("port 8250 is stolen");
    let six = super::places::address_six(&format!("pod/{}", pods.server));
    let wanted = format!(
        "mirror: port 8250 is stolen; checked within the pod over {} and {six}; not checked: the way to the pod; \
         services: {}:80",
        pods.address, names[0]
    );
    assert_eq!(line, wanted);
    assert_eq!(pods.ask("/who"), "from laptop");
    // The application has seen the probes of the test's pod, and nothing of ours.
    let log = Cluster::shared().kubectl(&["logs", &pods.server]);
    assert!(!log.contains("Exception") && !log.contains("code 400"), "{log}");
    for name in &names {
        Cluster::shared().kubectl(&["delete", "service", name, "--wait=false"]);
    }
    kill(&[program.pid()]);
    program.wait();
}

/// Somebody else takes the pod's connections to itself: whether those of others come is not known then.
#[test]
fn a_port_whose_connections_do_not_come_is_said_to_have_none() {
    let laptop = Laptop::new();
    let pods = Pods::start(&laptop, 8251);
    for program in ["iptables", "ip6tables"] {
        let mut rule = Cluster::shared().in_network_of(&pods.uid(), program);
        rule.args(["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "8251", "-j", "REDIRECT", "--to-ports", "9"]);
        assert!(rule.status().expect("runs").success());
    }
    let mut program = exec(&laptop, &pods, &["-q", "--steal"], &["8251"]);
    program.wait_for("port 8251 gets no traffic of the pod: a connection of our own to");
    assert_eq!(pods.ask("/who"), "from pod");
    kill(&[program.pid()]);
    program.wait();
}

/// The laptop's user may not listen on 443, and 8252 is somebody else's.
#[test]
fn a_listener_stands_at_another_port_of_this_machine_and_does_not_know_it() {
    let laptop = Laptop::new();
    let mut pods = Pods::start_with(&laptop, 8252, "", "python3 -m http.server 443 &");
    pods.wait_listening(443);
    let _taken = TcpListener::bind("0.0.0.0:8252").expect("free");
    let with = |listen_ports: &str| {
        let incoming = format!(r#"{{"mode": "steal", "listen_ports": {listen_ports}}}"#);
        laptop.write(".mirror.json", &format!(r#"{{"feature": {{"network": {{"incoming": {incoming}}}}}}}"#));
    };
    with("[]");
    for (port, error) in [("443", "Permission denied"), ("8252", "Address already in use")] {
        let mut program = exec(&laptop, &pods, &[], &[port]);
        program.wait_for(error);
        program.wait();
        laptop.wait_hosts_gone();
    }
    with("[[443, 8253], [8252, 8254]]");
    for port in [443, 8252] {
        pods.port = port;
        let text = port.to_string();
        let mut program = exec(&laptop, &pods, &[], &[&text]);
        program.wait_for(&format!("port {port} is stolen; checked"));
        assert_eq!(pods.ask("/there"), "from laptop");
        let line = program.wait_for("GET /there");
        assert!(line.ends_with(&format!("at {} {port}", pods.address)), "{line}");
        kill(&[program.pid()]);
        program.wait();
        laptop.wait_hosts_gone();
    }
    let name = "import socket; s = socket.create_server(('', 443)); print(s.getsockname())";
    let arguments = ["exec", "-q", "-t", &format!("pod/{}", pods.server), "--", "/usr/bin/python3", "-c", name];
    let outcome = laptop.run(laptop.mirror(arguments)).success();
    assert_eq!(outcome.stdout.trim(), "('0.0.0.0', 443)");
}
