//! The nearest of some known words to a misspelt one.
//!
//! Called for keys, choices and target kinds.

/// The candidate that `given` was probably meant to be; none if nothing is near.
pub(crate) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(given);
    candidates
        .into_iter()
        .map(|candidate| (score(&plain, &self::plain(candidate)), candidate))
        .filter(|(score, _)| *score >= 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// One for equal words; transpositions, missing and wrong letters cost. Very long words are no misspellings.
fn score(given: &str, candidate: &str) -> f64 {
    if given.len() > 64 {
        return 0.0;
    }
    // In short words one slip is a large part.
    if given.len() >= 3 && strsim::damerau_levenshtein(given, candidate) == 1 {
        return 0.9;
    }
    strsim::normalized_damerau_levenshtein(given, candidate).max(strsim::jaro_winkler(given, candidate) - 0.12)
}

/// Case, `-` and `_` do not count.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_not() {
        let words = ["kube_context", "kubeconfig", "target", "agent", "feature"];
        assert_eq!(nearest("kubeContext", words), Some("kube_context"));
        assert_eq!(nearest("tagret", words), Some("target"));
        assert_eq!(nearest("features", words), Some("feature"));
        assert_eq!(nearest("agnt", words), Some("agent"));
        assert_eq!(nearest("tll", ["ttl", "tls"]), Some("tls"));
        assert_eq!(nearest("banana", words), None);
    }
}
