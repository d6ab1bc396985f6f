// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

noreturn void fail(const char *what) {
    fprintf(stderr, "signet-bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

int listen_on(int port, bool nonblocking, int *bound) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) {
        fail("socket");
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = loopback(port);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    if (listen(fd, 4096) != 0) {
        fail("listen");
    }
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        fail("getsockname");
    }
    *bound = ntohs(address.sin_port);
    return fd;
}

int connect_to(int port, bool nonblocking) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) {
        fail("socket");
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static noreturn void fail_tls(const char *what) {
    fprintf(stderr, "signet-bench-load: %s: %s\n", what,
            ERR_reason_error_string(ERR_peek_last_error()));
    exit(1);
}

SSL_CTX *tls_context(const struct options *options) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        fail_tls("SSL_CTX_new");
    }
    if (options->old_tls) {
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    } else {
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    }
    if (SSL_CTX_load_verify_locations(context, options->authorities, NULL) != 1) {
        fail_tls(options->authorities);
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (options->certificate != NULL &&
        (SSL_CTX_use_certificate_chain_file(context, options->certificate) != 1 ||
         SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1)) {
        fail_tls(options->certificate);
    }
    // Before TLS 1.3 the list also says which keys a certificate may have; a refusal is to be for
    // the version alone.
    const char *groups = options->old_tls ? "X25519:P-256" : options->groups;
    if (SSL_CTX_set1_groups_list(context, groups) != 1) {
        fail_tls(groups);
    }
    // One cipher suite for everybody: the proxies are compared, not AES-128 with AES-256.
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    return context;
}

SSL *tls_session(SSL_CTX *context, const struct options *options, int fd) {
    SSL *session = SSL_new(context);
    if (session == NULL || SSL_set_fd(session, fd) != 1 ||
        SSL_set_tlsext_host_name(session, options->server_name) != 1) {
        fail_tls("SSL_new");
    }
    SSL_set_connect_state(session);
    return session;
}

const uint8_t *pattern(uint64_t position) {
    static uint8_t bytes[PATTERN_BYTES + PATTERN_PERIOD];
    static bool made = false;
    if (!made) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)(i % PATTERN_PERIOD);
        }
        made = true;
    }
    return bytes + position % PATTERN_PERIOD;
}

uint64_t hash(uint64_t state, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        state = (state ^ bytes[i]) * 0x100000001b3ull;
    }
    return state;
}

const char *field_value(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0) {
            return line + length + strspn(line + length, " \t");
        }
    }
    return NULL;
}
