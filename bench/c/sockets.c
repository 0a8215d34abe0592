#define _GNU_SOURCE
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

enum { EVENTS = 4096 };
static const char MARKER[] = "sent";

struct dialect dialect = {.path = "/", .before = "", .after = "", .size = 100};
struct phase phase;
struct connection *connections[MAX_CONNECTIONS];
unsigned used, opened, receivers, lost;
char *request;

static int epoll;
static size_t marker_at;
static uint8_t input[ROOM];

void sockets_start(void) { epoll = epoll_create1(0); }

void fail(const char *what) {
    perror(what);
    exit(1);
}

uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

/* It is asked ten times a second: where it was not, this process, or its whole machine, has stood still. */
int stalled(void) {
    static uint64_t asked, resumed;
    uint64_t now = now_us();
    if (now - asked > STANDSTILL_US) resumed = now;
    asked = now;
    return now - (resumed > phase.last_progress ? resumed : phase.last_progress) > STALL_US;
}

/* --- writing ------------------------------------------------------------------------------------------- */

void drop(struct connection *c) {
    if (c->state == DEAD) return;
    if (c->kind == SOCKET && c->state == OPEN) {
        opened--;
        receivers -= c->receives;
    }
    lost += c->kind == SOCKET;
    c->state = DEAD;
    close(c->fd);
}

static void put(struct connection *c, const void *data, size_t left) {
    const char *at = data;
    while (left && c->state != DEAD) {
        ssize_t written = write(c->fd, at, left);
        if (written > 0) {
            at += written;
            left -= written;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {c->fd, POLLOUT, 0};
            if (poll(&writable, 1, STALL_US / 1000) == 0) drop(c);
        } else if (errno != EINTR) {
            drop(c);
        }
    }
}

static void put_frame(struct connection *c, int opcode, const void *payload, size_t size) {
    static uint8_t out[ROOM];
    size_t start = put_header(out, opcode, size, 1);
    for (size_t i = 0; i < size; i++) out[start + i] = ((const uint8_t *)payload)[i] ^ MASK[i & 3];
    put(c, out, start + size);
}

void send_close(struct connection *c) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xff};
    put_frame(c, CLOSE, normal, sizeof normal);
}

/* `text` with every "{n}" replaced by the number of the connection; valid until the next call. */
static const char *numbered(const struct connection *c, const char *text) {
    static char out[4096];
    size_t size = 0;
    while (*text && size < sizeof out - 16) {
        if (strncmp(text, "{n}", 3)) {
            out[size++] = *text++;
        } else {
            size += sprintf(out + size, "%d", c->number);
            text += 3;
        }
    }
    out[size] = 0;
    return out;
}

/* The message itself: the time it is counted from, filled up to its size; valid until the next call. */
static const char *message(uint64_t time) {
    static char out[ROOM];
    int size = sprintf(out, "%s%0*llu-", MARKER, DIGITS, (unsigned long long)time);
    while (size < dialect.size) out[size++] = 'x';
    out[size] = 0;
    return out;
}

void publish(struct connection *c, uint64_t time, unsigned audience) {
    static char out[ROOM];
    const char *before = c->partner ? numbered(c->partner, dialect.before) : dialect.before;
    int size = snprintf(out, sizeof out, "%s%s%s", before, message(time), dialect.after);
    phase.sent++;
    c->sent++;
    phase.expected += audience;
    put_frame(c, TEXT, out, size);
}

void post(struct connection *client) {
    static char out[ROOM];
    const char *place = strstr(request, "{message}");
    int size = snprintf(out, sizeof out, "%.*s%s%s", (int)(place - request), request, message(now_us()), place + 9);
    phase.sent++;
    put(client, out, size);
}

/* --- handshake ----------------------------------------------------------------------------------------- */

static void watch(struct connection *c, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event) < 0) fail("epoll_ctl");
}

