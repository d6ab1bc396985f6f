// SPDX-License-Identifier: Apache-2.0

// Connections that are held open, each with a certificate of its own, and the moment at which the
// other side ends each of them.

#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// A proxy that has not answered by then will not.
#define PATIENCE_SECONDS 5

struct held {
    int fd;
    SSL *tls;
};

// One write: whoever reads would take the halves of a line for two.
static void say(const char *line, int count) {
    if (write(STDERR_FILENO, line, (size_t)count) != count) {
        fail("write");
    }
}

// One request is answered, so the certificate was let in and the server behind is reached.
static bool is_served(SSL *tls) {
    static const char request[] = "GET /b/1 HTTP/1.1\r\nHost: svc.bench.example.org\r\n\r\n";
    char answer[HEAD_BYTES_MAX + 1];
    size_t have = 0;
    if (SSL_write(tls, request, sizeof request - 1) <= 0) {
        return false;
    }
    while (have < HEAD_BYTES_MAX) {
        int count = SSL_read(tls, answer + have, (int)(HEAD_BYTES_MAX - have));
        if (count <= 0) {
            return false;
        }
        have += (size_t)count;
        answer[have] = 0;
        const char *end = strstr(answer, "\r\n\r\n");
        if (end != NULL && answer + have == end + 5) {
            return strncmp(answer, "HTTP/1.1 200", 12) == 0;
        }
    }
    return false;
}

static void hold(struct held *held, const struct options *options, int number) {
    char certificate[PATH_MAX], key[PATH_MAX];
    snprintf(certificate, sizeof certificate, "%s/%d.pem", options->folder, number);
    snprintf(key, sizeof key, "%s/%d.key", options->folder, number);
    struct options own = *options;
    own.certificate = certificate;
    own.key = key;
    held->fd = connect_to(options->port, false);
    if (held->fd < 0) {
        fail("connect");
    }
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    setsockopt(held->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL_CTX *context = tls_context(&own);
    held->tls = tls_session(context, &own, held->fd);
    SSL_CTX_free(context); // the session keeps it
    if (SSL_connect(held->tls) != 1 || !is_served(held->tls)) {
        fprintf(stderr, "signet-bench-load: certificate %d is not served\n", number);
        exit(1);
    }
    if (fcntl(held->fd, F_SETFL, O_NONBLOCK) != 0) {
        fail("fcntl");
    }
}

static bool has_ended(struct held *held) {
    char bytes[64];
    int count;
    do {
        ERR_clear_error();
        count = SSL_read(held->tls, bytes, sizeof bytes);
    } while (count > 0);
    return SSL_get_error(held->tls, count) != SSL_ERROR_WANT_READ;
}

int watch_run(const struct options *options) {
    struct held *all = calloc((size_t)options->connections, sizeof *all);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    if (all == NULL || poller < 0) {
        fail("memory");
    }
    for (int i = 0; i < options->connections; i++) {
        hold(&all[i], options, options->from + i);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = (uint32_t)i};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event) != 0) {
            fail("epoll_ctl");
        }
    }
    char line[80];
    say(line, snprintf(line, sizeof line, "watching %d\n", options->connections));
    for (int left = options->connections; left > 0;) {
        struct epoll_event events[64];
        int count = epoll_wait(poller, events, 64, -1);
        uint64_t now = boot_ns();
        if (count < 0 && errno != EINTR) {
            fail("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            uint32_t place = events[i].data.u32;
            if (!has_ended(&all[place])) {
                continue;
            }
            say(line, snprintf(line, sizeof line, "closed %d at %" PRIu64 "\n",
                               options->from + (int)place, now));
            SSL_free(all[place].tls);
            close(all[place].fd);
            left--;
        }
    }
    return 0;
}
