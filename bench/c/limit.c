/* The limit: what the kernel and one core allow. Every text message a client sends goes to all clients.
 *
 *   limit PORT each     one write per frame and connection, as a server does that sends message by message
 *   limit PORT joined   what arrives in one round of the loop leaves as one write per connection
 *
 * It knows neither addresses nor limits nor slow readers, and answers every handshake with the accept of the
 * RFC's sample key: it serves the load generator beside it and nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "frames.h"

enum { EVENTS = 1024, READ_SIZE = 64 * 1024, ROOM = 1 << 20 };

struct connection {
    int fd, place; /* place among the open ones; -1 before the handshake */
    uint8_t *rest; /* the begun frame that the last read ended with */
    size_t rest_size;
};

static const char RESPONSE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: " SAMPLE_ACCEPT "\r\n\r\n";
static int epoll, joined, open_count;
static struct connection *all[ROOM / 16];
static uint8_t input[ROOM], output[ROOM];
static size_t waiting;

static void broadcast(void) {
    for (int i = 0; i < open_count; i++) {
        ssize_t written = write(all[i]->fd, output, waiting);
        (void)written;
    }
    waiting = 0;
}

static void publish(const struct frame *frame) {
    if (waiting + frame->size + MAX_HEADER > sizeof output) broadcast();
    waiting += put_header(output + waiting, TEXT, frame->size, 0);
    memcpy(output + waiting, frame->payload, frame->size);
    waiting += frame->size;
    if (!joined) broadcast();
}

static void watch(int fd, void *data) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection->fd = fd;
        connection->place = -1;
        watch(fd, connection);
    }
}

static void drop(struct connection *connection) {
    if (connection->place >= 0) {
        all[connection->place] = all[--open_count];
        all[connection->place]->place = connection->place;
    }
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

static uint8_t *shake_hands(struct connection *connection, uint8_t *at, uint8_t *end) {
    uint8_t *blank = memmem(at, end - at, "\r\n\r\n", 4);
    if (!blank) return at;
    if (write(connection->fd, RESPONSE, sizeof RESPONSE - 1) > 0) {
        connection->place = open_count;
        all[open_count++] = connection;
    }
    return blank + 4;
}

static void keep(struct connection *connection, const uint8_t *at, size_t size) {
    connection->rest = realloc(connection->rest, size + 1);
    memcpy(connection->rest, at, size);
    connection->rest_size = size;
}

static void serve(struct connection *connection) {
    size_t size = connection->rest_size;
    memcpy(input, connection->rest, size);
    ssize_t got = read(connection->fd, input + size, READ_SIZE);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(connection);
        return;
    }
    uint8_t *at = input, *end = input + size + got, *next;
    if (connection->place < 0) at = shake_hands(connection, at, end);
    struct frame frame;
    while (connection->place >= 0 && (next = take_frame(at, end, &frame))) {
        if (frame.opcode == TEXT) publish(&frame);
        at = next;
    }
    keep(connection, at, end - at);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: limit PORT each|joined\n");
        return 2;
    }
    joined = !strcmp(arguments[2], "joined");
    epoll = epoll_create1(0);
    int listener = listen_on(atoi(arguments[1]));
    watch(listener, NULL);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr);
            else accept_all(listener);
        }
        if (waiting) broadcast();
    }
}
