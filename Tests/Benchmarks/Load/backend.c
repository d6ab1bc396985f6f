// SPDX-License-Identifier: Apache-2.0

// The plain server behind the proxies: one thread, edge-triggered epoll, no allocation per request.

#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// Larger bodies are sent from the pattern itself and not copied behind the head.
#define SMALL_BODY_MAX 4096

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_RAW };

struct client {
    int fd;
    enum phase phase;
    bool ended;           // the peer sends no more
    char head[HEAD_BYTES_MAX + 1];
    size_t head_bytes;
    uint64_t body_left;   // of the request
    uint64_t received;    // of the request's body or of the raw stream
    uint64_t hash;
    // What is to be sent: bytes of `out`, then the pattern.
    char out[HEAD_BYTES_MAX + SMALL_BODY_MAX + 512];
    size_t out_bytes, out_sent;
    uint64_t pattern_at, pattern_end;
};

static bool has_output(const struct client *client) {
    return client->out_sent < client->out_bytes || client->pattern_at < client->pattern_end;
}

// False when the connection is gone.
static bool flush(struct client *client) {
    while (has_output(client)) {
        const void *bytes;
        size_t count;
        int flags = MSG_NOSIGNAL;
        bool head = client->out_sent < client->out_bytes;
        if (head) {
            bytes = client->out + client->out_sent;
            count = client->out_bytes - client->out_sent;
            if (client->pattern_at < client->pattern_end) flags |= MSG_MORE;
        } else {
            uint64_t left = client->pattern_end - client->pattern_at;
            bytes = pattern(client->pattern_at);
            count = left < PATTERN_BYTES ? (size_t)left : PATTERN_BYTES;
        }
        ssize_t sent = send(client->fd, bytes, count, flags);
        if (sent < 0) {
            return errno == EAGAIN;
        }
        if (head) {
            client->out_sent += (size_t)sent;
        } else {
            client->pattern_at += (uint64_t)sent;
        }
    }
    client->out_sent = client->out_bytes = 0;
    client->pattern_at = client->pattern_end = 0;
    return true;
}

static void answer(struct client *client, int status, const char *body, size_t count) {
    size_t room = sizeof client->out - client->out_bytes;
    if (room < count + 256) {
        return; // a pipeline deeper than any load here makes it
    }
    client->out_bytes += (size_t)sprintf(
        client->out + client->out_bytes,
        "HTTP/1.1 %d OK\r\nContent-Type: text/plain\r\nServer: bench\r\n"
        "Content-Length: %zu\r\n\r\n",
        status, count);
    memcpy(client->out + client->out_bytes, body, count);
    client->out_bytes += count;
}

static void answer_pattern(struct client *client, uint64_t count) {
    if (count <= SMALL_BODY_MAX) {
        answer(client, 200, (const char *)pattern(0), (size_t)count);
        return;
    }
    client->out_bytes += (size_t)sprintf(
        client->out + client->out_bytes,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: bench\r\n"
        "Content-Length: %" PRIu64 "\r\n\r\n",
        count);
    client->pattern_end = count;
}

static void answer_hash(struct client *client) {
    char text[64];
    int count = sprintf(text, "%" PRIu64 " %016" PRIx64 "\n", client->received, client->hash);
    answer(client, 200, text, (size_t)count);
}

// A whole head has come.
static void take_head(struct client *client) {
    const char *length = field_value(client->head, "content-length:");
    client->body_left = length == NULL ? 0 : strtoull(length, NULL, 10);
    client->received = 0;
    client->hash = HASH_START;
    const char *target = strchr(client->head, ' ');
    if (target == NULL) {
        answer(client, 400, "", 0);
    } else if (strncmp(target + 1, "/hash", 5) == 0) {
        client->phase = client->body_left > 0 ? PHASE_BODY : PHASE_HEAD;
        if (client->body_left == 0) answer_hash(client);
    } else if (strncmp(target + 1, "/head", 5) == 0) {
        answer(client, 200, client->head, client->head_bytes);
    } else {
        const char *size = strstr(target, "/b/");
        answer_pattern(client, size == NULL ? 32 : strtoull(size + 3, NULL, 10));
    }
    client->head_bytes = 0;
}

static void take_body(struct client *client, const uint8_t **bytes, size_t *count) {
    size_t part = *count < client->body_left ? *count : (size_t)client->body_left;
    client->hash = hash(client->hash, *bytes, part);
    client->received += part;
    client->body_left -= part;
    *bytes += part;
    *count -= part;
    if (client->body_left == 0) {
        answer_hash(client);
        client->phase = PHASE_HEAD;
    }
}

// False when the head is too long.
static bool take_head_bytes(struct client *client, const uint8_t **bytes, size_t *count) {
    while (*count > 0) {
        if (client->head_bytes == HEAD_BYTES_MAX) {
            return false;
        }
        client->head[client->head_bytes++] = (char)**bytes;
        *bytes += 1;
        *count -= 1;
        if (client->head_bytes == 4 && memcmp(client->head, "RAW\n", 4) == 0) {
            client->phase = PHASE_RAW;
            client->head_bytes = 0;
            client->received = 0;
            client->hash = HASH_START;
            return true;
        }
        if (client->head_bytes >= 4 &&
            memcmp(client->head + client->head_bytes - 4, "\r\n\r\n", 4) == 0) {
            client->head[client->head_bytes] = 0;
            take_head(client);
            return true;
        }
    }
    return true;
}

static bool take_bytes(struct client *client, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        switch (client->phase) {
        case PHASE_HEAD:
            if (!take_head_bytes(client, &bytes, &count)) return false;
            break;
        case PHASE_BODY:
            take_body(client, &bytes, &count);
            break;
        case PHASE_RAW:
            client->hash = hash(client->hash, bytes, count);
            client->received += count;
            count = 0;
            break;
        }
    }
    return true;
}

// False when the connection is to be closed.
static bool serve(struct client *client) {
    static uint8_t bytes[1 << 18];
    for (;;) {
        if (!flush(client)) {
            return false;
        }
        if (has_output(client)) {
            return true; // read on when it is sent: the peer is to feel it
        }
        if (client->ended) {
            return false;
        }
        ssize_t count = recv(client->fd, bytes, sizeof bytes, 0);
        if (count < 0) {
            return errno == EAGAIN;
        }
        if (count == 0) {
            client->ended = true;
            if (client->phase == PHASE_RAW) {
                client->out_bytes = (size_t)sprintf(
                    client->out, "%" PRIu64 " %016" PRIx64 "\n", client->received, client->hash);
            }
        } else if (!take_bytes(client, bytes, (size_t)count)) {
            return false;
        }
    }
}

static void accept_all(int listener, int poller) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL) {
            fail("calloc");
        }
        client->fd = fd;
        struct epoll_event event = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            .data.ptr = client,
        };
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) {
            fail("epoll_ctl");
        }
    }
}

int backend_run(const struct options *options) {
    int port;
    int listener = listen_on(options->listen, true, &port);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener < 0 || poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0) {
        fail("the backend's port");
    }
    fprintf(stderr, "backend port=%d\n", port);
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client == NULL) {
                accept_all(listener, poller);
            } else if ((events[i].events & EPOLLERR) || !serve(client)) {
                close(client->fd);
                free(client);
            }
        }
    }
}
