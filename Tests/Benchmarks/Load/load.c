// SPDX-License-Identifier: Apache-2.0

// Many requests over many connections: one thread, edge-triggered epoll. Only what ends between
// the end of the warm-up and the end of the run is counted, and the processor time of the watched
// processes is read at the same two moments.

#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Connections that are being opened at once where many are held.
#define OPENING_MAX 64
// More failures than that and the run has no meaning.
#define FAILURES_MAX 1000
#define BUCKETS 7552

enum state { CLOSED, CONNECTING, HANDSHAKING, READY, SENDING, HEAD, BODY, HELD };

struct connection {
    int fd;
    enum state state;
    bool closing;  // the server closes after this answer
    SSL *tls;
    uint64_t due;  // when the request should have been sent
    size_t sent;
    uint64_t body_left;
    size_t head_bytes;
    char head[HEAD_BYTES_MAX + 1];
};

static const struct options *options;
static SSL_CTX *context;
static int poller;
static struct connection *connections;
static int *ready, ready_count; // indices of connections that wait for a due time
static int opened, open_now, held;
static char request[1024];
static size_t request_bytes;

// Counted between the two readings of the meter.
static bool counting;
static uint64_t answers; // all of them, for runs of a fixed number
static uint64_t done, failures, failures_all, bytes_received;
static char first_failure[128];
static uint64_t latencies[BUCKETS];

static volatile sig_atomic_t stopped;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

// MARK: Latencies in microseconds: exact below 256, then 128 steps to each doubling

static unsigned bucket(uint64_t microseconds) {
    if (microseconds < 256) {
        return (unsigned)microseconds;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(microseconds) - 7u;
    return (shift << 7) + (unsigned)(microseconds >> shift);
}

static uint64_t bucket_value(unsigned index) {
    if (index < 256) {
        return index;
    }
    unsigned shift = (index >> 7) - 1;
    return (uint64_t)((index & 127u) + 128u) << shift;
}

static uint64_t percentile(double part) {
    uint64_t all = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        all += latencies[i];
    }
    uint64_t wanted = (uint64_t)((double)all * part), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += latencies[i];
        if (seen > wanted) {
            return bucket_value(i);
        }
    }
    return 0;
}

// MARK: Connections

static void close_connection(struct connection *connection) {
    if (connection->tls != NULL) {
        if (connection->state == READY) {
            SSL_shutdown(connection->tls);
        }
        SSL_free(connection->tls);
        connection->tls = NULL;
    }
    close(connection->fd);
    connection->state = CLOSED;
    open_now--;
}

static void open_connection(struct connection *connection) {
    memset(connection, 0, offsetof(struct connection, head));
    connection->due = now_ns();
    connection->fd = connect_to(options->port, true);
    if (connection->fd < 0) {
        fail("connect");
    }
    connection->state = CONNECTING;
    open_now++;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = connection,
    };
    if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void failed(struct connection *connection, const char *why) {
    failures_all++;
    if (counting) failures++;
    if (first_failure[0] == 0) {
        unsigned long error = ERR_peek_last_error();
        snprintf(first_failure, sizeof first_failure, "%s%s%s", why, error != 0 ? ": " : "",
                 error != 0 ? ERR_reason_error_string(error) : "");
    }
    connection->closing = true;
    enum state state = connection->state;
    connection->state = HEAD; // no close_notify
    close_connection(connection);
    if (failures_all > FAILURES_MAX || state == CONNECTING) {
        stopped = 1;
        return;
    }
    open_connection(connection);
}

