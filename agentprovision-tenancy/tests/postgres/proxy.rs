//! A proxy between the platform and the server, which reads along and breaks connections at the worst moments
//! (https://www.postgresql.org/docs/current/protocol-message-formats.html).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What happens next; each happens once, except the last two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plan {
    #[default]
    Pass,
    /// The connection breaks before the server has seen this text.
    CutBefore(&'static str),
    /// The server does what this text says, and its answer is lost.
    CutAfter(&'static str),
    /// The platform's side breaks; the server gets the text when [`Proxy::release`] is called.
    Hold(&'static str),
    /// New connections are closed at once.
    Refuse,
    /// New connections get no answer.
    Silent,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) begins: usize,
    pub(crate) commits: usize,
    /// Statements that enter by themselves and are transactions of their own.
    pub(crate) alone: usize,
    /// Transactions that were begun while another was open, or while an answer was outstanding.
    pub(crate) foreign: usize,
    /// Questions for what became of a transaction.
    pub(crate) questions: usize,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    plan: Mutex<Plan>,
    seen: Mutex<Seen>,
    /// The plan after the one that is carried out.
    next: Mutex<Option<Plan>>,
    release: Notify,
    released: Notify,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            plan: Mutex::default(),
            seen: Mutex::default(),
            next: Mutex::default(),
            release: Notify::new(),
            released: Notify::new(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { port, shared, accepting }
    }

    pub(crate) fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap() = plan;
    }

    /// What happens after the connection was cut.
    pub(crate) fn then(&self, plan: Plan) {
        *self.shared.next.lock().unwrap() = Some(plan);
    }

    /// What was seen since the last time.
    pub(crate) fn seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// What was seen up to now.
    pub(crate) fn peek(&self) -> Seen {
        *self.shared.seen.lock().unwrap()
    }

    /// Sends the server what is held, and waits for its answer.
    pub(crate) async fn release(&self) {
        let released = self.shared.released.notified();
        self.shared.release.notify_one();
        released.await;
    }
}

impl Shared {
    fn note(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.seen.lock().unwrap());
    }

    /// The plan, if it is for this text; it is over then.
    fn due(&self, text: &str) -> Plan {
        let mut plan = self.plan.lock().unwrap();
        match *plan {
            Plan::CutBefore(part) | Plan::CutAfter(part) | Plan::Hold(part) if text.contains(part) => {
                std::mem::replace(&mut plan, self.next.lock().unwrap().take().unwrap_or_default())
            }
            _ => Plan::Pass,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut kept = Vec::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.note(|seen| seen.connections += 1);
        let plan = *shared.plan.lock().unwrap();
        match plan {
            Plan::Refuse => drop(client),
            Plan::Silent => kept.push(client),
            _ => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(&shared.server).await.unwrap();
                    // A connection that breaks is what this is for.
                    let _ = serve(client, server, &shared).await;
                });
            }
        }
    }
}

/// Takes a whole message off the front: its kind and its body. The first one of a client has no kind.
fn message(from: &mut Vec<u8>, kind: bool) -> Option<(u8, Vec<u8>)> {
    let at = usize::from(kind);
    let length = u32::from_be_bytes(from.get(at..at + 4)?.try_into().unwrap()) as usize + at;
    if from.len() < length {
        return None;
    }
    let whole: Vec<u8> = from.drain(..length).collect();
    Some((if kind { whole[0] } else { 0 }, whole))
}

async fn serve(client: TcpStream, server: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    let (mut started, mut status, mut outstanding, mut swallow) = (false, b'I', 0_usize, false);
    let mut alone = HashSet::new();
    loop {
        while let Some((kind, whole)) = message(&mut from_client, started) {
            if !started && whole.get(4..8) == Some(&80_877_103_u32.to_be_bytes()) {
                // No encryption here.
                client_out.write_all(b"N").await?;
                continue;
            }
            started = true;
            let text =
                if matches!(kind, b'Q' | b'P') { String::from_utf8_lossy(&whole[5..]) } else { "".into() };
            let named = |place| whole[5..].split(|byte| *byte == 0).nth(place).unwrap_or_default().to_vec();
            if kind == b'P' && text.contains("\0WITH entered AS") {
                alone.insert(named(0));
            }
            let is_begin = text.starts_with("BEGIN");
            let is_alone = kind == b'B' && alone.contains(&named(1));
            shared.note(|seen| {
                seen.begins += usize::from(is_begin);
                seen.alone += usize::from(is_alone);
                seen.foreign += usize::from((is_begin || is_alone) && (status != b'I' || outstanding > 0));
                seen.commits += usize::from(text.starts_with("COMMIT"));
                seen.questions += usize::from(text.contains("pg_xact_status"));
            });
            match shared.due(&text) {
                Plan::CutBefore(_) => return Ok(()),
                Plan::CutAfter(_) => swallow = true,
                Plan::Hold(_) => {
                    drop((client_in, client_out));
                    shared.release.notified().await;
                    server_out.write_all(&whole).await?;
                    from_server.clear();
                    loop {
                        server_in.read_buf(&mut from_server).await?;
                        while let Some((kind, _)) = message(&mut from_server, true) {
                            if kind == b'Z' {
                                shared.released.notify_waiters();
                                return Ok(());
                            }
                        }
                    }
                }
                _ => {}
            }
            outstanding += usize::from(matches!(kind, b'Q' | b'S'));
            server_out.write_all(&whole).await?;
        }
        while let Some((kind, whole)) = message(&mut from_server, true) {
            if kind == b'Z' {
                status = whole[5];
                outstanding = outstanding.saturating_sub(1);
                if swallow {
                    return Ok(());
                }
            }
            if !swallow {
                client_out.write_all(&whole).await?;
            }
        }
        let read = tokio::select! {
            read = client_in.read_buf(&mut from_client) => read?,
            read = server_in.read_buf(&mut from_server) => read?,
        };
        if read == 0 {
            return Ok(());
        }
    }
}
