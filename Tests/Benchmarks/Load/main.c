// SPDX-License-Identifier: Apache-2.0

// signet-bench-load: the load, the plain server behind the proxies, and single probes.
//
//   backend  answers HTTP/1.1: GET /b/N with N bytes of the pattern, GET /head with the request's
//            head, POST /hash with the hash of the body; a connection that begins with RAW is
//            hashed to its end.
//   load     many requests; prints what was done and what the watched processes used for it.
//   probe    one request or one raw stream; prints what came of it.
//   tap      passes connections on, one by one, and prints what the TLS server chose.
//   watch    holds a connection open for each of many certificates, FOLDER/N.pem and FOLDER/N.key
//            from a number on; says on standard error `watching COUNT` when all are served, and
//            `closed N at NANOSECONDS` of CLOCK_BOOTTIME when the other side ends one.
//   verify   verifies a certificate below one authority, --count times; prints how long it took.
//   ports    prints free ports below the range that the kernel gives to outgoing connections.
//   await    waits until a port is open.
//   run      becomes another program, on one core: run CORE PROGRAM ARGUMENT...
//
// Everything is IPv4 loopback. What is printed on standard output is one JSON object, except for
// ports, which are lines.

#define _GNU_SOURCE
#include "bench.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

// Longer than any measurement; a forgotten backend ends by itself.
#define LIFETIME_SECONDS 3600
#define AWAIT_SECONDS 60

static noreturn void usage(const char *why) {
    fprintf(stderr, "signet-bench-load: %s; the commands are described in main.c\n", why);
    exit(2);
}

static int print_free_ports(int count) {
    // Two benchmarks at once begin at different places.
    int port = 20000 + (getpid() * 17) % 8000;
    for (int tried = 0; tried < 4000 && count > 0; tried++, port++) {
        int bound;
        int fd = listen_on(port, false, &bound);
        if (fd >= 0) {
            printf("%d\n", bound);
            close(fd);
            count--;
        }
    }
    return count == 0 ? 0 : 1;
}

static int await_port(int port) {
    uint64_t end = now_ns() + AWAIT_SECONDS * 1000000000ull;
    while (now_ns() < end) {
        int fd = connect_to(port, false);
        if (fd >= 0) {
            close(fd);
            return 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    fprintf(stderr, "signet-bench-load: port %d was not opened\n", port);
    return 1;
}

// Whoever starts programs from a thread that blocks signals hands the mask on, and a program that
// does not expect that cannot be ended.
static void unblock_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static noreturn void become(int count, char **arguments) {
    if (count < 2) {
        usage("run takes a core and a program");
    }
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)atoi(arguments[0]), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
        fail("sched_setaffinity");
    }
    // Whoever starts it may have blocked signals in the thread that did; perf waits for some.
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
        fail("sigprocmask");
    }
    execv(arguments[1], arguments + 1);
    fail(arguments[1]);
}

static enum mode parse_mode(const char *word) {
    static const char *const words[] = {"keep", "rate", "new", "hold"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(word, words[i]) == 0) {
            return (enum mode)i;
        }
    }
    usage("--mode takes keep, rate, new or hold");
}

enum option_key {
    KEY_PORT = 1, KEY_LISTEN, KEY_COUNT, KEY_MODE, KEY_CONNECTIONS, KEY_SECONDS, KEY_WARM_UP,
    KEY_RATE, KEY_PATH, KEY_METHOD, KEY_SEND, KEY_EXPECT, KEY_FIELD, KEY_AUTHORITIES,
    KEY_CERTIFICATE, KEY_KEY, KEY_GROUPS, KEY_SERVER_NAME, KEY_OLD_TLS, KEY_WATCH, KEY_REQUESTS,
    KEY_FROM, KEY_FOLDER,
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, KEY_PORT},
    {"listen", required_argument, NULL, KEY_LISTEN},
    {"count", required_argument, NULL, KEY_COUNT},
    {"mode", required_argument, NULL, KEY_MODE},
    {"connections", required_argument, NULL, KEY_CONNECTIONS},
    {"seconds", required_argument, NULL, KEY_SECONDS},
    {"warm-up", required_argument, NULL, KEY_WARM_UP},
    {"rate", required_argument, NULL, KEY_RATE},
    {"requests", required_argument, NULL, KEY_REQUESTS},
    {"path", required_argument, NULL, KEY_PATH},
    {"method", required_argument, NULL, KEY_METHOD},
    {"send", required_argument, NULL, KEY_SEND},
    {"expect", required_argument, NULL, KEY_EXPECT},
    {"field", required_argument, NULL, KEY_FIELD},
    {"authorities", required_argument, NULL, KEY_AUTHORITIES},
    {"certificate", required_argument, NULL, KEY_CERTIFICATE},
    {"key", required_argument, NULL, KEY_KEY},
    {"groups", required_argument, NULL, KEY_GROUPS},
    {"server-name", required_argument, NULL, KEY_SERVER_NAME},
    {"old-tls", no_argument, NULL, KEY_OLD_TLS},
    {"watch", required_argument, NULL, KEY_WATCH},
    {"from", required_argument, NULL, KEY_FROM},
    {"folder", required_argument, NULL, KEY_FOLDER},
    {0},
};

