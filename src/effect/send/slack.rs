//! A Slack-compatible incoming webhook: one text, in which nothing of ours can be taken for markup of theirs.

use serde_json::{Value, json};

use super::Message;
use crate::effect::text;

/// Longer texts are refused by some.
const TEXT: usize = 35_000;

/// The body, as JSON.
pub(super) fn text(message: &Message) -> String {
    let link = message.link.as_ref().map(|link| format!("\n<{}|more>", escaped(link))).unwrap_or_default();
    let body = text::cut(&escaped(&message.body), TEXT);
    let text = format!("*{}*\n{body}{link}", escaped(&message.title).replace('*', "∗"));
    json!({ "text": text }).to_string()
}

/// As Slack says: these three and no others.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether an answer of status 200 says no all the same.
pub(super) fn complains(answer: &str) -> bool {
    let json: Value = serde_json::from_str(answer).unwrap_or_default();
    json.get("ok") == Some(&Value::Bool(false)) || json.get("success") == Some(&Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_by_what_an_alert_says() {
        let message = Message {
            title: "a <!channel> b".to_owned(),
            body: "x < y & <https://evil.example|here>".to_owned(),
            link: Some("http://codeops/runs/r1".to_owned()),
            alert: None,
        };
        let body: Value = serde_json::from_str(&text(&message)).unwrap();
        assert_eq!(
            body["text"],
            "*a &lt;!channel&gt; b*\nx &lt; y &amp; &lt;https://evil.example|here&gt;\n<http://codeops/runs/r1|more>"
        );
        assert!(complains(r#"{"ok": false, "error": "no_text"}"#) && !complains("ok"));
    }
}
