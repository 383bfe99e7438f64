//! LOAD DATA LOCAL: the file goes from the client to the server as it comes, with back-pressure.

use std::{future::poll_fn, pin::pin, task::Poll};

use tokio::io::AsyncWriteExt;
use weir_backend::{ConnectionError, Stream};
use weir_wire::response_end::ResponseEnd;

use crate::{
    client::{Client, ClientError},
    error::SessionError,
    session::{Held, Session},
};

/// Pieces in which a file passes.
const PIECE: usize = 256 << 10;

/// May the answer to a statement ask the client for a file? Only if a text of the client's does: whoever speaks for a
/// server could else read what the client can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalFiles {
    /// The text has LOAD DATA LOCAL.
    Expected,
    /// It has not.
    Refused,
}

impl Session {
    /// The client has been asked for its file: passes it on, up to the empty packet that ends it. If the server's side
    /// fails, the rest is dropped, since the client listens to nothing before it has sent all.
    pub(super) async fn pass_local_file(
        &mut self,
        held: &mut Held,
        end: &mut ResponseEnd<'_>,
    ) -> Result<Result<(), ConnectionError>, SessionError> {
        let mut file = end.local_file().in_any_order(self.client.stream().is_compressed());
        let mut outcome = Ok(());
        held.checkout.stream().set_in_local_file(true);
        while !file.has_ended() {
            let mut piece = self.client.piece(PIECE).await?;
            let wanted = file.next_sequences().0;
            let taken = file.walk(&mut piece).map_err(|malformed| {
                let got = piece.get(malformed.at).copied().unwrap_or_default();
                ClientError::OutOfOrder { got, wanted }
            })?;
            if taken < piece.len() {
                self.client.put_back(piece.split_off(taken));
            }
            if outcome.is_ok() {
                outcome = send(&mut self.client, held.checkout.stream(), &piece).await?;
            }
            self.worker.recycle(piece);
        }
        held.checkout.stream().set_in_local_file(false);
        end.local_file_passed(&file);
        Ok(outcome)
    }
}

/// Writes to the server, unless the client goes meanwhile: a statement that waits for a lock takes nothing.
async fn send(
    client: &mut Client,
    server: &mut Stream,
    bytes: &[u8],
) -> Result<Result<(), ConnectionError>, ClientError> {
    let mut sent = pin!(async {
        server.write_all(bytes).await?;
        server.flush().await?;
        Ok(())
    });
    poll_fn(|cx| match sent.as_mut().poll(cx) {
        Poll::Ready(sent) => Poll::Ready(Ok(sent)),
        Poll::Pending => client.poll_gone(cx).map(Err),
    })
    .await
}
