//! Watching one process from its start to the end of its group.
//!
//! One loop: do what is due at this instant, then wait in `poll` until something arrives or the next
//! thing is due. Every deadline is an instant that is compared after reading, so a byte that is
//! already in the pipe counts before its stall timeout does.

use std::cell::Cell;
use std::time::Duration;

use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{StepEventDraft, Timestamp, crash};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tokio::time::Instant;

use super::event::{self, Pulse};
use super::group::Group;
use super::output::{CHUNK_BYTES, Ended, Found, Keep, Stream};
use super::spawn::{Spawned, spawn};
use super::{Attempt, Cause, End, Limits, oom, procfs};
use crate::redact::Redactor;

/// An attempt that ends sooner gets its `step_spawned` with its end, which spares a commit.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(25);
/// A process that has written nothing is taken to be running after so long.
const RUNNING_AFTER: Duration = Duration::from_millis(5);
/// Between TERM and KILL when time is up: the deadline holds within a second whatever the child does.
const TIMEOUT_GRACE: Duration = Duration::from_millis(500);
/// How long after KILL an attempt whose time is up still waits for its group to be gone.
const TIMEOUT_PATIENCE: Duration = Duration::from_millis(400);
/// How long after KILL a stopped attempt does: only a process inside the kernel takes longer.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long orphans of a process that ended by itself are waited for after their KILL.
const LEFTOVER_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at what is left of a group.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);
/// The longest wait in one go; only bounds what is handed to the kernel.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

thread_local! {
    /// One buffer per thread: attempts that follow each other on it share it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How an attempt ended, before its output is accounted for.
pub(super) struct Ending {
    pub(super) cause: Cause,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) leftover: bool,
    /// Processes that KILL did not end in time.
    pub(super) immortal: bool,
}

/// Runs an attempt to its end. Always returns, and there is always an end to report.
pub fn run(mut attempt: Attempt<'_>) -> End {
    let redactor = Redactor::new(attempt.secrets);
    if attempt.stop.requested().is_some() {
        return not_started(&attempt, Cause::Stopped);
    }
    crash::point("attempt.before_spawn");
    let kills_before = oom::kills();
    let child = match spawn(&mut attempt.launch) {
        Ok(child) => child,
        Err(reason) => return not_started(&attempt, Cause::NotStarted(redactor.text(&reason))),
    };
    let started_at = attempt.clock.now();
    let started = Instant::now();
    crash::point("attempt.after_spawn");
    let pid = child.pid.as_raw_pid();
    let start_ticks = procfs::stat(pid).map_or(0, |stat| stat.start_ticks);
    let slot = attempt
        .journal
        .put(attempt.key, pid, start_ticks)
        .inspect_err(|error| tracing::warn!(%error, pid, "the process is not in the journal"))
        .ok();
    let mut buffer = BUFFER.take();
    buffer.resize(CHUNK_BYTES, 0);
    let mut watch = Watch::new(&attempt, child, start_ticks, started, &redactor);
    watch.until_gone(&mut buffer);
    let ending = watch.ending(&mut buffer, kills_before);
    BUFFER.set(buffer);
    // A process that KILL did not end stays in the journal for the next life to try again.
    if let (Some(slot), false) = (slot, ending.immortal)
        && let Err(error) = attempt.journal.clear(slot)
    {
        tracing::warn!(%error, pid, "the process is still in the journal");
    }
    crash::point("attempt.after_exit");
    watch.end(started_at, ending)
}

fn not_started(attempt: &Attempt<'_>, cause: Cause) -> End {
    let ending = Ending {
        cause,
        exit_code: None,
        signal: None,
        leftover: false,
        immortal: false,
    };
    let [stdout, stderr] = [OutputStream::Stdout, OutputStream::Stderr].map(|stream| {
        let keep = Keep {
            output_bytes: 0,
            inline_bytes: 0,
            capture_bytes: 0,
            tail: false,
        };
        let path = attempt.logs.join(stream.log_file(&attempt.key));
        Stream::new(None, path, keep, Redactor::new(&[])).end(Instant::now())
    });
    let finished = event::finished(attempt, &ending, Duration::ZERO, &stdout, &stderr);
    end(attempt, None, ending, stdout, stderr, vec![finished])
}

