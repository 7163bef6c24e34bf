//! Who is told of what happens: `[[notify]]`.

use lifesign_core::time::Duration;
use toml::Spanned;

use super::mistake::Mistakes;
use super::resources::read_command;
use super::table::{Misfit, Table};
use super::value;
use crate::notice::Kind;
use crate::webhook::Address;

/// Somebody who is told of what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub way: Way,
    /// Of what.
    pub events: Vec<Kind>,
    /// How long telling may take.
    pub limit: Duration,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A program is run: an absolute path and arguments.
    Command(Vec<String>),
    /// A mail is given to the local mailer.
    Mail(String),
    /// The event is posted to a web server.
    Webhook(Address),
}

/// Reads who is told.
pub(super) fn read(top: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Target> {
    let mut targets = Vec::new();
    for mut table in top.tables("notify", MOST_TARGETS, mistakes) {
        let command = read_command(&mut table, "command", mistakes).map(Way::Command);
        let mail = table.parsed("mail", mistakes, mail_address);
        let webhook = table.parsed("webhook", mistakes, webhook_address);
        let events = read_events(&mut table, mistakes);
        let limit = table.parsed("limit", mistakes, value::span);
        let named = ["command", "mail", "webhook"].into_iter().filter(|key| table.has(key)).count();
        if named != 1 {
            let what = if named == 0 { "tells nobody" } else { "tells in several ways" };
            mistakes
                .add(table.span(), format!("this `[[notify]]` {what}"))
                .hint("write one of `command`, `mail` and `webhook` in each");
        }
        table.finish(mistakes);
        let mail = mail.map(|mail| Way::Mail(mail.into_inner()));
        let webhook = webhook.map(|address| Way::Webhook(address.into_inner()));
        if let Some(way) = command.or(mail).or(webhook) {
            let limit = limit.map_or(LIMIT, Spanned::into_inner);
            targets.push(Target { way, events, limit });
        }
    }
    targets
}

fn read_events(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Kind> {
    let Some(words) = table.texts("events", mistakes) else { return Kind::ALL.to_vec() };
    if words.get_ref().is_empty() {
        mistakes
            .add(words.span(), "`events` names nothing")
            .hint("name some of group, peer and alert, or leave the key out for all of them");
    }
    let kinds = words.get_ref().iter().filter_map(|word| {
        super::table::parsed_of(word, "events", mistakes, |text| {
            let known = Kind::ALL.map(Kind::word);
            let found = Kind::ALL.into_iter().find(|kind| kind.word() == text);
            found.ok_or_else(|| super::document::unknown_word("event", text, &known))
        })
    });
    kinds.map(Spanned::into_inner).collect()
}

fn mail_address(text: &str) -> Result<String, Misfit> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>[]\\".contains(&byte);
    let is_right = !text.is_empty()
        && text.len() <= LONGEST_ADDRESS
        && !text.starts_with('-')
        && text.bytes().all(is_plain);
    if is_right {
        Ok(text.to_owned())
    } else {
        Err(Misfit::new("not one address", "write it as in \"root@localhost\""))
    }
}

fn webhook_address(text: &str) -> Result<Address, Misfit> {
    text.parse().map_err(|why| {
        Misfit::new(
            why,
            "write \"http://host:port/path\"; for anything else use `command`, with curl or the like",
        )
    })
}

/// The most targets.
const MOST_TARGETS: usize = 16;
/// How long telling may take.
const LIMIT: Duration = Duration::from_millis(10_000);
/// The longest address of a mail.
const LONGEST_ADDRESS: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::tests::EXAMPLE;

    fn parsed(text: &str) -> Result<Vec<Target>, String> {
        Settings::parse("test.toml", &format!("{EXAMPLE}{text}"))
            .map(|settings| settings.notify)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn each_way_is_read() {
        let targets = parsed(
            "[[notify]]\ncommand = [\"/bin/hook\", \"x\"]\nevents = [\"group\", \"alert\"]\n\
             [[notify]]\nmail = \"root@localhost\"\nlimit = \"3s\"\n\
             [[notify]]\nwebhook = \"http://10.77.0.9:8080/hook\"\n",
        );
        let [command, mail, webhook] = targets.unwrap().try_into().unwrap();
        assert_eq!(command.way, Way::Command(vec!["/bin/hook".to_owned(), "x".to_owned()]));
        assert_eq!(command.events, [Kind::Group, Kind::Alert]);
        assert_eq!(mail.way, Way::Mail("root@localhost".to_owned()));
        assert_eq!((mail.events.len(), mail.limit), (4, Duration::from_millis(3000)));
        assert_eq!(webhook.way, Way::Webhook("http://10.77.0.9:8080/hook".parse().unwrap()));
        assert_eq!(webhook.limit, Duration::from_millis(10_000));
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_told_to_is_refused() {
        for (text, said) in [
            ("", "tells nobody"),
            ("mail = \"a@b\"\nwebhook = \"http://a/\"\n", "tells in several ways"),
            ("mail = \"a@b\\nBcc: c@d\"\n", "not one address"),
            ("mail = \"-oQ/tmp\"\n", "not one address"),
            ("webhook = \"https://a/\"\n", "it must begin with http://"),
            ("command = [\"hook\"]\n", "absolute path"),
            ("mail = \"a@b\"\nevents = []\n", "`events` names nothing"),
            ("mail = \"a@b\"\nevents = [\"groups\"]\n", "did you mean \"group\"?"),
            ("mail = \"a@b\"\nevent = [\"group\"]\n", "did you mean \"events\"?"),
        ] {
            let mistakes = parsed(&format!("[[notify]]\n{text}")).unwrap_err();
            assert!(mistakes.contains(said), "{text}: {mistakes}");
        }
    }
}