// Bytes; 0 when there is nothing to do now; -1 when the connection is gone.
static ssize_t transfer(struct connection *connection, void *bytes, size_t count, bool sending) {
    if (connection->tls == NULL) {
        ssize_t result = sending ? send(connection->fd, bytes, count, MSG_NOSIGNAL)
                                 : recv(connection->fd, bytes, count, 0);
        if (result > 0) return result;
        return result < 0 && errno == EAGAIN ? 0 : -1;
    }
    ERR_clear_error();
    int result = sending ? SSL_write(connection->tls, bytes, (int)count)
                         : SSL_read(connection->tls, bytes, (int)count);
    if (result > 0) return result;
    int error = SSL_get_error(connection->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void send_request(struct connection *connection) {
    connection->state = SENDING;
    while (connection->sent < request_bytes) {
        ssize_t count = transfer(connection, request + connection->sent,
                                 request_bytes - connection->sent, true);
        if (count < 0) {
            failed(connection, "the connection was closed before the request");
            return;
        }
        if (count == 0) {
            return;
        }
        connection->sent += (size_t)count;
    }
    connection->sent = 0;
    connection->head_bytes = 0;
    connection->state = HEAD;
}

// The connection may carry a request.
static void became_ready(struct connection *connection, bool fresh) {
    connection->state = READY;
    switch (options->mode) {
    case MODE_KEEP:
        connection->due = now_ns();
        send_request(connection);
        break;
    case MODE_NEW:
    case MODE_HOLD:
        // Counted from the start of the connection.
        if (fresh) send_request(connection);
        break;
    case MODE_RATE:
        ready[ready_count++] = (int)(connection - connections);
        break;
    }
}

static void answered(struct connection *connection) {
    uint64_t now = now_ns();
    if (counting) {
        uint64_t late = now > connection->due ? now - connection->due : 0;
        unsigned index = bucket(late / 1000);
        latencies[index < BUCKETS ? index : BUCKETS - 1]++;
        done++;
    }
    if (++answers == options->requests) {
        stopped = 1;
        return;
    }
    if (options->mode == MODE_HOLD) {
        connection->state = HELD;
        held++;
    } else if (options->mode == MODE_NEW || connection->closing) {
        connection->state = READY;
        close_connection(connection);
        open_connection(connection);
    } else {
        became_ready(connection, false);
    }
}

// False when the answer is not the one that was expected.
static bool take_head(struct connection *connection) {
    connection->head[connection->head_bytes] = 0;
    if (strncmp(connection->head, "HTTP/1.1 ", 9) != 0) {
        return false;
    }
    if (atoi(connection->head + 9) != options->expected_status) {
        if (first_failure[0] == 0) {
            snprintf(first_failure, sizeof first_failure, "answer %.3s", connection->head + 9);
        }
        return false;
    }
    const char *length = field_value(connection->head, "content-length:");
    if (length == NULL) {
        return false;
    }
    connection->body_left = strtoull(length, NULL, 10);
    const char *close = field_value(connection->head, "connection:");
    connection->closing = close != NULL && strncasecmp(close, "close", 5) == 0;
    return true;
}

// How many bytes of a piece belong to the head; -1 when it cannot be read.
static ssize_t take_head_bytes(struct connection *connection, const char *bytes, size_t count) {
    size_t before = connection->head_bytes;
    size_t room = HEAD_BYTES_MAX - before;
    size_t part = count < room ? count : room;
    memcpy(connection->head + before, bytes, part);
    connection->head[before + part] = 0;
    size_t from = before > 3 ? before - 3 : 0;
    const char *end = strstr(connection->head + from, "\r\n\r\n");
    if (end == NULL) {
        connection->head_bytes += part;
        return part < count ? -1 : (ssize_t)part;
    }
    connection->head_bytes = (size_t)(end - connection->head) + 4;
    if (!take_head(connection)) {
        return -1;
    }
    connection->state = BODY;
    return (ssize_t)(connection->head_bytes - before);
}

static void receive(struct connection *connection) {
    static char bytes[1 << 18];
    while (connection->state == HEAD || connection->state == BODY) {
        ssize_t count = transfer(connection, bytes, sizeof bytes, false);
        if (count == 0) {
            return;
        }
        if (count < 0) {
            failed(connection, "the connection was closed before the answer");
            return;
        }
        if (counting) bytes_received += (uint64_t)count;
        ssize_t used = 0;
        if (connection->state == HEAD) {
            used = take_head_bytes(connection, bytes, (size_t)count);
            if (used < 0) {
                failed(connection, "an unexpected answer");
                return;
            }
        }
        if (connection->state != BODY) {
            continue;
        }
        uint64_t body = (uint64_t)(count - used);
        if (body > connection->body_left) {
            failed(connection, "more than the answer");
            return;
        }
        connection->body_left -= body;
        if (connection->body_left == 0) {
            answered(connection);
            return;
        }
    }
}

static void finish_connect(struct connection *connection) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        failed(connection, strerror(error));
        return;
    }
    if (context == NULL) {
        became_ready(connection, true);
        return;
    }
    connection->tls = tls_session(context, options, connection->fd);
    connection->state = HANDSHAKING;
}

static void shake_hands(struct connection *connection) {
    ERR_clear_error();
    int result = SSL_do_handshake(connection->tls);
    if (result == 1) {
        became_ready(connection, true);
        return;
    }
    int error = SSL_get_error(connection->tls, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        failed(connection, "no handshake");
    }
}

// An idle connection has something to say: session tickets, or its end.
static void look_at_idle(struct connection *connection) {
    char byte;
    if (transfer(connection, &byte, 1, false) == 0) {
        return;
    }
    if (connection->state == HELD) {
        held--;
    }
    for (int i = 0; i < ready_count; i++) {
        if (ready[i] == connection - connections) {
            ready[i] = ready[--ready_count];
            break;
        }
    }
    failed(connection, "an idle connection was closed");
}