fn end(
    attempt: &Attempt<'_>,
    started_at: Option<Timestamp>,
    ending: Ending,
    stdout: Ended,
    stderr: Ended,
    events: Vec<StepEventDraft>,
) -> End {
    End {
        cause: ending.cause,
        exit_code: ending.exit_code,
        signal: ending.signal,
        started_at,
        ended_at: attempt.clock.now(),
        stdout: stdout.output,
        stderr: stderr.output,
        captured: stdout.captured,
        capture_truncated: stdout.capture_truncated,
        stderr_tail: stderr.tail,
        output_lost: stdout.lost.or(stderr.lost),
        leftover: ending.leftover,
        events,
    }
}

/// An attempt that has been told to end.
struct Stopping {
    cause: Cause,
    kill_at: Instant,
    killed: bool,
    patience: Duration,
    look_at: Instant,
    look_after: Duration,
}

/// What arrived.
struct Ready {
    stdout: bool,
    stderr: bool,
    stdin: bool,
    exited: bool,
    stop: bool,
}

struct Watch<'a> {
    attempt: &'a Attempt<'a>,
    child: Spawned,
    group: Group,
    stdout: Stream,
    stderr: Stream,
    started: Instant,
    last_byte: Instant,
    /// `step_spawned`, until it is emitted.
    announcement: Option<StepEventDraft>,
    running_said: bool,
    heartbeat_at: Instant,
    pulse: Pulse,
    /// When the end of the process was seen.
    exited: Option<Instant>,
    stopping: Option<Stopping>,
    immortal: bool,
}

impl<'a> Watch<'a> {
    fn new(
        attempt: &'a Attempt<'a>,
        mut child: Spawned,
        start_ticks: u64,
        started: Instant,
        redactor: &Redactor,
    ) -> Self {
        let limits = &attempt.limits;
        let stream = |pipe, name: OutputStream, capture_bytes, tail| {
            let keep = Keep {
                output_bytes: limits.output_bytes,
                inline_bytes: limits.inline_bytes,
                capture_bytes,
                tail,
            };
            Stream::new(
                pipe,
                attempt.logs.join(name.log_file(&attempt.key)),
                keep,
                redactor.clone(),
            )
        };
        let stdout = stream(
            child.stdout.take(),
            OutputStream::Stdout,
            limits.capture_bytes,
            false,
        );
        let stderr = stream(child.stderr.take(), OutputStream::Stderr, 0, true);
        let announcement = event::spawned(
            attempt,
            &child,
            start_ticks,
            [stdout.path(), stderr.path()],
            redactor,
        );
        Self {
            attempt,
            group: Group::new(child.pid, start_ticks, attempt.key),
            child,
            stdout,
            stderr,
            started,
            last_byte: started,
            announcement: Some(announcement),
            running_said: false,
            heartbeat_at: later(started, limits.heartbeat),
            pulse: Pulse::default(),
            exited: None,
            stopping: None,
            immortal: false,
        }
    }

    /// Waits for the end of the process, and for the end of everything it started if it was stopped.
    fn until_gone(&mut self, buffer: &mut [u8]) {
        loop {
            let now = Instant::now();
            if self.is_over(now) {
                return;
            }
            self.do_what_is_due(now);
            let ready = self.wait(now);
            let now = Instant::now();
            self.read(&ready, buffer, now);
            if ready.stdin && self.child.stdin.as_mut().is_some_and(|feed| feed.pump()) {
                self.child.stdin = None;
            }
            if ready.exited {
                self.exited = Some(now);
                self.child.stdin = None;
            }
            if ready.stop {
                self.attempt.stop.acknowledge();
                self.stop_as_requested(now);
            }
        }
    }

