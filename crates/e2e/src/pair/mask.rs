//! What may differ between an answer of the server and the same answer through Weir, each with its reason. Everything
//! else must be equal.

use memchr::memmem;
use weir_wire::capability::Status;
use weir_wire::response::{self, EofPacket, OkPacket};
use weir_wire::{Malformed, Reader, Writer};

use crate::client::{Answer, Packet};

/// Kinds of session-state records (`enum_session_state_type`).
const SYSTEM_VARIABLES: u8 = 0;
const GTIDS: u8 = 3;
const TRANSACTION_STATE: u8 = 5;

/// Weir collects answers up to this size before it passes any of them on.
const COLLECTED: usize = 1 << 20;

const ABOUT_INDEXES: Status = Status::NO_INDEX_USED.union(Status::NO_GOOD_INDEX_USED);

/// How an answer is made comparable.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    /// What Weir's side calls something, and what it is called at the server.
    pub(super) renamed: Vec<(Vec<u8>, Vec<u8>)>,
    /// The client has set `session_track_transaction_info`.
    pub(super) asked_for_transaction_state: bool,
    /// The statement reads the server's dictionary, whose plan is the server's choice of the moment: what the answer
    /// says of indexes differs between two runs at one server.
    pub(super) reads_dictionary: bool,
}

impl Mask {
    /// The packets with what may differ taken out.
    pub(super) fn apply(&self, answer: &Answer) -> Result<Vec<Packet>, Malformed> {
        let mut packets = answer.packets.clone();
        // the numbers of prepared statements are given by whoever is asked
        if answer.statement_id().is_some()
            && let Some(id) = packets.first_mut().and_then(|first| first.payload.get_mut(1..5))
        {
            id.fill(0);
        }
        let streamed = packets.iter().map(|packet| packet.payload.len()).sum::<usize>() > COLLECTED;
        for packet in packets.iter_mut().filter(|packet| packet.payload.first() == Some(&0xFF)) {
            forget_statement_id(&mut packet.payload);
        }
        let mut first_eof = true;
        let mut out_parameters = false;
        // MySQL leaves the count of the statement before in the answers to commands that are no statements.
        if answer.is_simple() {
            for packet in &mut packets {
                rewrite_end(packet, answer, |_, warnings| *warnings = 0)?;
            }
        }
        if self.reads_dictionary
            && let Some(end) = packets.last_mut()
        {
            rewrite_end(end, answer, |status, _| status.remove(ABOUT_INDEXES))?;
        }
        for packet in &mut packets {
            if !answer.flags.deprecate_eof && is_eof(packet) {
                let mut eof = EofPacket::parse(&packet.payload)?;
                // The warnings so far, in the EOF behind the columns: unknown to who gets the answer without it.
                if first_eof {
                    eof.warnings = 0;
                }
                // What the statement says of its indexes is known at its end, when the columns have gone.
                if first_eof && (streamed || self.reads_dictionary) {
                    eof.status.remove(ABOUT_INDEXES);
                }
                // MySQL leaves the status of OUT parameters out of the EOF behind them, unless EOF is deprecated.
                out_parameters = match first_eof {
                    true => eof.status.contains(Status::PS_OUT_PARAMS),
                    false => {
                        if out_parameters {
                            eof.status |= Status::PS_OUT_PARAMS | Status::MORE_RESULTS;
                        }
                        false
                    }
                };
                first_eof = !first_eof;
                packet.payload.clear();
                eof.write(&mut Writer::new(&mut packet.payload));
            } else if answer.flags.session_track && is_ok(packet, answer) {
                self.records(packet, answer)?;
            }
            for (weir, direct) in &self.renamed {
                replace(&mut packet.payload, weir, direct);
            }
        }
        Ok(packets)
    }

