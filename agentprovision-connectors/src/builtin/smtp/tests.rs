//! What goes over the wire, byte by byte. Conversations are in `tests/calls/smtp.rs`.

use super::session::stuffed;

#[test]
fn no_line_of_a_message_ends_it_and_no_line_ends_in_another_way() {
    for (message, wire) in [
        ("", ""),
        ("a", "a\r\n"),
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        (".", "..\r\n"),
        ("a\r\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n"),
        ("a\n.\nQUIT", "a\r\n..\r\nQUIT\r\n"),
        ("a\r.\rQUIT\r", "a\r\n..\r\nQUIT\r\n"),
        ("a\r\r\n.\n\r\nb", "a\r\n\r\n..\r\n\r\nb\r\n"),
        ("a.b\r\n..c\r\n", "a.b\r\n...c\r\n"),
    ] {
        assert_eq!(String::from_utf8(stuffed(message.as_bytes())).unwrap(), wire, "{message:?}");
    }
}
