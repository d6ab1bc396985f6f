// SPDX-License-Identifier: Apache-2.0

// What the parts of signet-bench-load share: its options, clocks, sockets and the pattern that
// bodies consist of. See main.c for the commands.

#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

// Processes whose processor time one run can read.
#define WATCHED_MAX 8
// Header fields that a probe adds.
#define FIELDS_MAX 4
// The longest request or response head that either side takes.
#define HEAD_BYTES_MAX 8192

enum mode {
    MODE_KEEP, // the next request as soon as the last one is answered
    MODE_RATE, // a request at each due time, whoever is late
    MODE_NEW,  // a connection for each request
    MODE_HOLD, // one request on each connection, which then stays open
};

struct options {
    int port;    // where to connect
    int listen;  // where to listen; 0: any free port
    int count;   // how many free ports, or verifications, are wanted
    int from;    // the number of the first certificate that is watched
    const char *folder; // where certificates are by number
    enum mode mode;
    int connections;
    double seconds;
    double warm_up;
    double rate;
    uint64_t requests; // ends after so many answers; 0: by time alone
    const char *path;
    const char *method;
    uint64_t send_bytes;
    int expected_status;
    const char *fields[FIELDS_MAX];
    int fields_count;
    // TLS is spoken when `authorities` is set; a certificate is shown when one is given.
    const char *authorities;
    const char *certificate;
    const char *key;
    const char *groups;
    const char *server_name;
    bool old_tls;
    int watched[WATCHED_MAX];
    int watched_count;
};

int backend_run(const struct options *options);
int load_run(const struct options *options);
int probe_run(const struct options *options);
int tap_run(const struct options *options);
int watch_run(const struct options *options);
int verify_run(const struct options *options);

// MARK: Clocks (meter.c)

// Nanoseconds of CLOCK_MONOTONIC.
uint64_t now_ns(void);
// Nanoseconds of CLOCK_BOOTTIME, which signet-bench reads too.
uint64_t boot_ns(void);

// What processes and the machine have used up to a moment.
struct meter {
    uint64_t at_ns;
    uint64_t watched_ns[WATCHED_MAX];
    uint64_t watched_system_ns[WATCHED_MAX]; // the kernel's part of it, in steps of 10 ms
    uint64_t own_ns;
    uint64_t machine_ns; // all processors, all processes
};

struct meter meter_read(const struct options *options);
// The share of the machine, in percent, that neither the watched processes nor this one used.
double meter_others_percent(
    const struct options *options, const struct meter *from, const struct meter *to);

// MARK: Sockets (net.c)

// Ends the program: what failed, and the system's word for it.
noreturn void fail(const char *what);
int listen_on(int port, bool nonblocking, int *bound);
// -1 and errno when it fails; a nonblocking one may be under way.
int connect_to(int port, bool nonblocking);
// A client's context: TLS 1.3 unless old TLS is asked for, the options' certificate and groups.
SSL_CTX *tls_context(const struct options *options);
SSL *tls_session(SSL_CTX *context, const struct options *options, int fd);

// MARK: The pattern (net.c)

// Byte i of every body is i modulo this: a lost, doubled or moved byte is seen.
#define PATTERN_PERIOD 251
// The pattern, long enough to be sent from any position in large pieces.
#define PATTERN_BYTES (1 << 20)
const uint8_t *pattern(uint64_t position);
// FNV-1a of 64 bits, to compare what was sent with what arrived.
#define HASH_START 0xcbf29ce484222325ull
uint64_t hash(uint64_t state, const uint8_t *bytes, size_t count);

// The value of a header field in a head, or NULL; `name` with its colon.
const char *field_value(const char *head, const char *name);