    fn read(&mut self, ready: &Ready, buffer: &mut [u8], now: Instant) {
        for (is_ready, stream) in [
            (ready.stdout, &mut self.stdout),
            (ready.stderr, &mut self.stderr),
        ] {
            if is_ready && matches!(stream.read(buffer, now), Found::Bytes(_)) {
                self.last_byte = now;
                say_running(&mut self.running_said);
            }
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        let Some(stopping) = &mut self.stopping else {
            return self.exited.is_some();
        };
        if stopping.killed && now >= stopping.kill_at + stopping.patience {
            self.immortal = self.exited.is_none() || self.group.is_alive();
            return true;
        }
        if self.exited.is_none() || now < stopping.look_at {
            return false;
        }
        stopping.look_at = now + stopping.look_after;
        stopping.look_after = (stopping.look_after * 2).min(LAST_LOOK);
        let alive = self.group.is_alive();
        if alive && stopping.killed {
            // Something may have been started between the look and the kill before.
            self.group.kill();
        }
        !alive
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if !self.running_said && now >= self.started + RUNNING_AFTER {
            say_running(&mut self.running_said);
        }
        for stream in [&mut self.stdout, &mut self.stderr] {
            if stream.flush_at().is_some_and(|at| now >= at) {
                stream.flush();
            }
        }
        if self.exited.is_none() {
            self.announce(now);
            self.beat(now);
        }
        match &mut self.stopping {
            None => self.check_deadlines(now),
            Some(stopping) if !stopping.killed && now >= stopping.kill_at => {
                stopping.killed = true;
                stopping.kill_at = now;
                stopping.look_after = FIRST_LOOK;
                stopping.look_at = now + FIRST_LOOK;
                self.group.kill();
            }
            Some(_) => {}
        }
    }

    fn announce(&mut self, now: Instant) {
        if now >= self.started + ANNOUNCE_AFTER
            && let Some(announcement) = self.announcement.take()
        {
            (self.attempt.emit)(vec![announcement]);
        }
    }

    fn beat(&mut self, now: Instant) {
        if now < self.heartbeat_at {
            return;
        }
        self.heartbeat_at = later(now, self.attempt.limits.heartbeat.max(FIRST_LOOK));
        let beat = self.pulse.beat(
            self.attempt,
            self.child.pid.as_raw_pid(),
            now - self.started,
            self.stdout.bytes(),
            self.stderr.bytes(),
        );
        (self.attempt.emit)(self.announcement.take().into_iter().chain([beat]).collect());
    }

    fn check_deadlines(&mut self, now: Instant) {
        if self.timeout_at().is_some_and(|at| now >= at) {
            self.time_is_up(Cause::TimedOut, now);
        } else if self.stall_at().is_some_and(|at| now >= at) {
            self.time_is_up(Cause::Stalled, now);
        }
    }

    fn timeout_at(&self) -> Option<Instant> {
        self.started.checked_add(self.attempt.limits.timeout?)
    }

    fn stall_at(&self) -> Option<Instant> {
        self.last_byte
            .checked_add(self.attempt.limits.stall_timeout?)
    }

    fn time_is_up(&mut self, cause: Cause, now: Instant) {
        let grace = self.attempt.limits.grace.min(TIMEOUT_GRACE);
        self.begin_stopping(cause, grace, TIMEOUT_PATIENCE, now);
    }

    fn stop_as_requested(&mut self, now: Instant) {
        let Some(grace) = self.attempt.stop.requested() else {
            return;
        };
        match &mut self.stopping {
            Some(stopping) if stopping.killed => {}
            Some(stopping) => stopping.kill_at = stopping.kill_at.min(later(now, grace)),
            // What ended by itself has ended as it did.
            None if self.exited.is_some() => {}
            None => self.begin_stopping(Cause::Stopped, grace, STOP_PATIENCE, now),
        }
    }

    fn begin_stopping(&mut self, cause: Cause, grace: Duration, patience: Duration, now: Instant) {
        self.group.terminate();
        self.stopping = Some(Stopping {
            cause,
            kill_at: later(now, grace),
            killed: false,
            patience,
            look_at: now,
            look_after: FIRST_LOOK,
        });
    }

    /// When there is something to do even if nothing arrives.
    fn next_due(&self) -> Option<Instant> {
        let alive = self.exited.is_none();
        let times = [
            (!self.running_said).then(|| self.started + RUNNING_AFTER),
            self.stdout.flush_at(),
            self.stderr.flush_at(),
            (alive && self.announcement.is_some()).then(|| self.started + ANNOUNCE_AFTER),
            alive.then_some(self.heartbeat_at),
            self.stopping.is_none().then(|| self.timeout_at()).flatten(),
            self.stopping.is_none().then(|| self.stall_at()).flatten(),
            self.stopping.as_ref().map(|s| {
                if s.killed {
                    s.kill_at + s.patience
                } else {
                    s.kill_at
                }
            }),
            self.stopping
                .as_ref()
                .filter(|_| !alive)
                .map(|stopping| stopping.look_at),
        ];
        times.into_iter().flatten().min()
    }

    fn wait(&self, now: Instant) -> Ready {
        let wait = self.next_due().map_or(LONGEST_WAIT, |due| {
            due.saturating_duration_since(now).min(LONGEST_WAIT)
        });
        let timeout = Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let stop = self.attempt.stop.as_fd();
        // A descriptor that is not waited for is replaced by one that is, with nothing to wait for.
        let entry = |fd, flags| match fd {
            Some(fd) => PollFd::from_borrowed_fd(fd, flags),
            None => PollFd::from_borrowed_fd(stop, PollFlags::empty()),
        };
        let pidfd = self
            .exited
            .is_none()
            .then(|| std::os::fd::AsFd::as_fd(&self.child.pidfd));
        let mut entries = [
            entry(self.stdout.as_fd(), PollFlags::IN),
            entry(self.stderr.as_fd(), PollFlags::IN),
            entry(
                self.child.stdin.as_ref().map(|feed| feed.as_fd()),
                PollFlags::OUT,
            ),
            entry(pidfd, PollFlags::IN),
            entry(Some(stop), PollFlags::IN),
        ];
        // An interrupted or failed wait finds nothing ready; the loop looks again.
        if poll(&mut entries, Some(&timeout)).is_err() {
            for entry in &mut entries {
                entry.clear_revents();
            }
        }
        let [stdout, stderr, stdin, exited, stop] =
            entries.map(|entry| !entry.revents().is_empty());
        Ready {
            stdout,
            stderr,
            stdin,
            exited,
            stop,
        }
    }

    /// Accounts for the process and what it left behind, and reaps it.
    fn ending(&mut self, buffer: &mut [u8], kills_before: Option<u64>) -> Ending {
        let now = Instant::now();
        let held = [&mut self.stdout, &mut self.stderr]
            .map(|stream| stream.drain(buffer, now) != Found::End);
        let stopped = self.stopping.take().map(|stopping| stopping.cause);
        // As long as the leader is not reaped the group's number cannot be anybody else's.
        self.group.kill_members();
        let status = if self.exited.is_some() {
            self.reap()
        } else {
            None
        };
        let leftover = stopped.is_none() && self.settle(held);
        let exit_code = status.as_ref().and_then(WaitIdStatus::exit_status);
        let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
        let cause = stopped.unwrap_or_else(|| match (exit_code, signal) {
            (_, Some(signal)) if signal == Signal::KILL.as_raw() && oom::kills() > kills_before => {
                Cause::OutOfMemory
            }
            (_, Some(signal)) => Cause::Signaled(signal),
            (Some(code), None) => Cause::Exited(code),
            // Somebody else in this process has taken the status: it is not known to be a success.
            (None, None) => Cause::Exited(-1),
        });
        Ending {
            cause,
            exit_code,
            signal,
            leftover,
            immortal: self.immortal,
        }
    }

    fn reap(&self) -> Option<WaitIdStatus> {
        let leader = WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.child.pidfd));
        waitid(leader, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            .ok()
            .flatten()
    }

