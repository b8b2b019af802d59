//! Which requests a filter chooses.

use protocol::agent::HttpFilter;
use regex_lite::{Regex, RegexBuilder};

/// Longest nesting of filters.
const MAX_DEPTH: usize = 64;

/// What a filter looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// As it was sent, without the query.
    pub(super) path: String,
    /// Without the `?`; none where there is no `?`.
    pub(super) query: Option<String>,
    /// Each as `Name: value`.
    pub(super) headers: Vec<String>,
}

impl Request {
    /// `target` is any of the forms of RFC 9112 3.2.
    pub(super) fn new(method: &str, target: &str, headers: Vec<String>) -> Self {
        let origin = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                rest.find(['/', '?']).map_or("/", |path| &rest[path..])
            }
            _ => target,
        };
        let (path, query) = match origin.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (origin, None),
        };
        Self { method: method.to_owned(), path: path.to_owned(), query, headers }
    }
}

/// A filter that is ready to be asked.
#[derive(Debug)]
pub(super) enum Filter {
    Header(Regex),
    Path(Regex),
    Method(String),
    Query(Regex),
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
}

impl Filter {
    /// Says what is wrong with a filter.
    pub(super) fn new(filter: &HttpFilter) -> Result<Self, String> {
        Self::nested(filter, 0)
    }

    fn nested(filter: &HttpFilter, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("filters are nested more than {MAX_DEPTH} times"));
        }
        let regex = |text: &str, any_case: bool| {
            let built = RegexBuilder::new(text).case_insensitive(any_case).build();
            built.map_err(|error| format!("no regular expression: {text}: {error}"))
        };
        let all = |parts: &[HttpFilter]| {
            parts.iter().map(|part| Self::nested(part, depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            HttpFilter::Header(text) => Self::Header(regex(text, true)?),
            HttpFilter::Path(text) => Self::Path(regex(text, false)?),
            HttpFilter::Method(text) => Self::Method(text.clone()),
            HttpFilter::Query(text) => Self::Query(regex(text, false)?),
            HttpFilter::All(parts) => Self::All(all(parts)?),
            HttpFilter::Any(parts) => Self::Any(all(parts)?),
            HttpFilter::Not(part) => Self::Not(Box::new(Self::nested(part, depth + 1)?)),
        })
    }

    /// Whether the request is the program's.
    pub(super) fn matches(&self, request: &Request) -> bool {
        match self {
            Self::Header(regex) => request.headers.iter().any(|header| regex.is_match(header)),
            Self::Path(regex) => {
                let with_query = |query| regex.is_match(&format!("{}?{query}", request.path));
                regex.is_match(&request.path) || request.query.as_ref().is_some_and(with_query)
            }
            Self::Method(method) => method.eq_ignore_ascii_case(&request.method),
            Self::Query(regex) => request.query.as_ref().is_some_and(|query| regex.is_match(query)),
            Self::All(parts) => parts.iter().all(|part| part.matches(request)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(request)),
            Self::Not(part) => !part.matches(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HttpFilter {
        HttpFilter::Header(text.to_owned())
    }

    fn path(text: &str) -> HttpFilter {
        HttpFilter::Path(text.to_owned())
    }

    fn query(text: &str) -> HttpFilter {
        HttpFilter::Query(text.to_owned())
    }

    fn not(filter: HttpFilter) -> HttpFilter {
        HttpFilter::Not(Box::new(filter))
    }

    #[test]
    fn filters_choose() {
        let headers = || vec!["Host: shop".to_owned(), "X-User: Ann".to_owned()];
        let request = Request::new("GET", "/api/items?id=7&all", headers());
        let method = |text: &str| HttpFilter::Method(text.to_owned());
        for (filter, is_chosen) in [
            (header("x-user: ann"), true),
            (header("^x-user: an$"), false),
            (header("^HOST: shop$"), true),
            (path("^/api/"), true),
            (path("^/API/"), false),
            (path("items$"), true),
            (path(r"items\?id=7"), true),
            (path("^items"), false),
            (method("get"), true),
            (method("GE"), false),
            (query("^id=7"), true),
            (query("^all"), false),
            (query("/api"), false),
            (HttpFilter::All(vec![path("api"), header("ann")]), true),
            (HttpFilter::All(vec![path("api"), header("bob")]), false),
            (HttpFilter::Any(vec![path("shop"), header("ann")]), true),
            (HttpFilter::Any(vec![path("shop"), header("bob")]), false),
            (not(path("api")), false),
            (not(HttpFilter::All(vec![path("api"), not(header("ann"))])), true),
        ] {
            assert_eq!(Filter::new(&filter).expect("good").matches(&request), is_chosen, "{filter:?}");
        }
        assert!(!Filter::new(&query("")).expect("good").matches(&Request::new("GET", "/", headers())), "no query");
    }

    #[test]
    fn the_target_has_a_path_in_each_of_its_forms() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/a?b?c", "/a", Some("b?c")),
            ("/a?", "/a", Some("")),
            ("*", "*", None),
            ("http://shop:80/a?b", "/a", Some("b")),
            ("http://shop", "/", None),
            ("http://shop?b", "", Some("b")),
            ("shop:443", "shop:443", None),
            ("/go?to=http://shop/", "/go", Some("to=http://shop/")),
        ] {
            let request = Request::new("GET", target, Vec::new());
            assert_eq!((request.path.as_str(), request.query.as_deref()), (path, query), "{target}");
        }
    }

    #[test]
    fn bad_filters_are_refused() {
        let deep = (0..100).fold(path("a"), |filter, _| not(filter));
        for filter in [header("("), path("a(?=b)"), query(r"\p{Greek}"), not(header("[")), deep] {
            assert!(Filter::new(&filter).is_err(), "{filter:?}");
        }
    }
}
