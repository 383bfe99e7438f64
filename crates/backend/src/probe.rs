//! Finds out that an instance which nobody uses has died, or has come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use weir_wire::{command::com, response_end::Expect};

use crate::{
    checkout::CheckoutError,
    connection::ConnectionError,
    pool::{Class, Pool, Want},
};

/// How long an instance may be silent before it is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks the instance once a second whether it is there, unless statements have just been answered. Uses the pool's
/// own connections, so that the budget holds and the login is always complete. Ends when the pool is dropped by all
/// others.
pub async fn probe_forever(pool: Arc<Pool>, worker: usize) {
    // instances of one configuration are not asked all at the same moment
    let offset = pool.instance().bytes().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut first = true;
    while Arc::strong_count(&pool) > 1 {
        if !first {
            tokio::time::sleep(INTERVAL + Duration::from_millis(offset % 100)).await;
        }
        if !first && pool.health().is_up() && pool.health().last_sign().elapsed() < INTERVAL {
            continue;
        }
        first = false;
        match tokio::time::timeout(pool.settings().connect_timeout * 2, probe(&pool, worker)).await {
            Ok(Ok(())) => {}
            // all connections are taken, by long statements or by a server that hangs
            Ok(Err(ProbeError::Checkout)) => ask_aside(&pool).await,
            Ok(Err(ProbeError::Connection(error))) => pool.probe_failed(&error.to_string()),
            Err(_) => pool.probe_failed("no answer to a ping in time"),
        }
    }
}

/// Asks over a connection beyond the budget, if the pool's own have been silent for longer than a login may take.
async fn ask_aside(pool: &Arc<Pool>) {
    let limit = pool.settings().connect_timeout;
    if pool.health().last_sign().elapsed() < limit {
        return;
    }
    match pool.dialer().dial(Class::default(), limit).await {
        Ok(_) => pool.health().answered(Instant::now()),
        Err(error) => pool.probe_failed(&error.to_string()),
    }
}

enum ProbeError {
    Checkout,
    Connection(ConnectionError),
}

async fn probe(pool: &Arc<Pool>, worker: usize) -> Result<(), ProbeError> {
    let nothing = Arc::clone(pool.dialer().any_state());
    let want = Want {
        class: Class::default(),
        state: &nothing,
        user_variables: &Arc::default(),
        thorough: true,
        ride: None,
    };
    let mut checkout = match pool.checkout_any(worker) {
        Some(checkout) => checkout,
        None => pool.checkout(worker, &want).await.map_err(|_: CheckoutError| ProbeError::Checkout)?,
    };
    match checkout.command(&[com::PING], Expect::One).await {
        Ok(_) => {
            pool.health().answered(Instant::now());
            checkout.give_back();
            Ok(())
        }
        Err(error) => Err(ProbeError::Connection(error)),
    }
}
