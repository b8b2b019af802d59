//! Receives the requests: what LSP defines by the trait, what is ours by the table of [`super::rpc`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tower_lsp::jsonrpc::Result as RpcResult;
use tower_lsp::lsp_types::{
    CodeActionParams, CodeActionProviderCapability, CodeActionResponse, CompletionList, CompletionOptions,
    CompletionParams, CompletionResponse, DidChangeTextDocumentParams, DidCloseTextDocumentParams,
    DidOpenTextDocumentParams, DidSaveTextDocumentParams, DocumentFormattingParams, DocumentLink, DocumentLinkOptions,
    DocumentLinkParams, DocumentSymbolParams, DocumentSymbolResponse, FoldingRange, FoldingRangeParams,
    FoldingRangeProviderCapability, Hover, HoverParams, HoverProviderCapability, InitializeParams, InitializeResult,
    InitializedParams, OneOf, ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextEdit, WorkDoneProgressOptions,
};
use tower_lsp::{Client, ClientSocket, LanguageServer, LspService};

use super::clusters::Clusters;
use super::disk::Disk;
use super::documents::Documents;
use super::rpc::{
    Contexts, ContextsParams, DiagnosticsReport, EffectiveConfig, EffectiveParams, Health, Namespaces, Nothing, Place,
    SessionList, SessionParams, SessionStart, SessionStarted, SessionUpdate, SessionUpdated, Status, TargetDetails,
    TargetParams, Targets, TargetsParams, Unwatch, Watched, request,
};
use super::sessions::Sessions;
use super::targets::Subscriptions;
use super::watches::Watches;
use super::{language, logging, status};
use crate::failure::{Class, Failure};
use crate::session::processes;

/// The helper.
pub(super) struct Helper {
    client: Client,
    began: Instant,
    leave: Arc<Notify>,
    logs: Mutex<Option<logging::Lines>>,
    documents: Arc<Documents>,
    watches: Arc<Watches>,
    subscriptions: Subscriptions,
    sessions: Arc<Sessions>,
}

/// The helper as a service. `leave` is told when the client's process has ended.
pub(super) fn service(leave: Arc<Notify>, logs: logging::Lines) -> (LspService<Helper>, ClientSocket) {
    let helper = move |client: Client| {
        let disk = Disk::start();
        let watches = Watches::new(Clusters::start(&client, disk.clone()));
        Helper {
            began: Instant::now(),
            leave,
            logs: Mutex::new(Some(logs)),
            documents: Documents::new(&client, watches.clone()),
            subscriptions: Subscriptions::new(client.clone(), watches.clone()),
            watches,
            sessions: Sessions::begin(client.clone(), disk),
            client,
        }
    };
    LspService::build(helper)
        .custom_method(request::STATUS, Helper::status)
        .custom_method(request::DIAGNOSTICS_COLLECT, Helper::collect)
        .custom_method(request::CONFIG_EFFECTIVE, Helper::effective)
        .custom_method(request::CONTEXTS_LIST, Helper::contexts)
        .custom_method(request::NAMESPACES_LIST, Helper::namespaces)
        .custom_method(request::TARGETS_LIST, Helper::targets)
        .custom_method(request::TARGETS_WATCH, Helper::watch)
        .custom_method(request::TARGETS_UNWATCH, Helper::unwatch)
        .custom_method(request::TARGETS_DETAILS, Helper::details)
        .custom_method(request::SESSION_START, Helper::start)
        .custom_method(request::SESSION_STOP, Helper::stop)
        .custom_method(request::SESSION_LIST, Helper::list)
        .custom_method(request::SESSION_RESTART, Helper::restart)
        .custom_method(request::SESSION_UPDATE, Helper::update)
        .finish()
}

impl Helper {
    pub(super) fn documents(&self) -> Arc<Documents> {
        self.documents.clone()
    }

    async fn status(&self, _: Nothing) -> RpcResult<Status> {
        Ok(self.status_now())
    }

    fn status_now(&self) -> Status {
        let problems: Vec<_> = crate::bundle::layer_path().err().map(Into::into).into_iter().collect();
        Status {
            version: protocol::VERSION.to_owned(),
            pid: std::process::id(),
            uptime: self.began.elapsed().as_secs(),
            health: if problems.is_empty() { Health::Good } else { Health::Degraded },
            problems,
            sessions: self.sessions.known().len(),
            watches: self.watches.count(),
            documents: self.documents.count(),
        }
    }

    async fn collect(&self, _: Nothing) -> RpcResult<DiagnosticsReport> {
        let (status, sessions) = (self.status_now(), self.sessions.list().await.sessions);
        blocking(move || Ok(DiagnosticsReport { text: status::report(&status, &sessions) })).await
    }

    async fn effective(&self, params: EffectiveParams) -> RpcResult<EffectiveConfig> {
        blocking(move || status::effective(&params)).await
    }

    async fn contexts(&self, params: ContextsParams) -> RpcResult<Contexts> {
        Ok(self.subscriptions.contexts(&params)?)
    }

    async fn namespaces(&self, place: Place) -> RpcResult<Namespaces> {
        Ok(self.subscriptions.namespaces(place).await?)
    }

    async fn targets(&self, params: TargetsParams) -> RpcResult<Targets> {
        Ok(self.subscriptions.list(params).await?)
    }

    async fn watch(&self, params: TargetsParams) -> RpcResult<Watched> {
        Ok(self.subscriptions.watch(params).await?)
    }

    async fn unwatch(&self, params: Unwatch) -> RpcResult<Nothing> {
        Ok(self.subscriptions.unwatch(&params)?)
    }

    async fn details(&self, params: TargetParams) -> RpcResult<TargetDetails> {
        Ok(self.subscriptions.details(params).await?)
    }

