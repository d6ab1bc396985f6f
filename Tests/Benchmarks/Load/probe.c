// SPDX-License-Identifier: Apache-2.0

// One request, slowly and with every byte looked at; and the tap, which reads what a TLS server
// chose.

#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// A proxy that has not answered by then will not.
#define PATIENCE_SECONDS 5
#define TEXT_BYTES_MAX 4096

struct stream {
    int fd;
    SSL *tls;
};

static ssize_t stream_read(struct stream *stream, void *bytes, size_t count) {
    if (stream->tls != NULL) {
        int result = SSL_read(stream->tls, bytes, (int)count);
        if (result > 0) return result;
        return SSL_get_error(stream->tls, result) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    }
    return recv(stream->fd, bytes, count, 0);
}

static bool stream_write(struct stream *stream, const void *bytes, size_t count) {
    const char *next = bytes;
    while (count > 0) {
        ssize_t sent = stream->tls != NULL ? SSL_write(stream->tls, next, (int)count)
                                           : send(stream->fd, next, count, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        next += sent;
        count -= (size_t)sent;
    }
    return true;
}

static bool write_pattern(struct stream *stream, uint64_t count) {
    for (uint64_t at = 0; at < count;) {
        uint64_t part = count - at < 65536 ? count - at : 65536;
        if (!stream_write(stream, pattern(at), (size_t)part)) return false;
        at += part;
    }
    return true;
}

static uint64_t pattern_hash(uint64_t count) {
    uint64_t state = HASH_START;
    for (uint64_t at = 0; at < count;) {
        uint64_t part = count - at < 65536 ? count - at : 65536;
        state = hash(state, pattern(at), (size_t)part);
        at += part;
    }
    return state;
}

// What came back.
struct answer {
    int status; // 0: none
    uint64_t bytes;
    bool intact; // the body is the pattern, or names the hash of what was sent
    char text[TEXT_BYTES_MAX + 1];
    size_t text_bytes;
    const char *error;
};

static void take_body(struct answer *answer, const uint8_t *bytes, size_t count) {
    if (memcmp(bytes, pattern(answer->bytes), count) != 0) {
        answer->intact = false;
    }
    size_t room = TEXT_BYTES_MAX - answer->text_bytes;
    size_t part = count < room ? count : room;
    memcpy(answer->text + answer->text_bytes, bytes, part);
    answer->text_bytes += part;
    answer->bytes += count;
}

static void read_answer(struct stream *stream, bool raw, struct answer *answer) {
    static uint8_t bytes[65536];
    char head[HEAD_BYTES_MAX + 1];
    size_t head_bytes = 0;
    bool in_body = raw;
    uint64_t left = UINT64_MAX;
    answer->intact = true;
    while (left > 0) {
        ssize_t count = stream_read(stream, bytes, sizeof bytes);
        if (count <= 0) {
            if (count < 0) answer->error = "the connection failed";
            break;
        }
        const uint8_t *next = bytes;
        size_t rest = (size_t)count;
        while (!in_body && rest > 0 && head_bytes < HEAD_BYTES_MAX) {
            head[head_bytes++] = (char)*next++;
            rest--;
            if (head_bytes >= 4 && memcmp(head + head_bytes - 4, "\r\n\r\n", 4) == 0) {
                head[head_bytes] = 0;
                const char *length = field_value(head, "content-length:");
                answer->status = head_bytes > 12 ? atoi(head + 9) : 0;
                left = length == NULL ? UINT64_MAX : strtoull(length, NULL, 10);
                in_body = true;
            }
        }
        size_t part = rest < left ? rest : (size_t)left;
        take_body(answer, next, part);
        if (left != UINT64_MAX) left -= part;
    }
    if (left > 0 && left != UINT64_MAX) {
        answer->error = "the body is cut short";
        answer->intact = false;
    }
}

static void print_answer(const struct answer *answer) {
    printf("{\"status\":%d,\"bytes\":%" PRIu64 ",\"intact\":%s,\"error\":\"%s\",\"text\":\"",
           answer->status, answer->bytes, answer->intact ? "true" : "false",
           answer->error == NULL ? "" : answer->error);
    for (size_t i = 0; i < answer->text_bytes; i++) {
        unsigned char byte = (unsigned char)answer->text[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            putchar(byte);
        } else {
            printf("\\u%04x", byte);
        }
    }
    printf("\"}\n");
}

static bool ask(struct stream *stream, const struct options *options, bool raw) {
    if (raw) {
        if (!stream_write(stream, "RAW\n", 4) || !write_pattern(stream, options->send_bytes)) {
            return false;
        }
        // The answer comes only after the end has travelled through both proxies.
        return shutdown(stream->fd, SHUT_WR) == 0;
    }
    char head[HEAD_BYTES_MAX];
    int count = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: svc.bench.example.org\r\n",
                         options->method, options->path);
    for (int i = 0; i < options->fields_count; i++) {
        count += snprintf(head + count, sizeof head - (size_t)count, "%s\r\n", options->fields[i]);
    }
    if (options->send_bytes > 0) {
        count += snprintf(head + count, sizeof head - (size_t)count,
                          "Content-Length: %" PRIu64 "\r\n", options->send_bytes);
    }
    count += snprintf(head + count, sizeof head - (size_t)count, "\r\n");
    return stream_write(stream, head, (size_t)count) && write_pattern(stream, options->send_bytes);
}

