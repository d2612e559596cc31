//! Events that a pause of events holds: recorded at once like any other, and answered by the rules as soon
//! as nothing holds them any more, oldest first, each in a decision of its own.
//!
//! A pause on everything, a project or a pack holds events whole: no rule is asked, and no run that waits
//! for one sees it. A pause on a rule holds that rule's answer only. One that drops holds nothing: rules
//! answer that they were not asked.

use std::sync::Arc;

use camshaft_model::definition::Rule;
use camshaft_model::port::store::Change;
use camshaft_model::{
    EnforcementOutcome, Event, EventDraft, EventId, Ref, ScopeKind, ScopeMatcher, Timestamp,
};

use super::end::EXECUTION_TRIGGER;
use crate::constraint::InForce;
use crate::decision::{Decision, Effect, Unit};
use crate::held_events::Kind;
use crate::schedule::Overlap;
use crate::state::{Context, State};
use crate::uncertain::PutOff;

/// At most so many events are held. Whoever brings one more that a pause would hold is told to come again.
pub(crate) const MAX_HELD_EVENTS: usize = 100_000;
/// So many more may wait behind those that are on their way.
const MAX_EVENTS_BEHIND: usize = 10_000;
/// So many that stay are passed over in one decision; the rest follows at once, so that nobody waits for all
/// of them.
const LOOKED_AT_ONCE: usize = 256;

impl State {
    /// Lets rules and runs answer an event, or holds it.
    pub(crate) fn answer_or_hold(
        &mut self,
        event: &Arc<Event>,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        if self.constraints.is_event_pause_over(context.now) {
            self.held_events.look_through();
        }
        match self.paused_event(&event.draft.trigger, context.now) {
            Some(pause) if pause.drops_events() => {
                let reason = not_asked(pause);
                let rules = self.rules.clone();
                for compiled in rules.candidates(&event.draft) {
                    let outcome = EnforcementOutcome::Skipped {
                        reason: reason.clone(),
                    };
                    unit.answer(compiled.rule(), event.id, outcome, context);
                }
            }
            Some(_) => self.hold(event, None, unit),
            // Older ones are still on their way: what was held is answered in order.
            None if self.held_events.is_releasing() => self.hold(event, None, unit),
            None if self.must_be_stored_first(event) || self.meets_uncertain(event).is_some() => {
                self.hold(event, None, unit);
                self.held_events.answer_once_stored(event.id);
            }
            None => self.ask_rules(event, None, unit, decision, context),
        }
    }

    /// Whether the database may refuse an event, as one that it has already, whose answer would change what
    /// is recorded: the wait of a run would be over, or an execution cancelled, for nothing.
    fn must_be_stored_first(&self, event: &Event) -> bool {
        let cancels = |rule: &Rule| self.overlap(&rule.reference) == Overlap::CancelPrevious;
        let is_ours = event.draft.trigger.as_str() == EXECUTION_TRIGGER;
        event.draft.dedup_key.is_some()
            && !is_ours
            && (self.awaited.contains_key(&event.draft.trigger)
                || self
                    .rules
                    .candidates(&event.draft)
                    .any(|compiled| cancels(compiled.rule())))
    }

    /// Asks the rules that may match: all of them, or only those that were held. Those that a pause holds
    /// now are asked later.
    fn ask_rules(
        &mut self,
        event: &Arc<Event>,
        only: Option<&[Ref]>,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let rules = self.rules.clone();
        let mut asked = Vec::new();
        let mut held = Vec::new();
        for compiled in rules.candidates(&event.draft) {
            let rule = &compiled.rule().reference;
            if only.is_some_and(|only| !only.contains(rule)) {
                continue;
            }
            // It drops the events of its own time, not those that were kept before. What came after a time
            // that is yet to come came before the clock was set back.
            let drops = |pause: &InForce| {
                pause.drops_events() && event.received_at >= pause.since.min(context.now)
            };
            match self.paused_rule(rule, context.now) {
                Some(pause) if drops(pause) => asked.push((compiled, Some(not_asked(pause)))),
                Some(_) => held.push(rule.clone()),
                None => asked.push((compiled, None)),
            }
        }
        if !held.is_empty() {
            self.hold(event, Some(held), unit);
        }
        self.enforce_all(event, asked, unit, decision, context);
        if only.is_none() {
            self.meet_waits(event, unit, decision, context);
        }
    }

    fn hold(&mut self, event: &Arc<Event>, rules: Option<Vec<Ref>>, unit: &mut Unit) {
        unit.changes.push(Change::HoldEvent {
            event: event.id,
            rules: rules.clone(),
        });
        unit.effects.push(Effect::Held(event.clone()));
        self.held_events.hold(event, rules);
    }

    /// Lets go the next event that nothing holds any more.
    pub(crate) fn release_event(&mut self, decision: &mut Decision, context: &Context<'_>) {
        for _ in 0..LOOKED_AT_ONCE {
            if !self.held_events.has_next() {
                return;
            }
            let Some((id, held)) = self.held_events.next() else {
                self.held_events.end_release();
                return;
            };
            let kind = held.kind.clone();
            if self.is_still_held(&kind, context.now) {
                self.held_events.go_on_after(id);
                continue;
            }
            let Some(event) = self.held_events.whole(id) else {
                let stays = |kind: &Kind| self.is_still_held(kind, context.now);
                let to_read = self.held_events.to_read(stays);
                return self.held_events.want(to_read);
            };
            if let Some(uncertain) = self.meets_uncertain(&event) {
                self.uncertain.put_off(PutOff::HeldEvents(uncertain));
                return self.held_events.put_off();
            }
            self.held_events.forget(id);
            self.held_events.go_on_after(id);
            let mut unit = Unit::default();
            unit.changes.push(Change::ReleaseEvent(id));
            self.ask_rules(&event, kind.rules.as_deref(), &mut unit, decision, context);
            decision.units.push(unit);
            return;
        }
    }

