//! What is said to a mail server, and what it answers.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, Retry};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Place, Security};
use crate::answer::{Category, Failure};
use crate::auth::{Credentials, Scheme};
use crate::call::{Call, NOT_DONE};
use crate::tls::{Wire, secure};

/// The longest line of an answer that is read; RFC 5321 has 512 bytes, and servers say more.
const LONGEST_LINE: u64 = 4096;
/// The most lines of one answer.
const MOST_LINES: usize = 128;

/// What is being said when a server refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Hello,
    Auth,
    Sender,
    Recipient,
    Content,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// What a server says that it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// How it calls itself.
    pub(super) name: String,
    /// Its extensions, in upper case.
    pub(super) extensions: Vec<String>,
}

impl Offers {
    fn of(reply: &Reply) -> Self {
        let mut lines = reply.lines.iter();
        let name =
            lines.next().and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned();
        Self { name, extensions: lines.map(|line| line.trim().to_ascii_uppercase()).collect() }
    }

    /// What stands behind the word of an extension.
    fn get(&self, word: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (first, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            (first == word).then_some(rest)
        })
    }

    /// The longest message it takes, in bytes (RFC 1870).
    pub(super) fn size(&self) -> Option<u64> {
        self.get("SIZE")?.trim().parse().ok().filter(|size| *size > 0)
    }
}

fn broken(error: std::io::Error) -> Error {
    closed().with_source(error)
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the server broke off")
        .with_retry(Retry::After(Duration::ZERO))
}

fn unreadable() -> Error {
    Error::new(ErrorKind::ProviderError, "the server does not speak SMTP").with_context("reason", "protocol")
}

