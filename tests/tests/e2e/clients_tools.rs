//! Ordinary programs of a developer's machine against ordinary servers: `dig`, `getent`, `psql`, `redis-cli`, `ssh`.

use tests::{Cluster, Laptop};

/// What `tools.sh` prints in the pod with search domains of its own.
const EXPECTED: &str = include_str!("../../apps/clients/tools.txt");

#[test]
fn name_servers_and_data_bases() {
    let laptop = Laptop::new();
    laptop.bring("clients/tools.sh");
    let outcome = laptop.exec("-q -n other -t deployment/search-domains", "sh tools.sh").success();
    assert_eq!(outcome.stdout, EXPECTED, "{}", outcome.stderr);
}

#[test]
fn ssh_with_a_key() {
    let (laptop, cluster) = (Laptop::new(), Cluster::shared());
    let mut make = laptop.command("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    laptop.run(make).success();
    let in_pod = |script: &str| cluster.kubectl(&["exec", "deployment/servers", "-c", "ssh", "--", "sh", "-c", script]);
    let key = std::fs::read_to_string(laptop.home().join("key.pub")).expect("the key's public half");
    in_pod(&format!("echo '{}' >> /root/.ssh/authorized_keys", key.trim()));
    laptop.write("known", &format!("ssh {}", in_pod("cat /etc/ssh/ssh_host_ed25519_key.pub")));
    let options = "-F none -i key -o UserKnownHostsFile=known -o BatchMode=yes -o ConnectTimeout=20";
    let ask = r"hostname; echo ${SSH_CONNECTION%%.*}; head -c 3000000 /dev/zero | wc -c";
    let mut command = laptop.mirror(["exec", "-q", "--", "ssh"]);
    command.args(options.split(' ')).args(["root@ssh", ask]);
    let outcome = laptop.run(command).success();
    let pod = cluster.pod("default", "app=servers");
    assert_eq!(outcome.stdout, format!("{pod}\n10\n3000000\n"), "{}", outcome.stderr);
}
