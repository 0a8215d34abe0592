/* The load: one thread, epoll, raw frames; counts every delivery of every connection.
 *
 *   load --port PORT --path PATH [--before TEXT] [--after TEXT] [--size BYTES] [--header LINE]
 *        [--expect TEXT | --send TEXT]... [--reply PING=PONG]
 *
 * A published message is BEFORE, BYTES bytes that begin with the time, AFTER. --expect and --send are steps of
 * a protocol's own handshake, in the order given; a frame that equals PING is answered with PONG. "{n}" in PATH,
 * LINE and a step is the number of the connection. A compressed message, which a header may ask for, is counted,
 * and its time is not read. Commands come in lines on stdin; each is answered with one JSON
 * object in a line:
 *
 *   open COUNT AT_ONCE                  connections that receive, AT_ONCE handshakes under way
 *   publishers COUNT PORT PATH          connections that only publish, if need be to another server
 *   flood SECONDS IN_FLIGHT PUBLISHERS  publish whenever fewer than IN_FLIGHT messages are on their way
 *   pace SECONDS RATE                   publish RATE messages a second; latency counts from when each was due
 *   echo SECONDS CONNECTIONS            each connection sends its next message when its last has come back
 *   pairs SECONDS PAIRS                 each publisher sends to one receiver, its next one when that has it
 *   post SECONDS CLIENTS FILE           publish over HTTP: FILE is a request, "{message}" stands for the message
 *   idle SECONDS                        only answer pings
 *   close                               end every connection in order
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sockets.h"

enum { LINGER_US = 50000 };

static struct connection *publishers[MAX_CONNECTIONS];
static unsigned publisher_count;

/* --- phases -------------------------------------------------------------------------------------------- */

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double begin_phase(double seconds) {
    uint64_t now = now_us();
    memset(&phase, 0, sizeof phase);
    for (unsigned i = 0; i < used; i++) connections[i]->got = connections[i]->sent = 0;
    phase.start = phase.last_progress = now;
    phase.end = now + seconds * 1e6;
    return cpu_seconds();
}

static double latency_ms(double quantile) {
    uint64_t below = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((below += phase.latencies[i]) > quantile * phase.received) return (i + 0.5) * BUCKET_US / 1000;
    return 0;
}

/* A delivery that comes when all that was expected is there is one too many: wait for it, then tell. */
static void end_phase(double cpu) {
    uint64_t least = UINT64_MAX, most = 0, last = phase.last_progress, until = now_us() + LINGER_US;
    cpu = cpu_seconds() - cpu;
    while (now_us() < until) pump(10);
    for (unsigned i = 0; i < used; i++) {
        struct connection *c = connections[i];
        if (c->kind != SOCKET || !c->receives) continue;
        if (c->got < least) least = c->got;
        if (c->got > most) most = c->got;
    }
    printf("{\"seconds\": %.6f, \"sent\": %lu, \"expected\": %lu, \"received\": %lu, \"least\": %lu, \"most\": %lu, "
           "\"bytes\": %lu, \"refused\": %lu, \"lost\": %u, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"cpu_seconds\": %.6f}\n",
           (last - phase.start) / 1e6, phase.sent, phase.expected, phase.received, most ? least : 0, most,
           phase.bytes, phase.refused, lost, latency_ms(0.5), latency_ms(0.99), cpu);
}

static void choose(unsigned wanted, int receives) {
    publisher_count = 0;
    for (unsigned i = 0; i < used && publisher_count < wanted; i++) {
        struct connection *c = connections[i];
        if (c->kind == SOCKET && c->state == OPEN && c->receives == receives) publishers[publisher_count++] = c;
    }
}

/* Publishers of their own where there are any, else the first receivers; they take turns. */
static void choose_publishers(unsigned wanted) {
    choose(wanted, 0);
    if (!publisher_count) choose(wanted, 1);
    if (!publisher_count || !receivers) fail("nobody publishes or nobody receives");
}

