//! From an input to the bytes of a message (RFC 5322, MIME).

use std::time::{Duration, SystemTime};

use agentprovision_core::canonical::sha256;
use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{
    Attachment as File, Mailbox as Named, Message, MultiPart, MultiPartBuilder, SinglePart,
};
use url::Host;

use super::messages::{Attachment, Mailbox, SendMessage};
use crate::call::Call;

/// The longest message, in bytes, as it goes over the wire.
const LONGEST: usize = 36 * 1024 * 1024;
/// The most recipients that every server has to take (RFC 5321, section 4.5.3.1.8).
const MOST_RECIPIENTS: usize = 100;

/// Headers that the message has from its other fields, or that servers write.
const OWN: [&str; 14] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
    "return-path",
    "dkim-signature",
    "authentication-results",
];

/// A message that is ready to be handed over.
#[derive(Debug)]
pub(super) struct Composed {
    /// The sender's address.
    pub(super) from: String,
    /// All recipients' addresses, each once.
    pub(super) recipients: Vec<String>,
    pub(super) message_id: String,
    pub(super) bytes: Vec<u8>,
}

/// A part of a message.
enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

/// Refuses what would end a line, and with it begin another header or another command.
fn line<'a>(field: &str, text: &'a str) -> Result<&'a str> {
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "`{field}` has a character that ends a line, or another control character"
        )));
    }
    Ok(text)
}

/// An address. Its domain is written in ASCII.
fn address(field: &str, email: &str) -> Result<Address> {
    let bad = || Error::invalid(format!("`{field}` has an address that is none"));
    let (user, domain) = line(field, email)?.rsplit_once('@').ok_or_else(bad)?;
    let domain = if domain.is_ascii() {
        domain.to_owned()
    } else {
        Host::parse(domain).map_err(|_| bad())?.to_string()
    };
    Address::new(user, domain).map_err(|_| bad())
}

fn mailbox(field: &str, mailbox: &Mailbox) -> Result<Named> {
    let name = mailbox.name.as_deref().map(|name| line(field, name)).transpose()?;
    Ok(Named::new(name.map(str::to_owned), address(field, &mailbox.email)?))
}

/// The id of a message: the sender's own, or one that is the same for repeats under one key.
fn message_id(input: &SendMessage, from: &Address, call: &Call) -> Result<String> {
    if let Some(id) = &input.message_id {
        let inner = line("message_id", id)?.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        let good = inner.and_then(|inner| inner.split_once('@')).is_some_and(|(left, right)| {
            let fits = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"<>@,;\"\\()".contains(&b))
            };
            fits(left) && fits(right)
        });
        return match good {
            true => Ok(id.clone()),
            false => Err(Error::invalid("`message_id` is not of the form `<name@domain>`")),
        };
    }
    let unique: [u8; 16] = match &call.key {
        Some(key) => {
            let hash = sha256(&[call.integration.id.to_string().as_bytes(), b"\0", key.as_bytes()]);
            let mut unique = [0; 16];
            unique.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
            unique
        }
        None => call.env().random(),
    };
    Ok(format!("<{}@{}>", hex::encode(unique), from.domain()))
}

fn content_type(text: &str) -> Result<ContentType> {
    let bad = |_| Error::invalid("`attachments` has a `content_type` that is none");
    ContentType::parse(line("attachments", text)?).map_err(bad)
}

fn file(attachment: &Attachment) -> Result<SinglePart> {
    let name = line("attachments", &attachment.filename)?.to_owned();
    let bytes = STANDARD
        .decode(&attachment.content)
        .map_err(|_| Error::invalid(format!("the content of the attachment `{name}` is not base64")))?;
    let kind = content_type(attachment.content_type.as_deref().unwrap_or("application/octet-stream"))?;
    let file = match &attachment.content_id {
        Some(id) => {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
            if id.is_empty() || !id.bytes().all(good) {
                return Err(Error::invalid("a `content_id` is made of `A-Z a-z 0-9 . _ - @`"));
            }
            File::new_inline_with_name(id.clone(), name)
        }
        None => File::new(name),
    };
    Ok(file.body(bytes, kind))
}

