/* A receiver of webhooks at next to no cost: counts POSTs, and answers each by 204 at once.
 *
 *   receiver
 *
 * It prints its port. For each line of its input it prints {"count": ..., "first": ..., "last": ...}: the calls
 * so far, and when the first and the last one came, in seconds of the monotonic clock. It ends with its input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, ROOM = 128 * 1024, JOINED = 64 };

struct connection {
    int fd;
    size_t size;
    char input[ROOM + 1]; /* what came and is not yet a whole call */
};

static const char ANSWER[] = "HTTP/1.1 204 No Content\r\n\r\n";
static char answers[JOINED * sizeof ANSWER];
static int epoll;
static uint64_t count;
static double first, last;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd, void *data) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static int listen_anywhere(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (void *)&address, size) || listen(fd, 4096) || getsockname(fd, (void *)&address, &size)) fail("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = malloc(sizeof *connection);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection->fd = fd;
        connection->size = 0;
        watch(fd, connection);
    }
}

/* The size of the call at the beginning of a string; 0 while it is not whole. */
static size_t whole_call(const char *at, size_t left) {
    const char *blank = strstr(at, "\r\n\r\n"), *field = strcasestr(at, "\r\ncontent-length:");
    if (!blank || !field || field > blank) return 0;
    size_t size = blank + 4 - at + strtoul(field + 17, NULL, 10);
    return size <= left ? size : 0;
}

static void serve(struct connection *connection) {
    ssize_t got = read(connection->fd, connection->input + connection->size, ROOM - connection->size);
    if (got <= 0) {
        close(connection->fd);
        free(connection);
        return;
    }
    connection->size += got;
    connection->input[connection->size] = 0;
    char *at = connection->input;
    size_t size, waiting = 0;
    while (waiting < JOINED && (size = whole_call(at, connection->input + connection->size - at))) {
        at += size;
        memcpy(answers + waiting++ * (sizeof ANSWER - 1), ANSWER, sizeof ANSWER - 1);
    }
    connection->size -= at - connection->input;
    memmove(connection->input, at, connection->size);
    if (!waiting) return;
    last = now();
    if (!count) first = last;
    count += waiting;
    ssize_t written = write(connection->fd, answers, waiting * (sizeof ANSWER - 1));
    (void)written;
}

static void tell(void) {
    char line[64];
    if (read(0, line, sizeof line) <= 0) exit(0);
    printf("{\"count\": %llu, \"first\": %.6f, \"last\": %.6f}\n", (unsigned long long)count, first, last);
    fflush(stdout);
}

int main(void) {
    static char listening, asked;
    struct epoll_event events[EVENTS];
    epoll = epoll_create1(0);
    int listener = listen_anywhere();
    watch(listener, &listening);
    watch(0, &asked);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listening) accept_all(listener);
            else if (events[i].data.ptr == &asked) tell();
            else serve(events[i].data.ptr);
        }
    }
}
