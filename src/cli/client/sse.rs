//! Server-sent events out of lines: the name and data of each.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its name, `message` when none is given.
    pub(crate) event: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

/// Puts events together, a line at a time.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    event: String,
    data: Vec<String>,
}

impl Assembler {
    /// Takes one line; gives the event that it ends, if it ends one.
    pub(crate) fn take(&mut self, line: &str) -> Option<Sent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = std::mem::take(&mut self.data);
            let name = if event.is_empty() { "message".to_owned() } else { event };
            return (!data.is_empty()).then(|| Sent { event: name, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => self.data.push(value.to_owned()),
            // Comments keep the connection alive; ids and retry times are for readers that resume.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together() {
        let mut assembler = Assembler::default();
        let lines = [":alive", "", "event: board", "data: {", "data: }", "id: 4", "", "data: x", ""];
        let sent: Vec<Sent> = lines.iter().filter_map(|line| assembler.take(line)).collect();
        let expected = [("board", "{\n}"), ("message", "x")];
        assert_eq!(sent, expected.map(|(event, data)| Sent { event: event.to_owned(), data: data.to_owned() }));
    }
}
