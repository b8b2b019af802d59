//! The configuration language in the terms of LSP. What is said comes from `config`; here are only positions and shapes.
//! Nothing waits for a cluster: what is known of it lies in [`Around`], which others fill.

mod actions;
mod cluster;
mod machine;
mod positions;
mod rights;

pub(super) use actions::actions;
pub(super) use cluster::Live;
pub(super) use machine::wanted;
pub(super) use positions::Lines;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use config::ide::{self, CompletionKind};
use config::{Document, Format, Resolved, Severity};
use serde_json::json;
use tower_lsp::lsp_types::{
    CompletionItem, CompletionItemKind, CompletionItemTag, CompletionTextEdit, Diagnostic, DiagnosticSeverity,
    DocumentLink, DocumentSymbol, Documentation, FoldingRange, Hover, HoverContents, InsertTextFormat, Location,
    MarkupContent, MarkupKind, NumberOrString, Position, Range, SymbolKind, TextEdit, Url,
};

use super::reviews::Rights;
use crate::machine::ports::Ports;

/// What is known of the world around one file. Others fill it, so that no request waits.
#[derive(Clone, Default)]
pub(super) struct Around {
    /// The cluster.
    pub(super) live: Arc<Live>,
    /// This machine.
    pub(super) ports: Arc<Ports>,
    /// What the user may do.
    pub(super) rights: Arc<Rights>,
}

/// A text that is open, read once.
pub(super) struct Parsed {
    pub(super) document: Document,
    resolved: OnceLock<Resolved>,
    pub(super) lines: Lines,
    pub(super) uri: Url,
}

impl Parsed {
    /// Reads a text.
    pub(super) fn new(uri: &Url, text: &str) -> Self {
        let path = uri.to_file_path().unwrap_or_default();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let format = Format::of_extension(extension).unwrap_or(Format::Json);
        let document = Document::new(path.display().to_string(), text, format);
        let lines = Lines::new(text);
        Self { document, resolved: OnceLock::new(), lines, uri: uri.clone() }
    }

    /// What it comes to, with this process's variables. That takes ten times as long as reading the text does, and who
    /// types need not wait for it.
    pub(super) fn resolved(&self) -> &Resolved {
        self.resolved.get_or_init(|| config::resolve(Some(&self.document), &|name| std::env::var(name).ok(), &[]))
    }

    pub(super) fn range(&self, span: config::Span) -> Range {
        self.lines.range(&self.document.text, span)
    }

    fn offset(&self, position: Position) -> usize {
        self.lines.offset(&self.document.text, position)
    }
}

/// All problems: of the text at once, of cluster and machine as far as they are known.
pub(super) fn diagnostics(parsed: &Parsed, around: &Around) -> Vec<Diagnostic> {
    let of_text = parsed.resolved().diagnostics.iter().map(|problem| diagnostic(parsed, problem));
    let around = || {
        let of_cluster = cluster::diagnostics(parsed, &around.live);
        let of_machine = machine::diagnostics(parsed, &around.ports);
        of_cluster.into_iter().chain(rights::diagnostic(parsed, &around.rights)).chain(of_machine)
    };
    // What cannot be read names nothing.
    let around = (!parsed.resolved().has_errors()).then(around);
    of_text.chain(around.into_iter().flatten()).collect()
}

fn diagnostic(parsed: &Parsed, problem: &config::Diagnostic) -> Diagnostic {
    // A problem of a variable is shown where the file begins.
    let range = problem.span().map_or_else(Range::default, |span| parsed.range(span));
    let message = match problem.span() {
        Some(_) => problem.message.clone(),
        None => format!("{}: {}", config::render::place(&problem.origin, Some(&parsed.document)), problem.message),
    };
    let related = problem.related.as_ref().and_then(|(origin, label)| match origin {
        config::Origin::File(span) => Some(tower_lsp::lsp_types::DiagnosticRelatedInformation {
            location: Location { uri: parsed.uri.clone(), range: parsed.range(*span) },
            message: label.clone(),
        }),
        _ => None,
    });
    let is_unused = problem.code == "ignored-key";
    Diagnostic {
        range,
        severity: Some(match problem.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
            Severity::Hint => DiagnosticSeverity::HINT,
        }),
        code: Some(NumberOrString::String(problem.code.clone())),
        source: Some("mirror".to_owned()),
        message,
        related_information: related.map(|related| vec![related]),
        tags: is_unused.then(|| vec![tower_lsp::lsp_types::DiagnosticTag::UNNECESSARY]),
        data: problem.nearest.as_ref().map(|nearest| json!({ "nearest": nearest })),
        ..Diagnostic::default()
    }
}

