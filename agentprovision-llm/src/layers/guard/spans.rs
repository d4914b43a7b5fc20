//! What is replaced in a text, found by several guards one after the other.

use std::borrow::Cow;
use std::ops::Range;

use super::Redaction;

/// Replacements in one text: sorted, apart from each other, on the boundaries of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<Redaction>);

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with everything replaced.
    pub(super) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(self.part(text, 0..text.len())) }
    }

    /// A part of the text with everything in it replaced; what reaches into it counts as in it.
    pub(super) fn part(&self, text: &str, part: Range<usize>) -> String {
        let mut out = String::new();
        let mut at = part.start;
        for Redaction { range, replacement } in self.within(&part) {
            out.push_str(text.get(at..range.start.max(at)).unwrap_or_default());
            out.push_str(replacement);
            at = range.end.min(part.end);
        }
        out.push_str(text.get(at..part.end).unwrap_or_default());
        out
    }

    /// Whether something in this part of the text is replaced.
    pub(super) fn touches(&self, part: &Range<usize>) -> bool {
        self.within(part).next().is_some()
    }

    fn within(&self, part: &Range<usize>) -> impl Iterator<Item = &Redaction> {
        let part = part.clone();
        self.0.iter().filter(move |span| span.range.start < part.end && span.range.end > part.start)
    }

    /// What is replaced across this place of the text.
    pub(super) fn across(&self, place: usize) -> Option<Range<usize>> {
        let span = self.0.iter().find(|span| span.range.start < place && span.range.end > place);
        span.map(|span| span.range.clone())
    }

    /// Adds what a guard found in the text with everything so far replaced. Ranges that reach out of the text or into a
    /// character are widened to its boundaries; where they meet, what was found later goes before.
    pub(super) fn add(&mut self, text: &str, found: Vec<Redaction>) {
        // All of them first: they are places of one and the same text.
        let places: Vec<_> = found.iter().map(|Redaction { range, .. }| self.place(range)).collect();
        for (Redaction { replacement, .. }, Range { start, end }) in found.into_iter().zip(places) {
            let end = end.min(text.len());
            // Nothing is nothing, also within a character.
            if start >= end {
                continue;
            }
            let (start, end) = (text.floor_char_boundary(start), text.ceil_char_boundary(end));
            let mut new = Redaction { range: start..end, replacement };
            self.0.retain(|old| {
                let apart = old.range.end <= new.range.start || old.range.start >= new.range.end;
                if !apart {
                    new.range.start = new.range.start.min(old.range.start);
                    new.range.end = new.range.end.max(old.range.end);
                }
                apart
            });
            let place = self.0.partition_point(|old| old.range.start < new.range.start);
            self.0.insert(place, new);
        }
    }

    fn place(&self, range: &Range<usize>) -> Range<usize> {
        self.original(range.start, false)..self.original(range.end, true)
    }

    /// The place in the original text of a place in the replaced one; within a replacement, where that begins or ends.
    fn original(&self, place: usize, end: bool) -> usize {
        let (mut before, mut after) = (0, 0);
        for Redaction { range, replacement } in &self.0 {
            let start = after + (range.start - before);
            if place <= start && (end || place < start) {
                break;
            }
            if place < start + replacement.len() {
                return if end { range.end } else { range.start };
            }
            (before, after) = (range.end, start + replacement.len());
        }
        before + place.saturating_sub(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(range: Range<usize>, replacement: &str) -> Redaction {
        Redaction { range, replacement: replacement.into() }
    }

    #[test]
    fn what_later_guards_find_is_replaced_in_the_original() {
        let text = "mail ada@b.cd and bob@b.cd now";
        let mut spans = Spans::default();
        spans.add(text, vec![span(5..13, "[email]"), span(18..26, "[email]")]);
        assert_eq!(spans.apply(text), "mail [email] and [email] now");
        // Places of the replaced text: `and`, and `now`.
        spans.add(text, vec![span(13..16, "&"), span(25..28, "!")]);
        assert_eq!(spans.apply(text), "mail [email] & [email] !");
        // One that covers a replacement takes it in.
        spans.add(text, vec![span(0..15, "gone")]);
        assert_eq!(spans.apply(text), "gone[email] !");
        assert_eq!(spans.part(text, 18..22), "[email]");
        assert!(spans.touches(&(25..26)) && !spans.touches(&(26..27)));
        assert_eq!(spans.across(20), Some(18..26));
        assert_eq!(spans.across(18), None);
    }

    #[test]
    fn ranges_that_reach_too_far_are_brought_back() {
        let text = "für";
        let mut spans = Spans::default();
        spans.add(text, vec![span(2..2, "x"), span(9..12, "x")]);
        assert!(spans.is_empty());
        spans.add(text, vec![span(2..99, "x")]);
        assert_eq!(spans.apply(text), "fx");
    }
}
