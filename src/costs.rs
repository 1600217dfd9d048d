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
//! Of 5,390 ns of CPU for each request, by sampling:
//!
//! | | share | ns |
//! |---|---:|---:|
//! | `sendto`: the kernel's TCP carries the reply, and on loopback also does the receiver's part of it | 72 % | 3,890 |
//! | `recvfrom`: the kernel copies the line out | 13 % | 680 |
//! | `epoll_wait`, shared by the turn | 3 % | 140 |
//! | entering and leaving the kernel, and the rest of it | 3 % | 160 |
//! | the program: everything in `src/`, and copying | 9 % | 500 |
//!
//! An epoll loop in C that sends back what it has read, and does nothing else, takes 5,140 ns: this server costs 1.05
//! times as much. So whoever answers each request by itself pays for system calls, whatever is written in what
//! language. All that a program can do is to make fewer of them.
//!
//! # A full pipe
//!
//! The same 64 clients with 64 requests under way each cost 170 ns a request, a thirtieth. One read brings 64 lines
//! and one write takes 64 replies, because nothing is sent before the turn's end. The kernel's share is 54 %, spread
//! over 64; the program's is 78 ns and 1,057 instructions. By sampling, of all: reading a line's fields 22 %,
//! finding and keeping the record 11 %, copying 6 %, composing and all the rest 7 %.
//!
//! The bytes of a line are copied this often:
//!
//! 1. from the kernel into the one read buffer of the loop;
//! 2. a plain report is read there, numbers and all, where it stands: no copy;
//! 3. `AT Alford +0.263873386` in one piece, and in another one the fields with their spaces and the LF, into the answers
//!    of this read: the reply, which is also the record;
//! 4. the record goes into the store, over the one it replaces: no memory is asked for, unless it is longer than 94 bytes
//!    and has another length than that;
//! 5. all answers of the read go into the connection's output in one piece, and
//! 6. from there to the kernel;
//! 7. for each link, and for the journal, once from the store into its output.
//!
//! A line in another spelling, or in pieces, or with a Telnet command in it, goes the general way: the receiver finds its
//! end, in place where it lies whole, and the parser splits it. So there are two ways to take a report, and tests hold one
//! against the other.
//!
//! # What each choice saves
//!
//! Nanoseconds are the least of interleaved rounds, when a request cost 181 in all; instructions are callgrind's, each
//! change upon those before it.
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
//! | A plain report is read in one pass, without looking for its end first | 1,322 instr. | 1,190 | [`plain`](crate::wire::plain) |
//! | Runs of two or three digits are read one by one, so that nobody waits for a place to be computed: reading a line | 37 ns | 31 ns | `wire/location.rs` |
//! | A keyed hash made for short keys instead of `SipHash` | 232 instr. | 47 | [`store`](crate::herd::store) |
//! | A record of two cache lines with its text inside, in chunks that never move: an update among a million clients | 1,050 ns | 550 ns | `store/kept.rs` |
//! | Memory is fetched ahead for the clients of a whole read: the same, over the network | 1.81 × a thousand's | 1.40 × | `Store::look_ahead` |
//! | The same: memory beside the line, a client | 165 bytes | 82 bytes | `herd/chunks.rs` |
//! | A connection keeps no buffer while it is idle, and what is rare apart | 393 bytes | 152 bytes | `connection.rs`, `client/talk.rs` |
//! | An entry of the change log dies when its client changes, so that a sweep asks no record; what is found is replaced in one go | 1,190 instr. | 1,057 | `herd/change_log.rs`, `store.rs` |
//! | Log lines gather in one buffer that is swapped, formatted once, their time once a turn: both lines | 6,670 instr. | 638 | [`logging`](crate::server::logging) |
//! | The start of a log line is kept as long as lines are of one connection; bytes are looked at 32 at a time | 638 instr. | 386 | `logging/text.rs` |
//! | A journal is written anew after eight megabytes too many instead of one: the journal's own cost | 60 ns | 28 ns | `journal/writer.rs` |
//! | The kernel's table of descriptors has its size before the first connection, and no `accept` sleeps while it grows | 47 ms | none | `descriptors.rs` |
//! | An upstream that has just refused is not dialled for each question: a change seen across a ring, by asking | 310 µs | 191 µs | `places/breaker.rs` |
//!
//! What brought nothing and is not here: a search for the line's end by the standard library's own routine (264
//! instructions; `memchr`, which finds it where no plain report stands, takes 85), a sweep of the change log more often (a
//! fifth more time among a million clients), clients' IDs compared by words of eight bytes instead of by `memcmp`,
//! page-aligned batches of the log (a fifth of its cost in the kernel, for lines cut in two), larger or smaller ones, a check
//! sum with sixteen bytes a step, reading all lines of a read before their clients are looked up.
//!
//! # What holds it now
//!
//! *The kernel*, for whoever sends one request at a time.
//!
//! *Reading*, for a full pipe. Of its 1,057 instructions:
//!
//! | | instructions |
//! |---|---:|
//! | The location: two angles, each a sign, a run of digits, a point, a run of digits, a range | 178 |
//! | The two times of a report: nineteen digits read, ten written | 210 |
//! | The client's ID and the word before it | 125 |
//! | Finding the client: hash, index, comparing | 135 |
//! | Keeping the record, and the change log | 165 |
//! | Composing the reply, which is the record | 95 |
//! | Copying, in the C library | 51 |
//! | The loop over lines, and what stands between these | 100 |
//!
//! 700 was hoped for. A line has 42 digits, signs and points, and about nine instructions for each are what reading and
//! writing them comes to without vector instructions by hand, which need `unsafe`. It would not buy much: a line is read
//! in 31 ns, and the kernel's part of a request is three times as much.
//!
//! *The log*, when it goes to a file: its two lines cost the program some 40 ns a request, and a file system 50 to 100
//! more for their 250 bytes; `--log-level warn` says only what somebody should look at. A file that grows into memory
//! which a virtual machine has to get from its host first costs several times as much, whoever writes it.
//!
//! *The clock of others*: by the processor's time no turn takes more than a few milliseconds, under any load here. By
//! the clock it does where another program gets this one's processor in its middle, for tens of milliseconds; `status` tells
//! both.
