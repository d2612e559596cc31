//! Telling the hosts of sensors which ones are wanted.
//!
//! The state owns what is wanted and whether that has changed; the hosts, and what they were told last, are
//! here. Whoever has changed something asks for a look and goes on: the writer's thread and the lock of the
//! state are not held up. Of all that ask before somebody looks only the first sends a look on its way, and
//! looks take turns, so that what one of them has read never overtakes what another has read since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camshaft_model::port::sensor::{SensorHealth, SensorHost, SensorSpec};
use parking_lot::Mutex;

use crate::catalog::Wanted;

/// See the module.
#[derive(Default)]
pub(crate) struct SensorHosts {
    hosts: Mutex<Vec<Arc<dyn SensorHost>>>,
    wanted: Mutex<Arc<Vec<SensorSpec>>>,
    broken: Mutex<Vec<SensorHealth>>,
    /// Held from the look at what is wanted until every host has heard of it.
    turn: Mutex<()>,
    /// Whether a look is on its way.
    asked: AtomicBool,
}

impl SensorHosts {
    /// Adds a host and tells it what the others know.
    pub(super) fn attach(&self, host: Arc<dyn SensorHost>) {
        let _turn = self.turn.lock();
        host.reconcile(&self.wanted());
        self.hosts.lock().push(host);
    }

    /// Lets go of every host: none hears of anything any more, so that those that stop stay so.
    pub(super) fn detach(&self) {
        let _turn = self.turn.lock();
        self.hosts.lock().clear();
    }

    /// Asks for a look. Whether none is on its way that sees what has changed until now: then
    /// [`SensorHosts::tell`] is to be called, soon and elsewhere.
    #[must_use]
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Looks at what is wanted and, if that has changed, tells every host. When this returns, all have heard
    /// of what was wanted when it was called.
    pub(super) fn tell(&self, take_changed: impl FnOnce() -> Option<Wanted>) {
        let _turn = self.turn.lock();
        // Before the look, so that what changes after it is asked for anew.
        self.asked.store(false, Ordering::SeqCst);
        let Some(wanted) = take_changed() else {
            return;
        };
        let sensors = Arc::new(wanted.sensors());
        *self.wanted.lock() = sensors.clone();
        *self.broken.lock() = wanted.broken();
        for host in self.hosts.lock().iter() {
            host.reconcile(&sensors);
        }
    }

    /// The sensors that are wanted now.
    pub(crate) fn wanted(&self) -> Arc<Vec<SensorSpec>> {
        self.wanted.lock().clone()
    }

    /// How the sensors are.
    pub(crate) fn health(&self) -> Vec<SensorHealth> {
        let hosts = self.hosts.lock();
        let mut sensors: Vec<SensorHealth> = hosts.iter().flat_map(|host| host.health()).collect();
        sensors.extend(self.broken.lock().iter().cloned());
        sensors
    }
}

#[cfg(test)]
mod tests {
    use camshaft_model::Object;
    use camshaft_model::definition::TriggerKind;

    use super::*;

    /// Remembers how many sensors it was told to have.
    #[derive(Default)]
    struct Host(Mutex<Vec<usize>>);

    impl SensorHost for Host {
        fn reconcile(&self, desired: &[SensorSpec]) {
            self.0.lock().push(desired.len());
        }

        fn health(&self) -> Vec<SensorHealth> {
            Vec::new()
        }
    }

    fn spec(number: usize) -> SensorSpec {
        let trigger = "core.interval".parse().unwrap();
        SensorSpec {
            key: format!("{trigger}#{number}"),
            trigger,
            kind: TriggerKind::Interval,
            parameters: Object::new(),
        }
    }

    #[test]
    fn what_changes_before_somebody_looks_is_told_once() {
        let (hosts, host) = (SensorHosts::default(), Arc::new(Host::default()));
        hosts.attach(host.clone());
        assert!(hosts.ask());
        assert!(!hosts.ask() && !hosts.ask());
        hosts.tell(|| Some(Wanted::awaited(vec![spec(1), spec(2)])));
        assert!(hosts.ask(), "somebody has looked since");
        hosts.tell(|| None);
        assert_eq!(*host.0.lock(), [0, 2]);
        assert_eq!(hosts.wanted().len(), 2);
    }

    #[test]
    fn nothing_is_missed_or_overtaken_whoever_looks() {
        const THREADS: usize = 4;
        const CHANGES: usize = 500;
        let (hosts, host) = (SensorHosts::default(), Arc::new(Host::default()));
        hosts.attach(host.clone());
        let state = Mutex::new((0, false));
        let take = || {
            let mut state = state.lock();
            let changed = std::mem::take(&mut state.1);
            changed.then(|| Wanted::awaited((0..state.0).map(spec).collect()))
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..CHANGES {
                        let count = {
                            let mut state = state.lock();
                            *state = (state.0 + 1, true);
                            state.0
                        };
                        if hosts.ask() {
                            hosts.tell(take);
                            assert!(hosts.wanted().len() >= count);
                        }
                    }
                });
            }
        });
        let told = host.0.lock();
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&(THREADS * CHANGES)));
    }

    #[test]
    fn a_host_that_was_let_go_hears_of_nothing_any_more() {
        let (hosts, host) = (SensorHosts::default(), Arc::new(Host::default()));
        hosts.attach(host.clone());
        hosts.detach();
        hosts.tell(|| Some(Wanted::awaited(vec![spec(1)])));
        assert_eq!(*host.0.lock(), [0]);
    }
}
