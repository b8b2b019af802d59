//! Machines: a network namespace that lasts, a cable to the switch in the control plane's
//! namespace, and one process whose end is the end of everything that runs on the machine.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::command::{detach, run, succeeds};
use super::layout::{self, CONTROL_ADDRESS, CONTROL_ADDRESS_SIX, Layout, Machine, SIX};
use super::process::only_child;
use super::state::{Process, State};

/// Makes the machine's network and starts its first process, where missing. Says whether the
/// machine had to be started.
pub(crate) fn ensure(layout: &Layout, state: &mut State, machine: Machine) -> Result<bool> {
    ensure_network(layout, machine).with_context(|| format!("make the network of {}", machine.name()))?;
    let name = machine.name();
    if state.runs(&name) {
        return Ok(false);
    }
    if let Machine::Node(_) = machine {
        super::cgroups::make(layout, machine)?;
    }
    let process = start_init(layout, machine).with_context(|| format!("start machine {name}"))?;
    state.processes.insert(name, process);
    state.save(layout)?;
    if let Machine::Node(_) = machine {
        mount_private_folders(layout, state, machine)?;
    }
    Ok(true)
}

/// What to put before a command so that it runs on a machine.
pub(crate) fn enter(state: &State, machine: Machine) -> Result<Vec<String>> {
    let process = state.processes.get(&machine.name());
    let pid = process.with_context(|| format!("machine {} does not run", machine.name()))?;
    let target = pid.identity.pid.to_string();
    let words = ["nsenter", "--target", &target, "--net", "--pid", "--mount", "--"];
    Ok(words.map(str::to_owned).to_vec())
}

/// Starts the process that is the machine: the first of a process namespace, so that everything
/// in it ends when it ends.
fn start_init(layout: &Layout, machine: Machine) -> Result<Process> {
    let netns = format!("--net={}", layout.netns_path(machine));
    let pause = layout.text("bin/pause");
    // Not `ip netns exec`: it mounts /sys anew and hides the control groups.
    let arguments = [
        "nsenter",
        &netns,
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount",
        "--mount-proc",
        "--propagation",
        "private",
        &pause,
    ];
    let log = layout.log(&machine.name());
    let parent = detach(&arguments, &log)?;
    let parent_id = i32::try_from(parent.id()).context("read the process number")?;
    let pid = only_child(parent_id)?;
    // Its mounts are in place only once it has become the pause program.
    let wanted = fs::canonicalize(&pause).with_context(|| format!("find {pause}"))?;
    wait_for_program(pid, &wanted)?;
    Process::new(pid, String::new(), &log)
}

