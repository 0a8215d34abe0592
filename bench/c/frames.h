/* WebSocket framing (RFC 6455, section 5.2) and the handshake, as far as load.c and limit.c need them. */
#ifndef SWITCHBOARD_BENCH_FRAMES_H
#define SWITCHBOARD_BENCH_FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The RFC's own sample nonce (section 1.3), so that neither side has to compute a SHA-1. */
#define SAMPLE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define SAMPLE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };
enum { MAX_HEADER = 14 };

struct frame {
    int opcode, compressed;
    uint8_t *payload;
    size_t size;
};

static const uint8_t MASK[4] = {0x5a, 0x17, 0xc3, 0x8e};

/* Write the header of a final frame to `out`; returns its size. A client masks, a server does not. */
static size_t put_header(uint8_t *out, int opcode, size_t size, int masked) {
    size_t used = 2;
    out[0] = 0x80 | opcode;
    if (size < 126) {
        out[1] = size;
    } else if (size < 65536) {
        out[1] = 126;
        out[used++] = size >> 8;
        out[used++] = size;
    } else {
        out[1] = 127;
        for (int shift = 56; shift >= 0; shift -= 8) out[used++] = (uint64_t)size >> shift;
    }
    if (masked) {
        out[1] |= 0x80;
        memcpy(out + used, MASK, 4);
        used += 4;
    }
    return used;
}

/* Read one whole frame from [`at`, `end`) and unmask it in place; returns where the next begins, or NULL. */
static uint8_t *take_frame(uint8_t *at, uint8_t *end, struct frame *frame) {
    size_t left = end - at, header = 2;
    if (left < header) return NULL;
    int masked = at[1] & 0x80;
    size_t size = at[1] & 0x7f, extra = size == 126 ? 2 : size == 127 ? 8 : 0;
    header += extra + (masked ? 4 : 0);
    if (left < header) return NULL;
    if (extra) {
        size = 0;
        for (size_t i = 0; i < extra; i++) size = size << 8 | at[2 + i];
    }
    if (left - header < size) return NULL;
    *frame = (struct frame){at[0] & 0x0f, at[0] & 0x40, at + header, size};
    if (masked)
        for (size_t i = 0; i < size; i++) frame->payload[i] ^= at[2 + extra + (i & 3)];
    return at + header + size;
}

#endif