static void drive(struct connection *connection) {
    switch (connection->state) {
    case CLOSED: return;
    case CONNECTING: finish_connect(connection); break;
    case HANDSHAKING: break;
    case SENDING: send_request(connection); break;
    case READY:
    case HELD: look_at_idle(connection); return;
    case HEAD:
    case BODY: break;
    }
    if (connection->state == HANDSHAKING) shake_hands(connection);
    if (connection->state == HEAD || connection->state == BODY) receive(connection);
}

// MARK: The run

static void make_request(void) {
    int count = snprintf(
        request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: svc.bench.example.org\r\nUser-Agent: signet-bench/1\r\n"
        "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
        options->method, options->path);
    if (count < 0 || (size_t)count >= sizeof request) {
        fail("the path is too long");
    }
    request_bytes = (size_t)count;
}

static void open_more(void) {
    while (opened < options->connections) {
        if (options->mode == MODE_HOLD && open_now - held >= OPENING_MAX) {
            return;
        }
        open_connection(&connections[opened++]);
    }
}

// Sends what is due; returns the time of the next request.
static uint64_t send_due(uint64_t start, uint64_t *issued) {
    double step = 1e9 / options->rate;
    for (;;) {
        uint64_t due = start + (uint64_t)((double)*issued * step);
        if (due > now_ns()) {
            return due;
        }
        if (ready_count == 0) {
            return due + 1000000; // every connection is busy: the next answer comes first
        }
        struct connection *connection = &connections[ready[--ready_count]];
        connection->due = due;
        *issued += 1;
        send_request(connection);
    }
}

static void wait_until(uint64_t wake) {
    uint64_t now = now_ns();
    uint64_t pause = wake > now ? wake - now : 0;
    struct timespec time = {
        .tv_sec = (time_t)(pause / 1000000000u),
        .tv_nsec = (long)(pause % 1000000000u),
    };
    struct epoll_event events[512];
    int count = epoll_pwait2(poller, events, 512, &time, NULL);
    for (int i = 0; i < count && !stopped; i++) {
        drive(events[i].data.ptr);
    }
}

static void print_result(const struct meter *from, const struct meter *to) {
    printf("{\"seconds\":%.4f,\"done\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"failure\":\"%s\","
           "\"bytes\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
           ",\"others_percent\":%.1f,\"own_ns\":%" PRIu64 ",\"watched_ns\":[",
           (double)(to->at_ns - from->at_ns) / 1e9, done, failures, first_failure, bytes_received,
           percentile(0.5), percentile(0.99), meter_others_percent(options, from, to),
           to->own_ns - from->own_ns);
    for (int i = 0; i < options->watched_count; i++) {
        printf("%s%" PRIu64, i == 0 ? "" : ",", to->watched_ns[i] - from->watched_ns[i]);
    }
    printf("],\"watched_system_ns\":[");
    for (int i = 0; i < options->watched_count; i++) {
        uint64_t used = to->watched_system_ns[i] - from->watched_system_ns[i];
        printf("%s%" PRIu64, i == 0 ? "" : ",", used);
    }
    printf("]}\n");
}

int load_run(const struct options *given) {
    options = given;
    context = options->authorities != NULL ? tls_context(options) : NULL;
    connections = calloc((size_t)options->connections, sizeof *connections);
    ready = calloc((size_t)options->connections, sizeof *ready);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || ready == NULL || poller < 0) {
        fail("memory");
    }
    signal(SIGTERM, stop);
    prctl(PR_SET_TIMERSLACK, 1000ul); // due times are kept to the microsecond
    make_request();

    uint64_t start = now_ns(), issued = 0;
    uint64_t counting_at = start + (uint64_t)(options->warm_up * 1e9);
    uint64_t end = counting_at + (uint64_t)(options->seconds * 1e9);
    struct meter from = meter_read(options);
    bool said = false;
    uint64_t now;
    while ((now = now_ns()) < end && !stopped) {
        if (!counting && now >= counting_at) {
            from = meter_read(options);
            counting = true;
        }
        open_more();
        uint64_t wake = counting ? end : counting_at;
        if (options->mode == MODE_RATE) {
            uint64_t due = send_due(start, &issued);
            wake = due < wake ? due : wake;
        }
        if (options->mode == MODE_HOLD && held == options->connections && !said) {
            fprintf(stderr, "holding %d\n", held);
            said = true;
        }
        wait_until(wake);
    }
    struct meter to = meter_read(options);
    print_result(&from, &to);
    bool complete = options->requests > 0 ? answers == options->requests
                                          : !stopped || options->mode == MODE_HOLD;
    return complete && failures_all <= FAILURES_MAX ? 0 : 1;
}
