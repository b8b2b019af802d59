//! What a text may look like: one small function per kind of text.
//!
//! Called through the key table ([`crate::keys::Shape::Text`]). A function knows one text and nothing about the
//! key that holds it; its message says what is wrong and how to write it.

use crate::address::AddressFilter;

/// A kind of text.
#[derive(Debug, Clone, Copy)]
pub struct TextKind {
    /// What it is called in messages and documents, such as `regular expression`.
    pub name: &'static str,
    /// Says what is wrong with a text.
    pub check: fn(&str) -> Result<(), String>,
}

/// Any text.
pub const ANY: TextKind = TextKind { name: "text", check: |_| Ok(()) };
/// Any text but the empty one.
pub const SOME: TextKind = TextKind { name: "text", check: not_empty };
/// A file path.
pub const PATH: TextKind = TextKind { name: "path", check: not_empty };
/// A regular expression of the Rust `regex` family: no look-around, no back-references.
pub const REGEX: TextKind = TextKind { name: "regular expression", check: regex };
/// A regular expression on parts of HTTP requests: what the agent understands of the Rust `regex` family, without
/// classes of Unicode.
pub const HTTP_REGEX: TextKind = TextKind { name: "regular expression", check: http_regex };
/// A name pattern with `*` and `?`.
pub const PATTERN: TextKind = TextKind { name: "pattern", check: not_empty };
/// An environment variable's name.
pub const VARIABLE: TextKind = TextKind { name: "variable name", check: variable };
/// A Kubernetes object name (RFC 1123 subdomain).
pub const SUBDOMAIN: TextKind = TextKind { name: "Kubernetes name", check: subdomain };
/// A namespace, container or service name (RFC 1123 label).
pub const LABEL: TextKind = TextKind { name: "Kubernetes name", check: label };
/// The key of a label or annotation.
pub const LABEL_KEY: TextKind = TextKind { name: "label key", check: label_key };
/// The value of a label.
pub const LABEL_VALUE: TextKind = TextKind { name: "label value", check: label_value };
/// A Kubernetes quantity.
pub const QUANTITY: TextKind = TextKind { name: "quantity", check: quantity };
/// A container image reference.
pub const IMAGE: TextKind = TextKind { name: "image reference", check: image };
/// An address filter of `outgoing.filter` and `dns.filter`.
pub const ADDRESS: TextKind = TextKind { name: "address filter", check: address };
/// An HTTP method.
pub const METHOD: TextKind = TextKind { name: "HTTP method", check: method };
/// A target path; its own check gives the nearest kind, so the one here only answers the table's question.
pub const TARGET: TextKind = TextKind { name: "target", check: target };

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty: remove it or write a value".to_owned()) } else { Ok(()) }
}

fn regex(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| text.contains(look)) {
        return Err(
            "looks ahead or behind, which is not supported: use several filters with `all_of` and `not`".to_owned()
        );
    }
    match regex_syntax::Parser::new().parse(text) {
        Ok(_) => Ok(()),
        Err(regex_syntax::Error::Parse(error)) => Err(wrong_regex(error.kind().to_string())),
        Err(regex_syntax::Error::Translate(error)) => Err(wrong_regex(error.kind().to_string())),
        Err(error) => Err(wrong_regex(error.to_string())),
    }
}

fn http_regex(text: &str) -> Result<(), String> {
    regex(text)?;
    regex_lite::Regex::new(text).map(drop).map_err(|error| wrong_regex(error.to_string()))
}

fn wrong_regex(reason: String) -> String {
    format!("is no regular expression: {}", reason.replace('\n', " "))
}

fn variable(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if text.contains(['=', '\0']) {
        Err("is no variable name: it contains `=` or a zero byte".to_owned())
    } else {
        Ok(())
    }
}