    async fn start(&self, params: SessionStart) -> RpcResult<SessionStarted> {
        Ok(self.sessions.start(params).await?)
    }

    async fn stop(&self, params: SessionParams) -> RpcResult<Nothing> {
        Ok(self.sessions.stop(&params).await?)
    }

    async fn list(&self, _: Nothing) -> RpcResult<SessionList> {
        Ok(self.sessions.list().await)
    }

    async fn restart(&self, params: SessionParams) -> RpcResult<SessionStarted> {
        Ok(self.sessions.restart(&params).await?)
    }

    async fn update(&self, params: SessionUpdate) -> RpcResult<SessionUpdated> {
        Ok(self.sessions.update(&params).await?)
    }

    /// Leaves when the client's process ends. One that cannot be seen from here (another container) is not waited for.
    fn watch_client(&self, pid: u32) {
        let leave = self.leave.clone();
        match i32::try_from(pid).ok().and_then(|pid| Some((pid, processes::open(pid).ok()?))) {
            Some((pid, fd)) => drop(tokio::spawn(async move {
                processes::ended(fd, pid).await;
                leave.notify_one();
            })),
            None => tracing::warn!(pid, "the client's process cannot be seen: its end is that of its input"),
        }
    }
}

/// Work that waits for files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> super::problems::Answer<T> + Send + 'static,
) -> RpcResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| super::rpc::Problem::from(Failure::new(Class::Internal, error.to_string())))?;
    Ok(done?)
}

#[tower_lsp::async_trait]
impl LanguageServer for Helper {
    async fn initialize(&self, params: InitializeParams) -> RpcResult<InitializeResult> {
        if let Some(pid) = params.process_id {
            self.watch_client(pid);
        }
        let capabilities = capabilities();
        let info = ServerInfo { name: "mirror".to_owned(), version: Some(protocol::VERSION.to_owned()) };
        Ok(InitializeResult { capabilities, server_info: Some(info) })
    }

    async fn initialized(&self, _: InitializedParams) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(logs) = logs {
            tokio::spawn(logging::forward(logs, self.client.clone()));
        }
    }

    async fn shutdown(&self) -> RpcResult<()> {
        Ok(())
    }

    // `service` has applied these already, in their order.
    async fn did_open(&self, _: DidOpenTextDocumentParams) {}
    async fn did_change(&self, _: DidChangeTextDocumentParams) {}
    async fn did_close(&self, _: DidCloseTextDocumentParams) {}
    async fn did_save(&self, _: DidSaveTextDocumentParams) {}
    async fn did_change_configuration(&self, _: tower_lsp::lsp_types::DidChangeConfigurationParams) {}

    async fn completion(&self, params: CompletionParams) -> RpcResult<Option<CompletionResponse>> {
        let place = params.text_document_position;
        let file = self.documents.get(&place.text_document.uri);
        let items = file.map(|file| language::completion(&file.parsed().0, place.position, &file.around().live));
        // There may be more: with the next letter it is asked again.
        Ok(items.map(|items| match items.len() >= config::ide::MOST_NAMES {
            true => CompletionResponse::List(CompletionList { is_incomplete: true, items }),
            false => CompletionResponse::Array(items),
        }))
    }

    async fn hover(&self, params: HoverParams) -> RpcResult<Option<Hover>> {
        let place = params.text_document_position_params;
        let file = self.documents.get(&place.text_document.uri);
        Ok(file.and_then(|file| language::hover(&file.parsed().0, place.position, &file.around().live)))
    }

    async fn code_action(&self, params: CodeActionParams) -> RpcResult<Option<CodeActionResponse>> {
        let file = self.documents.get(&params.text_document.uri);
        Ok(file.map(|file| {
            let (parsed, all) = (file.parsed().0, file.diagnostics().0);
            language::actions(&parsed, params.range, &params.context.diagnostics, &all, &file.around())
        }))
    }

    async fn document_symbol(&self, params: DocumentSymbolParams) -> RpcResult<Option<DocumentSymbolResponse>> {
        let file = self.documents.get(&params.text_document.uri);
        Ok(file.map(|file| DocumentSymbolResponse::Nested(language::symbols(&file.parsed().0))))
    }

    async fn document_link(&self, params: DocumentLinkParams) -> RpcResult<Option<Vec<DocumentLink>>> {
        let file = self.documents.get(&params.text_document.uri);
        Ok(file.map(|file| language::links(&file.parsed().0)))
    }

    async fn folding_range(&self, params: FoldingRangeParams) -> RpcResult<Option<Vec<FoldingRange>>> {
        let file = self.documents.get(&params.text_document.uri);
        Ok(file.map(|file| language::folds(&file.parsed().0)))
    }

    async fn formatting(&self, params: DocumentFormattingParams) -> RpcResult<Option<Vec<TextEdit>>> {
        let file = self.documents.get(&params.text_document.uri);
        Ok(file.map(|file| language::formatting(&file.parsed().0)))
    }
}

fn capabilities() -> ServerCapabilities {
    let triggers = ["\"", ":", "/", " ", "."].map(str::to_owned).to_vec();
    let links = DocumentLinkOptions {
        resolve_provider: Some(false),
        work_done_progress_options: WorkDoneProgressOptions::default(),
    };
    ServerCapabilities {
        text_document_sync: Some(TextDocumentSyncCapability::Kind(TextDocumentSyncKind::FULL)),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some(triggers),
            ..CompletionOptions::default()
        }),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        code_action_provider: Some(CodeActionProviderCapability::Simple(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        document_link_provider: Some(links),
        folding_range_provider: Some(FoldingRangeProviderCapability::Simple(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    }
}