static void publish_next(uint64_t due) { publish(publishers[phase.sent % publisher_count], due, receivers); }

static void flood(double seconds, unsigned in_flight, unsigned wanted) {
    choose_publishers(wanted);
    double cpu = begin_phase(seconds);
    while (!stalled()) {
        int more = receivers && now_us() < phase.end;
        if (!more && phase.received >= phase.expected) break;
        while (more && phase.expected + receivers <= phase.received + (uint64_t)in_flight * receivers)
            publish_next(now_us());
        pump(100);
    }
    end_phase(cpu);
}

static void pace(double seconds, double rate) {
    choose_publishers(1);
    double cpu = begin_phase(seconds);
    uint64_t wanted = seconds * rate;
    while (!stalled() && (phase.sent < wanted || phase.received < phase.expected)) {
        uint64_t due = phase.start + phase.sent * 1e6 / rate, now = now_us();
        if (phase.sent == wanted) pump(100);
        else if (now >= due) publish_next(due);
        else pump(due - now > 1500 ? (due - now) / 1000 - 1 : 0); /* a sleep is too coarse for the last of it */
    }
    end_phase(cpu);
}

static void echo(double seconds, unsigned wanted) {
    choose(wanted, 1);
    double cpu = begin_phase(seconds);
    phase.echoes = 1;
    for (unsigned i = 0; i < publisher_count; i++) publish(publishers[i], now_us(), 1);
    while (!stalled() && (now_us() < phase.end || phase.received < phase.expected)) pump(100);
    end_phase(cpu);
}

/* A message that went to another receiver than its publisher's is one that is missing. */
static void pairs(double seconds, unsigned wanted) {
    choose(wanted, 0);
    unsigned paired = 0;
    for (unsigned i = 0; i < used && paired < publisher_count; i++) {
        struct connection *c = connections[i];
        if (c->kind != SOCKET || c->state != OPEN || !c->receives) continue;
        c->partner = publishers[paired++];
        c->partner->partner = c;
    }
    if (paired < wanted) fail("too few publishers or receivers");
    double cpu = begin_phase(seconds);
    phase.echoes = 1;
    for (unsigned i = 0; i < paired; i++) publish(publishers[i], now_us(), 1);
    while (!stalled() && (now_us() < phase.end || phase.received < phase.expected)) pump(100);
    for (unsigned i = 0; i < paired; i++) phase.expected += publishers[i]->sent != publishers[i]->partner->got;
    end_phase(cpu);
}

static void read_request(const char *file) {
    FILE *from = fopen(file, "r");
    if (!from) fail(file);
    request = realloc(request, ROOM / 2);
    request[fread(request, 1, ROOM / 2 - 1, from)] = 0;
    fclose(from);
    if (!strstr(request, "{message}")) fail("no {message} in the request");
}

static void post_all(double seconds, unsigned clients, const char *file) {
    unsigned first = used;
    uint64_t answers = 0;
    read_request(file);
    for (unsigned i = 0; i < clients; i++) open_client(dialect.port);
    double cpu = begin_phase(seconds);
    for (unsigned i = first; i < used; i++) post(connections[i]);
    while (!stalled() && (answers < phase.sent || phase.received < phase.expected)) {
        pump(100);
        answers = 0;
        for (unsigned i = first; i < used; i++) answers += connections[i]->got;
    }
    end_phase(cpu);
    for (unsigned i = first; i < used; i++) drop(connections[i]);
}

static void open_more(unsigned wanted, unsigned at_once, int port, const char *path, int receives) {
    uint64_t start = now_us();
    open_sockets(wanted, at_once, port, path, receives);
    printf("{\"open\": %u, \"lost\": %u, \"seconds\": %.6f}\n", opened, lost, (now_us() - start) / 1e6);
}

