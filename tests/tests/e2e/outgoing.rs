//! A user's program reaches services of the cluster by name, from the pod.

use tests::Laptop;

#[test]
fn curl_reaches_a_service_by_its_name() {
    let laptop = Laptop::new();
    let outcome = laptop.exec("", "curl --silent --show-error --max-time 10 http://echo-server/hello").success();
    assert!(outcome.stdout.contains(r#""path":"/hello""#) || outcome.stdout.contains(r#""path": "/hello""#), "{}", outcome.stdout);
}
