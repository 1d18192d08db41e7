//! JSON in pieces, as they stand: the elements of a list, or the names and values of an object in turns. So that of a long list
//! one element at a time is in memory, and one that is not as it should be spoils only itself.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// The pieces of a list or object; none of anything else.
///
/// # Errors
/// It is not JSON.
pub fn pieces(json: &[u8]) -> serde_json::Result<Pieces<'_>> {
    serde_json::from_slice::<IgnoredAny>(json)?;
    Ok(Pieces(json))
}

/// What is left of a list or object that is JSON.
#[derive(Debug)]
pub struct Pieces<'j>(&'j [u8]);

impl<'j> Iterator for Pieces<'j> {
    type Item = &'j [u8];

    fn next(&mut self) -> Option<&'j [u8]> {
        let Some((b'[' | b'{' | b',' | b':', rest)) = self.0.trim_ascii_start().split_first() else { return None };
        let rest = rest.trim_ascii_start();
        let mut whole = Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        let (piece, rest) = match whole.next() {
            Some(Ok(_)) => rest.split_at_checked(whole.byte_offset())?,
            // Its end.
            _ => return None,
        };
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Vec<&str> {
        let pieces = pieces(json.as_bytes()).expect("JSON");
        pieces.map(|piece| std::str::from_utf8(piece).expect("text")).collect()
    }

    #[test]
    fn a_list_or_object_comes_in_pieces_and_nothing_else_does() {
        assert_eq!(of(" [1 ,{\"a\": [2]}\n, \"],\",null, [] ] "), ["1", "{\"a\": [2]}", "\"],\"", "null", "[]"]);
        assert_eq!(of("{\"a\" : 1.5e3,\"b\":{}}"), ["\"a\"", "1.5e3", "\"b\"", "{}"]);
        for json in ["[]", "{ }", "1", "\"[1]\"", "null"] {
            assert!(of(json).is_empty(), "{json}");
        }
        for json in ["[1", "[1,]", "[1] 2", "", "{\"a\"}"] {
            assert!(pieces(json.as_bytes()).is_err(), "{json}");
        }
    }
}
