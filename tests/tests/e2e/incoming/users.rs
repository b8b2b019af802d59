//! Several users with filters share a pod.

use tests::{Cluster, Laptop, Running, kill};

use super::Pods;
use super::http::{pods, serve_as};

/// Who answers one user's `GET`, and `PUT`, of `/api`, and others.
fn who(pods: &Pods) -> [String; 5] {
    let curl = |arguments: &str| {
        let mut command = Cluster::shared().on_node("sh");
        let url = format!("http://{}:{}", pods.address, pods.port);
        command.args(["-c", &format!("curl -sS -m 20 {}", arguments.replace("$U", &url))]);
        let output = command.output().expect("curl runs");
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
    };
    let own = "-H 'X-User: me'";
    [
        curl(&format!("{own} -X PUT $U/api")),
        curl(&format!("{own} $U/api")),
        curl("$U/api"),
        curl(&format!("{own} $U/other")),
        curl("$U/other"),
    ]
}

#[test]
fn the_newest_is_asked_first_and_who_leaves_disturbs_nobody() {
    let laptops = [(); 4].map(|()| Laptop::new());
    let pods = pods(&laptops[0], 8290);
    let incoming = |port: u16, filter: &str| {
        let filter = if filter.is_empty() { String::new() } else { format!(r#", "http_filter": {filter}"#) };
        format!(r#""mode": "steal", "port_mapping": [[{port}, 8290]]{filter}"#)
    };
    let start = |at: usize, name: &str, filter: &str| {
        let port = 8300 + 3 * u16::try_from(at).expect("few");
        Some(serve_as(&laptops[at], &pods, name, port, &incoming(port, filter)))
    };
    let end = |at: usize, program: &mut Option<Running>| {
        let mut program = program.take().expect("runs");
        kill(&[program.pid()]);
        program.wait();
        laptops[at].wait_hosts_gone();
    };
    let pod = "pod";
    let mut all = start(0, "all", "");
    assert_eq!(who(&pods), ["all"; 5]);
    let mut api = start(1, "api", r#"{"path_filter": "^/api"}"#);
    assert_eq!(who(&pods), ["api", "api", "api", "all", "all"]);
    let mut mine = start(2, "mine", r#"{"header_filter": "^x-user: me$"}"#);
    assert_eq!(who(&pods), ["mine", "mine", "api", "mine", "all"]);
    let mut puts = start(3, "puts", r#"{"method_filter": "PUT"}"#);
    assert_eq!(who(&pods), ["puts", "mine", "api", "mine", "all"]);
    end(2, &mut mine);
    assert_eq!(who(&pods), ["puts", "api", "api", "all", "all"]);
    end(0, &mut all);
    assert_eq!(who(&pods), ["puts", "api", "api", pod, pod]);
    let mut mine = start(2, "mine", r#"{"header_filter": "^x-user: me$"}"#);
    assert_eq!(who(&pods), ["mine", "mine", "api", "mine", pod]);
    end(3, &mut puts);
    assert_eq!(who(&pods), ["mine", "mine", "api", "mine", pod]);
    end(1, &mut api);
    assert_eq!(who(&pods), ["mine", "mine", pod, "mine", pod]);
    end(2, &mut mine);
    assert_eq!(who(&pods), [pod; 5]);
}
