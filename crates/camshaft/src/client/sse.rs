//! Reading a stream of server-sent events, in chunks of any size.

/// More than this without a line break is no stream of ours; the rest of the line is dropped.
const MAX_LINE_BYTES: usize = 4 << 20;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What to resume after.
    pub id: Option<String>,
    /// Its kind, if it names one.
    pub event: Option<String>,
    /// Its text.
    pub data: String,
}

/// What has been read of the stream so far.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// Takes a chunk and returns the messages that it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in chunk {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                messages.extend(self.end_of_line(&line));
            } else if self.line.len() < MAX_LINE_BYTES {
                self.line.push(*byte);
            }
        }
        messages
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<Message> {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            let (event, data) = (self.event.take(), self.data.take());
            return data.map(|data| Message {
                id: self.id.clone(),
                event,
                data,
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments keep the connection alive; `retry` is not for a client that decides itself.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] =
        b": hello\n\nid: 7\nevent: step\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\n";

    #[test]
    fn messages_have_an_id_a_kind_and_lines() {
        let messages = Parser::default().push(STREAM);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].id.as_deref(), Some("7"));
        assert_eq!(messages[0].event.as_deref(), Some("step"));
        assert_eq!(messages[0].data, "{\"a\":\n1}");
        // The last id stays until another one comes.
        assert_eq!(
            (messages[1].id.as_deref(), messages[1].data.as_str()),
            (Some("7"), "x")
        );
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(cut in 0..STREAM.len()) {
            let mut parser = Parser::default();
            let mut messages = parser.push(&STREAM[..cut]);
            messages.extend(parser.push(&STREAM[cut..]));
            prop_assert_eq!(messages, Parser::default().push(STREAM));
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = Parser::default().push(&bytes);
        }
    }
}
