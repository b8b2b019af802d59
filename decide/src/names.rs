//! Which names this machine resolves by itself.

/// Whether `name` is this machine's matter: `localhost` and what is below it (RFC 6761 6.3), and the
/// machine's own name, which programs look up to find themselves and which no pod can know.
///
/// `pod_name` is the name that programs find out as their own instead: then that one is the pod's matter,
/// even where both are the same.
pub fn is_local(name: &[u8], own_name: &[u8], pod_name: Option<&[u8]>) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_or_is_below = |parent: &[u8]| match name.len().checked_sub(parent.len()) {
        Some(0) => name.eq_ignore_ascii_case(parent),
        Some(front) => name[front..].eq_ignore_ascii_case(parent) && name[front - 1] == b'.',
        None => false,
    };
    let is_own = !own_name.is_empty() && name.eq_ignore_ascii_case(own_name);
    let is_pods = pod_name.is_some_and(|pod_name| name.eq_ignore_ascii_case(pod_name));
    is_or_is_below(b"localhost") || is_or_is_below(b"localhost.localdomain") || (is_own && !is_pods)
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
    fn localhost_and_the_machines_own_name_are_local() {
        for (name, expected) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("api.localhost", true),
            ("localhost.localdomain", true),
            ("my-laptop", true),
            ("MY-LAPTOP.", true),
            ("notlocalhost", false),
            ("localhost.default.svc", false),
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
        for (name, pod_name, expected) in [
            ("my-laptop", "api-0", true),
            ("api-0", "api-0", false),
            ("my-laptop", "my-laptop", false),
            ("localhost", "localhost", true),
        ] {
            assert_eq!(is_local(name.as_bytes(), b"my-laptop", Some(pod_name.as_bytes())), expected, "{name}");
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
