//! haresources: groups of resources, each with its home node.

pub mod address;

use self::address::AddressText;
use super::fault::{Faults, File, Place, shown};

/// A line of haresources: resources that move together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceGroup {
    /// The node that holds them as long as it can.
    pub home: String,
    /// Where the line begins.
    pub place: Place,
    /// The resources, in the order of their start.
    pub resources: Vec<Resource>,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where it stands.
    pub place: Place,
    /// As it stands there.
    pub text: String,
    /// What it is.
    pub kind: ResourceKind,
}

/// What a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// An address.
    Address(AddressText),
    /// A script, with its arguments.
    Script {
        /// The name of the script, or its path.
        script: String,
        /// What it is called with, before `start` or `stop`.
        arguments: Vec<String>,
    },
}

/// The scripts that were written for addresses.
const ADDRESS_SCRIPTS: [&str; 3] = ["IPaddr", "IPaddr2", "IPv6addr"];

/// Reads the text of a haresources and notes everything that is wrong in it.
#[must_use]
pub fn parse(text: &str, faults: &mut Faults) -> Vec<ResourceGroup> {
    let mut groups = Vec::new();
    for words in logical_lines(text) {
        let Some(((place, home), rest)) = words.split_first() else { continue };
        if rest.is_empty() {
            let what = format!("node {} has no resources", shown(home));
            faults.add(*place, what, "add them behind it, or take the line out");
            continue;
        }
        let resources =
            rest.iter().filter_map(|(place, word)| resource(*place, word, faults)).collect();
        groups.push(ResourceGroup { home: home.to_lowercase(), place: *place, resources });
    }
    if groups.is_empty() && faults.is_empty() {
        let place = Place { file: File::Haresources, line: 0 };
        faults.add(place, "there are no resources", "add a line `NODE ADDRESS/BITS SCRIPT ..`");
    }
    groups
}

/// Returns the words of each line, with their places; a line that ends in `\` goes on.
fn logical_lines(text: &str) -> Vec<Vec<(Place, &str)>> {
    let mut lines = Vec::new();
    let mut words = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place { file: File::Haresources, line: number };
        let line = line.split('#').next().unwrap_or_default().trim_end();
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        words.extend(line.split_whitespace().map(|word| (place, word)));
        if !goes_on && !words.is_empty() {
            lines.push(std::mem::take(&mut words));
        }
    }
    if !words.is_empty() {
        lines.push(words);
    }
    lines
}

/// Returns the resource that `word` names, or notes what is wrong with it.
fn resource(place: Place, word: &str, faults: &mut Faults) -> Option<Resource> {
    let (script, rest) = match word.split_once("::") {
        Some((script, rest)) => (script, Some(rest)),
        None => (word, None),
    };
    let is_address = AddressText::is_meant(word);
    let kind = if is_address || ADDRESS_SCRIPTS.contains(&script) {
        let text = if is_address { word } else { rest.unwrap_or_default() };
        match AddressText::parse(text) {
            Ok(address) => ResourceKind::Address(address),
            Err(why) => {
                faults.add(place, format!("{}: {why}", shown(word)), address::HINT);
                return None;
            }
        }
    } else {
        if let Err(why) = check_script(script) {
            faults.add(place, format!("{}: {why}", shown(word)), SCRIPT_HINT);
            return None;
        }
        let arguments =
            rest.map_or_else(Vec::new, |rest| rest.split("::").map(str::to_owned).collect());
        ResourceKind::Script { script: script.to_owned(), arguments }
    };
    Some(Resource { place, text: word.to_owned(), kind })
}

const SCRIPT_HINT: &str = "write SCRIPT or SCRIPT::ARGUMENT, a file of /etc/ha.d/resource.d or \
    /etc/init.d";

/// Says why `script` cannot be the name or path of a script.
fn check_script(script: &str) -> Result<(), &'static str> {
    if script.is_empty() {
        Err("the name of a script is missing")
    } else if script.len() > 255 || script.contains(|letter| !is_plain(letter)) {
        Err("a script's name has letters, digits, `_`, `.`, `+` and `-`")
    } else if script.contains('/') && !script.starts_with('/') {
        Err("a path must begin with `/`")
    } else if script.ends_with('/') || script.starts_with(['.', '-']) {
        Err("this is no file")
    } else {
        Ok(())
    }
}

/// Returns whether a letter may stand in the name or path of a script.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_.+-/".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parsed(text: &str) -> Vec<ResourceGroup> {
        let mut faults = Faults::default();
        let groups = parse(text, &mut faults);
        assert!(faults.is_empty(), "{}", faults.render(Path::new("")));
        groups
    }

    fn refused(text: &str) -> String {
        let mut faults = Faults::default();
        let _ = parse(text, &mut faults);
        faults.render(Path::new("/x"))
    }

    fn script(name: &str, arguments: &[&str]) -> ResourceKind {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        ResourceKind::Script { script: name.to_owned(), arguments }
    }

    #[test]
    fn a_line_goes_on_behind_a_backslash() {
        let text = "# ours\nAlpha  10.0.0.100/24 \\\n\t drbddisk::r0 \\\n# a remark\n\
                    beta /opt/run::a::b # the end\n";
        let groups = parsed(text);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].home.as_str(), groups[0].place.line), ("alpha", 2));
        assert_eq!(groups[0].resources[1].kind, script("drbddisk", &["r0"]));
        assert_eq!(groups[0].resources[1].place.line, 3);
        assert_eq!(groups[1].resources[0].kind, script("/opt/run", &["a", "b"]));
    }

    #[test]
    fn addresses_have_many_forms() {
        for text in [
            "10.0.0.100",
            "10.0.0.100/24/eth0",
            "IPaddr::10.0.0.100/24",
            "IPaddr2::10.0.0.100/255.255.255.0/eth0:1/10.0.0.255",
            "IPv6addr::fd00::100/64",
            "fd00::100/64/eth0",
        ] {
            let groups = parsed(&format!("alpha {text}\n"));
            assert!(
                matches!(groups[0].resources[0].kind, ResourceKind::Address(_)),
                "{text} became {groups:?}"
            );
        }
        let groups = parsed("alpha IPsrcaddr::10.0.0.100 Filesystem::/dev/sda1::/srv::ext3\n");
        assert_eq!(groups[0].resources[0].kind, script("IPsrcaddr", &["10.0.0.100"]));
        assert_eq!(
            groups[0].resources[1].kind,
            script("Filesystem", &["/dev/sda1", "/srv", "ext3"])
        );
    }

    #[test]
    fn every_mistake_is_told() {
        let text = "alpha\nbeta 10.0.0.300/24 ::x a/b /srv/ \\\n IPaddr\nalpha 10.0.0.1/33\n";
        let said = refused(text);
        let lines: Vec<&str> = said.lines().collect();
        for (line, expected) in lines.iter().zip([
            ":1: node alpha has no resources",
            ":2: 10.0.0.300/24: ",
            ":2: ::x: the name of a script is missing",
            ":2: a/b: a path must begin with `/`",
            ":2: /srv/: this is no file",
            ":3: IPaddr: ",
            ":4: 10.0.0.1/33: ",
        ]) {
            assert!(line.contains(expected), "{line} is not {expected}");
        }
        assert_eq!(lines.len(), 7, "{said}");
        assert!(refused("# nothing\n").contains("haresources: there are no resources"));
    }
}
