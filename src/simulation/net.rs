//! The network and time: calls on their way to stores, answers on their way back, and what befalls them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use super::condition::Condition;
use super::dice::Dice;
use super::faults::{FOR_EVER, Kind, Strike, Tally, Weather};
use super::store::{Answer, No, Reply, Request, Store, flipped};
use crate::scheduler::{reading, writing};

/// A call on its way.
#[derive(Clone)]
pub(super) struct Sent {
    call: u64,
    store: usize,
    request: Request,
}

type IsAgain = bool;
type Crashes = u64;

/// What happens next.
pub(super) enum Event {
    /// A request reaches its store.
    Arrives(Sent, IsAgain),
    /// A store is done with a request, unless it crashed meanwhile.
    Served(Sent, Crashes),
    Answered(u64, Reply),
    /// A transport gives a call up.
    Expires(u64),
    Strikes(usize, Strike),
    /// Somebody wants to look at the time.
    Rings,
}

/// What the program hears.
pub(super) enum Heard {
    Reply(u64, Reply),
    Ring,
}

pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) stores: Vec<Store>,
    pub(super) weather: Weather,
    pub(super) dice: Dice,
    pub(super) tally: Tally,
    pub(super) conditions: Vec<Condition>,
    pub(super) events: BTreeMap<(Duration, u64), Event>,
    /// Numbers events and calls.
    counter: u64,
    /// Calls that are waited for.
    calls: BTreeSet<u64>,
    /// What happened, if somebody wants to know.
    trace: Option<Vec<String>>,
}

impl Net {
    pub(super) fn new(stores: Vec<Store>, weather: Weather, dice: Dice, is_traced: bool) -> Self {
        Self {
            now: Duration::ZERO,
            conditions: vec![Condition::default(); stores.len()],
            stores,
            weather,
            dice,
            tally: Tally::NONE,
            events: BTreeMap::new(),
            counter: 0,
            calls: BTreeSet::new(),
            trace: is_traced.then(Vec::new),
        }
    }

    /// Sends a request. Its reply is heard later, if ever.
    pub(super) fn call(&mut self, store: usize, request: Request) -> u64 {
        self.counter += 1;
        let call = self.counter;
        self.note(|| format!("{call} to {store}: {}", short(&request)));
        self.calls.insert(call);
        if let Some(deadline) = self.stores[store].nature.deadline {
            self.after(deadline, Event::Expires(call));
        }
        if self.is_lost(store, "request", call) {
            return call;
        }
        let sent = Sent { call, store, request: self.on_the_way(store, request) };
        let delay = self.delay(store);
        if self.is_rough() && self.dice.chance(self.weather.duplicates) && is_repeatable(&sent.request) {
            let again = delay + self.delay(store);
            self.after(again, Event::Arrives(sent.clone(), true));
        }
        self.after(delay, Event::Arrives(sent, false));
        call
    }

    /// Nobody waits for this call any more.
    pub(super) fn forget(&mut self, call: u64) {
        self.calls.remove(&call);
    }

    /// The program ended: nobody waits for anything.
    pub(super) fn forget_all(&mut self) {
        self.calls.clear();
    }

    /// Rings after so long.
    pub(super) fn ring_after(&mut self, time: Duration) {
        self.after(time, Event::Rings);
    }

    /// Lets something befall a store after so long.
    pub(super) fn strike_after(&mut self, time: Duration, store: usize, strike: Strike) {
        self.after(time, Event::Strikes(store, strike));
    }

