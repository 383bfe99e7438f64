//! A client that speaks the protocol byte by byte, so that tests see whole answers as they are on the wire, and can
//! send what no driver would.

mod answer;
mod compressed;
mod login;
mod packet;
mod parameter;
mod transport;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use weir_testkit::sql::{Row, ServerError};
use weir_wire::Malformed;
use weir_wire::capability::Capabilities;
use weir_wire::command::com;
use weir_wire::greeting::Greeting;
use weir_wire::query_attributes::query_head;
use weir_wire::response::{LOCAL_INFILE, PrepareOk, ResponseFlags};

pub use answer::{Answer, Outcome};
pub use login::{Login, Proof, Tls, modern};
pub use packet::Packet;
pub use parameter::{Attribute, Parameter, execution};
pub use transport::{Endpoint, Transport};
pub use weir_wire::response_end::Expect;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused, and said so.
    #[error(transparent)]
    Refused(#[from] ServerError),
    /// The connection failed or ended.
    #[error("the connection is lost: {0}")]
    Lost(#[from] io::Error),
    /// The server sent what is no answer.
    #[error("the server sent no answer: {0}")]
    Malformed(#[from] Malformed),
    /// The login takes a turn that this client cannot follow.
    #[error("{0}")]
    Login(String),
}

impl Failure {
    /// The error number, if the server gave one.
    #[must_use]
    pub fn number(&self) -> Option<u16> {
        match self {
            Failure::Refused(error) => Some(error.number),
            _ => None,
        }
    }

    /// Did the connection end, in whichever way?
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Failure::Lost(_))
    }
}

/// A connection after its login.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    /// What the server said of itself.
    pub greeting: Greeting,
    /// What both sides agreed on.
    pub capabilities: Capabilities,
    /// How the password was proved.
    pub proof: Proof,
    /// The packets that the server sent during the login, greeting first.
    pub login_packets: Vec<Packet>,
    /// The last challenge, for COM_CHANGE_USER.
    challenge: Vec<u8>,
    /// The last plugin.
    plugin: Vec<u8>,
}

/// A statement that the server has prepared.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its id on this connection.
    pub id: u32,
    /// How many parameters it has.
    pub parameters: u16,
    /// How many columns its result has.
    pub columns: u16,
    /// The whole answer to the command.
    pub answer: Answer,
}

/// How a statement is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The rows come at once.
    None,
    /// The rows are to be fetched.
    ReadOnly,
}