fn wait_for_program(pid: i32, program: &Path) -> Result<()> {
    let begin = Instant::now();
    let exe = format!("/proc/{pid}/exe");
    while fs::read_link(&exe).with_context(|| format!("read {exe}"))? != program {
        if begin.elapsed() > Duration::from_secs(5) {
            bail!("process {pid} did not become {} within 5 s", program.display());
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Folders whose place is compiled into containerd and kubelet: each node has its own, and
/// they vanish with it.
fn mount_private_folders(layout: &Layout, state: &State, machine: Machine) -> Result<()> {
    fs::create_dir_all("/var/lib/cni").context("make the mount point /var/lib/cni")?;
    let pods = layout.machine(machine).join("log");
    fs::create_dir_all(&pods).with_context(|| format!("make {}", pods.display()))?;
    let script = format!(
        "mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -p /run/netns /run/lock && \
         mount -t tmpfs -o mode=0755 tmpfs /var/lib/cni && \
         mount --bind '{}' /var/log",
        pods.display()
    );
    let mut command = enter(state, machine)?;
    command.extend(["sh".to_owned(), "-c".to_owned(), script]);
    run(&command[0], &command[1..]).map(drop)
}

fn ensure_network(layout: &Layout, machine: Machine) -> Result<()> {
    let netns = layout.netns(machine);
    if !namespace_works(layout, machine) {
        // A file without a namespace behind it stays after `umount` or a crash.
        let _ = run("ip", &["netns", "delete", &netns]);
        run("ip", &["netns", "add", &netns])?;
    }
    let Machine::Node(number) = machine else {
        return ensure_switch(layout);
    };
    let control = layout.netns(Machine::Control);
    let cable = machine.name();
    let has_cable = succeeds("ip", &["-n", &netns, "link", "show", "eth0"])
        && succeeds("ip", &["-n", &control, "link", "show", &cable]);
    if has_cable {
        return Ok(());
    }
    let _ = run("ip", &["-n", &netns, "link", "delete", "eth0"]);
    let (address, six) = (machine.address(), machine.address_six());
    batch(
        &control,
        &[
            &format!("link add {cable} type veth peer name eth0 netns {netns}"),
            &format!("link set {cable} master switch up"),
            &format!("route replace {} via {address}", layout::pod_range(number)),
            &format!("route replace {} via {six}", layout::pod_range_six(number)),
        ],
    )?;
    batch(
        &netns,
        &[
            "link set lo up",
            "link set eth0 up",
            &format!("address add {address}/24 dev eth0"),
            &format!("address add {six}/64 dev eth0 nodad"),
            &format!("route add default via {CONTROL_ADDRESS}"),
            &format!("route add {SIX} via {CONTROL_ADDRESS_SIX}"),
        ],
    )?;
    forward_packets(layout, machine)
}

/// Answers every packet that no route leads on. The routing itself tells each sender of one a second at most, and all
/// pods of a node are one sender there.
const NOWHERE: &str = "\
table inet mirror
flush table inet mirror
table inet mirror {
    chain nowhere {
        type filter hook prerouting priority filter
        fib daddr type unicast fib daddr oif missing reject with icmpx host-unreachable
    }
}
";

/// The control plane's namespace is also the switch between the nodes and the router between
/// their pods. Whatever goes elsewhere is answered as unreachable: nothing leaves the machine.
fn ensure_switch(layout: &Layout) -> Result<()> {
    let netns = format!("--net={}", layout.netns_path(Machine::Control));
    make_switch(layout)?;
    super::command::run_with_input("nsenter", &[&netns, "nft", "--file", "-"], NOWHERE).map(drop)
}

fn make_switch(layout: &Layout) -> Result<()> {
    let netns = layout.netns(Machine::Control);
    if succeeds("ip", &["-n", &netns, "link", "show", "switch"]) {
        return Ok(());
    }
    batch(
        &netns,
        &[
            "link set lo up",
            "link add switch type bridge",
            "link set switch up",
            &format!("address add {CONTROL_ADDRESS}/24 dev switch"),
            &format!("address add {CONTROL_ADDRESS_SIX}/64 dev switch nodad"),
            "route add unreachable default",
        ],
    )?;
    forward_packets(layout, Machine::Control)
}

fn forward_packets(layout: &Layout, machine: Machine) -> Result<()> {
    let netns = format!("--net={}", layout.netns_path(machine));
    // All pods of a node share one address there, and so one limit of ICMP messages: each is to hear of its own errors.
    // On the cables to them nobody else can have an address (`config::network`).
    let script = "cd /proc/sys/net; echo 1 | tee ipv4/ip_forward ipv6/conf/all/forwarding; \
        echo 0 | tee ipv4/icmp_ratelimit ipv6/icmp/ratelimit ipv6/conf/default/accept_dad";
    run("nsenter", &[&netns, "sh", "-c", script]).map(drop)
}

fn namespace_works(layout: &Layout, machine: Machine) -> bool {
    let path = layout.netns_path(machine);
    Path::new(&path).exists() && succeeds("nsenter", &[&format!("--net={path}"), "true"])
}

fn batch(netns: &str, commands: &[&str]) -> Result<()> {
    let input = commands.join("\n") + "\n";
    super::command::run_with_input("ip", &["-n", netns, "-batch", "-"], &input)
        .map(drop)
        .with_context(|| format!("in {netns}: {}", commands.join("; ")))
}
