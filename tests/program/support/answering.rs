//! A server within the test, which answers each line as the test likes: for clients of ours that are to be lied to,
//! kept waiting or left alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::DEADLINE;

/// A server that says `answer` of each line, with its number on its connection; `None` ends that.
pub fn answering(
    answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    // It ends with the test's process; the connections end with their clients.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream.unwrap(), &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(usize, &str) -> Option<String>) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for (number, line) in lines.map_while(Result::ok).enumerate() {
        let Some(reply) = answer(number, &line) else { return };
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
