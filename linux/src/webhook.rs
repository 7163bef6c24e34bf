//! One event posted to a web server: what a child of the daemon's executor does.
//!
//! It speaks HTTP/1.1 in the clear, for a receiver on this machine or on a network that is trusted.
//! For anything else there are hooks.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// Where events are posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The server's name or address, and its port if one is written.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("it must begin with http://");
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('#') {
            return Err("it has a letter that no address can have");
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            // The colons within brackets are those of the address.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "its port is no number")?)
            }
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || authority.contains('@') || port == 0 {
            return Err("it must name a server, without a user");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), host: host.to_owned(), port, path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.path)
    }
}

/// Posts `body`, which is JSON, and waits for the answer.
///
/// # Errors
/// Says why it cannot be known to have arrived.
pub fn post(address: &Address, body: &str) -> Result<(), String> {
    let mut stream = connect(address).map_err(|error| format!("connect: {error}"))?;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lifesign/{}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        address.path,
        address.authority,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
    let mut line = String::new();
    let mut answer = BufReader::new(stream.take(LINE_LEN_MAX));
    answer.read_line(&mut line).map_err(|error| format!("receive: {error}"))?;
    let status: Option<u16> = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.trim().parse().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(format!("the server answered with status {status}")),
        None => Err("the server did not answer in HTTP".to_owned()),
    }
}

fn connect(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for place in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How long each step may take; the executor has a limit of its own for all of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest first line of an answer.
const LINE_LEN_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn addresses_name_a_server_a_port_and_a_path() {
        for (text, host, port, path) in [
            ("http://hooks.example", "hooks.example", 80, "/"),
            ("http://10.77.0.9:8080/a/b?c=d", "10.77.0.9", 8080, "/a/b?c=d"),
            ("http://[fd00::9]:81/x", "fd00::9", 81, "/x"),
            ("http://[fd00::9]", "fd00::9", 80, "/"),
            ("http://host?c=d", "host", 80, "/?c=d"),
        ] {
            let address: Address = text.parse().unwrap();
            let found = (address.host.as_str(), address.port, address.path.as_str());
            assert_eq!(found, (host, port, path), "{text}");
        }
        assert_eq!("http://a:1".parse::<Address>().unwrap().to_string(), "http://a:1/");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "https://a/",
            "a:80",
            "http://",
            "http://:80/",
            "http://a:b/",
            "http://a:0/",
            "http://a:99999/",
            "http://me@a/",
            "http://a/b\r\nX: y",
            "http://a/b c",
            "http://a/#b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    /// Returns what a server that answers with `answer` was sent, and what became of it.
    fn posted(answer: &'static str) -> (String, Result<(), String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut said = String::new();
            while !said.ends_with("\r\n\r\n") && reader.read_line(&mut said).unwrap() > 0 {}
            let mut body = [0; 7];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            said + std::str::from_utf8(&body).unwrap()
        });
        let address = format!("http://127.0.0.1:{port}/hook").parse().unwrap();
        let result = post(&address, "{\"a\":1}");
        (server.join().unwrap(), result)
    }

    #[test]
    fn an_event_is_posted_whole_and_the_answer_decides() {
        let (said, result) = posted("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(result, Ok(()));
        assert!(said.starts_with("POST /hook HTTP/1.1\r\nHost: 127.0.0.1:"), "{said}");
        assert!(said.contains("\r\nContent-Length: 7\r\n") && said.ends_with("{\"a\":1}"));
        assert!(posted("HTTP/1.0 200 OK\r\n\r\n").1.is_ok());
        let refused = posted("HTTP/1.1 503 Busy\r\n\r\n").1.unwrap_err();
        assert_eq!(refused, "the server answered with status 503");
        assert!(posted("220 mail.example ESMTP\r\n").1.is_err());
        assert!(posted("").1.is_err());
    }

    #[test]
    fn a_server_that_is_not_there_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let said = post(&address.parse().unwrap(), "{}").unwrap_err();
        assert!(said.starts_with("connect: "), "{said}");
    }
}
