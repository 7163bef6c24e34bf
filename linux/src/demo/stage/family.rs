//! The demonstration's addresses in IPv4 and in IPv6.

/// Which internet protocol the servers, the clients and the service speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4, with ARP.
    #[default]
    Ipv4,
    /// IPv6, with neighbour discovery.
    Ipv6,
}

impl Family {
    /// Returns a text about IPv4 as it is for this family: each machine keeps its host number.
    pub(super) fn adapt(self, text: &str) -> String {
        match self {
            Self::Ipv4 => text.to_owned(),
            Self::Ipv6 => IN_IPV6
                .iter()
                .fold(text.to_owned(), |text, (of_ipv4, of_ipv6)| text.replace(of_ipv4, of_ipv6)),
        }
    }
}

/// What stands in a text about IPv4, and what stands for it in one about IPv6.
const IN_IPV6: [(&str, &str); 5] = [
    ("10.77.0.", "fd00:77::"),
    ("10.78.0.", "fd00:78::"),
    ("/24", "/64"),
    ("239.255.76.83", "ff02::4c53"),
    ("0.0.0.0:", "[::]:"),
];

#[cfg(test)]
mod tests {
    use super::super::example::{DONGLE_SETTINGS, SETTINGS, WITNESS_SETTINGS};
    use super::*;

    #[test]
    fn no_address_of_ipv4_is_left_in_settings_for_ipv6() {
        for settings in [SETTINGS, DONGLE_SETTINGS, WITNESS_SETTINGS] {
            assert_eq!(Family::Ipv4.adapt(settings), settings);
            let adapted = Family::Ipv6.adapt(settings);
            let is_ipv4 = |word: &str| word.split('.').count() == 4;
            let mut words = adapted.split(|it: char| it != '.' && !it.is_ascii_digit());
            assert_eq!(words.find(|word| is_ipv4(word)), None, "{adapted}");
        }
        assert_eq!(Family::Ipv6.adapt("10.77.0.100/24"), "fd00:77::100/64");
    }
}
