/* The connections of the load generator: opening them, writing to them, counting what they get. */
#ifndef SWITCHBOARD_BENCH_SOCKETS_H
#define SWITCHBOARD_BENCH_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_CONNECTIONS = 1 << 17, MAX_STEPS = 8, ROOM = 1 << 20, READ_SIZE = 64 * 1024 };
enum { BUCKET_US = 10, BUCKETS = 1 << 20, MARKER_SIZE = 4, DIGITS = 16, STALL_US = 10000000, STANDSTILL_US = 1000000 };

enum state { CONNECTING, UPGRADING, STEPPING, OPEN, DEAD };
enum kind { SOCKET, CLIENT }; /* a WebSocket, or an HTTP client that publishes */

struct connection {
    enum kind kind;
    enum state state;
    int fd, number, port, receives;
    const char *path;
    unsigned step;
    uint64_t got; /* messages, or answers of a client, in this phase */
    uint64_t sent;
    struct connection *partner; /* of a publisher its only receiver, and the other way round */
    size_t rest_size;
    uint8_t *rest; /* the begun frame or response that the last read ended with */
};

/* How to speak to the server, from the command line. */
struct dialect {
    int port, size;
    const char *path, *before, *after, *header, *ping, *pong;
    unsigned step_count;
    struct {
        int sends;
        const char *text;
    } steps[MAX_STEPS];
};

/* What is counted in one phase. Latencies are in buckets of BUCKET_US. */
struct phase {
    uint64_t start, end, last_progress;
    uint64_t sent, expected, received, refused;
    uint64_t bytes; /* of all that came in, as they were on the wire */
    int echoes; /* every message received is followed by the next one of that connection, or its partner */
    uint32_t latencies[BUCKETS];
};

extern struct dialect dialect;
extern struct phase phase;
extern struct connection *connections[MAX_CONNECTIONS];
extern unsigned used, opened, receivers, lost;
extern char *request; /* of `post`; "{message}" stands for the message */

void sockets_start(void);
uint64_t now_us(void);
void fail(const char *what);

/* Open `wanted` WebSockets, at most `at_once` handshakes under way; returns when all are open or dead, or
 * nothing has happened for a long time. */
void open_sockets(unsigned wanted, unsigned at_once, int port, const char *path, int receives);
struct connection *open_client(int port);
void drop(struct connection *c);

/* Serve all connections once; wait for at most so long. */
void pump(int milliseconds);
int stalled(void);

/* Publish a message; "{n}" before it is the number of the partner. It says it was due at `time` and that `audience` connections should get. */
void publish(struct connection *c, uint64_t time, unsigned audience);
void post(struct connection *client);
void send_close(struct connection *c);

#endif
