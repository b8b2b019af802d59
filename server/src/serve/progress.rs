//! `$/progress` of long work, for clients that gave a token.

use tower_lsp::Client;
use tower_lsp::lsp_types::notification::Progress as Notification;
use tower_lsp::lsp_types::{
    NumberOrString, ProgressParams, ProgressParamsValue, WorkDoneProgress, WorkDoneProgressBegin, WorkDoneProgressEnd,
    WorkDoneProgressReport,
};

/// Progress of one piece of work.
pub(super) struct Progress {
    client: Client,
    token: Option<String>,
}

impl Progress {
    /// Begins.
    pub(super) async fn begin(client: &Client, token: Option<String>, title: &str) -> Self {
        let progress = Self { client: client.clone(), token };
        let begin = WorkDoneProgressBegin { title: title.to_owned(), cancellable: Some(true), ..Default::default() };
        progress.send(WorkDoneProgress::Begin(begin)).await;
        progress
    }

    /// Tells of a step.
    pub(super) async fn report(&self, message: String) {
        let report = WorkDoneProgressReport { message: Some(message), ..Default::default() };
        self.send(WorkDoneProgress::Report(report)).await;
    }

    /// Ends.
    pub(super) async fn end(self, message: &str) {
        self.send(WorkDoneProgress::End(WorkDoneProgressEnd { message: Some(message.to_owned()) })).await;
    }

    async fn send(&self, value: WorkDoneProgress) {
        let Some(token) = &self.token else { return };
        let token = NumberOrString::String(token.clone());
        let params = ProgressParams { token, value: ProgressParamsValue::WorkDone(value) };
        self.client.send_notification::<Notification>(params).await;
    }
}