    /// Waits until killed orphans of the group are gone, and says whether there were any: members
    /// that are still dying, or somebody who held a pipe before the kill and does not any more.
    fn settle(&mut self, held: [bool; 2]) -> bool {
        let mut leftover = false;
        let patience = Instant::now() + LEFTOVER_PATIENCE;
        while self.group.has_members() && self.group.is_alive() {
            leftover = true;
            if Instant::now() >= patience {
                self.immortal = true;
                break;
            }
            std::thread::sleep(FIRST_LOOK);
        }
        for (held, stream) in held.into_iter().zip([&self.stdout, &self.stderr]) {
            leftover |= held && stream.is_closed();
        }
        leftover
    }

    fn end(self, started_at: Timestamp, ending: Ending) -> End {
        let duration = self.exited.unwrap_or_else(Instant::now) - self.started;
        let now = Instant::now();
        let (stdout, stderr) = (self.stdout.end(now), self.stderr.end(now));
        let mut events: Vec<StepEventDraft> = self.announcement.into_iter().collect();
        for spawned in &mut events {
            event::place(spawned, &stdout, &stderr);
        }
        events.extend(event::timeout(self.attempt, &ending.cause));
        events.push(event::finished(
            self.attempt,
            &ending,
            duration,
            &stdout,
            &stderr,
        ));
        end(
            self.attempt,
            Some(started_at),
            ending,
            stdout,
            stderr,
            events,
        )
    }
}

