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

#[test]
fn curl_with_c_ares() {
    let laptop = Laptop::new();
    let curl = Cluster::shared().curl_with_c_ares();
    let curl = curl.to_str().expect("a plain path");
    let version = laptop.run({
        let mut command = laptop.command(curl);
        command.arg("--version");
        command
    });
    assert!(version.success().stdout.contains("c-ares/"), "otherwise this would show nothing");
    let ca = Cluster::shared().ca_certificate();
    let script = format!(
        "for url in http://echo-server/bytes/5 https://service.dns.test/bytes/5 http://absent.dns.test/; do
            {curl} --silent --max-time 20 --cacert {ca} --write-out ' %{{http_code}} %{{exitcode}}\\n' $url; done; true"
    );
    let outcome = laptop.run(laptop.mirror(["exec", "-q", "--", "sh", "-c", &script])).success();
    assert_eq!(outcome.stdout, "01234 200 0\n01234 200 0\n 000 6\n", "{}", outcome.stderr);
}
