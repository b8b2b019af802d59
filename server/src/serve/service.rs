//! What stands between the wire and `tower-lsp`.
//!
//! `tower-lsp` runs notifications concurrently. `call` is called in the order in which messages came, so edits are
//! applied here, and an older one cannot win. Defects end a request, not the helper. Requests without parameters may
//! come with or without an empty object.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use serde_json::json;
use tower::Service;
use tower_lsp::jsonrpc::{Error, Request, Response};

use super::documents::Documents;

/// The service with its guard.
pub(super) struct Guarded<S> {
    inner: S,
    documents: Arc<Documents>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, documents: Arc<Documents>) -> Self {
        Self { inner, documents }
    }
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Option<Response>, E>> + Send>>;

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Option<Response>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Option<Response>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.documents.apply(&request);
        let (method, id) = (request.method().to_owned(), request.id().cloned());
        tracing::debug!(method, ?id, "received");
        let answered = AssertUnwindSafe(self.inner.call(with_params(request))).catch_unwind();
        Box::pin(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::error!(method, "a defect of mirror: this request is not answered");
                    let error =
                        Error { message: format!("a defect of mirror in {method}").into(), ..Error::internal_error() };
                    Ok(id.map(|id| Response::from_error(id, error)))
                }
            }
        })
    }
}

/// Requests of ours always have parameters, be they empty.
fn with_params(request: Request) -> Request {
    if !request.method().starts_with("mirror/") || request.params().is_some_and(|params| !params.is_null()) {
        return request;
    }
    let (method, id, _) = request.into_parts();
    let builder = Request::build(method).params(json!({}));
    match id {
        Some(id) => builder.id(id).finish(),
        None => builder.finish(),
    }
}
