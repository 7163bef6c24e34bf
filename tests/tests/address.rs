//! Service addresses on real adapters: two network namespaces, a cable, and a client that asks.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]
#![expect(clippy::print_stdout, reason = "a holder tells the test what it does")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;

use lifesign::address::error::Error;
use lifesign::address::event::AddressEvent;
use lifesign::address::lease::{Enforcer, EnforcerChoice};
use lifesign::address::netlink::Netlink;
use lifesign::address::{Addresses, Seats, ServiceAddress};
use lifesign::clock;
use lifesign::namespace::elsewhere::Elsewhere;
use lifesign::namespace::{self, MAIN, Users, cable};
use lifesign_core::network::Origin;
use lifesign_core::time::{Duration, Instant};
use lifesign_tests::holder::Holder;
use nix::sys::signal::Signal;

#[test]
fn an_acquired_group_answers_until_it_is_released() {
    let Some(_) = enter("an_acquired_group_answers_until_it_is_released") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        let mut addresses = open(enforcer);
        world.expect_silence();
        let taken = acquire(&mut addresses, 10_000);
        world.expect_answers();
        let mut renewals = Vec::new();
        for _ in 0..200 {
            let before = clock::now();
            addresses.renew(0, before + Duration::from_millis(10_000), before).unwrap();
            renewals.push(clock::now().since(before).as_micros());
        }
        renewals.sort_unstable();
        let before = clock::now();
        addresses.release(0).unwrap();
        let released = clock::now().since(before);
        println!("{enforcer}: {taken:?}, renew {} us, release {released:?}", renewals[100]);
        world.expect_silence();
        assert!(addresses.renew(0, clock::now() + LONG, clock::now()).is_err());
        assert!(installed().is_disjoint(&services()));
        acquire(&mut addresses, 10_000);
        world.expect_answers();
        addresses.close().unwrap();
    }
}

#[test]
fn nobody_answers_after_the_deadline_that_nobody_moved() {
    let Some(_) = enter("nobody_answers_after_the_deadline_that_nobody_moved") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        let mut addresses = open(enforcer);
        let deadline = clock::now() + LEASE;
        addresses.acquire(0, deadline, clock::now()).unwrap();
        world.expect_silence_from(deadline, enforcer);
        let late = addresses.renew(0, clock::now() + LONG, clock::now());
        assert_eq!(late, Err(Error::Expired), "{enforcer}");
        world.expect_silence();
    }
}

#[test]
fn nothing_leaves_after_the_deadline_either() {
    let Some(_) = enter("nothing_leaves_after_the_deadline_either") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        let mut addresses = open(enforcer);
        acquire(&mut addresses, 600_000);
        for (service, client) in [("10.77.0.100", "10.77.0.2"), ("fd00:77::100", "fd00:77::2")] {
            let client: IpAddr = client.parse().unwrap();
            let listener = world.client.run(move || UdpSocket::bind((client, 9)).unwrap());
            let sender = UdpSocket::bind((service.parse::<IpAddr>().unwrap(), 0)).unwrap();
            // The filter's refusal is an error of the sender, the program's is not.
            let send = |text: &[u8]| drop(sender.send_to(text, (client, 9)));
            let mut heard = [0; 8];
            send(b"open");
            assert_eq!(listener.recv(&mut heard).unwrap(), 4, "{enforcer}: {service}");
            let now = clock::now();
            let deadline = now + Duration::from_millis(50);
            addresses.renew(0, deadline, now).unwrap();
            sleep_until_silent(deadline, enforcer);
            send(b"closed");
            acquire(&mut addresses, 600_000);
            send(b"again");
            assert_eq!(listener.recv(&mut heard).unwrap(), 5, "{enforcer}: {service}");
        }
    }
}

/// By the weak host model Linux answers for its addresses on every adapter.
#[test]
fn an_adapter_in_the_same_subnet_falls_silent_too() {
    let Some(_) = enter("an_adapter_in_the_same_subnet_falls_silent_too") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        world.lay_second();
        let mut addresses = open(enforcer);
        let deadline = clock::now() + LEASE;
        addresses.acquire(0, deadline, clock::now()).unwrap();
        world.expect_answers_over("b1", enforcer);
        sleep_until_silent(deadline, enforcer);
        for _ in 0..3 {
            assert_eq!(world.probe_over("b1"), None, "{enforcer}: it answers over a1");
        }
        addresses.close().unwrap();
        cable::remove("a1").unwrap();
    }
}