    /// Session-state records in the order of their kinds and names; without numbers that differ by connection.
    fn records(&self, packet: &mut Packet, answer: &Answer) -> Result<(), Malformed> {
        let payload = packet.payload.clone();
        let ok = OkPacket::parse(&payload, answer.flags)?;
        // none at all: MySQL's announcement of nothing, with COMMIT AND CHAIN
        let mut records: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut rest = Reader::new(ok.session_state);
        while !rest.is_empty() {
            let kind = rest.u8("record's kind")?;
            let payload = rest.lenenc_bytes("record")?;
            match kind {
                SYSTEM_VARIABLES => {
                    let mut pairs = Reader::new(payload);
                    while !pairs.is_empty() {
                        let name = pairs.lenenc_bytes("name")?;
                        let value = pairs.lenenc_bytes("value")?;
                        match name {
                            // counts the server's statements, so it never tells a client anything of its own
                            b"statement_id" => {}
                            // positions of two commits
                            b"last_gtid" => records.push((kind, name.to_vec())),
                            _ => records.push((kind, [name, b"=", value].concat())),
                        }
                    }
                }
                GTIDS => records.push((kind, Vec::new())),
                // MySQL tells it at BEGIN and COMMIT to clients that did not ask for it
                TRANSACTION_STATE if !self.asked_for_transaction_state => {}
                _ => records.push((kind, payload.to_vec())),
            }
        }
        records.sort();
        let text: Vec<u8> = records
            .iter()
            .flat_map(|(kind, text)| format!("{kind}:{};", text.escape_ascii()).into_bytes())
            .collect();
        let masked = OkPacket { session_state: &text, ..ok };
        packet.payload.clear();
        masked.write(packet_kind(&payload), answer.flags, &mut Writer::new(&mut packet.payload));
        Ok(())
    }
}

/// Changes the status and the warnings that an OK or EOF tells; any other packet stays as it is.
fn rewrite_end(
    packet: &mut Packet,
    answer: &Answer,
    change: impl FnOnce(&mut Status, &mut u16),
) -> Result<(), Malformed> {
    let payload = packet.payload.clone();
    match payload.first() {
        Some(&response::EOF) if payload.len() == EofPacket::LEN => {
            let mut eof = EofPacket::parse(&payload)?;
            change(&mut eof.status, &mut eof.warnings);
            packet.payload.clear();
            eof.write(&mut Writer::new(&mut packet.payload));
        }
        Some(&(response::OK | response::EOF)) => {
            let mut ok = OkPacket::parse(&payload, answer.flags)?;
            change(&mut ok.status, &mut ok.warnings);
            packet.payload.clear();
            ok.write(packet_kind(&payload), answer.flags, &mut Writer::new(&mut packet.payload));
        }
        _ => {}
    }
    Ok(())
}

fn packet_kind(payload: &[u8]) -> u8 {
    if payload.first() == Some(&response::EOF) { response::EOF } else { response::OK }
}

fn is_eof(packet: &Packet) -> bool {
    packet.first() == response::EOF && packet.payload.len() == EofPacket::LEN
}

/// An OK, or the OK that ends a result set. Rows may begin with either byte, but then are no OK with records.
fn is_ok(packet: &Packet, answer: &Answer) -> bool {
    matches!(packet.first(), response::OK | response::EOF)
        && !answer.is_prepare()
        && OkPacket::parse(&packet.payload, answer.flags)
            .is_ok_and(|ok| ok.status.contains(Status::SESSION_STATE_CHANGED))
}

/// Replaces in place; both have the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    if from.is_empty() || from.len() != to.len() {
        return;
    }
    let found: Vec<usize> = memmem::find_iter(bytes, from).collect();
    for start in found {
        if let Some(slot) = bytes.get_mut(start..start.saturating_add(to.len())) {
            slot.copy_from_slice(to);
        }
    }
}

/// "The statement (7) has no open cursor": the number is the asked one's own.
fn forget_statement_id(payload: &mut Vec<u8>) {
    const START: &[u8] = b"The statement (";
    let Some(from) = memmem::find(payload, START).map(|at| at + START.len()) else { return };
    let digits = payload.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    payload.drain(from..from + digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        let mut bytes = b"a_w.t of a_w".to_vec();
        replace(&mut bytes, b"a_w", b"a_d");
        assert_eq!(bytes, b"a_d.t of a_d");
        replace(&mut bytes, b"", b"");
        assert_eq!(bytes, b"a_d.t of a_d");
    }
}