int probe_run(const struct options *options) {
    bool raw = strcmp(options->method, "RAW") == 0;
    struct answer answer = {0};
    struct stream stream = {.fd = connect_to(options->port, false)};
    if (stream.fd < 0) {
        answer.error = "no connection";
        print_answer(&answer);
        return 0;
    }
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    setsockopt(stream.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(stream.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (options->authorities != NULL) {
        stream.tls = tls_session(tls_context(options), options, stream.fd);
        if (SSL_connect(stream.tls) != 1) {
            answer.error = "no handshake";
            print_answer(&answer);
            return 0;
        }
    }
    // A peer that refuses may close while it is written to; what it says first is still read.
    bool sent = ask(&stream, options, raw);
    read_answer(&stream, raw, &answer);
    if (!sent && answer.error == NULL) answer.error = "the request was not taken";
    if (options->send_bytes > 0) {
        char wanted[64];
        sprintf(wanted, "%" PRIu64 " %016" PRIx64 "\n", options->send_bytes,
                pattern_hash(options->send_bytes));
        answer.intact = strcmp(answer.text, wanted) == 0;
    }
    print_answer(&answer);
    return 0;
}

// MARK: Tap

static unsigned number(const uint8_t *bytes) { return (unsigned)bytes[0] << 8 | bytes[1]; }

// Reads a ServerHello (RFC 8446 section 4.1.3) in its record; false when there is none.
static bool print_server_hello(const uint8_t *bytes, size_t count) {
    // Record header, handshake header, version, random, length of the session ID.
    const size_t fixed = 5 + 4 + 2 + 32 + 1;
    if (count < fixed || bytes[0] != 22 || bytes[5] != 2) return false;
    size_t at = fixed + bytes[fixed - 1];
    if (count < at + 5) return false;
    unsigned cipher = number(bytes + at), version = number(bytes + 9), group = 0;
    size_t end = at + 5 + number(bytes + at + 3);
    at += 5;
    if (end > count) return false;
    while (at + 4 <= end) {
        unsigned type = number(bytes + at), length = number(bytes + at + 2);
        at += 4;
        if (at + length > end || length < 2) break;
        if (type == 51) group = number(bytes + at);   // key_share
        if (type == 43) version = number(bytes + at); // supported_versions
        at += length;
    }
    printf("{\"version\":%u,\"cipher\":%u,\"group\":%u}\n", version, cipher, group);
    fflush(stdout); // the connection may go on for long
    return true;
}

static bool pass(int from, int to, uint8_t *bytes, size_t room, ssize_t *count) {
    *count = recv(from, bytes, room, 0);
    if (*count <= 0) return false;
    for (ssize_t sent = 0; sent < *count;) {
        ssize_t part = send(to, bytes + sent, (size_t)(*count - sent), MSG_NOSIGNAL);
        if (part <= 0) return false;
        sent += part;
    }
    return true;
}

// Passes one connection on to its end.
static void pass_connection(int client, int server) {
    static uint8_t bytes[65536], first[4096];
    size_t first_bytes = 0;
    bool printed = false;
    struct pollfd sides[] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    while (poll(sides, 2, PATIENCE_SECONDS * 1000) > 0) {
        ssize_t count;
        if (sides[0].revents != 0 && !pass(client, server, bytes, sizeof bytes, &count)) break;
        if (sides[1].revents != 0) {
            if (!pass(server, client, bytes, sizeof bytes, &count)) break;
            size_t room = sizeof first - first_bytes;
            size_t part = (size_t)count < room ? (size_t)count : room;
            memcpy(first + first_bytes, bytes, part);
            first_bytes += part;
            printed = printed || print_server_hello(first, first_bytes);
        }
    }
}

int tap_run(const struct options *options) {
    int port;
    int listener = listen_on(options->listen, false, &port);
    if (listener < 0) fail("the tap's port");
    fprintf(stderr, "tap port=%d\n", port);
    // One after another: a connection that only asked whether the port is open is one as well.
    for (;;) {
        int client = accept(listener, NULL, NULL);
        int server = connect_to(options->port, false);
        if (client < 0 || server < 0) fail("the tap's connections");
        pass_connection(client, server);
        close(client);
        close(server);
    }
}