#[test]
fn a_group_answers_by_the_adapter_where_it_sits_and_by_none_after_its_deadline() {
    let name = "a_group_answers_by_the_adapter_where_it_sits_and_by_none_after_its_deadline";
    let Some(_) = enter(name) else { return };
    for enforcer in enforcers().into_iter().chain([Enforcer::ValidLifetime]) {
        let world = World::build();
        world.lay_second();
        let mut addresses = open_on_both(enforcer);
        for (place, (here, there)) in [("b0", "b1"), ("b1", "b0")].into_iter().enumerate() {
            addresses.seat(0, Origin::Home, place).unwrap();
            acquire(&mut addresses, 600_000);
            // Where the lease is the lifetime, this installs the addresses once more.
            addresses.renew(0, clock::now() + LONG, clock::now()).unwrap();
            world.expect_answers_over(here, enforcer);
            assert_eq!(world.probe_over(there), None, "{enforcer}: it answers over {there} too");
        }
        let now = clock::now();
        // Lifetimes are whole seconds: the rest of this one is for a machine that is slow.
        let deadline = now + Duration::from_millis(1_900);
        addresses.renew(0, deadline, now).unwrap();
        sleep_until_silent(deadline, enforcer);
        assert_eq!(["b0", "b1"].map(|it| world.probe_over(it)), [None; 2], "{enforcer}");
        addresses.close().unwrap();
        cable::remove("a1").unwrap();
    }
}

#[test]
fn a_holder_that_is_killed_is_silent_in_time() {
    let name = "a_holder_that_is_killed_is_silent_in_time";
    let Some(role) = enter(name) else { return };
    if role != MAIN {
        return hold(&role);
    }
    for enforcer in enforcers() {
        let world = World::build();
        let mut holder = Holder::start(name, enforcer);
        let deadline = holder.read_until(20);
        holder.kill();
        // What it had printed is an upper bound of what it had asked the kernel for.
        let deadline = holder.read_rest().unwrap_or(deadline);
        world.expect_silence_from(deadline, enforcer);
        assert!(!installed().is_disjoint(&services()), "the addresses are still there");
        let mut later = open(enforcer);
        world.expect_silence();
        let found: BTreeSet<_> = later.remove_leftovers().unwrap().into_iter().collect();
        assert_eq!(found, services());
        assert!(installed().is_disjoint(&services()));
        later.close().unwrap();
    }
}

#[test]
fn a_holder_that_is_stopped_is_silent_in_time_and_stays_so_when_it_goes_on() {
    let name = "a_holder_that_is_stopped_is_silent_in_time_and_stays_so_when_it_goes_on";
    let Some(role) = enter(name) else { return };
    if role != MAIN {
        return hold(&role);
    }
    for enforcer in enforcers() {
        let world = World::build();
        let mut holder = Holder::start(name, enforcer);
        let deadline = holder.read_until(20);
        holder.signal(Signal::SIGSTOP);
        // It may have gone on until the signal reached it, by one lease at most.
        let deadline = deadline.max(clock::now()) + LEASE;
        world.expect_silence_from(deadline, enforcer);
        holder.signal(Signal::SIGCONT);
        // It was stopped before it asked for more, or between choosing a deadline and asking.
        let words = holder.last_words();
        let [ran_out, too_short] =
            ["the lease ran out before it was renewed", "us of lease are left"];
        assert!(words.contains(ran_out) || words.contains(too_short), "{words}");
        world.expect_silence();
    }
}

#[test]
fn a_supervisor_takes_everything_down_at_once() {
    let Some(_) = enter("a_supervisor_takes_everything_down_at_once") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        let mut addresses = open(enforcer);
        let mut take_down = addresses.take_down().unwrap();
        acquire(&mut addresses, 10_000);
        world.expect_answers();
        let before = clock::now();
        assert_eq!(take_down.run().unwrap(), 2);
        println!("{enforcer}: taken down within {:?}", clock::now().since(before));
        world.expect_silence();
        assert!(installed().is_disjoint(&services()));
        assert_eq!(take_down.run().unwrap(), 0);
    }
}

#[test]
fn a_foreign_claim_is_noticed_and_answered() {
    let Some(_) = enter("a_foreign_claim_is_noticed_and_answered") else { return };
    let world = World::build();
    let mut addresses = open(Enforcer::Nftables);
    acquire(&mut addresses, 10_000);
    let mac = world.client.run(|| {
        let mut other = open(Enforcer::Nftables);
        acquire(&mut other, 10_000);
        mac_of("b0")
    });
    let mut accused = BTreeSet::new();
    until(&mut addresses, |event| {
        if let AddressEvent::Conflict { group: 0, ip, mac: foreign } = event {
            assert_eq!(foreign, mac);
            accused.insert(ip);
        }
        accused == services()
    });
    // Its second announcement follows at once and not in a tenth of a second.
    assert!(addresses.poll_timeout().is_some());
}

