//! Divides the text of a Rust file into code, comments and literals. A scanner and no parser: it knows just
//! enough of the language never to take a text for code, and never to miss where a function ends.

use std::iter;

/// The two halves of one file. Both have every byte at the place that it has in the file.
pub(crate) struct Source {
    /// The file with comments, texts and characters blanked.
    pub(crate) code: String,
    /// The file with everything but its comments blanked.
    pub(crate) comments: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function<'s> {
    pub(crate) name: &'s str,
    /// Number of the line with its name.
    pub(crate) line: usize,
    /// Lines from there to its end that have code on them.
    pub(crate) n_lines: usize,
}

enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Reads a whole file.
    pub(crate) fn scan(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut code, mut comments) = (bytes.to_vec(), bytes.to_vec());
        let mut at = 0;
        while at < bytes.len() {
            let (kind, length) = token(&bytes[at..]);
            let end = (at + length.max(1)).min(bytes.len());
            match kind {
                Kind::Code => blank(&mut comments[at..end]),
                Kind::Comment => blank(&mut code[at..end]),
                Kind::Literal => {
                    blank(&mut code[at..end]);
                    blank(&mut comments[at..end]);
                }
            }
            at = end;
        }
        let text = |bytes| String::from_utf8(bytes).expect("tokens end between characters");
        Self { code: text(code), comments: text(comments) }
    }

    /// Every function that has a body, also those inside functions and macros.
    pub(crate) fn functions(&self) -> Vec<Function<'_>> {
        let code = self.code.as_str();
        places(code, "fn").filter_map(|at| function(code, at)).collect()
    }
}

fn function(code: &str, at: usize) -> Option<Function<'_>> {
    let rest = code[at + 2..].trim_start();
    let name = rest.split(|c: char| !is_word(c) && c != '$').next().filter(|name| !name.is_empty())?;
    let mut depth = 0;
    let head = code[at..].find(|c| {
        depth += match c {
            '(' | '[' => 1,
            ')' | ']' => -1,
            _ => 0,
        };
        depth < 0 || depth == 0 && matches!(c, '{' | ';')
    })?;
    let body = code[at + head..].strip_prefix('{').map(|_| at + head)?;
    let end = closing(code, body)?;
    let n_lines = code[at..end].lines().filter(|line| !line.trim().is_empty()).count();
    Some(Function { name, line: line_of(code, at), n_lines })
}

/// Where the brace that opens at `open` has been closed again.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    let end = code[open..].find(|c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some(open + end + 1)
}

/// Where `wanted` stands in `code`, not as a part of longer words.
pub(crate) fn places<'t>(code: &'t str, wanted: &'t str) -> impl Iterator<Item = usize> + 't {
    let mut from = 0;
    let all = iter::from_fn(move || {
        let at = from + code.get(from..)?.find(wanted)?;
        from = at + wanted.len();
        Some(at)
    });
    all.filter(move |at| {
        let (before, after) = (code[..*at].chars().next_back(), code[at + wanted.len()..].chars().next());
        let joined =
            |inner: Option<char>, outer: Option<char>| inner.is_some_and(is_word) && outer.is_some_and(is_word);
        !joined(wanted.chars().next(), before) && !joined(wanted.chars().next_back(), after)
    })
}

/// The number of the line in which `at` lies, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// What `rest` begins with, and how many bytes that has.
fn token(rest: &[u8]) -> (Kind, usize) {
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, quoted(rest, b'"')),
        [b'\'', ..] => match character(rest) {
            Some(length) => (Kind::Literal, length),
            None => (Kind::Code, 1),
        },
        _ => {
            let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80);
            let word = word.count();
            match raw_text(&rest[..word], &rest[word..]) {
                Some(length) => (Kind::Literal, word + length),
                None => (Kind::Code, word.max(1)),
            }
        }
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of what stands between two `quote`s, with them.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character literal; a lifetime is none.
fn character(rest: &[u8]) -> Option<usize> {
    let first = *rest.get(1)?;
    let width = match first {
        b'\\' => return Some(quoted(rest, b'\'')),
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// A raw text after its prefix.
fn raw_text(prefix: &[u8], rest: &[u8]) -> Option<usize> {
    if !matches!(prefix, b"r" | b"br" | b"cr") {
        return None;
    }
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = iter::once(b'"').chain(iter::repeat_n(b'#', hashes)).collect();
    let inner = &rest[hashes + 1..];
    let length = inner.windows(end.len()).position(|window| window == end)?;
    Some(hashes + 1 + length + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Source::scan(text).code.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn texts_and_comments_are_no_code() {
        for (text, expected) in [
            ("a // b\nc", &["a", "c"][..]),
            ("a /* b /* c */ d */ e", &["a", "e"]),
            (r#"a "b \" c" d"#, &["a", "d"]),
            (r##"a r#"b " c"# d"##, &["a", "d"]),
            (r#"a br"b \" c"#, &["a", "c"]),
            ("a '\"' b '\\'' c 'é' d", &["a", "b", "c", "d"]),
            ("&'a str '_", &["&'a", "str", "'_"]),
            ("r#type b'x' é", &["r#type", "b", "é"]),
            ("a \"no end", &["a"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn comments_keep_their_place() {
        let source = Source::scan("let url = \"http://x\"; // é: why\n");
        assert_eq!(source.comments.trim(), "// é: why");
        assert_eq!(source.comments.len(), source.code.len());
    }

    #[test]
    fn functions_are_found_with_their_length() {
        let text = "\
trait T { fn declared(&self) -> [u8; 2]; }
type Pointer = fn(u8);
fn outer(f: impl Fn() -> u8) -> u8
where
    u8: Copy,
{
    // a comment

    fn inner() {}
    let text = \"}\";
    f()
}
macro_rules! m { ($name:ident) => { fn $name() { 1 } } }";
        let found: Vec<_> = Source::scan(text)
            .functions()
            .into_iter()
            .map(|function| format!("{} {} {}", function.name, function.line, function.n_lines))
            .collect();
        assert_eq!(found, ["outer 3 8", "inner 9 1", "$name 13 1"]);
    }

    #[test]
    fn parts_of_words_do_not_count() {
        let found = |code, wanted| places(code, wanted).collect::<Vec<_>>();
        assert_eq!(found("unsafe_code unsafe not_unsafe", "unsafe"), [12]);
        assert_eq!(found("thread::sleep(1) mythread::sleep", "thread::sleep"), [0]);
        assert_eq!(found("x::todo!(todo!())", "todo!("), [3, 9]);
    }
}