    fn is_still_held(&self, kind: &Kind, now: Timestamp) -> bool {
        if self.paused_event(&kind.trigger, now).is_some() {
            return true;
        }
        let is_paused = |rule: &Ref| self.paused_rule(rule, now).is_some();
        kind.rules
            .as_ref()
            .is_some_and(|rules| rules.iter().all(is_paused))
    }

    /// Why an event cannot be taken, if it would be held and is one too many for that.
    pub(crate) fn holds_too_many(&self, draft: &EventDraft, now: Timestamp) -> Option<String> {
        let held = self.held_events.len();
        if held < MAX_HELD_EVENTS {
            return None;
        }
        if let Some(pause) = self.would_hold(draft, now) {
            let scope = &pause.constraint.scope;
            return Some(format!(
                "{MAX_HELD_EVENTS} events are held already, and the pause of events on {scope} would hold this one; camshaft resume --events {scope} lets them go"
            ));
        }
        let is_behind = self.held_events.is_releasing();
        (is_behind && held >= MAX_HELD_EVENTS + MAX_EVENTS_BEHIND).then(|| {
            format!("{held} events that came before it are on their way to their rules; it may come again")
        })
    }

    /// The pause that would hold an event, or the answer of one of its rules.
    fn would_hold(&self, draft: &EventDraft, now: Timestamp) -> Option<&InForce> {
        let whole = self.paused_event(&draft.trigger, now);
        if whole.is_some() {
            return whole.filter(|pause| !pause.drops_events());
        }
        self.rules.candidates(draft).find_map(|compiled| {
            self.paused_rule(&compiled.rule().reference, now)
                .filter(|pause| !pause.drops_events())
        })
    }

    /// How many events a pause holds.
    pub(crate) fn events_held_by(&self, pause: &ScopeMatcher) -> u64 {
        let is_held = |kind: &Kind| match (pause.kind(), &kind.rules) {
            (ScopeKind::Rule, Some(rules)) => {
                rules.iter().any(|rule| pause.is_match(rule.as_str()))
            }
            (ScopeKind::Rule, None) | (_, Some(_)) => false,
            _ => self.is_of(pause, &kind.trigger),
        };
        let kinds = self.held_events.kinds();
        kinds
            .filter(|(kind, _)| is_held(kind))
            .map(|(_, events)| events as u64)
            .sum()
    }

    /// Whether a rule that an event may match is yet to be asked, because the event is held.
    pub(crate) fn is_yet_to_be_asked(&self, rule: &Ref, id: EventId) -> bool {
        let kind = self.held_events.kind_of(id);
        kind.is_some_and(|kind| {
            let rules = kind.rules.as_ref();
            rules.is_none_or(|rules| rules.contains(rule))
        })
    }

    /// What holds an event or the answers of some rules to it, in a sentence.
    pub(crate) fn why_event_held(&self, id: EventId, now: Timestamp) -> Option<String> {
        let kind = self.held_events.kind_of(id)?;
        let by_rule = || {
            let mut rules = kind.rules.iter().flatten();
            rules.find_map(|rule| self.paused_rule(rule, now))
        };
        let pause = self.paused_event(&kind.trigger, now).or_else(by_rule);
        let who = match kind.rules.as_deref() {
            None => "No rule has been asked yet".to_owned(),
            Some([only]) => format!("{only} has not been asked yet"),
            Some(rules) => {
                let rules: Vec<&str> = rules.iter().map(Ref::as_str).collect();
                format!("{} have not been asked yet", rules.join(", "))
            }
        };
        Some(match pause {
            Some(pause) => format!("{who}: {}.", pause.held_by(None).holding("the event")),
            None => format!("{who}: events that came before this one go first."),
        })
    }

    /// The pause that holds or drops the events of a trigger whole, if there is one.
    fn paused_event(&self, trigger: &Ref, now: Timestamp) -> Option<&InForce> {
        self.constraints
            .event_pause(now, |pause| self.is_of(pause, trigger))
    }

    fn is_of(&self, pause: &ScopeMatcher, trigger: &Ref) -> bool {
        match pause.kind() {
            ScopeKind::Global => true,
            ScopeKind::Project => pause.is_match(&self.constraints.home().project),
            ScopeKind::Pack => pause.is_match(trigger.pack()),
            _ => false,
        }
    }

    fn paused_rule(&self, rule: &Ref, now: Timestamp) -> Option<&InForce> {
        let is_on =
            |pause: &ScopeMatcher| pause.kind() == ScopeKind::Rule && pause.is_match(rule.as_str());
        self.constraints.event_pause(now, is_on)
    }
}

fn not_asked(pause: &InForce) -> String {
    format!("not asked: {}", pause.held_by(None))
}
