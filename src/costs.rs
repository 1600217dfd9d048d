//! Where the time goes: one request through the loop, with its system calls, copies and nanoseconds.
//!
//! A chapter without code. Its figures are from one machine (two virtual CPUs, AMD Zen 4, Linux 6.18, loopback),
//! the server on one of them and the load on the other. They move by a factor of three with whatever else such
//! a machine does; ratios within one run hold, and so do instructions, which `scripts/instructions` counts with
//! callgrind. `scripts/bench` measures all of it again.
//!
//! # One request at a time
//!
//! 64 clients, each with one IAMAT under way. For each request the server reads once and writes once; `epoll_wait` is
//! shared by all who are ready in a turn. With one client it is once for each: three system calls and no other.
//! Of 5,375 ns of CPU for each request, by sampling:
//!
//! | | share | ns |
//! |---|---:|---:|
//! | `sendto`: the kernel's TCP carries the reply, and on loopback also does the receiver's part of it | 72 % | 3,890 |
//! | `recvfrom`: the kernel copies the line out | 13 % | 680 |
//! | `epoll_wait`, shared by the turn | 3 % | 140 |
//! | entering and leaving the kernel, and the rest of it | 3 % | 160 |
//! | the program: everything in `src/`, and copying | 9 % | 500 |
//!
//! An epoll loop in C that sends back what it has read, and does nothing else, takes 5,160 ns: this server costs 1.04
//! times as much. So whoever answers each request by itself pays for system calls, whatever is written in what
//! language. All that a program can do is to make fewer of them.
//!
//! # A full pipe
//!
//! The same 64 clients with 64 requests under way each cost 181 ns a request, a thirtieth. One read brings 64 lines and
//! one write takes 64 replies, because nothing is sent before the turn's end. The kernel's share is 51 %, spread over
//! 64; the program's is 90 ns and 1,320 instructions. By sampling, of all: telling an IAMAT from other lines,
//! composing its reply and keeping it 15 %, finding the client 8 %, time 5 %, location 5 %, the line's end
//! 4 %, copying 3 %.
//!
//! The bytes of a line are copied this often:
//!
//! 1. from the kernel into the one read buffer of the loop;
//! 2. the receiver hands the line out in place, and the parser reads its numbers where they stand: no copy;
//! 3. the fields go in one piece behind `AT Alford +0.263873386` into the answers of this read: the reply, which is
//!    also the record;
//! 4. the record goes into the store, over the one it replaces: no memory is asked for;
//! 5. all answers of the read go into the connection's output in one piece, and
//! 6. from there to the kernel;
//! 7. for each link, and for the journal, once from the store into its output.
//!
//! # What each choice saves
//!
//! Nanoseconds are the least of interleaved rounds; instructions are callgrind's, each change upon those before it.
//!
//! | choice | otherwise | so | where |
//! |---|---:|---:|---|
//! | A turn answers all lines of a read and writes once (`--max-lines 1` does one line a turn) | 4,854 ns | 181 ns | [`client`](crate::server::client), `flush.rs` |
//! | It reads up to 64 KiB at once (`--max-input 512` does eight lines) | 920 ns | 181 ns | `serve.rs` |
//! | A read that comes back short was the last: no second one asks whether there is more | 5,490 ns | 5,357 ns | `transport.rs` |
//! | The answers of a read gather in one place, instead of a look at the connection for each | 2,620 instr. | 2,251 | `client/talk.rs` |
//! | Optimized as one piece (`lto`, one codegen unit) | 2,251 instr. | 2,130 | `Cargo.toml` |
//! | Fields as one piece, one reader of numbers with its limits known to the compiler | 2,130 instr. | 1,777 | [`wire`](crate::wire) |
//! | A location is only checked, and stays the text that it is | 258 instr. | 165 | [`location`](crate::wire::location) |
//! | The end of a line is looked for in blocks of 32 bytes, for LF and Telnet's IAC at once | 187 instr. | 147 | `wire/scan.rs` |
//! | A keyed hash made for short keys instead of `SipHash` | 232 instr. | 47 | [`store`](crate::herd::store) |
//! | A record of two cache lines with its text inside, in chunks that never move: an update among a million clients | 1,050 ns | 550 ns | `store/kept.rs` |
//! | Memory is fetched ahead for the clients of a whole read: the same, over the network | 1.81 × a thousand's | 1.40 × | `Store::look_ahead` |
//! | The same: memory beside the line, a client | 165 bytes | 87 bytes | `herd/chunks.rs` |
//! | A connection keeps no buffer while it is idle, and what is rare apart | 393 bytes | 152 bytes | `connection.rs`, `client/talk.rs` |
//! | Log lines gather in one buffer that is swapped, formatted once, their time once a turn: both lines | 6,670 instr. | 600 | [`logging`](crate::server::logging) |
//! | An upstream that has just refused is not dialled for each question: a change seen across a ring, by asking | 310 µs | 191 µs | `places/breaker.rs` |
//!
//! What brought nothing and is not here: a search for the line's end by the standard library's own routine (264
//! instructions), a sweep of the change log more often (a fifth more time among a million clients).
//!
//! # What holds it now
//!
//! *The kernel*, for whoever sends one request at a time. *Reading numbers*, for a full pipe: a line has 42 digits, signs and
//! points, which take about seven instructions each; then the client's hash and the comparing and copying of its bytes. A
//! parser that reads a line up to its LF without having looked for that first would save a tenth, and there
//! would be two ways to take a line.
//!
//! *The log*, when it goes to a file: its two lines cost the program 46 ns a request, and a file system some 200 more
//! for the 255 bytes; `--log-level warn` says only what somebody should look at.
