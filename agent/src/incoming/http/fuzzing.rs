//! What holds for any bytes that a client, the application or the program may say. `cargo xtask fuzz` looks for bytes
//! for which it does not; the tests see that it does for the seeds.

mod carried;

mod readers;

use protocol::agent::HttpFilter;

use super::body::Body;
use super::filter::{Filter, Request};
use super::head::{Found, Looker};

pub use carried::connection;

/// A request's head is found wherever its bytes are cut, and is read by careless readers as by us.
pub fn request_head(bytes: &[u8]) {
    let whole = Looker::default().request(bytes);
    if let Ok(Found::Head(head)) = &whole {
        let careless = readers::message(&bytes[..head.length]);
        assert_eq!(careless, (head.length, head.body.clone()), "careless readers find another end");
    }
    let (mut looker, mut last) = (Looker::default(), None);
    for end in cuts(bytes) {
        let found = looker.request(&bytes[..end]);
        let is_over = !matches!(found, Ok(Found::Part));
        last = Some(found);
        if is_over {
            break;
        }
    }
    assert!(last.is_none_or(|last| last == whole), "the cuts change what is found");
}

/// The same for a response.
pub fn response_head(bytes: &[u8]) {
    let whole = Looker::default().response(bytes, "GET");
    let (mut looker, mut last) = (Looker::default(), None);
    for end in cuts(bytes) {
        let found = looker.response(&bytes[..end], "GET");
        let is_over = !matches!(found, Ok(Found::Part));
        last = Some(found);
        if is_over {
            break;
        }
    }
    assert!(last.is_none_or(|last| last == whole), "the cuts change what is found");
}

/// A chunked body ends at the same byte wherever it is cut, and where careless readers see its end.
pub fn chunks(bytes: &[u8]) {
    let mut whole = Body::chunked();
    let taken = whole.take(bytes);
    if let Ok(taken) = taken
        && whole.is_over()
    {
        assert_eq!(readers::chunked(bytes), Some(taken), "careless readers find another end");
    }
    let (mut body, mut before, mut all) = (Body::chunked(), 0, Ok(0));
    for end in cuts(bytes) {
        match body.take(&bytes[before..end]) {
            Ok(count) => all = all.map(|all| all + count),
            Err(unclear) => all = Err(unclear),
        }
        if all.is_err() || body.is_over() {
            break;
        }
        before = end;
    }
    assert_eq!(all, taken, "the cuts change what is taken");
}

/// Filters are refused or answer, and combine as logic has it. Each line is a filter by its first letter, or an
/// operator on those before it; a request follows the first empty line.
pub fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (lines, request) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut filters: Vec<HttpFilter> = Vec::new();
    for line in lines.lines() {
        let (kind, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        let leaf = |kind: fn(String) -> HttpFilter| kind(rest.to_owned());
        let next = match kind {
            "H" => leaf(HttpFilter::Header),
            "P" => leaf(HttpFilter::Path),
            "Q" => leaf(HttpFilter::Query),
            "M" => leaf(HttpFilter::Method),
            "&" => HttpFilter::All(std::mem::take(&mut filters)),
            "|" => HttpFilter::Any(std::mem::take(&mut filters)),
            _ => match filters.pop() {
                Some(filter) => HttpFilter::Not(Box::new(filter)),
                None => return,
            },
        };
        filters.push(next);
    }
    let mut words = request.lines();
    let mut first = words.next().unwrap_or_default().splitn(2, ' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let request = Request::new(method, target, words.map(str::to_owned).collect());
    let matches = |filter: &HttpFilter| Filter::new(filter).ok().map(|filter| filter.matches(&request));
    let each: Option<Vec<bool>> = filters.iter().map(matches).collect();
    let Some(each) = each else { return };
    let all = matches(&HttpFilter::All(filters.clone()));
    let any = matches(&HttpFilter::Any(filters.clone()));
    let not = matches(&HttpFilter::Not(Box::new(HttpFilter::Any(filters))));
    // Only nesting can be too deep for them.
    assert!(all.is_none_or(|all| all == each.iter().all(|one| *one)));
    assert!(any.is_none_or(|any| any == each.iter().any(|one| *one)));
    assert!(not.is_none_or(|not| Some(not) == any.map(|any| !any)));
}

/// Where bytes are cut: every one of the first few, then at distances that they say themselves.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut end = 0;
    std::iter::from_fn(move || {
        let step = bytes.get(end).map_or(1, |byte| if end < 64 { 1 } else { 1 + usize::from(byte % 61) });
        (end < bytes.len()).then(|| {
            end = (end + step).min(bytes.len());
            end
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Runs a property on the seeds of its target, of which there are some.
    fn seeds(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("readable");
            let held = std::panic::catch_unwind(|| property(&bytes));
            assert!(held.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    #[test]
    fn what_holds_for_any_bytes_holds_for_the_seeds() {
        seeds("http_request_head", super::request_head);
        seeds("http_response_head", super::response_head);
        seeds("http_chunks", super::chunks);
        seeds("http_filter", super::filter);
        seeds("http_connection", super::connection);
    }
}
