// The herd on Node: node node_herd.js NAME PORT [NEIGHBOUR'S PORT …]
'use strict';
const net = require('node:net');

const HOST = '127.0.0.1';
const RETRY_MS = 100;
const LOCATION = /^[+-]\d{1,3}(\.\d+)?[+-]\d{1,3}(\.\d+)?$/;
const TIME = /^-?\d{1,12}(\.\d{1,9})?$/;

const [name, port, ...neighbours] = process.argv.slice(2);
const records = new Map(); // client -> { when, at }

function learn(client, when, at) {
  const known = records.get(client);
  if (known !== undefined && known.when >= when) return false;
  records.set(client, { when, at });
  return true;
}

// What is to be said to whoever sent the line, and what is to be told to the neighbours.
function lineReceived(line) {
  const words = line.trim().split(/\s+/);
  if (words.length === 4 && words[0] === 'IAMAT' && LOCATION.test(words[2]) && TIME.test(words[3])) {
    const [, client, location, time] = words;
    const when = Number(time);
    const difference = (performance.timeOrigin + performance.now()) / 1000 - when;
    const sign = difference < 0 ? '' : '+';
    const at = `AT ${name} ${sign}${difference.toFixed(9)} ${client} ${location} ${time}\n`;
    return { reply: at, news: learn(client, when, at) ? at : '' };
  }
  if (words.length === 6 && words[0] === 'AT') {
    const at = `${line}\n`;
    return { reply: '', news: learn(words[3], Number(words[5]), at) ? at : '' };
  }
  if (words.length === 4 && words[0] === 'WHATSAT' && records.has(words[1])) {
    return { reply: `${records.get(words[1]).at}{"results":[],"status":"OK"}\n\n`, news: '' };
  }
  return { reply: `? ${line}\n`, news: '' };
}

// The dialled end of a link, which only ever speaks, and dials again for as long as it must.
class Link {
  constructor(neighbour) {
    this.neighbour = Number(neighbour);
    this.dial();
  }

  dial() {
    this.open = false;
    this.socket = net.connect({ host: HOST, port: this.neighbour, noDelay: true });
    this.socket.on('connect', () => { this.open = true; });
    this.socket.on('error', () => {});
    this.socket.on('close', () => setTimeout(() => this.dial(), RETRY_MS));
    this.socket.resume();
  }

  tell(lines) {
    if (this.open) this.socket.write(lines, 'latin1');
  }
}

const links = neighbours.map((neighbour) => new Link(neighbour));

const server = net.createServer({ noDelay: true }, (socket) => {
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('error', () => {});
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    let replies = '';
    let told = '';
    for (const line of lines) {
      const { reply, news } = lineReceived(line);
      replies += reply;
      told += news;
    }
    if (told !== '') for (const link of links) link.tell(told);
    if (replies !== '') socket.write(replies, 'latin1');
  });
});
server.listen({ host: HOST, port: Number(port), backlog: 1024 });