#[test]
fn a_probe_finds_the_holder_and_nobody_else() {
    let Some(_) = enter("a_probe_finds_the_holder_and_nobody_else") else { return };
    let world = World::build();
    let mac = mac_of("a0");
    let mut addresses = open(Enforcer::Nftables);
    assert_eq!(world.probe(), None);
    acquire(&mut addresses, 10_000);
    assert_eq!(world.probe(), Some(mac));
    addresses.release(0).unwrap();
    assert_eq!(world.probe(), None);
}

#[test]
fn neighbours_that_answer_are_counted() {
    let Some(_) = enter("neighbours_that_answer_are_counted") else { return };
    let world = World::build();
    // Who has asked a machine is in its table.
    assert!(world.ask([10, 77, 0, 1].into()) && world.ask("fd00:77::1".parse().unwrap()));
    let mut addresses = open(Enforcer::Nftables);
    acquire(&mut addresses, 10_000);
    let mut told = BTreeSet::new();
    until(&mut addresses, |event| {
        if let AddressEvent::NeighboursLearned { ip, learned, .. } = event {
            assert!(learned.asked >= 1 && learned.answered == learned.asked, "{ip}: {learned:?}");
            assert!(learned.last_answer_us.is_some());
            told.insert(ip);
        }
        told == services()
    });
}

#[test]
fn addresses_follow_their_adapter() {
    let Some(_) = enter("addresses_follow_their_adapter") else { return };
    for enforcer in enforcers() {
        let world = World::build();
        let mut addresses = open(enforcer);
        acquire(&mut addresses, 10_000);
        world.client.run(|| cable::switch("b0", false).unwrap());
        until(&mut addresses, |event| matches!(event, AddressEvent::CarrierLost { .. }));
        world.client.run(|| cable::switch("b0", true).unwrap());
        until(&mut addresses, |event| matches!(event, AddressEvent::CarrierBack { .. }));
        cable::rename("a0", "c0").unwrap();
        let renamed = AddressEvent::Renamed { from: "a0".into(), to: "c0".into() };
        until(&mut addresses, |event| event == renamed);
        assert_eq!(addresses.adapter_of([10, 77, 0, 100].into()).unwrap().0, "c0");
        cable::remove("c0").unwrap();
        until(&mut addresses, |event| {
            event == AddressEvent::AdapterLost { adapter: "c0".into(), groups: vec![0] }
        });
        let refused = addresses.acquire(0, clock::now() + LONG, clock::now());
        assert!(matches!(refused, Err(Error::NoAdapter { .. })), "{refused:?}");
        assert_eq!(addresses.adapter_of([10, 77, 0, 100].into()), None);
        let world = World::build();
        until(&mut addresses, |event| {
            event == AddressEvent::AdapterBack { adapter: "a0".into(), groups: vec![0] }
        });
        world.expect_silence();
        acquire(&mut addresses, 10_000);
        world.expect_answers();
        let deadline = clock::now() + LEASE;
        addresses.renew(0, deadline, clock::now()).unwrap();
        world.expect_silence_from(deadline, enforcer);
        addresses.close().unwrap();
    }
}

#[test]
fn an_address_that_someone_deletes_is_missed() {
    let Some(_) = enter("an_address_that_someone_deletes_is_missed") else { return };
    let world = World::build();
    let mut addresses = open(Enforcer::Nftables);
    acquire(&mut addresses, 10_000);
    let mut netlink = Netlink::open().unwrap();
    let ip: IpAddr = [10, 77, 0, 100].into();
    let found = netlink.addresses().unwrap().into_iter().find(|known| known.ip == ip).unwrap();
    netlink.delete_address(found).unwrap();
    until(&mut addresses, |event| event == AddressEvent::AddressRemoved { group: 0, ip });
    acquire(&mut addresses, 10_000);
    world.expect_answers();
}

#[test]
fn without_the_first_root_bpf_is_refused_with_its_reason() {
    let name = "without_the_first_root_bpf_is_refused_with_its_reason";
    let Some(_) = namespace::enter(name, Users::New).unwrap() else { return };
    let _world = World::build();
    let addresses = Addresses::open(&[group()], EnforcerChoice::Auto).unwrap();
    assert_eq!(addresses.enforcer(), Enforcer::Nftables);
    let [refusal] = addresses.refusals() else { panic!("{:?}", addresses.refusals()) };
    assert_eq!(refusal.enforcer, Enforcer::Bpf);
    assert!(refusal.reason.to_string().contains("not permitted"), "{}", refusal.reason);
    let only = EnforcerChoice::Only(Enforcer::Bpf);
    let error = Addresses::open(&[group()], only).unwrap_err();
    assert!(error.to_string().contains("bpf: "), "{error}");
    assert!(Enforcer::Bpf.check().is_err() && Enforcer::Nftables.check().is_ok());
}