static void upgrade(struct connection *c) {
    char out[8192];
    int error = 0;
    socklen_t room = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &room);
    if (error) {
        fprintf(stderr, "connect: %s\n", strerror(error));
        drop(c);
        return;
    }
    int size = snprintf(out, sizeof out,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: " SAMPLE_KEY "\r\nSec-WebSocket-Version: 13\r\n",
                        numbered(c, c->path), c->port);
    if (dialect.header) size += snprintf(out + size, sizeof out - size, "%s\r\n", numbered(c, dialect.header));
    size += snprintf(out + size, sizeof out - size, "\r\n");
    c->state = UPGRADING;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    put(c, out, size);
}

/* Send the protocol's steps up to the next answer it expects; after the last one the connection is open. */
static void advance(struct connection *c) {
    while (c->step < dialect.step_count && dialect.steps[c->step].sends) {
        const char *text = numbered(c, dialect.steps[c->step++].text);
        put_frame(c, TEXT, text, strlen(text));
    }
    if (c->step == dialect.step_count && c->state == STEPPING) {
        c->state = OPEN;
        opened++;
        receivers += c->receives;
    }
}

static void step_forward(struct connection *c, const struct frame *frame) {
    const char *text = numbered(c, dialect.steps[c->step].text);
    size_t size = strlen(text);
    if (frame->size >= size && !memcmp(frame->payload, text, size)) {
        c->step++;
        advance(c);
    }
}

/* Returns the end of the response in [`at`, `end`), or `at` while it is not whole. */
static uint8_t *upgraded(struct connection *c, uint8_t *at, uint8_t *end) {
    uint8_t *blank = memmem(at, end - at, "\r\n\r\n", 4);
    if (!blank) return at;
    if (memcmp(at, "HTTP/1.1 101", 12) || !memmem(at, blank - at, SAMPLE_ACCEPT, strlen(SAMPLE_ACCEPT))) {
        fprintf(stderr, "handshake refused: %.*s\n", (int)(end - at < 300 ? end - at : 300), at);
        drop(c);
        return end;
    }
    phase.last_progress = now_us();
    c->state = STEPPING;
    advance(c);
    return blank + 4;
}

/* --- reading ------------------------------------------------------------------------------------------- */

/* Where a message's time stands in a frame: nearly always where it stood in the frame before. */
static const uint8_t *find_time(const struct frame *frame) {
    if (frame->size < marker_at + MARKER_SIZE + DIGITS || memcmp(frame->payload + marker_at, MARKER, MARKER_SIZE)) {
        const uint8_t *found = memmem(frame->payload, frame->size, MARKER, MARKER_SIZE);
        if (!found || frame->payload + frame->size < found + MARKER_SIZE + DIGITS) return NULL;
        marker_at = found - frame->payload;
    }
    return frame->payload + marker_at + MARKER_SIZE;
}

/* A compressed message is counted as it is: to inflate it would make this program the bottleneck. */
static void count(struct connection *c, const struct frame *frame, uint64_t now) {
    if (frame->compressed) {
        phase.received++;
        phase.last_progress = now;
        c->got++;
        return;
    }
    const uint8_t *digits = find_time(frame);
    if (!digits) return;
    uint64_t time = 0;
    for (int i = 0; i < DIGITS; i++) time = time * 10 + (digits[i] - '0');
    uint64_t bucket = now > time ? (now - time) / BUCKET_US : 0;
    phase.latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    phase.received++;
    phase.last_progress = now;
    c->got++;
    if (phase.echoes && now < phase.end) publish(c->partner ? c->partner : c, now_us(), 1);
}

static void take(struct connection *c, const struct frame *frame, uint64_t now) {
    const char *ping = dialect.ping;
    if (frame->opcode == PING) {
        put_frame(c, PONG, frame->payload, frame->size);
    } else if (frame->opcode == CLOSE) {
        drop(c);
    } else if (ping && frame->size == strlen(ping) && !memcmp(frame->payload, ping, frame->size)) {
        put_frame(c, TEXT, dialect.pong, strlen(dialect.pong));
    } else if (c->state == STEPPING) {
        step_forward(c, frame);
    } else {
        count(c, frame, now);
    }
}

