//! The herd on tokio's single-threaded runtime: tokio-herd NAME PORT [NEIGHBOUR'S PORT …]
//!
//! Plain and competent, as one would write it with tokio in an afternoon: a task for each connection and
//! each link; a read takes many lines, their answers go out in one write, and so does what is told to a
//! neighbour. A link's task takes it from a channel.
//!
//! It checks lines, keeps the newest record of each client and floods it. It does not resume a link where it
//! broke, prove who a neighbour is, log, keep a journal, ask Places, nor bound its lines, its links' channels
//! or its connections: all of that would make it slower. Nothing in it is tuned for a figure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;
use std::str::from_utf8;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

const READ_BYTES: usize = 16 * 1024;
const BACKLOG: u32 = 1024;
const RETRY: Duration = Duration::from_millis(100);
const NO_PLACES: &[u8] = b"{\"results\":[],\"status\":\"OK\"}\n\n";

struct Record {
    when: f64,
    at: Vec<u8>,
}

struct Server {
    name: String,
    records: RefCell<HashMap<Vec<u8>, Record>>,
    links: Vec<UnboundedSender<Bytes>>,
}

impl Server {
    /// Acts on a line: what is to be said goes to `replies`, what is to be told to `news`.
    fn line_received(&self, line: &[u8], replies: &mut Vec<u8>, news: &mut BytesMut) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.command(line, replies, news).is_none() {
            replies.extend_from_slice(b"? ");
            replies.extend_from_slice(line);
            replies.push(b'\n');
        }
    }

    /// `None` for a line that is no command.
    fn command(&self, line: &[u8], replies: &mut Vec<u8>, news: &mut BytesMut) -> Option<()> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match words.next()? {
            b"IAMAT" => {
                let (client, location, time) = (words.next()?, words.next()?, words.next()?);
                let when: f64 = from_utf8(time).ok()?.parse().ok()?;
                if words.next().is_some() || !is_location(location) {
                    return None;
                }
                let now = SystemTime::UNIX_EPOCH.elapsed().ok()?.as_secs_f64();
                let start = replies.len();
                write!(replies, "AT {} {:+.9} ", self.name, now - when).ok()?;
                for (word, end) in [(client, b' '), (location, b' '), (time, b'\n')] {
                    replies.extend_from_slice(word);
                    replies.push(end);
                }
                self.learn(client, when, &replies[start..], news);
            }
            b"AT" => {
                let (client, time) = (words.nth(2)?, words.nth(1)?);
                let at = [line, b"\n"].concat();
                self.learn(client, from_utf8(time).ok()?.parse().ok()?, &at, news);
            }
            b"WHATSAT" | b"WHATISAT" => {
                let records = self.records.borrow();
                replies.extend_from_slice(&records.get(words.next()?)?.at);
                replies.extend_from_slice(NO_PLACES);
            }
            _ => return None,
        }
        Some(())
    }

    fn learn(&self, client: &[u8], when: f64, at: &[u8], news: &mut BytesMut) {
        let mut records = self.records.borrow_mut();
        if let Some(known) = records.get_mut(client) {
            if known.when >= when {
                return;
            }
            known.when = when;
            known.at.clear();
            known.at.extend_from_slice(at);
        } else {
            records.insert(client.to_vec(), Record { when, at: at.to_vec() });
        }
        if !self.links.is_empty() {
            news.extend_from_slice(at);
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut input, mut replies, mut news) = (BytesMut::new(), Vec::new(), BytesMut::new());
        loop {
            input.reserve(READ_BYTES);
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
                self.line_received(&input[..end], &mut replies, &mut news);
                input.advance(end + 1);
            }
            let told = news.split().freeze();
            if !told.is_empty() {
                for link in &self.links {
                    let _ = link.send(told.clone());
                }
            }
            stream.write_all(&replies).await?;
            replies.clear();
        }
    }
}

/// Degrees of latitude and longitude, both signed.
fn is_location(word: &[u8]) -> bool {
    let degrees = |part: &str| part.starts_with(['+', '-']) && part.parse::<f64>().is_ok();
    let Ok(word) = from_utf8(word) else { return false };
    let Some(cut) = word.rfind(['+', '-']) else { return false };
    degrees(&word[..cut]) && degrees(&word[cut..])
}

/// The dialled end of a link, which only ever speaks, and dials again for as long as it must.
async fn link(port: u16, mut news: UnboundedReceiver<Bytes>) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
            let _ = stream.set_nodelay(true);
            while let Some(mut told) = news.recv().await.map(BytesMut::from) {
                // What has come meanwhile goes with it, in one write.
                while let Ok(more) = news.try_recv() {
                    told.extend_from_slice(&more);
                }
                if stream.write_all(&told).await.is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or("tokio-herd NAME PORT [NEIGHBOUR'S PORT …]")?;
    let ports = words.map(|word| word.parse::<u16>()).collect::<Result<Vec<_>, _>>()?;
    let (port, neighbours) = ports.split_first().ok_or("which port?")?;
    let local = LocalSet::new();
    let links = neighbours.iter().map(|&neighbour| {
        let (tell, news) = unbounded_channel();
        local.spawn_local(link(neighbour, news));
        tell
    });
    let server = Rc::new(Server { name, records: RefCell::default(), links: links.collect() });
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], *port).into())?;
    let listener = socket.listen(BACKLOG)?;
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                let server = server.clone();
                spawn_local(async move { server.serve(stream).await });
            }
        })
        .await
}