#[test]
fn the_lifetime_of_addresses_is_the_last_resort() {
    let Some(_) = enter("the_lifetime_of_addresses_is_the_last_resort") else { return };
    let world = World::build();
    let mut addresses = open(Enforcer::ValidLifetime);
    let short = addresses.acquire(0, clock::now() + Duration::from_millis(900), clock::now());
    assert!(matches!(short, Err(Error::TooShort { .. })), "{short:?}");
    let deadline = clock::now() + Duration::from_millis(4_500);
    addresses.acquire(0, deadline, clock::now()).unwrap();
    world.expect_answers();
    world.expect_silence_from(deadline, Enforcer::ValidLifetime);
    assert!(installed().is_disjoint(&services()));
}

/// Runs the test in namespaces of its own: as root among the machine's users, so that BPF works.
fn enter(test: &str) -> Option<String> {
    let is_root = Enforcer::Bpf.check().is_ok();
    namespace::enter(test, if is_root { Users::Same } else { Users::New }).unwrap()
}

/// Returns the enforcers that can be tried here.
fn enforcers() -> Vec<Enforcer> {
    let exact = [Enforcer::Bpf, Enforcer::Nftables];
    let found: Vec<_> = exact.into_iter().filter(|enforcer| enforcer.check().is_ok()).collect();
    assert!(found.contains(&Enforcer::Nftables), "every user has nftables in a namespace");
    found
}

fn group() -> Vec<ServiceAddress> {
    let service = |ip, prefix| ServiceAddress { ip, prefix, adapter: String::new() };
    services().into_iter().map(|ip| service(ip, if ip.is_ipv4() { 24 } else { 64 })).collect()
}

fn services() -> BTreeSet<IpAddr> {
    [[10, 77, 0, 100].into(), "fd00:77::100".parse().unwrap()].into()
}

fn open(enforcer: Enforcer) -> Addresses {
    let addresses = Addresses::open(&[group()], EnforcerChoice::Only(enforcer)).unwrap();
    assert_eq!(addresses.enforcer(), enforcer);
    addresses
}

/// Opens the group on a network with both adapters.
fn open_on_both(enforcer: Enforcer) -> Addresses {
    let services = services().into_iter().map(|ip| (ip, Origin::Home)).collect();
    let adapters = ["a0", "a1"].map(str::to_owned).to_vec();
    let seats = Seats { adapters, services, ask: Vec::new() };
    Addresses::open_on(&[group()], &[seats], None, EnforcerChoice::Only(enforcer)).unwrap()
}

fn acquire(addresses: &mut Addresses, milliseconds: u64) -> lifesign::address::Taken {
    let now = clock::now();
    addresses.acquire(0, now + Duration::from_millis(milliseconds), now).unwrap()
}

fn installed() -> BTreeSet<IpAddr> {
    Netlink::open().unwrap().addresses().unwrap().into_iter().map(|known| known.ip).collect()
}

fn mac_of(adapter: &str) -> [u8; 6] {
    let adapters = Netlink::open().unwrap().adapters().unwrap();
    adapters.into_iter().find(|known| known.name == adapter).unwrap().mac.unwrap()
}

