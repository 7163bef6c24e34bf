//! Real daemons whose notices go by mail: through msmtp to a mail server that does not always take
//! them.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use lifesign_tests::trial::{self, Setup, WITNESS};

/// Gives the daemon an `/etc` in which msmtp is configured, and makes that the local mailer.
const WRAPPER: &str = "#!/bin/sh\nset -e\n\
    [ -n \"$IS_OWN\" ] || IS_OWN=1 exec unshare --mount \"$0\" \"$@\"\n\
    mount --bind DIRECTORY/etc /etc\nmount --bind /usr/bin/msmtp /usr/sbin/sendmail\nexec \"$@\"\n";

const MAILER: &str =
    "account default\nhost 10.77.0.9\nport 2525\nfrom lifesign@example.org\ntimeout 5\n";

const TARGET: &str =
    "[[notify]]\nmail = \"operator@example.org\"\nevents = [\"group\"]\nlimit = \"8s\"\n";

/// What a mail server was given.
#[derive(Debug)]
struct Mail {
    /// From whom and to whom, as the mailer said it.
    envelope: Vec<String>,
    /// The header and the body.
    text: String,
}

impl Mail {
    fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\n\n").next()?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Takes mails at `listener`, refuses the first of alpha for now, and passes the others on.
fn serve(listener: TcpListener) -> Receiver<Mail> {
    let (taken, mails) = channel();
    thread::spawn(move || {
        let mut has_refused = false;
        for stream in listener.incoming() {
            // Whoever hangs up in the middle has given nothing.
            drop(converse(&stream.unwrap(), &mut has_refused, &taken));
        }
    });
    mails
}

/// Holds one conversation by RFC 5321.
fn converse(stream: &TcpStream, has_refused: &mut bool, taken: &Sender<Mail>) -> io::Result<()> {
    let mut say = stream;
    let mut lines = BufReader::new(stream).lines();
    let mut mail = Mail { envelope: Vec::new(), text: String::new() };
    say.write_all(b"220 quorum\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let answer = match line.split([' ', ':']).next().unwrap().to_uppercase().as_str() {
            "QUIT" => return say.write_all(b"221 bye\r\n"),
            "MAIL" | "RCPT" => {
                mail.envelope.push(line);
                "250 well"
            }
            "DATA" => {
                say.write_all(b"354 go on\r\n")?;
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail.text += line.strip_prefix('.').unwrap_or(&line);
                    mail.text += "\n";
                }
                let is_alpha = mail.text.contains("LIFESIGN_NODE=alpha");
                if is_alpha && !core::mem::replace(has_refused, true) {
                    "451 not now"
                } else {
                    drop(is_alpha.then(|| taken.send(mail)));
                    mail = Mail { envelope: Vec::new(), text: String::new() };
                    "250 taken"
                }
            }
            _ => "250 well",
        };
        say.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(())
}

#[test]
fn a_real_mailer_delivers_every_state_once_and_in_order() {
    for (program, package) in [("/usr/bin/msmtp", "msmtp-mta"), ("/usr/sbin/sendmail", "msmtp-mta")]
    {
        assert!(fs::exists(program).unwrap(), "{program} is missing: install {package}");
    }
    let test = "a_real_mailer_delivers_every_state_once_and_in_order";
    let setup = Setup::pair().with_services(TARGET);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let place = trial.cluster().directory().to_owned();
        fs::create_dir(place.join("etc")).unwrap();
        fs::write(place.join("etc/msmtprc"), MAILER).unwrap();
        for name in ["passwd", "group"] {
            fs::copy(format!("/etc/{name}"), place.join("etc").join(name)).unwrap();
        }
        let wrapper = place.join("wrapper");
        fs::write(&wrapper, WRAPPER.replace("DIRECTORY", &place.display().to_string())).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        trial.cluster_mut().set_wrapper(&wrapper);
        trial.begin();
        trial.await_that("it is told that no mail server is there", |trial| {
            trial.has_alert("alpha", "mail to operator@example.org: exit status 7")
        });
        let machine = trial.cluster_mut().lab_mut().machine(WITNESS);
        let mails = serve(machine.within(|| TcpListener::bind("10.77.0.9:2525")).unwrap());
        let next = || mails.recv_timeout(Duration::from_secs(60)).unwrap();
        for state in ["starting", "holding"] {
            let mail = next();
            let from = "MAIL FROM:<lifesign@example.org>";
            assert!(mail.envelope[0].starts_with(from), "{mail:?}");
            assert_eq!(mail.envelope[1], "RCPT TO:<operator@example.org>");
            assert_eq!(mail.header("To"), Some("operator@example.org"), "{mail:?}");
            let subject = mail.header("Subject").unwrap();
            assert!(subject.starts_with("[trial] alpha: "), "{subject}");
            for name in ["Date", "From", "Auto-Submitted", "Content-Type"] {
                assert!(mail.header(name).is_some(), "{name} is missing: {mail:?}");
            }
            let told = format!("\nLIFESIGN_STATE={state}\n");
            assert!(mail.text.contains(&told), "{told}: {mail:?}");
        }
        trial.await_that("nothing is wrong any more", |trial| !trial.has_alert("alpha", "notify"));
        trial.order("beta", &["takeover", "www"]);
        for state in ["stopping", "idle"] {
            let mail = next();
            assert!(mail.text.contains(&format!("\nLIFESIGN_STATE={state}\n")), "{mail:?}");
        }
    });
}
