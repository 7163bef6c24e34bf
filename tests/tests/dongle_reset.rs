//! The reset lines of the real firmware: who moves them, and how often.
//!
//! Each test needs `qemu-system-arm` and the images that `firmware/build` makes.

use lifesign::clock;
use lifesign::demo::emulator::Board;
use lifesign_core::dongle::{Reply, Request, What};
use lifesign_core::group::{GroupId, Token};
use lifesign_core::node::NodeId;
use lifesign_core::reset::{Answer, Arm, Fire, Outcome, Refusal, RequestId};
use lifesign_core::time::Duration;
use lifesign_tests::rig::{self, Rig, pause};

const ALPHA: usize = 0;
const BETA: usize = 1;
/// Whom the others want to be reset.
const GAMMA: usize = 2;

/// Tries a provisioned dongle with three servers, the third of which never says anything.
fn with(test: &str, body: impl FnOnce(&mut Rig)) {
    rig::run(test, env!("CARGO_BIN_EXE_subject"), Board::Mps2An385, 3, |rig| {
        rig.provision();
        body(rig);
    });
}

/// Has the speaker `who` claim a group until the dongle has promised it, while `alive` live.
fn promised(rig: &mut Rig, who: usize, group: u8, alive: &[usize]) {
    let group = GroupId::new(group).expect("a group");
    // After a start the dongle takes a larger token than any it may have promised under before.
    let token = Token(rig.speakers[who].token().0 + 1_000_000);
    rig.speakers[who].claim(group, token);
    rig.live_until(alive, "the dongle has promised", |rig| {
        rig.speakers[who].listen();
        rig.speakers[who].is_promised()
    });
}

fn arm(rig: &Rig, who: usize, group: u8, number: u32) -> Arm {
    let speaker = &rig.speakers[who];
    Arm {
        id: RequestId { asker: speaker.node(), boot: speaker.boot(), number },
        group: GroupId::new(group).expect("a group"),
        token: speaker.token(),
        target: rig.speakers[GAMMA].node(),
        target_boot: None,
    }
}

/// Says a sealed request until it is answered; returns the answer and the message.
fn ask(rig: &mut Rig, who: usize, request: &Request) -> (Outcome, Vec<u8>) {
    let wanted = match request {
        Request::Arm(arm) => arm.id,
        Request::Fire(fire) => fire.id,
        other => panic!("{other:?}"),
    };
    loop {
        let message = rig.speakers[who].ask_sealed(request);
        let until = clock::now() + Duration::from_millis(500);
        // There may be answers to earlier requests.
        while let Some(reply) = rig.speakers[who].await_reply(until) {
            match reply {
                Reply::Reset(Answer { id, outcome }) if id == wanted => return (outcome, message),
                _ => {}
            }
        }
        rig.speakers[who].live();
    }
}

fn nonce(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Armed { nonce } => nonce,
        other => panic!("{other:?}"),
    }
}

/// Arms the line, as soon as the dongle leaves the last pulse, or its start, behind.
fn armed(rig: &mut Rig, who: usize, group: u8, first: u32) -> (Arm, u64, Vec<u8>) {
    for number in first..first + 100 {
        let request = arm(rig, who, group, number);
        let (outcome, message) = ask(rig, who, &Request::Arm(request));
        if outcome != Outcome::Refused(Refusal::TooSoon) {
            return (request, nonce(outcome), message);
        }
        rig.live_for(&[ALPHA, BETA], 200);
    }
    panic!("too soon for ever");
}

#[test]
fn two_steps_make_one_pulse_of_the_right_length_on_the_right_line() {
    let test = "two_steps_make_one_pulse_of_the_right_length_on_the_right_line";
    with(test, |rig| {
        promised(rig, ALPHA, 0, &[ALPHA]);
        let (request, nonce, _) = armed(rig, ALPHA, 0, 1);
        rig.live_for(&[ALPHA], 300);
        assert_eq!(rig.emulator().pulses(), [], "the first step moves nothing");
        let fire = Request::Fire(Fire { id: request.id, nonce });
        let (outcome, _) = ask(rig, ALPHA, &fire);
        assert!(matches!(outcome, Outcome::Pulsing | Outcome::Done), "{outcome:?}");
        rig.live_until(&[ALPHA], "the pulse is over", |rig| {
            rig.emulator().pulses().iter().any(|pulse| pulse.ended_us.is_some())
        });
        let (outcome, _) = ask(rig, ALPHA, &fire);
        assert_eq!(outcome, Outcome::Done);
        let [pulse] = rig.emulator().pulses()[..] else { panic!("one pulse") };
        assert_eq!(pulse.port, GAMMA);
        let length_us = pulse.ended_us.expect("an end") - pulse.begun_us;
        assert!(length_us >= 195_000, "{length_us}");
        let log = rig.log();
        let gamma = rig.speakers[GAMMA].node();
        for noted in [What::Armed(gamma), What::Fired(gamma), What::Reset(gamma)] {
            assert_eq!(log.iter().filter(|what| **what == noted).count(), 1, "{log:?}");
        }
    });
}