/// Whether the types of parameters are sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// They are.
    New,
    /// They are as in the execution before.
    AsBefore,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Nobody listens, or the login is refused.
    pub fn connect(endpoint: &Endpoint, login: &Login) -> Result<Client, Failure> {
        let mut transport = Transport::connect(endpoint, login.patience)?;
        transport.write_all(&login.preamble)?;
        login::log_in(transport, login)
    }

    /// How this connection's answers look.
    #[must_use]
    pub fn flags(&self) -> ResponseFlags {
        ResponseFlags::from(self.capabilities)
    }

    /// The id that the server gave this connection.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.greeting.connection_id
    }

    /// How long a read or a write may take.
    ///
    /// # Errors
    /// The socket does not take it.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), Failure> {
        Ok(self.transport.set_patience(patience)?)
    }

    /// Sends a payload as a command: its packets count from 0.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        weir_wire::write_packet(&mut bytes, 0, payload);
        self.send_bytes(&bytes)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.transport.write_all(bytes)?;
        Ok(self.transport.flush()?)
    }

    /// Reads the next payload with the number of its first packet.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn read_packet(&mut self) -> Result<Packet, Failure> {
        Ok(Packet::read(&mut self.transport)?)
    }

    /// Reads at most `limit` bytes as they come.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn read_some(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut buffer = vec![0; limit];
        let n = self.transport.read(&mut buffer)?;
        buffer.truncate(n);
        Ok(buffer)
    }

    /// Waits for the other side to close, and gives the bytes that still came.
    ///
    /// # Errors
    /// It does not close while the patience lasts.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>, Failure> {
        let mut rest = Vec::new();
        match self.transport.read_to_end(&mut rest) {
            // without TLS's own goodbye, or reset: closed all the same
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Ok(rest)
            }
            Err(e) => Err(e.into()),
            Ok(_) => Ok(rest),
        }
    }

    /// Reads a whole answer of the shape `expect`.
    ///
    /// # Errors
    /// The connection is lost, or what comes is no answer.
    pub fn read_answer(&mut self, expect: Expect) -> Result<Answer, Failure> {
        let flags = self.flags();
        let counts = match self.transport.is_compressed() {
            true => answer::Counts::Anew,
            false => answer::Counts::AsSent,
        };
        answer::read(&mut self.transport, flags, expect, counts)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn command(&mut self, payload: &[u8], expect: Expect) -> Result<Answer, Failure> {
        self.send(payload)?;
        self.read_answer(expect)
    }

    /// COM_QUERY. An error of the server is an answer.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn query(&mut self, sql: impl AsRef<[u8]>) -> Result<Answer, Failure> {
        let negotiated = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        self.command(&[query_head(negotiated), sql.as_ref()].concat(), Expect::Results)
    }

    /// COM_QUERY with query attributes, which must have been negotiated.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn query_with(&mut self, sql: &str, attributes: &[Attribute<'_>]) -> Result<Answer, Failure> {
        self.command(&parameter::attributed(sql.as_bytes(), attributes), Expect::Results)
    }

    /// COM_STMT_EXECUTE with query attributes, which must have been negotiated.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn execute_attributed(
        &mut self,
        id: u32,
        parameters: &[Parameter],
        attributes: &[Attribute<'_>],
        bind: Bind,
    ) -> Result<Answer, Failure> {
        self.command(&parameter::execution_attributed(id, parameters, attributes, bind), Expect::Results)
    }

    /// Sends a local file, in these packets, behind an answer that ended with the request for it. Gives how the answer
    /// goes on.
    ///
    /// # Errors
    /// The answer did not ask for a file, or as for [`Client::read_answer`].
    pub fn send_file(&mut self, asked: &Answer, packets: &[&[u8]]) -> Result<Answer, Failure> {
        let request = asked.packets.last().filter(|last| last.first() == LOCAL_INFILE);
        let Some(request) = request else {
            return Err(Failure::Login(format!("no file was asked for:\n{asked:?}")));
        };
        let mut sequence = request.next_sequence();
        self.transport.set_in_local_file(true);
        for packet in packets.iter().copied().chain([&[][..]]) {
            let mut bytes = Vec::new();
            sequence = weir_wire::write_packet(&mut bytes, sequence, packet);
            self.transport.write_all(&bytes)?;
        }
        self.transport.flush()?;
        self.transport.set_in_local_file(false);
        let answer = self.read_answer(Expect::Results)?;
        if self.transport.is_compressed() {
            return Ok(answer);
        }
        match answer.packets.first() {
            Some(first) if first.sequence == sequence => Ok(answer),
            first => Err(Failure::Login(format!("after a file {sequence} was due, not {first:?}"))),
        }
    }

    /// The rows of the last result.
    ///
    /// # Errors
    /// The server answers with an error, or as for [`Client::read_answer`].
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        self.query(sql)?.rows()
    }

    /// Runs a text whose rows do not matter.
    ///
    /// # Errors
    /// As for [`Client::rows`].
    pub fn run(&mut self, sql: &str) -> Result<Answer, Failure> {
        let answer = self.query(sql)?;
        match answer.error() {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    /// The first value of the last result; NULL and no row are empty.
    ///
    /// # Errors
    /// As for [`Client::rows`].
    pub fn value(&mut self, sql: &str) -> Result<String, Failure> {
        let row = self.rows(sql)?.into_iter().next().unwrap_or_default();
        Ok(row.into_iter().next().flatten().unwrap_or_default())
    }

    /// COM_STMT_PREPARE.
    ///
    /// # Errors
    /// The server answers with an error, or as for [`Client::read_answer`].
    pub fn prepare(&mut self, sql: impl AsRef<[u8]>) -> Result<Prepared, Failure> {
        let answer = self.prepare_raw(sql)?;
        if let Some(error) = answer.error() {
            return Err(error.into());
        }
        let first = answer.packets.first().map(|p| p.payload.as_slice()).unwrap_or_default();
        let PrepareOk { statement, columns, parameters, .. } = PrepareOk::parse(first)?;
        Ok(Prepared { id: statement, parameters, columns, answer })
    }

    /// COM_STMT_PREPARE. An error of the server is an answer.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn prepare_raw(&mut self, sql: impl AsRef<[u8]>) -> Result<Answer, Failure> {
        self.command(&[&[com::STMT_PREPARE], sql.as_ref()].concat(), Expect::Prepare)
    }

    /// COM_STMT_EXECUTE with new parameters and no cursor.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn execute(&mut self, id: u32, parameters: &[Parameter]) -> Result<Answer, Failure> {
        self.execute_with(id, parameters, Cursor::None, Bind::New)
    }

    /// COM_STMT_EXECUTE.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn execute_with(
        &mut self,
        id: u32,
        parameters: &[Parameter],
        cursor: Cursor,
        bind: Bind,
    ) -> Result<Answer, Failure> {
        let negotiated = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        if negotiated && cursor == Cursor::None {
            return self.execute_attributed(id, parameters, &[], bind);
        }
        self.command(&execution(id, parameters, cursor, bind), Expect::Results)
    }

    /// COM_STMT_FETCH.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn fetch(&mut self, id: u32, rows: u32) -> Result<Answer, Failure> {
        self.command(&[&[com::STMT_FETCH][..], &id.to_le_bytes(), &rows.to_le_bytes()].concat(), Expect::Rows)
    }

    /// COM_STMT_SEND_LONG_DATA, which has no answer.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send_long_data(&mut self, id: u32, parameter: u16, data: &[u8]) -> Result<(), Failure> {
        let head = [&[com::STMT_SEND_LONG_DATA][..], &id.to_le_bytes(), &parameter.to_le_bytes()].concat();
        self.send(&[&head, data].concat())
    }

    /// COM_STMT_CLOSE, which has no answer.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn close_statement(&mut self, id: u32) -> Result<(), Failure> {
        self.send(&[&[com::STMT_CLOSE][..], &id.to_le_bytes()].concat())
    }

    /// COM_STMT_RESET.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn reset_statement(&mut self, id: u32) -> Result<Answer, Failure> {
        self.command(&[&[com::STMT_RESET][..], &id.to_le_bytes()].concat(), Expect::One)
    }

    /// COM_INIT_DB.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn init_db(&mut self, database: &str) -> Result<Answer, Failure> {
        self.command(&[&[com::INIT_DB], database.as_bytes()].concat(), Expect::One)
    }

    /// COM_PING.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn ping(&mut self) -> Result<Answer, Failure> {
        self.command(&[com::PING], Expect::One)
    }

    /// COM_SET_OPTION: 0 turns several statements in a packet on, 1 off.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn set_option(&mut self, option: u16) -> Result<Answer, Failure> {
        self.command(&[&[com::SET_OPTION][..], &option.to_le_bytes()].concat(), Expect::One)
    }

    /// COM_RESET_CONNECTION.
    ///
    /// # Errors
    /// As for [`Client::read_answer`].
    pub fn reset(&mut self) -> Result<Answer, Failure> {
        self.command(&[com::RESET_CONNECTION], Expect::One)
    }

    /// COM_CHANGE_USER, with whatever the server asks for.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn change_user(&mut self, login: &Login) -> Result<Answer, Failure> {
        login::change_user(self, login)
    }

    /// COM_QUIT, then waits for the server to close.
    ///
    /// # Errors
    /// It does not close, or sends something.
    pub fn quit(mut self) -> Result<(), Failure> {
        self.send(&[com::QUIT])?;
        match self.read_to_close()?.len() {
            0 => Ok(()),
            n => Err(Failure::Login(format!("{n} bytes came after COM_QUIT"))),
        }
    }

    /// Makes a later close a reset, as a process that is killed with unread bytes does.
    ///
    /// # Errors
    /// The socket is gone already, or is none of TCP.
    pub fn reset_when_closed(&self) -> Result<(), Failure> {
        Ok(self.transport.reset_when_closed()?)
    }

    /// The socket, for whoever goes on without this client.
    ///
    /// # Errors
    /// It is no plain TCP connection.
    pub fn into_tcp(self) -> Result<TcpStream, Failure> {
        let transport = match self.transport {
            Transport::Compressed(stream) => stream.below,
            plain => plain,
        };
        match transport {
            Transport::Tcp(stream) => Ok(stream),
            Transport::Unix(_) | Transport::Tls(_) | Transport::Compressed(_) => {
                Err(Failure::Login("no plain TCP connection".to_owned()))
            }
        }
    }

    /// Closes one direction or both, without a word.
    ///
    /// # Errors
    /// The socket is gone already.
    pub fn shut(&self, how: Shutdown) -> Result<(), Failure> {
        Ok(self.transport.shut(how)?)
    }
}