/* Returns the end of the response that begins at `at`, or NULL while it is not whole. */
static uint8_t *whole_response(uint8_t *at, uint8_t *end) {
    uint8_t *blank = memmem(at, end - at, "\r\n\r\n", 4);
    if (!blank) return NULL;
    char *length = strcasestr((char *)at, "content-length:");
    if (length && (uint8_t *)length < blank) {
        uint8_t *last = blank + 4 + atoi(length + 15);
        return last <= end ? last : NULL;
    }
    uint8_t *last = memmem(blank, end - blank, "\r\n0\r\n\r\n", 7);
    return last ? last + 7 : NULL;
}

static uint8_t *answered(struct connection *client, uint8_t *at, uint8_t *end) {
    uint8_t *next = whole_response(at, end);
    if (!next) return at;
    phase.last_progress = now_us();
    if (at[9] == '2') phase.expected += receivers;
    else if (!phase.refused++) fprintf(stderr, "request refused: %.*s\n", (int)(next - at), at);
    client->got++;
    if (phase.last_progress < phase.end) post(client);
    return next;
}

/* Returns how far [`at`, `end`) was understood; the rest waits for the next read. */
static uint8_t *take_all(struct connection *c, uint8_t *at, uint8_t *end) {
    if (c->kind == CLIENT) return answered(c, at, end);
    if (c->state == UPGRADING) at = upgraded(c, at, end);
    struct frame frame;
    uint8_t *next;
    uint64_t now = now_us();
    while ((c->state == STEPPING || c->state == OPEN) && (next = take_frame(at, end, &frame))) {
        take(c, &frame, now);
        at = next;
    }
    return at;
}

static void receive(struct connection *c) {
    if (c->rest_size) memcpy(input, c->rest, c->rest_size);
    ssize_t got = read(c->fd, input + c->rest_size, READ_SIZE);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(c);
        return;
    }
    phase.bytes += got;
    uint8_t *end = input + c->rest_size + got;
    *end = 0;
    uint8_t *at = take_all(c, input, end);
    c->rest_size = end - at;
    if (c->rest_size) {
        c->rest = realloc(c->rest, c->rest_size);
        memcpy(c->rest, at, c->rest_size);
    }
}

void pump(int milliseconds) {
    static struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < ready; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CONNECTING) upgrade(c);
        else if (c->state != DEAD) receive(c);
    }
}

/* --- opening ------------------------------------------------------------------------------------------- */

static struct connection *begin(enum kind kind, int port, const char *path, int receives) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct connection *c = calloc(1, sizeof *c);
    int one = 1;
    if (!c || used == MAX_CONNECTIONS) fail("too many connections");
    *c = (struct connection){.kind = kind, .number = used, .port = port, .path = path, .receives = receives};
    c->fd = socket(AF_INET, SOCK_STREAM | (kind == SOCKET ? SOCK_NONBLOCK : 0), 0);
    if (c->fd < 0) fail("socket");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
    connections[used++] = c;
    return c;
}

void open_sockets(unsigned wanted, unsigned at_once, int port, const char *path, int receives) {
    unsigned begun = 0, before = opened + lost;
    phase.last_progress = now_us();
    while (opened + lost - before < wanted && now_us() - phase.last_progress < 4 * STALL_US) {
        for (; begun < wanted && begun - (opened + lost - before) < at_once; begun++)
            watch(begin(SOCKET, port, path, receives), EPOLLOUT, EPOLL_CTL_ADD);
        pump(100);
    }
}

struct connection *open_client(int port) {
    struct connection *c = begin(CLIENT, port, "", 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->state = OPEN;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
    return c;
}