static void take(struct options *options, int key) {
    switch (key) {
    case KEY_PORT: options->port = atoi(optarg); break;
    case KEY_LISTEN: options->listen = atoi(optarg); break;
    case KEY_COUNT: options->count = atoi(optarg); break;
    case KEY_FROM: options->from = atoi(optarg); break;
    case KEY_FOLDER: options->folder = optarg; break;
    case KEY_MODE: options->mode = parse_mode(optarg); break;
    case KEY_CONNECTIONS: options->connections = atoi(optarg); break;
    case KEY_SECONDS: options->seconds = atof(optarg); break;
    case KEY_WARM_UP: options->warm_up = atof(optarg); break;
    case KEY_RATE: options->rate = atof(optarg); break;
    case KEY_REQUESTS: options->requests = strtoull(optarg, NULL, 10); break;
    case KEY_PATH: options->path = optarg; break;
    case KEY_METHOD: options->method = optarg; break;
    case KEY_SEND: options->send_bytes = strtoull(optarg, NULL, 10); break;
    case KEY_EXPECT: options->expected_status = atoi(optarg); break;
    case KEY_FIELD:
        if (options->fields_count == FIELDS_MAX) {
            usage("too many --field");
        }
        options->fields[options->fields_count++] = optarg;
        break;
    case KEY_AUTHORITIES: options->authorities = optarg; break;
    case KEY_CERTIFICATE: options->certificate = optarg; break;
    case KEY_KEY: options->key = optarg; break;
    case KEY_GROUPS: options->groups = optarg; break;
    case KEY_SERVER_NAME: options->server_name = optarg; break;
    case KEY_OLD_TLS: options->old_tls = true; break;
    case KEY_WATCH:
        if (options->watched_count == WATCHED_MAX) {
            usage("too many --watch");
        }
        options->watched[options->watched_count++] = atoi(optarg);
        break;
    default: usage("unknown option");
    }
}

int main(int count, char **arguments) {
    struct options options = {
        .mode = MODE_KEEP,
        .connections = 16,
        .seconds = 2,
        .rate = 1000,
        .path = "/b/32",
        .method = "GET",
        .expected_status = 200,
        .groups = "X25519",
        .server_name = "server.bench.example.org",
    };
    if (count < 2) {
        usage("no command");
    }
    const char *command = arguments[1];
    unblock_signals();
    if (strcmp(command, "run") == 0) become(count - 2, arguments + 2);
    int key;
    while ((key = getopt_long(count - 1, arguments + 1, "", long_options, NULL)) != -1) {
        take(&options, key);
    }
    if ((options.certificate == NULL) != (options.key == NULL)) {
        usage("--certificate and --key come together");
    }
    if (options.connections < 1 || options.seconds <= 0 || options.rate <= 0) {
        usage("--connections, --seconds and --rate are more than 0");
    }
    signal(SIGPIPE, SIG_IGN);
    alarm(LIFETIME_SECONDS);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (strcmp(command, "backend") == 0) return backend_run(&options);
    if (strcmp(command, "load") == 0) return load_run(&options);
    if (strcmp(command, "probe") == 0) return probe_run(&options);
    if (strcmp(command, "tap") == 0) return tap_run(&options);
    if (strcmp(command, "watch") == 0) {
        if (options.folder == NULL || options.authorities == NULL) {
            usage("watch takes --folder and --authorities");
        }
        return watch_run(&options);
    }
    if (strcmp(command, "verify") == 0) {
        if (options.authorities == NULL || options.certificate == NULL || options.count < 1) {
            usage("verify takes --authorities, --certificate, --key and --count");
        }
        return verify_run(&options);
    }
    if (strcmp(command, "ports") == 0) return print_free_ports(options.count);
    if (strcmp(command, "await") == 0) return await_port(options.port);
    usage("unknown command");
}
