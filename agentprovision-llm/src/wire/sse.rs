//! Server-sent events as LLM providers send them (WHATWG HTML, section 9.2.6), from bytes in any chunking.
//!
//! Wider than the standard where providers are: an event without its final blank line counts at the end of the stream,
//! and a line `error: …` is an event of its own. The end marker `[DONE]` is plain data here.

use std::borrow::Cow;

use super::error::{Category, ProviderError};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseEvent {
    /// The data of an event, its lines joined by line feeds.
    Data {
        /// The name of the event, where it has one.
        event: Option<String>,
        /// The data.
        data: String,
    },
    /// The value of a non-standard `error:` field.
    ErrorField(String),
}

/// Parses one stream.
#[derive(Debug)]
pub struct SseParser {
    limit: usize,
    line: Vec<u8>,
    event: Option<String>,
    data: Option<String>,
    after_cr: bool,
    begun: bool,
    stray: bool,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new(Self::LIMIT)
    }
}

impl SseParser {
    /// The default limit of one event, in bytes.
    pub const LIMIT: usize = 16 * 1024 * 1024;

    /// A parser that refuses an event (or a line) of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), event: None, data: None, after_cr: false, begun: false, stray: false }
    }

    /// Whether a whole line was seen that is neither a field nor a comment, so that this may be no event stream at all.
    pub fn stray(&self) -> bool {
        self.stray
    }

    /// Takes the next bytes and appends the events they complete to `out`.
    ///
    /// # Errors
    /// [`Category::AnswerTooLarge`] when an event passes the limit.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<SseEvent>) -> Result<(), ProviderError> {
        if self.after_cr && !bytes.is_empty() {
            // The line feed of a CR LF that was cut in two.
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.fits(line)?;
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
            self.end_line(line, out)?;
        }
        self.fits(bytes)?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Says that no more bytes come: the event that was open counts, although its blank line is missing.
    ///
    /// # Errors
    /// [`Category::AnswerTooLarge`] when the event passes the limit.
    pub fn finish(&mut self, out: &mut Vec<SseEvent>) -> Result<(), ProviderError> {
        if !self.line.is_empty() {
            let stray = self.stray;
            self.end_line(&[], out)?;
            // A line that was cut off says nothing about the format.
            self.stray = stray;
        }
        self.dispatch(out);
        Ok(())
    }

    fn fits(&self, bytes: &[u8]) -> Result<(), ProviderError> {
        let held = self.line.len().saturating_add(self.data.as_ref().map_or(0, String::len));
        if held.saturating_add(bytes.len()) > self.limit {
            return Err(ProviderError::new(
                Category::AnswerTooLarge,
                "an event of the stream passes the limit",
            ));
        }
        Ok(())
    }

    /// Takes the line that ends with `end`.
    fn end_line(&mut self, end: &[u8], out: &mut Vec<SseEvent>) -> Result<(), ProviderError> {
        let mut held = std::mem::take(&mut self.line);
        let mut rest = end;
        if !held.is_empty() {
            held.extend_from_slice(end);
            rest = &held;
        }
        if !std::mem::replace(&mut self.begun, true) {
            rest = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest);
        }
        if rest.is_empty() {
            self.dispatch(out);
        } else {
            let (field, value) = match memchr::memchr(b':', rest) {
                Some(colon) => {
                    let (field, value) = rest.split_at(colon);
                    let value = value.strip_prefix(b":").unwrap_or(value);
                    (field, value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (rest, &[][..]),
            };
            match field {
                b"" | b"id" | b"retry" => {}
                b"event" => self.event = Some(text(value).into_owned()),
                b"data" => {
                    let value = text(value);
                    match &mut self.data {
                        None => self.data = Some(value.into_owned()),
                        Some(data) => {
                            data.push('\n');
                            data.push_str(&value);
                        }
                    }
                }
                b"error" => out.push(SseEvent::ErrorField(text(value).into_owned())),
                _ => self.stray = true,
            }
        }
        // The buffer is used again for the next line.
        held.clear();
        self.line = held;
        self.fits(&[])
    }

    fn dispatch(&mut self, out: &mut Vec<SseEvent>) {
        let event = self.event.take();
        if let Some(data) = self.data.take() {
            out.push(SseEvent::Data { event, data });
        }
    }
}

/// Bytes as text. Checking is much faster than replacing, and there is hardly ever anything to replace.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(data: &str) -> SseEvent {
        SseEvent::Data { event: None, data: data.into() }
    }

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseEvent> {
        let mut parser = SseParser::default();
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut out).unwrap();
        }
        parser.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn every_chunking_gives_the_same_events() {
        let text = "\u{feff}: hello\r\ndata: {\"a\":\"é😀\"}\r\n\r\ndata: a\r\ndata: b\r\n\r\nevent: x\rdata:1\rdata: 2\r\rid: 7\nretry: 3\ndata\n\nerror: no\n\ndata: [DONE]";
        let expected = [
            data("{\"a\":\"é😀\"}"),
            data("a\nb"),
            SseEvent::Data { event: Some("x".into()), data: "1\n2".into() },
            data(""),
            SseEvent::ErrorField("no".into()),
            data("[DONE]"),
        ];
        let bytes = text.as_bytes();
        assert_eq!(parse([bytes]), expected);
        assert_eq!(parse(bytes.chunks(1)), expected);
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(parse([first, &[], second]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_name_does_not_outlive_its_event() {
        let out = parse([&b"event: ping\n\ndata: 1\n\n"[..]]);
        assert_eq!(out, [data("1")]);
    }

    #[test]
    fn the_limit_holds_for_lines_events_and_any_chunking() {
        for text in [
            "data: 0123456789abcdef",
            "data: 01234567\ndata: 89abcdef\n",
            "data:0123456\ndata:7\ndata:8\ndata:9abcdef\n",
        ] {
            let mut parser = SseParser::new(16);
            let mut out = Vec::new();
            let error = text.bytes().find_map(|byte| parser.push(&[byte], &mut out).err()).unwrap();
            assert_eq!(error.category, Category::AnswerTooLarge);
            assert!(SseParser::new(16).push(text.as_bytes(), &mut out).is_err());
        }
        let mut parser = SseParser::new(16);
        parser.push(&b"data: 01234567\n\n".repeat(1000), &mut Vec::new()).unwrap();
    }

    #[test]
    fn stray_lines_are_noticed_when_whole() {
        let mut parser = SseParser::default();
        parser.push(b"<html>", &mut Vec::new()).unwrap();
        assert!(!parser.stray());
        parser.push(b"\n", &mut Vec::new()).unwrap();
        assert!(parser.stray());
    }
}
