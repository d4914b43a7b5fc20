//! Messages of an AWS event stream (Smithy, "Amazon Event Stream Specification"), from bytes in any chunking: the total
//! length, the length of the headers, a checksum of both, the headers, the payload, a checksum of everything before.

use super::{Category, ProviderError};

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    headers: Vec<(String, String)>,
    pub(super) payload: Vec<u8>,
}

impl Message {
    /// The text of the header with this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Parses one stream.
#[derive(Debug, Default)]
pub(super) struct Parser {
    held: Vec<u8>,
    /// How many bytes the message at the beginning needs at least.
    needed: usize,
}

/// The two lengths and their checksum.
const PRELUDE: usize = 12;
/// A prelude and the checksum at the end.
const SMALLEST: usize = 16;

impl Parser {
    /// The largest message, in bytes.
    pub(super) const LIMIT: usize = 16 * 1024 * 1024;

    /// Takes the next bytes and appends the messages they complete to `out`.
    ///
    /// # Errors
    /// [`Category::Malformed`] for lengths or checksums that are wrong, [`Category::AnswerTooLarge`] for a message that
    /// passes the limit; the messages before it are in `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Message>) -> Result<(), ProviderError> {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(rest) = self.held.get(done..).filter(|rest| rest.len() >= self.needed) {
            match read(rest)? {
                Step::Needs(bytes) => {
                    self.needed = bytes;
                    break;
                }
                Step::Read(message, length) => {
                    out.push(message);
                    done += length;
                    self.needed = PRELUDE;
                }
            }
        }
        self.held.drain(..done.min(self.held.len()));
        Ok(())
    }
}

fn malformed(words: &str) -> ProviderError {
    ProviderError::new(Category::Malformed, format!("the event stream has a message with {words}"))
}

/// What the bytes at the beginning are.
enum Step {
    /// Not a whole message yet; it has at least so many bytes.
    Needs(usize),
    /// A message and its length.
    Read(Message, usize),
}

fn read(bytes: &[u8]) -> Result<Step, ProviderError> {
    let (Some(total), Some(headers), Some(sum)) = (number(bytes, 0), number(bytes, 4), number(bytes, 8))
    else {
        return Ok(Step::Needs(PRELUDE));
    };
    // The prelude has a checksum of its own, so that a wrong length is not waited for.
    if crc32(bytes.get(..8).unwrap_or_default()) != sum {
        return Err(malformed("a wrong checksum of its lengths"));
    }
    let (total, headers) = (total as usize, headers as usize);
    if total > Parser::LIMIT {
        return Err(ProviderError::new(Category::AnswerTooLarge, "a message of the stream passes the limit"));
    }
    if total < SMALLEST || headers > total - SMALLEST {
        return Err(malformed("lengths that contradict each other"));
    }
    let end = total - 4;
    let Some(message) = bytes.get(..total) else { return Ok(Step::Needs(total)) };
    let (covered, sum) = (message.get(..end).unwrap_or_default(), number(message, end));
    if Some(crc32(covered)) != sum {
        return Err(malformed("a wrong checksum"));
    }
    let head = covered.get(PRELUDE..PRELUDE + headers).unwrap_or_default();
    let headers = read_headers(head).ok_or_else(|| malformed("headers that cannot be read"))?;
    let payload = covered.get(PRELUDE + head.len()..).unwrap_or_default().to_vec();
    Ok(Step::Read(Message { headers, payload }, total))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The headers with texts; those of other types are passed over.
fn read_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let length = match kind {
            // True, false, byte, short, integer, long, timestamp, UUID.
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            // Bytes and text say their length.
            6 | 7 => 2 + usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if *kind == 7 {
            let text = String::from_utf8_lossy(value.get(2..)?).into_owned();
            out.push((String::from_utf8_lossy(name).into_owned(), text));
        }
        bytes = rest;
    }
    Some(out)
}

/// CRC-32 as in gzip (RFC 1952, section 8).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |mut sum: u32, byte: &u8| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
        sum
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A message with these headers, for tests of what reads one.
#[cfg(test)]
pub(super) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    framed(&head, payload)
}

#[cfg(test)]
fn framed(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for length in [SMALLEST + head.len() + payload.len(), head.len()] {
        out.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    }
    out.extend_from_slice(&crc32(&out).to_be_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32(&out).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<Category>) {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for piece in pieces {
            if let Err(error) = parser.push(piece, &mut out) {
                return (out, Some(error.category));
            }
        }
        (out, None)
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn every_chunking_gives_the_same_messages() {
        let first = message(&[(":event-type", "a"), (":message-type", "event")], b"{\"x\":1}");
        let bytes = [first, message(&[], b"")].concat();
        let (whole, failed) = parse([&bytes[..]]);
        assert_eq!(failed, None);
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0].header(":event-type"), Some("a"));
        assert_eq!(whole[0].header(":other"), None);
        assert_eq!(whole[0].payload, b"{\"x\":1}");
        assert_eq!(parse(bytes.chunks(1)).0, whole);
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(parse([first, &[], second]).0, whole, "cut at {cut}");
            assert!(whole.starts_with(&parse([first]).0));
        }
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let mut head = Vec::new();
        let values: [(u8, &[u8]); 9] = [
            (0, b""),
            (1, b""),
            (2, b"1"),
            (3, b"12"),
            (4, b"1234"),
            (5, b"12345678"),
            (6, b"\0\x021\n"),
            (8, b"12345678"),
            (9, b"1234567890123456"),
        ];
        for (kind, value) in values {
            head.extend_from_slice(&[1, b'x', kind]);
            head.extend_from_slice(value);
        }
        head.extend_from_slice(b"\x01t\x07\0\x02hi");
        let (out, failed) = parse([&framed(&head, b"p")[..]]);
        assert_eq!((out[0].header("t"), out[0].header("x"), failed), (Some("hi"), None, None));
        for bad in [&b"\x05a"[..], b"\x01a", b"\x01a\x0a", b"\x01a\x07\0", b"\x01a\x07\0\x05hi"] {
            assert_eq!(parse([&framed(bad, b"")[..]]).1, Some(Category::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let bytes = message(&[(":event-type", "a")], b"{}");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(parse([&damaged[..]]), (Vec::new(), Some(Category::Malformed)), "at {at}");
        }
        let mut lengths = 20_000_000_u32.to_be_bytes().to_vec();
        lengths.extend_from_slice(&[0; 4]);
        lengths.extend_from_slice(&crc32(&lengths).to_be_bytes());
        assert_eq!(parse([&lengths[..]]).1, Some(Category::AnswerTooLarge));
        let mut lengths = [0, 0, 0, 17, 0, 0, 0, 2].to_vec();
        lengths.extend_from_slice(&crc32(&lengths).to_be_bytes());
        assert_eq!(parse([&lengths[..]]).1, Some(Category::Malformed));
    }
}
