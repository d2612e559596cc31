//! Threads for attempts that are processes. A process is watched by a thread of its own from start
//! to end, so nothing that one attempt does can hold up another. Threads are reused; one that had
//! nothing to do for a while ends.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Enough for supervising, for parsing the deepest JSON that is accepted and for checking it.
const STACK_BYTES: usize = 512 * 1024;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

/// A pool of threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    max_threads: usize,
}

impl Pool {
    pub(super) fn new(max_threads: usize) -> Self {
        Self {
            shared: Arc::default(),
            max_threads,
        }
    }

    /// Runs `work` on a thread, now if one is free or can be started, else as soon as one is.
    /// `work` must not unwind.
    ///
    /// # Errors
    /// No thread could be started and none is there that would take the work later. The work has
    /// been dropped.
    pub(super) fn run(&self, work: Work) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.queue.push_back(work);
        if state.idle >= state.queue.len() || state.threads >= self.max_threads {
            self.shared.work.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new()
            .name("attempt".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&shared));
        match spawned {
            Ok(_) => {
                state.threads += 1;
                Ok(())
            }
            Err(error) if state.threads > 0 => {
                tracing::warn!(%error, "no thread could be started: the attempt waits for one");
                Ok(())
            }
            Err(error) => {
                state.queue.pop_back();
                Err(error)
            }
        }
    }
}

fn serve(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        if let Some(work) = state.queue.pop_front() {
            drop(state);
            work();
            state = shared.state.lock();
            continue;
        }
        state.idle += 1;
        let waited = shared.work.wait_for(&mut state, IDLE_TIMEOUT);
        state.idle -= 1;
        if waited.timed_out() && state.queue.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_beyond_the_threads_waits_and_all_of_it_is_done() {
        let pool = Pool::new(2);
        let (sender, receiver) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            pool.run(Box::new(move || sender.send(number).unwrap()))
                .unwrap();
        }
        let mut done: Vec<i32> = (0..100)
            .map(|_| receiver.recv_timeout(Duration::from_secs(10)).unwrap())
            .collect();
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
        assert!(pool.shared.state.lock().threads <= 2);
    }
}