static void idle(double seconds) {
    uint64_t until = now_us() + seconds * 1e6;
    while (now_us() < until) pump(50);
    printf("{\"open\": %u, \"lost\": %u}\n", opened, lost);
}

static void close_all(void) {
    uint64_t until = now_us() + STALL_US;
    for (unsigned i = 0; i < used; i++)
        if (connections[i]->state == OPEN) send_close(connections[i]);
    while (opened && now_us() < until) pump(50);
    printf("{\"open\": %u}\n", opened);
}

/* --- command line and commands ------------------------------------------------------------------------- */

static int run(const char *line) {
    static char text[4096];
    double seconds, rate;
    unsigned count, more;
    if (sscanf(line, "open %u %u", &count, &more) == 2) open_more(count, more, dialect.port, dialect.path, 1);
    else if (sscanf(line, "publishers %u %u %4095s", &count, &more, text) == 3)
        open_more(count, 64, more, strdup(text), 0);
    else if (sscanf(line, "flood %lf %u %u", &seconds, &count, &more) == 3) flood(seconds, count, more);
    else if (sscanf(line, "pace %lf %lf", &seconds, &rate) == 2) pace(seconds, rate);
    else if (sscanf(line, "echo %lf %u", &seconds, &count) == 2) echo(seconds, count);
    else if (sscanf(line, "pairs %lf %u", &seconds, &count) == 2) pairs(seconds, count);
    else if (sscanf(line, "post %lf %u %4095s", &seconds, &count, text) == 3) post_all(seconds, count, text);
    else if (sscanf(line, "idle %lf", &seconds) == 1) idle(seconds);
    else if (!strcmp(line, "close\n")) close_all();
    else return 0;
    fflush(stdout);
    return 1;
}

static void add_step(int sends, const char *text) {
    if (dialect.step_count == MAX_STEPS) fail("too many steps");
    dialect.steps[dialect.step_count].sends = sends;
    dialect.steps[dialect.step_count++].text = text;
}

static int set_reply(char *text) {
    char *equals = strchr(text, '=');
    if (!equals) return 0;
    *equals = 0;
    dialect.ping = text;
    dialect.pong = equals + 1;
    return 1;
}

static int read_options(int count, char **arguments) {
    static const struct option known[] = {
        {"port", 1, 0, 'p'},   {"path", 1, 0, 'u'},   {"before", 1, 0, 'b'}, {"after", 1, 0, 'a'}, {"size", 1, 0, 's'},
        {"header", 1, 0, 'h'}, {"expect", 1, 0, 'e'}, {"send", 1, 0, 'o'},   {"reply", 1, 0, 'r'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        if (option == 'p') dialect.port = atoi(optarg);
        else if (option == 'u') dialect.path = optarg;
        else if (option == 'b') dialect.before = optarg;
        else if (option == 'a') dialect.after = optarg;
        else if (option == 's') dialect.size = atoi(optarg);
        else if (option == 'h') dialect.header = optarg;
        else if (option == 'e' || option == 'o') add_step(option == 'o', optarg);
        else if (option != 'r' || !set_reply(optarg)) return 0;
    }
    return dialect.port && dialect.size > MARKER_SIZE + DIGITS && dialect.size < READ_SIZE;
}

/* Sockets are served while no command is there. */
static char *next_command(char *line, int room) {
    struct pollfd command = {STDIN_FILENO, POLLIN, 0};
    while (poll(&command, 1, 0) == 0) pump(20);
    return fgets(line, room, stdin);
}

int main(int count, char **arguments) {
    char line[8192];
    struct rlimit files;
    if (!read_options(count, arguments)) {
        fprintf(stderr, "usage: see the first lines of load.c\n");
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdin, NULL, _IONBF, 0);
    sockets_start();
    while (next_command(line, sizeof line))
        if (!run(line)) {
            fprintf(stderr, "unknown command: %s", line);
            return 2;
        }
    return 0;
}