/// Runs the daemon's loop until an event is the one looked for.
fn until(addresses: &mut Addresses, mut is_it: impl FnMut(AddressEvent) -> bool) {
    loop {
        addresses.handle_readable(clock::now());
        addresses.handle_timeout(clock::now());
        while let Some(event) = addresses.poll_event() {
            if is_it(event) {
                return;
            }
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Holds the group until it is refused, and prints each deadline before it asks for it.
fn hold(enforcer: &str) {
    let enforcer = enforcers().into_iter().find(|known| known.to_string() == enforcer).unwrap();
    let mut addresses = open(enforcer);
    let mut outcome = Ok(());
    let mut is_first = true;
    while outcome.is_ok() {
        let now = clock::now();
        let deadline = now + LEASE;
        println!("deadline {}", deadline.as_micros());
        outcome = if std::mem::take(&mut is_first) {
            addresses.acquire(0, deadline, now).map(drop)
        } else {
            addresses.renew(0, deadline, now)
        };
        thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("refused: {}", outcome.unwrap_err());
}

/// This namespace with adapter `a0`, and a client's with `b0`.
struct World {
    client: Elsewhere,
}

impl World {
    fn build() -> Self {
        let client = Elsewhere::open().unwrap();
        cable::lay("a0", "b0").unwrap();
        cable::give("b0", &client).unwrap();
        client.run(|| settle("b0", 2));
        settle("a0", 1);
        let world = Self { client };
        // The kernel may take a second to open a cable's queues after both ends are up.
        for own in [[10, 77, 0, 1].into(), "fd00:77::1".parse().unwrap()] {
            while !world.ask(own) {}
        }
        world
    }

    /// Lays a second cable from this namespace, `a1`, to the client's `b1`, in the same subnet.
    fn lay_second(&self) {
        cable::lay("a1", "b1").unwrap();
        cable::give("b1", &self.client).unwrap();
        self.client.run(|| settle("b1", 4));
        settle("a1", 3);
    }

    /// Demands that somebody answers over one of the client's adapters while the lease is open.
    fn expect_answers_over(&self, adapter: &'static str, enforcer: Enforcer) {
        let answered = (0..10).any(|_| self.probe_over(adapter).is_some());
        assert!(answered, "{enforcer}: nobody answers over {adapter}");
    }

    /// Asks and returns whether there was an answer within a moment.
    fn ask(&self, ip: IpAddr) -> bool {
        self.client.run(move || ask(ip, 50))
    }

    fn expect_answers(&self) {
        for ip in services() {
            assert!((0..20).any(|_| self.ask(ip)), "{ip} does not answer");
        }
    }

    fn expect_silence(&self) {
        for ip in services() {
            assert!(!self.ask(ip), "{ip} answers");
        }
        assert_eq!(self.probe(), None, "somebody has an address");
    }

    /// Asks without a pause from before the deadline until long after.
    fn expect_silence_from(&self, deadline: Instant, enforcer: Enforcer) {
        let end = deadline + Duration::from_micros(enforcer.overshoot_us());
        let mut before = 0;
        while !clock::now().has_reached(end) {
            before += services().into_iter().filter(|ip| self.ask(*ip)).count();
        }
        assert!(before > 0, "{enforcer}: it answered before the deadline");
        for _ in 0..5 {
            self.expect_silence();
        }
    }

    /// Asks by ARP and neighbour discovery who has the addresses; `None` where nobody does.
    fn probe(&self) -> Option<[u8; 6]> {
        self.probe_over("b0")
    }

    /// The same over one of the client's adapters.
    fn probe_over(&self, adapter: &'static str) -> Option<[u8; 6]> {
        self.client.run(move || {
            let near = |ip| ServiceAddress { ip, prefix: 24, adapter: adapter.to_owned() };
            let group = vec![services().into_iter().map(near).collect()];
            let choice = EnforcerChoice::Only(Enforcer::ValidLifetime);
            let mut prober = Addresses::open(&group, choice).unwrap();
            prober.probe(0, Duration::from_millis(60), clock::now()).unwrap();
            let mut holder = None;
            until(&mut prober, |event| match event {
                AddressEvent::Conflict { mac, .. } => {
                    holder = Some(mac);
                    true
                }
                event => event == AddressEvent::Free { group: 0 },
            });
            holder
        })
    }
}

impl Drop for World {
    /// Takes the cable away at once; with the client's namespace it would go at some time later.
    fn drop(&mut self) {
        // One test has removed it.
        let _ = cable::remove("a0");
    }
}

/// Waits until a deadline is over, and what the kernel may take besides.
fn sleep_until_silent(deadline: Instant, enforcer: Enforcer) {
    let end = deadline + Duration::from_micros(enforcer.overshoot_us());
    while !clock::now().has_reached(end) {
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Gives the machine its own addresses and raises its adapter.
fn settle(adapter: &str, host: u8) {
    let own = [([10, 77, 0, host].into(), 24), (format!("fd00:77::{host}").parse().unwrap(), 64)];
    cable::settle(adapter, &own).unwrap();
}

/// Connects and returns whether anyone answered as `ip`, with a refusal too.
fn ask(ip: IpAddr, milliseconds: u64) -> bool {
    let limit = std::time::Duration::from_millis(milliseconds);
    match TcpStream::connect_timeout(&SocketAddr::new(ip, 7), limit) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

/// How long a lease is: long enough for an answer on a machine that has other things to do.
const LEASE: Duration = Duration::from_millis(1_000);
/// Longer than any test.
const LONG: Duration = Duration::from_millis(600_000);