#[test]
fn what_was_recorded_moves_nothing_when_it_comes_again() {
    with("what_was_recorded_moves_nothing_when_it_comes_again", |rig| {
        promised(rig, ALPHA, 0, &[ALPHA]);
        let (request, nonce, arming) = armed(rig, ALPHA, 0, 1);
        let (_, firing) = ask(rig, ALPHA, &Request::Fire(Fire { id: request.id, nonce }));
        rig.live_until(&[ALPHA], "the pulse is over", |rig| {
            rig.emulator().pulses().iter().any(|pulse| pulse.ended_us.is_some())
        });
        // During the rest after a pulse, after it, and after another start of the dongle.
        for round in 0..3 {
            for at in [ALPHA, BETA] {
                for message in [&firing, &arming, &firing] {
                    rig.speakers[at].say_message(message);
                    rig.live_for(&[ALPHA], 100);
                }
            }
            rig.live_for(&[ALPHA], 3_500);
            if round == 1 {
                rig.emulator().reset().expect("a reset");
                promised(rig, ALPHA, 0, &[ALPHA]);
            }
        }
        assert_eq!(rig.emulator().pulses().len(), 1);
        // The line would still work.
        let (request, nonce, _) = armed(rig, ALPHA, 0, 1_000);
        ask(rig, ALPHA, &Request::Fire(Fire { id: request.id, nonce }));
        rig.live_for(&[ALPHA], 500);
        assert_eq!(rig.emulator().pulses().len(), 2);
    });
}

#[test]
fn two_requests_at_once_make_exactly_one_pulse() {
    with("two_requests_at_once_make_exactly_one_pulse", |rig| {
        rig.speakers[BETA].claim(GroupId::new(1).expect("a group"), Token(7));
        promised(rig, ALPHA, 0, &[ALPHA, BETA]);
        promised(rig, BETA, 1, &[ALPHA, BETA]);
        // The time after the start is over when one could be armed.
        armed(rig, ALPHA, 0, 1);
        rig.live_for(&[ALPHA, BETA], 2_500);
        let mut asked = [(ALPHA, 0), (BETA, 1)].map(|(who, group)| {
            let request = arm(rig, who, group, 500);
            rig.speakers[who].ask_sealed(&Request::Arm(request));
            (who, request, None)
        });
        let soon = clock::now() + Duration::from_millis(500);
        for (who, request, outcome) in &mut asked {
            while let Some(reply) = rig.speakers[*who].await_reply(soon) {
                if matches!(&reply, Reply::Reset(answer) if answer.id == request.id) {
                    *outcome = Some(reply);
                    break;
                }
            }
        }
        for (who, request, reply) in &asked {
            let Some(Reply::Reset(answer)) = reply else { continue };
            let nonce = match answer.outcome {
                Outcome::Armed { nonce } => nonce,
                _ => 4711,
            };
            let fire = Fire { id: request.id, nonce };
            rig.speakers[*who].ask_sealed(&Request::Fire(fire));
        }
        rig.live_for(&[ALPHA, BETA], 1_500);
        let pulses = rig.emulator().pulses();
        assert_eq!(pulses.len(), 1, "{asked:?}");
        assert_eq!(pulses[0].port, GAMMA);
        let busy = asked.iter().filter(|(_, _, reply)| {
            matches!(reply, Some(Reply::Reset(answer))
                if answer.outcome == Outcome::Refused(Refusal::Busy))
        });
        assert_eq!(busy.count(), 1, "{asked:?}");
    });
}

#[test]
fn nobody_is_reset_for_a_claim_that_the_dongle_does_not_back() {
    with("nobody_is_reset_for_a_claim_that_the_dongle_does_not_back", |rig| {
        promised(rig, ALPHA, 0, &[ALPHA, BETA]);
        let (live, refused) = ([ALPHA, BETA], Outcome::Refused);
        // The group is promised to somebody else.
        let request = arm(rig, BETA, 0, 1);
        let (outcome, _) = ask(rig, BETA, &Request::Arm(request));
        assert_eq!(outcome, refused(Refusal::NotPromised));
        rig.live_for(&live, 200);
        // Beta is alive.
        let mut request = arm(rig, ALPHA, 0, 1);
        request.target = rig.speakers[BETA].node();
        request.target_boot = Some(rig.speakers[BETA].boot());
        let (outcome, _) = ask(rig, ALPHA, &Request::Arm(request));
        assert_eq!(outcome, refused(Refusal::Alive));
        // Nobody's line.
        request.target = NodeId::new(7).expect("a node");
        let (outcome, _) = ask(rig, ALPHA, &Request::Arm(request));
        assert_eq!(outcome, refused(Refusal::NoLine));
        // A number that was made up.
        rig.live_for(&live, 200);
        let (request, nonce, _) = armed(rig, ALPHA, 0, 10);
        let fire = Fire { id: request.id, nonce: nonce ^ 1 };
        let (outcome, _) = ask(rig, ALPHA, &Request::Fire(fire));
        assert_eq!(outcome, refused(Refusal::NotArmed));
        // Without the key.
        rig.speakers[ALPHA].ask(&Request::Fire(Fire { id: request.id, nonce }));
        pause(500);
        assert_eq!(rig.emulator().pulses(), []);
    });
}