/// One answer, of any number of lines.
async fn reply(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Reply> {
    let (mut code, mut lines) = (None, Vec::new());
    loop {
        let mut line = Vec::new();
        stream.take(LONGEST_LINE).read_until(b'\n', &mut line).await.map_err(broken)?;
        if line.last() != Some(&b'\n') {
            return Err(if line.len() as u64 == LONGEST_LINE { unreadable() } else { closed() });
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let (digits, rest) = line.split_at_checked(3).ok_or_else(unreadable)?;
        let read = digits.parse::<u16>().ok().filter(|code| (200..600).contains(code));
        if read.is_none() || code.is_some_and(|code| Some(code) != read) || lines.len() >= MOST_LINES {
            return Err(unreadable());
        }
        code = read;
        lines.push(rest.get(1..).unwrap_or_default().to_owned());
        if let (Some(code), false) = (read, rest.starts_with('-')) {
            return Ok(Reply { code, lines });
        }
    }
}

/// Says a line, and reads the answer.
async fn command(stream: &mut BufReader<impl Wire>, line: &str) -> Result<Reply> {
    let line = format!("{line}\r\n");
    stream.get_mut().write_all(line.as_bytes()).await.map_err(broken)?;
    stream.get_mut().flush().await.map_err(broken)?;
    reply(stream).await
}

impl Reply {
    /// The answer, if it is a good one.
    pub(super) fn good(self, step: Step) -> Result<Self> {
        if (200..400).contains(&self.code) { Ok(self) } else { Err(self.refusal(step)) }
    }

    /// What it says, on one line.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }

    /// The error it stands for: by its code, and by the finer one at its beginning (RFC 3463).
    fn refusal(&self, step: Step) -> Error {
        let first = self.lines.first().map(String::as_str).unwrap_or_default();
        let fine = first.split_whitespace().next().unwrap_or_default();
        let detail = fine.split_once('.').map(|(_, detail)| detail).unwrap_or_default();
        let category = match (self.code, detail, step) {
            (400..500, "7.28", _) => Category::RateLimited,
            (400..500, ..) => Category::Unavailable,
            (530 | 534 | 535 | 538, ..) | (500.., "7.8" | "7.0", Step::Auth) => Category::Credentials,
            (552, ..) | (500.., "3.4", _) => Category::TooLarge,
            (_, _, Step::Auth) => Category::Credentials,
            (500.., _, Step::Hello | Step::Sender) => Category::Forbidden,
            (500.., _, Step::Content) if detail.starts_with("7.") => Category::Forbidden,
            _ => Category::Invalid,
        };
        // A server that says no has not taken it.
        Failure::new(category)
            .message(self.text())
            .told(&[])
            .with_context("smtp_code", self.code)
            .with_context(NOT_DONE.0, NOT_DONE.1)
    }
}

/// A connection to a mail server that has been greeted, and knows who sends.
pub(super) struct Session {
    stream: BufReader<Box<dyn Wire>>,
    pub(super) offers: Offers,
    pub(super) place: Place,
    /// Who was proved to send.
    pub(super) user: Option<String>,
}

impl Session {
    /// Opens the connection of a call: encrypted as its settings say, and with its credentials.
    pub(super) async fn open(call: &Call) -> Result<Self> {
        let place = Place::of(&call.integration.settings)?;
        let name = place.to.host();
        let tcp = call.connect().await?;
        let stream: Box<dyn Wire> = match place.security {
            Security::Plain => Box::new(tcp),
            Security::Tls => Box::new(secure(tcp, &name, place.ca.as_deref()).await?),
            Security::StartTls => {
                let mut plain = BufReader::new(tcp);
                reply(&mut plain).await?.good(Step::Hello)?;
                let offers = hello(&mut plain, &place.hello).await?;
                if offers.get("STARTTLS").is_none() {
                    return Err(Error::new(
                        ErrorKind::ProviderError,
                        "the server does not offer STARTTLS, and nothing is said to it without",
                    ));
                }
                command(&mut plain, "STARTTLS").await?.good(Step::Hello)?;
                // What came before the encryption would be read as if it came after it.
                if !plain.buffer().is_empty() {
                    return Err(unreadable());
                }
                Box::new(secure(plain.into_inner(), &name, place.ca.as_deref()).await?)
            }
        };
        let mut stream = BufReader::new(stream);
        if place.security != Security::StartTls {
            reply(&mut stream).await?.good(Step::Hello)?;
        }
        let offers = hello(&mut stream, &place.hello).await?;
        let mut session = Self { stream, offers, place, user: None };
        let auth = call.connector.auth(Some(&call.integration.auth))?;
        if auth.scheme == Scheme::Basic {
            session.log_in(&*call.credentials().await?).await?;
        }
        Ok(session)
    }

    async fn log_in(&mut self, credentials: &Credentials) -> Result<()> {
        let user = credentials.field("username")?.expose_secret();
        let password = credentials.field("password")?.expose_secret();
        if user.contains('\0') || password.contains('\0') {
            return Err(Error::invalid("user name and password cannot have a zero character"));
        }
        let offered = |way: &str| {
            self.offers.get("AUTH").is_some_and(|ways| ways.split_whitespace().any(|offer| offer == way))
        };
        let answered = if offered("PLAIN") {
            let proof = STANDARD.encode(format!("\0{user}\0{password}"));
            command(&mut self.stream, &format!("AUTH PLAIN {proof}")).await?
        } else if offered("LOGIN") {
            command(&mut self.stream, "AUTH LOGIN").await?.good(Step::Auth)?;
            command(&mut self.stream, &STANDARD.encode(user)).await?.good(Step::Auth)?;
            command(&mut self.stream, &STANDARD.encode(password)).await?
        } else {
            return Err(Error::new(
                ErrorKind::ProviderError,
                "the server offers neither `AUTH PLAIN` nor `AUTH LOGIN`",
            ));
        };
        match answered.good(Step::Auth)? {
            Reply { code: 300.., .. } => Err(unreadable()),
            _ => {
                self.user = Some(user.to_owned());
                Ok(())
            }
        }
    }

    /// Says something that changes nothing.
    pub(super) async fn noop(&mut self) -> Result<()> {
        command(&mut self.stream, "NOOP").await?.good(Step::Hello).map(drop)
    }

    /// Hands a message over. Either all recipients are to get it or nobody is. It is counted as sent right before the line that
    /// makes it count for the server; whatever goes wrong from then on until the answer leaves its end unknown.
    pub(super) async fn send(
        &mut self,
        call: &Call,
        from: &str,
        recipients: &[String],
        message: &[u8],
    ) -> Result<Reply> {
        let size = message.len() as u64;
        if let Some(most) = self.offers.size().filter(|most| size > *most) {
            return Err(Error::too_large(format!(
                "the message has {size} bytes, and the server takes at most {most}"
            )));
        }
        let mut line = format!("MAIL FROM:<{from}>");
        if self.offers.size().is_some() {
            line.push_str(&format!(" SIZE={size}"));
        }
        if !message.is_ascii() || !from.is_ascii() || !recipients.iter().all(|address| address.is_ascii()) {
            if self.offers.get("SMTPUTF8").is_none() {
                return Err(Error::invalid("the server takes no addresses beyond ASCII"));
            }
            line.push_str(" BODY=8BITMIME SMTPUTF8");
        }
        command(&mut self.stream, &line).await?.good(Step::Sender)?;
        for recipient in recipients {
            let answered = command(&mut self.stream, &format!("RCPT TO:<{recipient}>")).await?;
            answered.good(Step::Recipient).map_err(|error| error.with_context("recipient", recipient))?;
        }
        if command(&mut self.stream, "DATA").await?.good(Step::Content)?.code != 354 {
            return Err(unreadable());
        }
        let wire = self.stream.get_mut();
        wire.write_all(&stuffed(message)).await.map_err(broken)?;
        wire.flush().await.map_err(broken)?;
        call.count_request(size);
        let answered = command(&mut self.stream, ".").await.map_err(|error| {
            let message =
                "the connection broke before the server answered, and the message may have been sent";
            Error::new(ErrorKind::Uncertain, message).with_source(error)
        })?;
        answered.good(Step::Content)
    }

    /// Leaves, without waiting for the answer: nothing depends on it.
    pub(super) async fn quit(mut self) {
        let wire = self.stream.get_mut();
        if wire.write_all(b"QUIT\r\n").await.is_ok() {
            let _ = wire.shutdown().await;
        }
    }
}

async fn hello(stream: &mut BufReader<impl Wire>, name: &str) -> Result<Offers> {
    Ok(Offers::of(&command(stream, &format!("EHLO {name}")).await?.good(Step::Hello)?))
}

/// A message as it goes over the wire: every line ends with CR LF, whatever ended it, and none is the line that ends the message.
pub(super) fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 64 + 2);
    let mut bytes = message.iter().copied().peekable();
    let mut at_start = true;
    while let Some(byte) = bytes.next() {
        if byte == b'\r' || byte == b'\n' {
            if byte == b'\r' && bytes.peek() == Some(&b'\n') {
                bytes.next();
            }
            wire.extend_from_slice(b"\r\n");
            at_start = true;
            continue;
        }
        if at_start && byte == b'.' {
            wire.push(b'.');
        }
        wire.push(byte);
        at_start = false;
    }
    if !at_start {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}
