//! Characters that no text from outside may bring before people as they are.

/// Whether a character steers a terminal, turns the direction of writing, or cannot be seen: by these a line is made to read as another.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
