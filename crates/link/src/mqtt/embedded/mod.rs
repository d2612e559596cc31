//! The broker in this process: MQTT 3.1.1 for who has none installed.
//!
//! It keeps retained messages, wills, sessions and both kinds of wildcard; QoS 1 is the highest that is
//! granted to a subscription, and messages with QoS 2 are taken exactly once. Everything is in memory
//! and bounded (`limits`): a client that does not read is cut off, and nobody else waits for it. What is retained is gone when it stops; the engine's own constraints are in its database.
//!
//! Packets are read and written by the client library's codec. A broker that could be embedded whole
//! (rumqttd) was looked at and left: it does not switch off Nagle's delay on the connections that it
//! accepts, cannot be stopped, does not say when its address is taken, and reserves a log of its own for
//! every filter that anybody subscribes to.

mod connection;
mod door;
mod hub;
mod limits;
mod mailbox;
mod retained;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use door::Door;
use hub::Hub;
use limits::{ACCEPT_PAUSE, DRAIN_TIMEOUT, MAX_CONNECTIONS, STOP_TIMEOUT};

/// See the module.
pub struct EmbeddedBroker {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: CancellationToken,
    connections: TaskTracker,
    acceptor: JoinHandle<()>,
}

impl EmbeddedBroker {
    /// Listens, and accepts connections until it is stopped. With `login`, only those who know the name
    /// and the password.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub async fn start(listen: SocketAddr, login: Option<(String, String)>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let hub = Arc::new(Hub::default());
        let acceptor = tokio::spawn(accept(
            listener,
            Arc::new(Door::new(login)),
            hub.clone(),
            stop.clone(),
            connections.clone(),
        ));
        Ok(Self {
            address,
            hub,
            stop,
            connections,
            acceptor,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many messages it dropped since it started, because too many waited for a client; shared with it.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.hub.dropped()
    }

    /// Lets clients read what was published for them, for 2 s at the most, and ends every connection. Wills
    /// are not published: who would hear them is cut off as well.
    pub async fn stop(mut self) {
        if tokio::time::timeout(DRAIN_TIMEOUT, self.hub.emptied())
            .await
            .is_err()
        {
            tracing::warn!("a client of the embedded broker has not read everything in time");
        }
        self.stop.cancel();
        self.connections.close();
        let ended = async {
            let _ = (&mut self.acceptor).await;
            self.connections.wait().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("connections to the embedded broker did not end in time");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    door: Arc<Door>,
    hub: Arc<Hub>,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the embedded broker cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without a place the connection is closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else {
            door.tell(
                peer,
                &format!("there are {MAX_CONNECTIONS} connections already"),
            );
            continue;
        };
        let (door, hub, stop) = (door.clone(), hub.clone(), stop.clone());
        connections.spawn(async move {
            connection::serve(stream, peer, &door, &hub, &stop).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests;
