//! Clients of a server: one that talks line by line, and questions that need only one call.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{self, AddressFamily, SocketType};

use super::DEADLINE;

/// A client's connection.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        Self::ready(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    /// The same from another address of this machine, such as 127.0.0.2.
    pub fn connect_from(address: Ipv4Addr, port: u16) -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddrV4::new(address, 0)).unwrap();
        net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
        Self::ready(socket.into())
    }

    fn ready(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Half-close: no more to say, but still listening.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next line, without its LF.
    pub fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'), "the connection ended within a line: {line:?}");
        line
    }

    pub fn text_line(&mut self) -> String {
        String::from_utf8(self.line()).unwrap()
    }

    /// Sends a line and returns the next line that comes back.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.text_line()
    }

    /// A WHATSAT's reply: the AT line, and the JSON up to the empty line.
    pub fn places_reply(&mut self) -> (String, String) {
        let at_line = self.text_line();
        let mut json = String::new();
        loop {
            let line = self.text_line();
            if line.is_empty() {
                return (at_line, json);
            }
            json += &line;
            json.push('\n');
        }
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.reader.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// A connection that was accepted, or made in another way.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Everything until the connection ends, in order or by a reset.
    pub fn until_cut(&mut self) -> String {
        let mut text = Vec::new();
        if let Err(e) = self.reader.read_to_end(&mut text) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}");
        }
        String::from_utf8(text).unwrap()
    }
}

/// One question over a control socket.
pub fn control(path: &Path, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    Some(answer)
}

/// Sends bytes, half-closes, and returns all that comes back: what `printf … | nc -N` does.
pub fn say(port: u16, bytes: &[u8]) -> String {
    let mut client = Client::connect(port);
    client.send(bytes);
    client.finish();
    client.rest()
}