    /// The next thing that the program hears; none if it will never hear anything again.
    pub(super) fn next(&mut self) -> Option<Heard> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            match event {
                Event::Arrives(sent, is_again) => self.arrive(sent, is_again),
                Event::Served(sent, crashes) => self.serve(sent, crashes),
                Event::Strikes(store, strike) => self.strike(store, strike),
                Event::Expires(call) => {
                    if self.calls.remove(&call) {
                        self.note(|| format!("{call} is given up"));
                        return Some(Heard::Reply(call, Err(No::Slow)));
                    }
                }
                Event::Answered(call, reply) => {
                    if self.calls.remove(&call) {
                        self.note(|| format!("{call} answered: {}", short(&reply)));
                        return Some(Heard::Reply(call, reply));
                    }
                }
                Event::Rings => return Some(Heard::Ring),
            }
        }
        None
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:9.3} {}", self.now.as_secs_f64(), line()));
        }
    }

    pub(super) fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.counter += 1;
        if let Some(at) = self.now.checked_add(time).filter(|&at| at < FOR_EVER) {
            self.events.insert((at, self.counter), event);
        }
    }

    fn is_rough(&self) -> bool {
        self.now < self.weather.until
    }

    /// Whether a message is lost.
    fn is_lost(&mut self, store: usize, what: &str, call: u64) -> bool {
        let cut_until = self.conditions[store].cut_until;
        if self.now < cut_until {
            self.tally.count(if cut_until == FOR_EVER { Kind::LostForGood } else { Kind::Partitioned });
            self.note(|| format!("{call}: the {what} is cut off"));
            return true;
        }
        // Only what has deadlines is far away.
        let is_far = self.stores[store].nature.deadline.is_some();
        let is_dropped = self.is_rough() && is_far && self.dice.chance(self.weather.drops);
        if is_dropped {
            self.tally.count(Kind::Dropped);
            self.note(|| format!("{call}: the {what} is dropped"));
        }
        is_dropped
    }

    fn delay(&mut self, store: usize) -> Duration {
        let latency = self.stores[store].nature.latency.as_secs_f64();
        let mut delay = self.dice.seconds(latency / 2.0, latency * 2.0);
        if self.is_rough() && self.dice.chance(self.weather.delays) {
            self.tally.count(Kind::Delayed);
            delay += self.dice.seconds(0.05, 20.0);
        }
        delay
    }

    /// What arrives of a request.
    fn on_the_way(&mut self, store: usize, request: Request) -> Request {
        match request {
            Request::Write(put, bytes)
                if self.is_rough() && !bytes.is_empty() && self.dice.chance(self.weather.flips) =>
            {
                self.tally.count(Kind::FlippedOnTheWay);
                self.stores[store].taint(put);
                Request::Write(put, flipped(&bytes, &mut self.dice))
            }
            request => request,
        }
    }

    fn arrive(&mut self, sent: Sent, is_again: IsAgain) {
        let (call, store) = (sent.call, sent.store);
        if is_again {
            self.tally.count(Kind::Duplicated);
            self.note(|| format!("{call} comes again"));
        }
        let condition = &mut self.conditions[store];
        if self.now < condition.down_until {
            let latency = self.stores[store].nature.latency;
            return self.after(latency, Event::Answered(call, Err(No::Unreachable)));
        }
        if self.now < condition.stalled_until {
            let (until, is_clogged) = (condition.stalled_until, condition.is_clogged);
            self.tally.count(match until {
                FOR_EVER => Kind::StalledForEver,
                _ if is_clogged => Kind::Clogged,
                _ => Kind::Stalled,
            });
            let rest = until.saturating_sub(self.now);
            return self.after(rest, Event::Arrives(sent, is_again));
        }
        if call < condition.latest && !is_again {
            self.tally.count(Kind::Reordered);
        }
        condition.latest = condition.latest.max(call);
        let mut cost = self.stores[store].cost(&sent.request);
        if self.now < condition.slow_until {
            self.tally.count(Kind::SlowDisk);
            // What it began slowly it ends fast when that is over.
            cost = cost.mul_f64(condition.slow).min(cost + condition.slow_until - self.now);
        }
        if let Request::Commit(put) = sent.request {
            condition.committing.insert(put);
        }
        let done = self.now.max(condition.busy_until) + cost;
        (condition.busy_until, cost) = (done, done - self.now);
        let crashes = condition.crashes;
        self.after(cost, Event::Served(sent, crashes));
    }

    fn serve(&mut self, sent: Sent, crashes: Crashes) {
        let (again, Sent { call, store, request }) = (sent.clone(), sent);
        let latency = self.stores[store].nature.latency;
        if self.conditions[store].crashes != crashes {
            return self.after(latency, Event::Answered(call, Err(No::Unreachable)));
        }
        if let Request::Commit(put) = request {
            self.conditions[store].committing.remove(&put);
        }
        let wanted = if let Request::Read(_, range) = &request { range.end - range.start } else { 0 };
        let is_commit = matches!(request, Request::Commit(_));
        let mut reply = self.stores[store].serve(request, &mut self.dice, &mut self.tally);
        if self.is_lost(store, "answer", call) {
            // Transports that try again learn that it was done.
            if is_commit && reply.is_ok() && self.dice.chance(0.5) {
                self.after(latency * 4, Event::Arrives(again, true));
            }
            return;
        }
        if let Ok(Answer::Bytes(bytes)) = &mut reply {
            if self.is_rough() && !bytes.is_empty() && self.dice.chance(self.weather.flips) {
                self.tally.count(Kind::FlippedOnTheWay);
                *bytes = flipped(bytes, &mut self.dice);
            }
            if self.is_rough() && !bytes.is_empty() && self.dice.chance(self.weather.truncates) {
                self.tally.count(Kind::Truncated);
                bytes.truncate(self.dice.below(bytes.len()));
            }
            // Transports see that an answer is short.
            if (bytes.len() as u64) < wanted {
                reply = Err(No::Truncated);
            }
        }
        let delay = self.delay(store);
        self.after(delay, Event::Answered(call, reply));
    }
}

/// Rings now and then, so that a program looks at the time.
pub(super) struct Ticker {
    at: Duration,
    quiet: u32,
}

impl Ticker {
    pub(super) fn new(net: &mut Net) -> Self {
        net.ring_after(TICK);
        Self { at: net.now + TICK, quiet: 0 }
    }

    /// To be told of whatever is heard.
    pub(super) fn hears(&mut self, net: &mut Net, heard: &Heard) {
        if let Heard::Reply(..) = heard {
            self.quiet = 0;
        }
        if net.now >= self.at {
            // Where nothing happens for long, looking often shows nothing new.
            let gap = TICK * (1 + self.quiet / 40);
            self.quiet += 1;
            self.at = net.now + gap;
            net.ring_after(gap);
        }
    }
}

/// Requests that a transport sends again by itself when no answer comes.
fn is_repeatable(request: &Request) -> bool {
    matches!(request, Request::Commit(_) | Request::Stat(_) | Request::List | Request::Delete(_))
}

/// Without the bytes.
fn short(what: &impl Debug) -> String {
    let mut text = format!("{what:?}");
    if let Some(end) = text.find("b\"") {
        text.truncate(end);
    }
    text
}

/// How often programs look, at the most.
const TICK: Duration =
    if writing::TICK.as_millis() < reading::TICK.as_millis() { writing::TICK } else { reading::TICK };
