/* What one thread can do at all on a machine: every byte is sent back, and nothing else is done.
 *
 *     ./echo PORT        (on 127.0.0.1)
 *
 * One wait, one read and one write for each connection that has something to say.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS_MAX = 256, BUFFER_BYTES = 64 * 1024 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int poll_fd, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(fd, BACKLOG) < 0) die("listen");
    return fd;
}

/* Sends all of it; false when the connection is of no more use. */
static int send_all(int fd, const char *bytes, ssize_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, -1);
        } else if (sent < 0) {
            return 0;
        } else {
            bytes += sent;
            length -= sent;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    static char buffer[BUFFER_BYTES];
    struct epoll_event events[EVENTS_MAX];
    if (argc != 2) {
        fputs("usage: echo PORT\n", stderr);
        return 2;
    }
    int poll_fd = epoll_create1(0), listener = listen_on(atoi(argv[1])), on = 1;
    if (poll_fd < 0) die("epoll_create1");
    watch(poll_fd, listener);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                watch(poll_fd, client);
                continue;
            }
            ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
            int over = length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR);
            if (over || (length > 0 && !send_all(fd, buffer, length))) close(fd);
        }
    }
}