/// Parts within another one, if there are any to be put there.
fn within(call: &Call, of: fn() -> MultiPartBuilder, first: Part, rest: Vec<Part>) -> Part {
    if rest.is_empty() {
        return first;
    }
    // Chance is the platform's own.
    let boundary = hex::encode(call.env().random::<16>());
    let whole =
        std::iter::once(first).chain(rest).fold(of().boundary(boundary).build(), |whole, part| match part {
            Part::Single(part) => whole.singlepart(part),
            Part::Multi(part) => whole.multipart(part),
        });
    Part::Multi(whole)
}

/// What the message says: text, HTML with its images, files.
fn body(input: &SendMessage, call: &Call) -> Result<Part> {
    let (mut images, mut files) = (Vec::new(), Vec::new());
    for attachment in input.attachments.iter().flatten() {
        let inline = attachment.content_id.is_some() && input.html.is_some();
        if inline { &mut images } else { &mut files }.push(Part::Single(file(attachment)?));
    }
    let text = input.text.clone().map(|text| Part::Single(SinglePart::plain(text)));
    let html = input
        .html
        .clone()
        .map(|html| within(call, MultiPart::related, Part::Single(SinglePart::html(html)), images));
    let said = match (text, html) {
        (Some(text), Some(html)) => within(call, MultiPart::alternative, text, vec![html]),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if files.is_empty() => {
            return Err(Error::invalid("a message has `text`, `html` or `attachments`"));
        }
        (None, None) => Part::Single(SinglePart::plain(String::new())),
    };
    Ok(within(call, MultiPart::mixed, said, files))
}

/// The message of an input.
///
/// # Errors
/// `invalid_input`, naming the field, for what cannot be in a message; `too_large`.
pub(super) fn compose(input: &SendMessage, call: &Call) -> Result<Composed> {
    let from = mailbox("from", &input.from)?;
    let message_id = message_id(input, &from.email, call)?;
    let now = u64::try_from(call.env().now().micros()).unwrap_or_default();
    let mut message = Message::builder()
        .from(from.clone())
        .date(SystemTime::UNIX_EPOCH + Duration::from_micros(now))
        .message_id(Some(message_id.clone()))
        .subject(line("subject", &input.subject)?);
    let mut recipients: Vec<String> = Vec::new();
    let mut add = |address: &Address| {
        let address = address.to_string();
        if !recipients.contains(&address) {
            recipients.push(address);
        }
    };
    for to in &input.to {
        let to = mailbox("to", to)?;
        add(&to.email);
        message = message.to(to);
    }
    for cc in input.cc.iter().flatten() {
        let cc = mailbox("cc", cc)?;
        add(&cc.email);
        message = message.cc(cc);
    }
    for bcc in input.bcc.iter().flatten() {
        add(&mailbox("bcc", bcc)?.email);
    }
    for reply_to in input.reply_to.iter().flatten() {
        message = message.reply_to(mailbox("reply_to", reply_to)?);
    }
    if recipients.len() > MOST_RECIPIENTS {
        return Err(Error::invalid(format!("a message goes to at most {MOST_RECIPIENTS} addresses")));
    }
    for (name, value) in input.headers.iter().flatten() {
        let lower = name.to_ascii_lowercase();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(76).collect();
        // RFC 5322, section 3.6.8.
        if !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(Error::invalid(format!("`{shown}` is no name of a header")));
        }
        if OWN.contains(&&*lower) || lower.starts_with("content-") || lower.starts_with("resent-") {
            return Err(Error::invalid(format!("`{shown}` is no header to be set here")));
        }
        let header = HeaderName::new_from_ascii(name.clone())
            .map_err(|_| Error::invalid(format!("`{shown}` is no name of a header")))?;
        message = message.raw_header(HeaderValue::new(header, line("headers", value)?.to_owned()));
    }
    let message = match body(input, call)? {
        Part::Single(part) => message.singlepart(part),
        Part::Multi(part) => message.multipart(part),
    };
    let bytes = message
        .map_err(|error| Error::invalid("no message can be made of the input").with_source(error))?
        .formatted();
    if bytes.len() > LONGEST {
        return Err(Error::too_large(format!("a message has at most {LONGEST} bytes")));
    }
    Ok(Composed { from: from.email.to_string(), recipients, message_id, bytes })
}
