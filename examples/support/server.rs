//! As much of an HTTP server as the examples' upstreams need: one request with a JSON body a connection, on loopback.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request.
pub(crate) struct Asked {
    /// The length of the body in bytes.
    pub(crate) length: usize,
    /// The body; null where it is no JSON.
    pub(crate) body: Value,
}

/// The answer to it.
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    /// How long it takes until the answer begins.
    pub(crate) delay: Duration,
}

/// Starts a server on a free port and returns its address, `http://127.0.0.1:…`. It ends with the process.
pub(crate) async fn serve(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                // A client that goes away in the middle is no concern of the server.
                let _ = exchange(connection, &*answer).await;
            });
        }
    });
    Ok(format!("http://{address}"))
}

async fn exchange(connection: TcpStream, answer: &(impl Fn(&Asked) -> Answer + Sync)) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let asked = Asked { length, body: serde_json::from_slice(&body).unwrap_or_default() };
    let Answer { status, content_type, body, delay } = answer(&asked);
    tokio::time::sleep(delay).await;
    let connection = connection.get_mut();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await?;
    // In pieces, as a provider sends them.
    for piece in body.as_bytes().chunks(97) {
        connection.write_all(piece).await?;
        connection.flush().await?;
    }
    connection.shutdown().await
}
