"""The herd on asyncio: python asyncio_herd.py [--uvloop] NAME PORT [NEIGHBOUR'S PORT …]"""

import asyncio
import sys

from herd import Herd, command_line

RETRY_SECONDS = 0.1


class Server(asyncio.Protocol):
    """A client, or a neighbour that tells what it has heard."""

    def __init__(self, herd, links):
        self.herd, self.links, self.rest = herd, links, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        replies, news = [], []
        for line in lines:
            reply, told = self.herd.line_received(line)
            if reply is not None:
                replies.append(reply + b"\n")
            if told is not None:
                news.append(told + b"\n")
        if news:
            told = b"".join(news)
            for link in self.links:
                link.tell(told)
        if replies:
            self.transport.write(b"".join(replies))


class Link(asyncio.Protocol):
    """The dialled end of a link, which only ever speaks. It dials again for as long as it must."""

    def __init__(self, port):
        self.port, self.transport = port, None

    async def dial(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                self.transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self.port)
                return
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)

    def connection_lost(self, why):
        self.transport = None
        self.dialling = asyncio.ensure_future(self.dial())

    def tell(self, lines):
        if self.transport is not None:
            self.transport.write(lines)


async def main():
    name, port, neighbours = command_line()
    herd, links = Herd(name), [Link(neighbour) for neighbour in neighbours]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(herd, links), "127.0.0.1", port, backlog=1024)
    await asyncio.gather(*(link.dial() for link in links))
    await server.serve_forever()


if "--uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
