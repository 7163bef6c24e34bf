//! A name server that is a thread, and answers as a test wants it.

use super::*;
use crate::agent::Parameter;
use crate::settings::tests::Folder;
use domain::base::message::Message;
use domain::base::message_builder::AnswerBuilder;
use domain::tsig::ServerTransaction;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::{self, JoinHandle};

const KEY: &str = "key lifesign { algorithm hmac-sha256; secret \"c2VjcmV0LXNlY3JldA==\"; };";

/// How a server answers each datagram that it gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Signed(Rcode),
    Unsigned(Rcode),
    /// Under another number.
    Elsewhere,
    /// By a clock that is so many seconds ahead.
    Ahead(u64),
    Silent,
}

/// Answers one datagram after the other as `ways` say, and returns what was asked.
fn serve(ways: Vec<Way>) -> (Primary, Folder, JoinHandle<Vec<Message<Vec<u8>>>>) {
    let folder = Folder::new("primary");
    let path = folder.path.join("key");
    fs::write(&path, KEY).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let key = Arc::new(secret::read(&path).unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let told = [
        ("server", socket.local_addr().unwrap().to_string()),
        ("zone", "example.org".to_owned()),
        ("name", "www.example.org".to_owned()),
        ("a", "10.0.0.1".to_owned()),
        ("aaaa", "fd00::1".to_owned()),
        ("key_file", path.display().to_string()),
        ("patience", "20s".to_owned()),
    ];
    let told = told.map(|(name, value)| Parameter { name: name.to_owned(), value, span: 0..0 });
    let primary = Primary::open(&Plan::read(&told).unwrap()).unwrap();
    let server = thread::spawn(move || {
        let mut asked = Vec::new();
        for way in ways {
            let mut buffer = [0; 4096];
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let mut message = Message::from_octets(buffer[..len].to_vec()).unwrap();
            for answer in answers(way, &key, &mut message) {
                socket.send_to(&answer, from).unwrap();
            }
            asked.push(message);
        }
        asked
    });
    (primary, folder, server)
}

fn answers(way: Way, key: &Arc<Key>, message: &mut Message<Vec<u8>>) -> Vec<Vec<u8>> {
    let ahead = if let Way::Ahead(seconds) = way { seconds } else { 0 };
    let now = Time48::from_u64(clock::wall_us() / 1_000_000 + ahead);
    let begin = |message: &Message<Vec<u8>>, code: Rcode| {
        let builder = MessageBuilder::new_vec();
        let mut answer: AnswerBuilder<Vec<u8>> = builder.start_answer(message, code).unwrap();
        answer.header_mut().set_aa(true);
        answer.additional()
    };
    let original = message.clone();
    let transaction = match ServerTransaction::request(key, message, now) {
        Ok(transaction) => transaction.expect("it is signed"),
        Err(error) => {
            let answer = error.build_message(&original, MessageBuilder::new_vec()).unwrap();
            return vec![answer.finish()];
        }
    };
    match way {
        Way::Silent => Vec::new(),
        Way::Unsigned(code) => vec![begin(&original, code).finish()],
        Way::Signed(code) => {
            let mut answer = begin(&original, code);
            transaction.answer(&mut answer, now).unwrap();
            vec![answer.finish()]
        }
        Way::Ahead(_) | Way::Elsewhere => {
            let mut answer = begin(&original, Rcode::NOERROR);
            answer.header_mut().set_id(original.header().id().wrapping_add(1));
            vec![answer.finish(), b"short".to_vec()]
        }
    }
}

fn change(was: Option<&str>) -> Change {
    let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let was = was.map(str::to_owned);
    Change { was, becomes: "token=2 node=beta".to_owned(), addresses }
}

/// Returns each record of an update: its part, owner, class, kind, time to live, and data.
fn records(message: &Message<Vec<u8>>) -> Vec<String> {
    let parts = [("if", message.answer().unwrap()), ("do", message.authority().unwrap())];
    let mut said = Vec::new();
    for (part, section) in parts {
        for record in section {
            let record = record.unwrap();
            let data = record.to_record::<UnknownRecordData<_>>().unwrap().unwrap();
            let text: String =
                data.data().data().iter().map(|byte| format!("{byte:02x}")).collect();
            said.push(format!(
                "{part} {} {} {} {} {text}",
                record.owner(),
                record.class(),
                record.rtype(),
                record.ttl().as_secs()
            ));
        }
    }
    said
}

#[test]
fn an_update_is_made_on_the_condition_that_nobody_was_faster() {
    let text = "746f6b656e3d31206e6f64653d616c706861";
    for (was, condition) in [
        (None, "if _lifesign.www.example.org NONE TXT 0 ".to_owned()),
        (Some("token=1 node=alpha"), format!("if _lifesign.www.example.org IN TXT 0 12{text}")),
    ] {
        let (mut primary, _folder, server) = serve(vec![Way::Signed(Rcode::NOERROR)]);
        assert_eq!(primary.change(&change(was)), Ok(true));
        let asked = server.join().unwrap();
        assert_eq!(asked[0].header().opcode(), Opcode::UPDATE);
        assert_eq!(asked[0].sole_question().unwrap().qname().to_string(), "example.org");
        let expected = [
            condition.as_str(),
            "do www.example.org * A 0 ",
            "do www.example.org * AAAA 0 ",
            "do _lifesign.www.example.org * TXT 0 ",
            "do www.example.org IN A 5 0a000001",
            "do www.example.org IN AAAA 5 fd000000000000000000000000000001",
            "do _lifesign.www.example.org IN TXT 0 11746f6b656e3d32206e6f64653d62657461",
        ];
        assert_eq!(records(&asked[0]), expected);
    }
}

#[test]
fn what_a_server_says_is_what_comes_of_it() {
    let no = |why: &str| Err(Some(why.to_owned()));
    for (way, expected) in [
        (Way::Signed(Rcode::NOERROR), Ok(true)),
        (Way::Signed(Rcode::NXRRSET), Ok(false)),
        (Way::Signed(Rcode::YXRRSET), Ok(false)),
        (Way::Signed(Rcode::REFUSED), no("it does not let the key lifesign change this (REFUSED)")),
        (
            Way::Signed(Rcode::NOTAUTH),
            no("it is not the primary of the zone example.org (NOTAUTH)"),
        ),
        (Way::Signed(Rcode::SERVFAIL), no("it has failed (SERVFAIL)")),
        (Way::Signed(Rcode::NOTIMP), no("it takes no updates (NOTIMP)")),
        (Way::Unsigned(Rcode::NOERROR), no("its answer is not believed: unsigned answer")),
        (
            Way::Unsigned(Rcode::REFUSED),
            no("it does not let the key lifesign change this (REFUSED), unsigned"),
        ),
        (Way::Ahead(301), no("its clock and ours differ by more than five minutes (BADTIME)")),
    ] {
        let (mut primary, _folder, server) = serve(vec![way]);
        let outcome = primary.change(&change(None));
        let place = format!("name server {}: ", primary.plan.server);
        let outcome = outcome.map_err(|failure| match failure {
            Failure::Said(why) => why.strip_prefix(&place).map(str::to_owned),
            Failure::Silent(_) => None,
        });
        assert_eq!(outcome, expected, "{way:?}");
        server.join().unwrap();
    }
}

#[test]
fn what_is_not_for_us_is_passed_over_and_what_is_lost_is_sent_again() {
    let ways = vec![Way::Elsewhere, Way::Silent, Way::Signed(Rcode::NOERROR)];
    let (mut primary, _folder, server) = serve(ways);
    assert_eq!(primary.change(&change(None)), Ok(true));
    let asked = server.join().unwrap();
    let ids: Vec<u16> = asked.iter().map(|message| message.header().id()).collect();
    assert_eq!(ids, [ids[0]; 3]);
}