/// Proposals at a position.
pub(super) fn completion(parsed: &Parsed, position: Position, live: &Live) -> Vec<CompletionItem> {
    let found = ide::complete(&parsed.document, parsed.offset(position), &live.facts);
    let item = |(index, completion): (usize, ide::Completion)| {
        let quoted = parsed.document.text.get(completion.span.start..completion.span.end).unwrap_or_default();
        CompletionItem {
            kind: Some(match completion.kind {
                CompletionKind::Key => CompletionItemKind::PROPERTY,
                CompletionKind::Word => CompletionItemKind::ENUM_MEMBER,
                CompletionKind::Name => CompletionItemKind::REFERENCE,
                CompletionKind::Snippet => CompletionItemKind::SNIPPET,
            }),
            detail: Some(completion.detail).filter(|detail| !detail.is_empty()),
            documentation: Some(completion.doc)
                .filter(|doc| !doc.is_empty())
                .map(|doc| Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value: doc })),
            // What is typed so far begins with a quote where the text does.
            filter_text: Some(if quoted.starts_with('"') {
                format!("\"{}\"", completion.label)
            } else {
                completion.label.clone()
            }),
            label: completion.label,
            // In the order of the table, names by what is best.
            sort_text: Some(format!("{index:04}")),
            insert_text_format: Some(InsertTextFormat::SNIPPET),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit {
                range: parsed.range(completion.span),
                new_text: completion.insert,
            })),
            tags: completion.deprecated.then(|| vec![CompletionItemTag::DEPRECATED]),
            ..CompletionItem::default()
        }
    };
    found.into_iter().enumerate().map(item).collect()
}

/// What the key or value at a position means.
pub(super) fn hover(parsed: &Parsed, position: Position, live: &Live) -> Option<Hover> {
    let found = ide::hover(&parsed.document, parsed.offset(position), parsed.resolved(), &live.facts)?;
    let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value: found.text });
    Some(Hover { contents, range: Some(parsed.range(found.span)) })
}

/// The outline.
pub(super) fn symbols(parsed: &Parsed) -> Vec<DocumentSymbol> {
    ide::symbols(&parsed.document).into_iter().map(|symbol| document_symbol(parsed, symbol)).collect()
}

fn document_symbol(parsed: &Parsed, symbol: ide::Symbol) -> DocumentSymbol {
    let children = symbol.children.into_iter().map(|child| document_symbol(parsed, child)).collect();
    #[expect(deprecated, reason = "the type has a field that it wants nobody to use")]
    DocumentSymbol {
        name: if symbol.name.is_empty() { "\"\"".to_owned() } else { symbol.name },
        detail: None,
        kind: match symbol.kind {
            ide::SymbolKind::Object => SymbolKind::OBJECT,
            ide::SymbolKind::List => SymbolKind::ARRAY,
            ide::SymbolKind::Text => SymbolKind::STRING,
            ide::SymbolKind::Number => SymbolKind::NUMBER,
            ide::SymbolKind::Truth => SymbolKind::BOOLEAN,
        },
        tags: None,
        deprecated: None,
        range: parsed.range(symbol.span),
        selection_range: parsed.range(symbol.key),
        children: Some(children),
    }
}

/// What can be folded.
pub(super) fn folds(parsed: &Parsed) -> Vec<FoldingRange> {
    let ranges = ide::folds(&parsed.document).into_iter().map(|span| parsed.range(span));
    let fold = |range: Range| FoldingRange {
        start_line: range.start.line,
        end_line: if range.end.character == 0 { range.end.line.saturating_sub(1) } else { range.end.line },
        ..FoldingRange::default()
    };
    ranges.map(fold).filter(|fold| fold.end_line > fold.start_line).collect()
}

/// What leads elsewhere.
pub(super) fn links(parsed: &Parsed) -> Vec<DocumentLink> {
    let folder = Path::new(&parsed.document.name).parent().unwrap_or(Path::new("/")).to_owned();
    let target = |to: &str| match to.contains("://") {
        true => Url::parse(to).ok(),
        false if to.starts_with("~/") => Url::from_file_path(crate::settings::expand_home(to)).ok(),
        false => Url::from_file_path(folder.join(to)).ok(),
    };
    let link = |link: ide::Link| {
        let target = Some(target(&link.to)?);
        Some(DocumentLink { range: parsed.range(link.span), target, tooltip: None, data: None })
    };
    ide::links(&parsed.document).into_iter().filter_map(link).collect()
}

/// The edits that tidy the text; none if it is tidy.
pub(super) fn formatting(parsed: &Parsed) -> Vec<TextEdit> {
    let text = &parsed.document.text;
    let tidied = ide::format(text, parsed.document.format);
    let whole = config::Span::new(0, text.len());
    tidied.into_iter().map(|new_text| TextEdit { range: parsed.range(whole), new_text }).collect()
}
