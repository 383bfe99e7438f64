//! The operators' HTTP address: `/metrics`, `/healthz`, `/readyz`.

mod guarded;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE},
    },
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use weir_gateway::Gateway;

use crate::{metrics, metrics::Metrics, status::Status};
use guarded::Guarded;

#[derive(Debug)]
struct Shown {
    gateway: Arc<Gateway>,
    metrics: Metrics,
}

/// Takes the address.
///
/// # Errors
/// It is taken already, or not ours.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for metrics and health checks"))
}

/// Answers until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, gateway: Arc<Gateway>, status: Arc<Status>) {
    let metrics = Metrics::new(Arc::clone(&gateway), status);
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .layer(map_response(close))
        .with_state(Arc::new(Shown { gateway, metrics }));
    if let Err(error) = axum::serve(Guarded::new(listener), router).await {
        tracing::error!(%error, "metrics and health checks are no longer served");
    }
}

/// One answer for each connection: who asks once in a while need not keep one open.
async fn close(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn scrape(State(shown): State<Arc<Shown>>) -> Response {
    match shown.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// New clients are welcome. Servers that are down do not make the gateway unready: with all gateways alike, that
/// would turn an error that clients understand into a refused connection.
async fn readyz(State(shown): State<Arc<Shown>>) -> (StatusCode, &'static str) {
    if shown.gateway.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if shown.gateway.tenants().1.by_name.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no namespace is loaded\n");
    }
    (StatusCode::OK, "ready\n")
}
