"""WHATSAT by HTTPS GETs with aiohttp: python aiohttp_places.py NAME PORT PLACES_URL CA_FILE

One server on asyncio's streams. Each WHATSAT is a request of its own on a pool of kept-alive connections,
its answer cut to the bound, as the original project asks.
"""

import asyncio
import json
import re
import ssl
import sys

import aiohttp

from herd import Herd

PATH = "/maps/api/place/nearbysearch/json"
# herd's own bound on connections to its upstream.
CONNECTIONS_MAX = 8
COORDINATES = re.compile(r"([+-][\d.]+)([+-][\d.]+)")


class Places:
    def __init__(self, herd, session, url):
        self.herd, self.session, self.url = herd, session, url

    async def line_received(self, line):
        words = line.split()
        if len(words) == 4 and words[0] == b"WHATSAT" and words[1] in self.herd.records:
            return await self.whatsat(*words[1:])
        reply, _ = self.herd.line_received(line)
        return reply + b"\n" if reply is not None else b""

    async def whatsat(self, client, radius_km, bound):
        at = self.herd.records[client][1]
        latitude, longitude = COORDINATES.fullmatch(at.split()[4].decode()).groups()
        query = {
            "location": f"{float(latitude)},{float(longitude)}",
            "radius": str(round(float(radius_km) * 1000)),
            "key": "any",
        }
        async with self.session.get(self.url + PATH, params=query) as answer:
            found = await answer.json()
        found["results"] = found["results"][: int(bound)]
        return b"%b\n%b\n\n" % (at, json.dumps(found, indent=3).encode())

    async def serve(self, reader, writer):
        while line := await reader.readline():
            writer.write(await self.line_received(line.rstrip(b"\n")))
            await writer.drain()
        writer.close()


async def main():
    name, port, url, ca_file = sys.argv[1:]
    trust = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=ssl.create_default_context(cafile=ca_file))
    async with aiohttp.ClientSession(connector=trust) as session:
        places = Places(Herd(name), session, url)
        server = await asyncio.start_server(places.serve, "127.0.0.1", int(port), backlog=1024)
        await server.serve_forever()


asyncio.run(main())
