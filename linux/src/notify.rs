//! What the service manager is told: ready, stopping, alive, and a line of status.
//!
//! The protocol of `sd_notify(3)`: datagrams of `NAME=value` lines to the socket that the variable
//! `NOTIFY_SOCKET` names. Nothing here blocks; a message that cannot be sent at once is lost.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use lifesign_core::time::Duration;

/// The way to a service manager that listens.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    watchdog: Option<Duration>,
    lost: u64,
}

impl Notifier {
    /// Returns the way to the service manager, or nothing where there is none to tell.
    ///
    /// # Errors
    ///
    /// `NOTIFY_SOCKET` is no address of a socket, or there are no descriptors left.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let variable = |name| std::env::var(name).ok();
        let Some(address) = variable("NOTIFY_SOCKET") else { return Ok(None) };
        let period = variable("WATCHDOG_USEC");
        let process = variable("WATCHDOG_PID");
        Self::new(&address, watchdog(period.as_deref(), process.as_deref())).map(Some)
    }

    fn new(address: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        let manager = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let reason = format!("NOTIFY_SOCKET {address}: not the address of a socket");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager, watchdog, lost: 0 })
    }

    /// Tells that the service is up, and returns whether that got through; if not, tell it again.
    pub fn ready(&mut self) -> bool {
        self.send("READY=1")
    }

    /// Tells that the service is about to end.
    pub fn stopping(&mut self) -> bool {
        self.send("STOPPING=1")
    }

    /// Tells that the service is alive: due at least twice in each [`watchdog`](Self::watchdog).
    pub fn alive(&mut self) -> bool {
        self.send("WATCHDOG=1")
    }

    /// Tells in one line how the service is doing.
    pub fn status(&mut self, text: &str) -> bool {
        // A second line would be another message.
        let line = text.replace(char::is_control, " ");
        self.send(&format!("STATUS={line}"))
    }

    /// Returns after how long without [`alive`](Self::alive) the manager takes the service for
    /// dead, if it watches.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Returns how many messages were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn send(&mut self, message: &str) -> bool {
        let is_sent = self.socket.send_to_addr(message.as_bytes(), &self.manager).is_ok();
        self.lost += u64::from(!is_sent);
        is_sent
    }
}

/// Returns the period of the manager's watchdog, if it is meant for this process.
fn watchdog(period: Option<&str>, process: Option<&str>) -> Option<Duration> {
    let own = std::process::id().to_string();
    if process.is_some_and(|process| process != own) {
        return None;
    }
    let micros = period?.parse().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_a_named_and_an_abstract_socket() {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("notify-{id}"));
        let named = UnixDatagram::bind(&path).unwrap();
        let name = format!("lifesign-notify-{id}");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let unnamed = UnixDatagram::bind_addr(&address).unwrap();
        for (manager, address) in
            [(named, path.display().to_string()), (unnamed, format!("@{name}"))]
        {
            let mut notifier = Notifier::new(&address, None).unwrap();
            assert!(notifier.ready() && notifier.alive());
            assert!(notifier.status("holding www\nREADY=0") && notifier.stopping());
            let said = [(); 4].map(|()| received(&manager));
            assert_eq!(said, ["READY=1", "WATCHDOG=1", "STATUS=holding www READY=0", "STOPPING=1"]);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_manager_that_does_not_listen_costs_messages_and_nothing_else() {
        let address = SocketAddr::from_abstract_name(format!("full-{}", std::process::id()));
        let manager = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
        let name = format!("@full-{}", std::process::id());
        let mut notifier = Notifier::new(&name, None).unwrap();
        let sent = (0..100_000).take_while(|_| notifier.alive()).count();
        assert!(sent < 100_000, "its queue never filled");
        assert_eq!(notifier.lost(), 1);
        assert_eq!(received(&manager), "WATCHDOG=1");
        assert!(notifier.alive(), "there is room again");
        drop(manager);
        assert!(!notifier.alive());
    }

    #[test]
    fn an_address_that_is_none_is_told() {
        let said = Notifier::new("run/notify", None).unwrap_err().to_string();
        assert!(said.contains("run/notify"), "{said}");
    }

    #[test]
    fn the_watchdog_is_ours_and_of_some_length() {
        let own = std::process::id().to_string();
        let period = Some(Duration::from_millis(500));
        assert_eq!(watchdog(Some("500000"), None), period);
        assert_eq!(watchdog(Some("500000"), Some(&own)), period);
        assert_eq!(watchdog(Some("500000"), Some("1")), None);
        for nonsense in ["0", "-5", "", "soon", "99999999999999999999999"] {
            assert_eq!(watchdog(Some(nonsense), None), None, "{nonsense}");
        }
        assert_eq!(watchdog(None, None), None);
    }

    fn received(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }
}
