//! Programs that run beside the daemon: `[[client]]`.

use lifesign_core::node::NodeId;
use lifesign_core::time::Duration;
use toml::Spanned;

use super::members::{Members, Names};
use super::mistake::Mistakes;
use super::resources::read_command;
use super::table::{Misfit, Table};
use super::value;

/// A program that is kept running while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its program, as an absolute path, and arguments.
    pub command: Vec<String>,
    /// As whom it runs, if not as the daemon's user.
    pub user: Option<String>,
    /// The nodes on which it runs; all of them if there are none.
    pub nodes: Vec<NodeId>,
    /// How long it may take to end when it is asked to.
    pub stop_limit: Duration,
}

impl Client {
    /// Returns whether it runs on `node`.
    #[must_use]
    pub fn runs_on(&self, node: NodeId) -> bool {
        self.nodes.is_empty() || self.nodes.contains(&node)
    }
}

/// Reads the clients.
pub(super) fn read(top: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> Vec<Client> {
    let mut names = Names::new("client");
    let mut clients = Vec::new();
    for mut table in top.tables("client", MOST, mistakes) {
        let name = names.read(&mut table, mistakes);
        if !table.has("command") {
            table.missing("command", "[\"/usr/local/bin/..\"]", mistakes);
        }
        let command = read_command(&mut table, "command", mistakes);
        let user = table.parsed("user", mistakes, user_of).map(Spanned::into_inner);
        let nodes = read_nodes(&mut table, members, mistakes);
        let limit = table.parsed("stop_limit", mistakes, value::span);
        table.finish(mistakes);
        let stop_limit = limit.map_or(STOP_LIMIT, Spanned::into_inner);
        clients.extend(command.map(|command| Client { name, command, user, nodes, stop_limit }));
    }
    clients
}

fn read_nodes(table: &mut Table<'_>, members: &Members, mistakes: &mut Mistakes) -> Vec<NodeId> {
    let Some(names) = table.texts("nodes", mistakes) else { return Vec::new() };
    if names.get_ref().is_empty() {
        mistakes
            .add(names.span(), "`nodes` names nobody")
            .hint("leave the key out if the client runs on all of them");
    }
    names.get_ref().iter().filter_map(|name| members.node(name, mistakes)).collect()
}

/// Returns the user that is called `text`, which need not be known on this machine.
fn user_of(text: &str) -> Result<String, Misfit> {
    if is_user(text) {
        Ok(text.to_owned())
    } else {
        Err(Misfit::new("no user is called so", "write it as in \"hacluster\""))
    }
}

/// Returns whether a user could be called `text`.
pub(crate) fn is_user(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_-.$".contains(letter);
    !text.is_empty() && text.len() <= 64 && !text.starts_with('-') && text.chars().all(is_letter)
}

/// The most clients.
pub(crate) const MOST: usize = 16;
/// How long a client may take to end.
const STOP_LIMIT: Duration = Duration::from_millis(5000);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::tests::EXAMPLE;

    fn parsed(text: &str) -> Result<Vec<Client>, String> {
        Settings::parse("test.toml", &format!("{EXAMPLE}{text}"))
            .map(|settings| settings.clients)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_client_runs_where_it_is_told_to() {
        let clients = parsed(
            "[[client]]\nname = \"mon\"\ncommand = [\"/bin/mon\", \"-x\"]\n[[client]]\n\
             name = \"log\"\ncommand = [\"/bin/log\"]\nuser = \"hacluster\"\nnodes = [\"beta\"]\n\
             stop_limit = \"1s\"\n",
        );
        let [mon, log] = clients.unwrap().try_into().unwrap();
        assert_eq!(mon.command, ["/bin/mon", "-x"]);
        assert_eq!((mon.user.as_deref(), mon.stop_limit), (None, STOP_LIMIT));
        assert_eq!(log.user.as_deref(), Some("hacluster"));
        assert_eq!(log.stop_limit, Duration::from_millis(1000));
        let on = |client: &Client| {
            NodeId::all().take(2).map(|node| client.runs_on(node)).collect::<Vec<bool>>()
        };
        assert_eq!((on(&mon), on(&log)), (vec![true, true], vec![false, true]));
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("", "has no `command`"),
            ("command = [\"mon\"]\n", "absolute path"),
            ("command = [\"/mon\"]\nuser = \"a:b\"\n", "no user is called so"),
            ("command = [\"/mon\"]\nuser = \"\"\n", "no user is called so"),
            ("command = [\"/mon\"]\nnodes = []\n", "`nodes` names nobody"),
            ("command = [\"/mon\"]\nnodes = [\"gamma\"]\n", "there is no node \"gamma\""),
            ("command = [\"/mon\"]\nusr = \"a\"\n", "did you mean \"user\"?"),
        ] {
            let mistakes = parsed(&format!("[[client]]\nname = \"mon\"\n{text}")).unwrap_err();
            assert!(mistakes.contains(said), "{text}: {mistakes}");
        }
        let twice = "[[client]]\nname = \"mon\"\ncommand = [\"/mon\"]\n".repeat(2);
        assert!(parsed(&twice).unwrap_err().contains("is there twice"));
    }
}
