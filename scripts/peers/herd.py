"""What the Python peers share: what a line means, and what a server of the herd remembers.

Knows no framework and no socket. `Herd.line_received` takes a line without its LF, and returns what is
to be said to whoever sent it and what is to be told to the neighbours (either may be None).
"""

import re
import sys
import time

LOCATION = re.compile(rb"[+-]\d{1,3}(\.\d+)?[+-]\d{1,3}(\.\d+)?")


class Herd:
    def __init__(self, name):
        self.name = name.encode()
        self.records = {}  # client -> (its time, its AT line)

    def line_received(self, line):
        words = line.split()
        if len(words) == 4 and words[0] == b"IAMAT" and LOCATION.fullmatch(words[2]):
            return self.iamat(line, *words[1:])
        if len(words) == 6 and words[0] == b"AT":
            return None, line if self.learn(words[3], float(words[5]), line) else None
        if len(words) == 4 and words[0] in (b"WHATSAT", b"WHATISAT") and words[1] in self.records:
            # The first line is all that a flood is followed by; aiohttp_places.py has the places.
            return self.records[words[1]][1] + b'\n{"results":[],"status":"OK"}\n', None
        return b"? " + line, None

    def iamat(self, line, client, location, text):
        try:
            when = float(text)
        except ValueError:
            return b"? " + line, None
        difference = b"%+.9f" % (time.time() - when)
        at = b" ".join((b"AT", self.name, difference, client, location, text))
        return at, at if self.learn(client, when, at) else None

    def learn(self, client, when, at):
        known = self.records.get(client)
        if known is not None and known[0] >= when:
            return False
        self.records[client] = (when, at)
        return True


def command_line():
    """NAME PORT [NEIGHBOUR'S PORT …], all on 127.0.0.1, flags aside."""
    name, *ports = (word for word in sys.argv[1:] if not word.startswith("--"))
    port, *neighbours = map(int, ports)
    return name, port, neighbours