/// RFC 1123 label: at most 63 of `a-z`, `0-9`, `-`, beginning and ending with a letter or digit.
pub(crate) fn label(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = !text.is_empty() && text.len() <= 63;
    if fits && text.starts_with(good) && text.ends_with(good) && text.chars().all(|c| good(c) || c == '-') {
        return Ok(());
    }
    Err("is no Kubernetes name: 1 to 63 of a-z, 0-9 and -, first and last a letter or digit".to_owned())
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
pub(crate) fn subdomain(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| part.starts_with(good) && part.ends_with(good) && part.chars().all(|c| good(c) || c == '-');
    if text.len() <= 253 && text.split('.').all(part) {
        return Ok(());
    }
    Err("is no Kubernetes name: at most 253 of a-z, 0-9, - and ., each part beginning and ending with a letter or digit"
        .to_owned())
}

/// `[prefix/]name`.
pub(crate) fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let prefix_is_good = prefix.is_none_or(|prefix| subdomain(prefix).is_ok());
    if prefix_is_good && !name.is_empty() && label_value(name).is_ok() {
        return Ok(());
    }
    Err("is no label key: write `name` or `domain/name`, the name with at most 63 letters, digits, -, _ and ."
        .to_owned())
}

/// Empty, or at most 63 of letters, digits, `-`, `_`, `.`, beginning and ending with a letter or digit.
pub(crate) fn label_value(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    let fits = text.is_empty() || (text.starts_with(edge) && text.ends_with(edge));
    if fits && text.len() <= 63 && text.chars().all(inside) {
        return Ok(());
    }
    Err("is no label value: at most 63 letters, digits, -, _ and ., first and last a letter or digit".to_owned())
}

fn quantity(text: &str) -> Result<(), String> {
    const SUFFIXES: &[&str] = &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number_is_good = number.parse::<f64>().is_ok() && number.starts_with(|c: char| c.is_ascii_digit());
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|digits| digits.parse::<i8>().is_ok());
    if number_is_good && (SUFFIXES.contains(&suffix) || exponent) {
        return Ok(());
    }
    Err("is no quantity: write a number with a unit such as `500m`, `1`, `64Mi`".to_owned())
}

fn image(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if text.contains(char::is_whitespace) || text.contains("://") {
        return Err("is no image reference: write `registry/name:tag`, no blanks and no `https://`".to_owned());
    }
    Ok(())
}

fn address(text: &str) -> Result<(), String> {
    text.parse::<AddressFilter>().map(drop).map_err(|error| error.to_string())
}

fn method(text: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(token) {
        return Ok(());
    }
    Err("is no HTTP method: write one word such as `GET`".to_owned())
}

fn target(text: &str) -> Result<(), String> {
    text.parse::<crate::target::Target>().map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_the_good_and_refuses_the_bad() {
        let cases: &[(TextKind, &[&str], &[&str])] = &[
            (REGEX, &["x-user: .*", "^/api/(a|b)$"], &["(", "[z-a]", "", "a(?=b)", "(?<!x)y"]),
            (HTTP_REGEX, &["x-user: .*", "^/api/(a|b)\\d+$"], &["(", "", "a(?=b)", r"\p{Greek}"]),
            (VARIABLE, &["HOME", "a.b"], &["", "A=B"]),
            (LABEL, &["a", "web-1", "0x"], &["", "Web", "-a", "a-", "a_b", "a.b", &"x".repeat(64)]),
            (SUBDOMAIN, &["a.b-c.d", "web"], &["", "a..b", ".a", "A", "a.-b"]),
            (LABEL_KEY, &["app", "app.kubernetes.io/name"], &["", "/a", "a/", "a/b/c", "-a"]),
            (LABEL_VALUE, &["", "v1.2_x"], &["-", "a b", "ä"]),
            (QUANTITY, &["1", "500m", "64Mi", "1.5", "1e3"], &["", "Mi", "1 Mi", "64mb", "-1", "1.2.3"]),
            (IMAGE, &["ghcr.io/a/b:1", "b@sha256:00"], &["", "a b", "https://x/y"]),
            (METHOD, &["GET", "M-SEARCH"], &["", "GET POST"]),
        ];
        for (kind, good, bad) in cases {
            for text in *good {
                assert_eq!((kind.check)(text), Ok(()), "{} {text}", kind.name);
            }
            for text in *bad {
                assert!((kind.check)(text).is_err(), "{} {text}", kind.name);
            }
        }
    }
}