fn say_running(said: &mut bool) {
    if !std::mem::replace(said, true) {
        crash::point("attempt.running");
    }
}

/// An instant after `now`, however long the wait is said to be.
fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_secs(100 * 365 * 86_400))
}

impl Ending {
    /// `certain` if we saw the process end, or that it never began; `inferred` if its status was taken
    /// by somebody else, or if it would not die.
    pub(super) fn confidence(&self) -> &'static str {
        let status_known = self.exit_code.is_some() || self.signal.is_some();
        let our_doing = !matches!(self.cause, Cause::Exited(_)) && !self.immortal;
        if status_known || our_doing {
            "certain"
        } else {
            "inferred"
        }
    }

    /// Why it is not a plain success, in a sentence.
    pub(super) fn reason(&self, limits: &Limits) -> Option<String> {
        let text = |limit: Option<Duration>| {
            limit
                .map(camshaft_model::duration::display)
                .unwrap_or_default()
        };
        let cause = match &self.cause {
            Cause::Exited(-1) => Some("its exit status is not known".to_owned()),
            Cause::Exited(0) => None,
            Cause::Exited(code) => Some(format!("exit status {code}")),
            Cause::Signaled(signal) => Some(format!("killed by signal {signal}")),
            Cause::OutOfMemory => Some("killed by the kernel for want of memory".to_owned()),
            Cause::TimedOut => Some(format!("its time of {} was up", text(limits.timeout))),
            Cause::Stalled => Some(format!(
                "it wrote nothing for {}",
                text(limits.stall_timeout)
            )),
            Cause::Stopped => Some("stopped".to_owned()),
            Cause::NotStarted(reason) => Some(reason.clone()),
        };
        let leftover = self
            .leftover
            .then(|| "processes that it left behind were killed".to_owned());
        let immortal = self
            .immortal
            .then(|| "processes of it could not be killed".to_owned());
        let parts: Vec<String> = [cause, leftover, immortal].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
