"""The herd on Twisted: python twisted_herd.py NAME PORT [NEIGHBOUR'S PORT …]"""

from twisted.internet import reactor
from twisted.internet.protocol import Factory, ReconnectingClientFactory
from twisted.protocols.basic import LineOnlyReceiver

from herd import Herd, command_line


class Server(LineOnlyReceiver):
    """A client, or a neighbour that tells what it has heard."""

    delimiter = b"\n"
    MAX_LENGTH = 16384

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line):
        reply, news = self.factory.herd.line_received(line)
        if news is not None:
            for link in self.factory.links:
                link.tell(news)
        if reply is not None:
            self.sendLine(reply)


class Servers(Factory):
    protocol = Server

    def __init__(self, herd, links):
        self.herd, self.links = herd, links


class Telling(LineOnlyReceiver):
    """The dialled end of a link, which only ever speaks."""

    delimiter = b"\n"

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.factory.resetDelay()
        self.factory.connection = self


class Link(ReconnectingClientFactory):
    protocol = Telling
    noisy = False
    initialDelay = 0.1
    maxDelay = 1
    connection = None

    def tell(self, line):
        if self.connection is not None:
            self.connection.sendLine(line)

    def clientConnectionLost(self, connector, reason):
        self.connection = None
        super().clientConnectionLost(connector, reason)


name, port, neighbours = command_line()
links = [Link() for _ in neighbours]
reactor.listenTCP(port, Servers(Herd(name), links), backlog=1024, interface="127.0.0.1")
for neighbour, link in zip(neighbours, links):
    reactor.connectTCP("127.0.0.1", neighbour, link)
reactor.run()
