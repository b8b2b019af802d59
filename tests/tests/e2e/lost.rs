//! Whatever is lost on the way, the user's program lives, its calls fail with an errno, and it is told once.

use std::io::Write;

use rustix::process::{Pid, Signal, kill_process};
use tests::{Cluster, Laptop, Running, Turn};

/// A program that connects, or looks a name up, for each line it reads, and prints what came of it.
const ASKER: &str = r#"
import errno, socket, sys
print("ready", flush=True)
for line in sys.stdin:
    try:
        if line.startswith("name"):
            print("name", socket.getaddrinfo("echo-server", 80)[0][4][0], flush=True)
        else:
            socket.create_connection((line.strip(), 80), timeout=10).close()
            print("connect ok", flush=True)
    except socket.gaierror as error:
        print("name failed", error.errno == socket.EAI_AGAIN, flush=True)
    except OSError as error:
        print("connect failed", errno.errorcode.get(error.errno, str(error)), flush=True)
print("end", flush=True)
"#;

struct Session {
    running: Running,
    service: String,
}

impl Session {
    fn start(laptop: &Laptop, options: &[&str]) -> Self {
        laptop.write("asker.py", ASKER);
        let arguments = [&["exec"], options, &["--", "/usr/bin/python3", "asker.py"]].concat();
        let mut running = laptop.start(laptop.mirror(arguments));
        running.wait_for("ready");
        let service = Cluster::shared().kubectl(&["get", "service", "echo-server", "-o", "jsonpath={.spec.clusterIP}"]);
        let mut session = Self { running, service };
        session.ask("name");
        session.running.wait_for("name 10.");
        let service = session.service.clone();
        session.ask(&service);
        session.running.wait_for("connect ok");
        session
    }

    fn ask(&mut self, line: &str) {
        self.running.stdin().write_all(format!("{line}\n").as_bytes()).expect("the program still reads");
    }

    /// After the loss each kind of call fails, and the program goes on to its own end. All that was printed.
    fn calls_fail_and_the_program_lives(mut self) -> String {
        let service = self.service.clone();
        self.ask(&service);
        self.running.wait_for("connect failed ENETUNREACH");
        self.ask("name");
        self.running.wait_for("name failed True");
        self.running.close_stdin();
        self.running.wait_for("end");
        assert!(self.running.wait().success());
        self.running.rest()
    }
}

fn agent_pod(laptop: &Laptop) -> String {
    let pods = Cluster::shared().labelled("pods", &laptop.selector());
    let [pod] = pods.as_slice() else { panic!("one agent, not {pods:?}") };
    pod.split_once('/').expect("namespace/name").1.to_owned()
}

#[test]
fn the_agent_is_killed() {
    let laptop = Laptop::new();
    let mut session = Session::start(&laptop, &[]);
    Cluster::shared().kubectl(&["delete", "pod", &agent_pod(&laptop), "--grace-period=0", "--force", "--wait=false"]);
    session.running.wait_for("the session is lost");
    session.calls_fail_and_the_program_lives();
}

#[test]
fn the_session_host_is_killed() {
    let laptop = Laptop::new();
    let session = Session::start(&laptop, &[]);
    for host in laptop.hosts() {
        kill_process(Pid::from_raw(host).expect("a pid"), Signal::KILL).expect("killed");
    }
    session.calls_fail_and_the_program_lives();
    // Nobody is left to remove anything: the agent itself leaves.
    Cluster::shared().wait_gone(&laptop.selector(), 60);
}

#[test]
fn the_api_server_restarts() {
    let turn = Turn::alone();
    let laptop = Laptop::during(&turn);
    let mut session = Session::start(&laptop, &["-t", "deployment/echo-server"]);
    let outage = Cluster::shared().stop_api_server();
    session.running.wait_for("the session is lost: the connection was cut");
    let output = session.calls_fail_and_the_program_lives();
    assert_eq!(output.matches("the session is lost").count(), 1, "{output}");
    drop(outage);
    turn.share();
    Cluster::shared().wait_gone(&laptop.selector(), 60);
}

#[test]
fn the_target_ends() {
    let laptop = Laptop::new();
    let name = format!("victim-{}", std::process::id());
    Cluster::shared().kubectl(&["run", &name, "--image=mirror.test/echo-server:1", "--image-pull-policy=Never"]);
    Cluster::shared().kubectl(&["wait", "--for=condition=Ready", "pod", &name, "--timeout=60s"]);
    let mut session = Session::start(&laptop, &["-t", &format!("pod/{name}")]);
    Cluster::shared().kubectl(&["delete", "pod", &name, "--grace-period=1", "--wait=false"]);
    session.running.wait_for("the session is lost: the target container ended");
    session.calls_fail_and_the_program_lives();
}

#[test]
fn a_program_that_the_layer_did_not_enter_is_reported() {
    let laptop = Laptop::new();
    // Its "dynamic loader" is a static program, which neither loads the program nor the layer.
    laptop.write(
        "loader.c",
        "void _start(void) {
            long result; char byte;
            __asm__ volatile(\"syscall\" : \"=a\"(result) : \"a\"(0), \"D\"(0), \"S\"(&byte), \"d\"(1) : \"rcx\", \"r11\", \"memory\");
            __asm__ volatile(\"syscall\" : : \"a\"(60), \"D\"(result != 0));
        }\n",
    );
    laptop.write("program.c", "int main(void) { return 0; }\n");
    let loader = laptop.home().join("loader");
    let flag = format!("-Wl,--dynamic-linker={}", loader.display());
    for arguments in [&["-static", "-nostdlib", "-o", "loader", "loader.c"][..], &[&flag, "-o", "program", "program.c"]]
    {
        let mut compile = laptop.command("cc");
        compile.args(arguments);
        laptop.run(compile).success();
    }
    let mut running = laptop.start(laptop.mirror(["exec", "-q", "--", "./program"]));
    running.wait_for("was started, but not hooked");
    running.close_stdin();
    running.wait();
}
