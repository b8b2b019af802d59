//! Which names this machine resolves by itself.

/// Whether `name` is this machine's matter: the machine's own name, which programs look up to find themselves
/// and which no pod can know.
///
/// `pod_name` is the name that programs find out as their own instead: then that one is the pod's matter,
/// even where both are the same.
pub fn is_local(name: &[u8], own_name: &[u8], pod_name: Option<&[u8]>) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_own = !own_name.is_empty() && name.eq_ignore_ascii_case(own_name);
    let is_pods = pod_name.is_some_and(|pod_name| name.eq_ignore_ascii_case(pod_name));
    is_own && !is_pods
}

/// Whether `name` is the name of loopback, which every host has (RFC 6761 6.3).
pub fn is_localhost(name: &[u8]) -> bool {
    name.strip_suffix(b".").unwrap_or(name).eq_ignore_ascii_case(b"localhost")
}

/// Whether `name` is an address in the sense of `gethostbyname(3)`, which then asks nobody: digits and dots
/// only, or hexadecimal digits, dots and at least one colon.
pub fn is_numeric(name: &[u8]) -> bool {
    let dotted = name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let is_v6_byte = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let address = name.split(|byte| *byte == b'%').next().unwrap_or_default();
    match name {
        [] => false,
        [.., b'.'] => false,
        [first, ..] if dotted => first.is_ascii_digit(),
        _ => address.contains(&b':') && address.iter().all(is_v6_byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_name_is_local() {
        for (name, expected) in [
            ("localhost", false),
            ("my-laptop", true),
            ("MY-LAPTOP.", true),
            ("my-laptop.example", false),
            ("redis", false),
            ("", false),
            (".", false),
        ] {
            assert_eq!(is_local(name.as_bytes(), b"my-laptop", None), expected, "{name}");
        }
        assert!(!is_local(b"", b"", None));
    }

    #[test]
    fn the_pods_name_is_the_pods() {
        for (name, pod_name, expected) in
            [("my-laptop", "api-0", true), ("api-0", "api-0", false), ("my-laptop", "my-laptop", false)]
        {
            assert_eq!(is_local(name.as_bytes(), b"my-laptop", Some(pod_name.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn localhost_is_known_in_every_form() {
        for (name, expected) in
            [("localhost", true), ("LocalHost.", true), ("a.localhost", false), ("mylocalhost", false), ("", false)]
        {
            assert_eq!(is_localhost(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn addresses_are_recognised() {
        for (name, expected) in [
            ("10.0.0.1", true),
            ("127.1", true),
            ("2130706433", true),
            ("::1", true),
            ("fe80::1%eth0", true),
            ("::ffff:1.2.3.4", true),
            ("10.0.0.1.", false),
            (".5", false),
            ("cafe", false),
            ("1.example", false),
            ("", false),
        ] {
            assert_eq!(is_numeric(name.as_bytes()), expected, "{name}");
        }
    }
}
