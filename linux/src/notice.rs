//! A notice: something that has happened, in the words in which hooks, mail, webhooks and those who
//! watch get it.

use serde_json::{Map, Value};

/// What a notice is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The part that this node plays for a group.
    Group,
    /// Another member: alive, lost, or gone in good order.
    Peer,
    /// An adapter of a network of several, or the network itself.
    Network,
    /// Something that somebody should look at.
    #[default]
    Alert,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Group, Self::Peer, Self::Network, Self::Alert];

    /// Returns the word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Peer => "peer",
            Self::Network => "network",
            Self::Alert => "alert",
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// The group, member or network by its name, or the alert.
    pub subject: String,
    /// What administrators of clusters have called this for long, such as `swap_adapter`; may be
    /// empty.
    pub hook: &'static str,
    /// The adapter that it is about; may be empty.
    pub adapter: String,
    /// How that is from now on, in a word.
    pub state: String,
    /// The same as a sentence.
    pub text: String,
    /// Why, as a sentence; may be empty.
    pub reason: String,
    /// The group's token, if it has one.
    pub token: Option<u32>,
    /// Who noticed it.
    pub node: String,
    /// The cluster.
    pub cluster: String,
    /// When, on the wall clock.
    pub time: String,
    /// Grows by one with everything that happens on this node since its daemon started.
    pub sequence: u64,
    /// How many earlier notices this one stands for, because they could not be delivered in time.
    pub merged: u32,
}

impl Notice {
    /// Returns the fields by their names.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &str, most: usize| Value::from(plain(text, most));
        let mut fields = vec![
            ("event", Value::from(self.kind.word())),
            ("state", text(&self.state, NAME_LEN)),
            ("node", text(&self.node, NAME_LEN)),
            ("cluster", text(&self.cluster, NAME_LEN)),
        ];
        match self.kind {
            Kind::Group => fields.push(("group", text(&self.subject, NAME_LEN))),
            Kind::Peer => fields.push(("peer", text(&self.subject, NAME_LEN))),
            Kind::Network => fields.push(("network", text(&self.subject, NAME_LEN))),
            Kind::Alert => {}
        }
        if !self.hook.is_empty() {
            fields.push(("hook", Value::from(self.hook)));
        }
        if !self.adapter.is_empty() {
            fields.push(("adapter", text(&self.adapter, NAME_LEN)));
        }
        fields.extend(self.token.map(|token| ("token", Value::from(token))));
        if !self.reason.is_empty() {
            fields.push(("reason", text(&self.reason, REASON_LEN)));
        }
        fields.extend([
            ("text", text(&self.text, TEXT_LEN)),
            ("sequence", Value::from(self.sequence)),
            ("time", text(&self.time, NAME_LEN)),
            ("merged", Value::from(self.merged)),
        ]);
        fields
    }

    /// Returns what a hook finds in its environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let said = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let fields = self.fields().into_iter();
        fields
            .map(|(name, value)| (format!("LIFESIGN_{}", name.to_uppercase()), said(value)))
            .collect()
    }

    /// Returns the fields by their names, as an object of JSON has them.
    #[must_use]
    pub fn object(&self) -> Map<String, Value> {
        self.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns what is posted to a webhook.
    #[must_use]
    pub fn json(&self) -> String {
        Value::Object(self.object()).to_string()
    }

    /// Returns the mail to `address`, with its header.
    #[must_use]
    pub fn mail(&self, address: &str) -> String {
        let subject = format!("[{}] {}: {}", self.cluster, self.node, self.text);
        // What a header may have without being encoded.
        let subject: String = plain(&subject, SUBJECT_LEN)
            .chars()
            .map(|letter| if letter.is_ascii() { letter } else { '?' })
            .collect();
        let mut mail = format!(
            "To: {}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\n\n{}\n\n",
            plain(address, NAME_LEN),
            plain(&self.text, TEXT_LEN)
        );
        for (name, value) in self.environment() {
            mail += &format!("{name}={value}\n");
        }
        mail
    }
}

/// Returns the beginning of a text, in one line.
fn plain(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    text[..end].replace(char::is_control, " ")
}

/// The longest name, in bytes.
const NAME_LEN: usize = 256;
/// The longest reason, in bytes.
const REASON_LEN: usize = 300;
/// The longest sentence, in bytes.
const TEXT_LEN: usize = 600;
/// The longest subject of a mail, in bytes.
const SUBJECT_LEN: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::INPUT_LEN_MAX;

    fn holding() -> Notice {
        Notice {
            kind: Kind::Group,
            subject: "www".to_owned(),
            hook: "acquire_service",
            adapter: String::new(),
            state: "holding".to_owned(),
            text: "holds www (token 3): it has been started".to_owned(),
            reason: "it has been started".to_owned(),
            token: Some(3),
            node: "alpha".to_owned(),
            cluster: "web".to_owned(),
            time: "2026-11-22T03:04:05.006Z".to_owned(),
            sequence: 7,
            merged: 0,
        }
    }

    #[test]
    fn a_hook_finds_every_field_in_its_environment() {
        let lines: Vec<String> =
            holding().environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "LIFESIGN_EVENT=group",
            "LIFESIGN_STATE=holding",
            "LIFESIGN_NODE=alpha",
            "LIFESIGN_CLUSTER=web",
            "LIFESIGN_GROUP=www",
            "LIFESIGN_HOOK=acquire_service",
            "LIFESIGN_TOKEN=3",
            "LIFESIGN_REASON=it has been started",
            "LIFESIGN_TEXT=holds www (token 3): it has been started",
            "LIFESIGN_SEQUENCE=7",
            "LIFESIGN_TIME=2026-11-22T03:04:05.006Z",
            "LIFESIGN_MERGED=0",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_webhook_gets_numbers_as_numbers() {
        let value: Value = serde_json::from_str(&holding().json()).unwrap();
        assert_eq!((&value["token"], &value["sequence"]), (&Value::from(3), &Value::from(7)));
        assert_eq!((&value["event"], &value["group"]), (&"group".into(), &"www".into()));
        let peer = Notice { kind: Kind::Peer, token: None, ..holding() };
        let value: Value = serde_json::from_str(&peer.json()).unwrap();
        assert!(value["group"].is_null() && value["token"].is_null() && value["peer"] == "www");
    }

    #[test]
    fn nothing_that_is_said_can_add_a_header_to_a_mail() {
        let text = "caf\u{e9}\nBcc: everybody@example.org".to_owned();
        let mail = Notice { text, ..holding() }.mail("root@localhost");
        let (header, body) = mail.split_once("\n\n").unwrap();
        assert_eq!(
            header.lines().collect::<Vec<_>>(),
            [
                "To: root@localhost",
                "Subject: [web] alpha: caf? Bcc: everybody@example.org",
                "Auto-Submitted: auto-generated",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
            ]
        );
        assert!(body.starts_with("caf\u{e9} Bcc: everybody@example.org\n"), "{body}");
        assert!(body.contains("\nLIFESIGN_GROUP=www\n"), "{body}");
    }

    #[test]
    fn the_longest_notice_is_short_enough_to_be_handed_over() {
        let long = || "\"\u{7}".repeat(5000);
        let notice = Notice {
            subject: long(),
            state: long(),
            text: long(),
            reason: long(),
            node: long(),
            cluster: long(),
            time: long(),
            ..holding()
        };
        assert!(notice.json().len() <= INPUT_LEN_MAX, "{}", notice.json().len());
        assert!(notice.mail(&long()).len() <= INPUT_LEN_MAX);
    }
}
