// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t clock) {
    struct timespec value = {0};
    if (clock_gettime(clock, &value) != 0) {
        return 0;
    }
    return (uint64_t)value.tv_sec * 1000000000u + (uint64_t)value.tv_nsec;
}

uint64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t boot_ns(void) { return read_clock(CLOCK_BOOTTIME); }

// User and system time of all threads, those that have ended as well, in nanoseconds;
// /proc/PID/stat says the same in steps of 10 ms.
static uint64_t process_ns(int pid) {
    clockid_t clock;
    return clock_getcpuclockid(pid, &clock) == 0 ? read_clock(clock) : 0;
}

static uint64_t tick_ns(void) { return 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK); }

static uint64_t system_ns(int pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    size_t count = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[count] = 0;
    // The name may hold anything but ends with the last parenthesis; stime is field 15.
    const char *field = strrchr(text, ')');
    for (int skipped = 0; field != NULL && skipped < 13; skipped++) {
        field = strchr(field + 1, ' ');
    }
    return field == NULL ? 0 : strtoull(field, NULL, 10) * tick_ns();
}

static uint64_t machine_ns(void) {
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) {
        return 0;
    }
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0;
    int read = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                      &wait, &irq, &soft);
    fclose(file);
    if (read != 7) {
        return 0;
    }
    return (user + nice + system + irq + soft) * tick_ns();
}

struct meter meter_read(const struct options *options) {
    struct meter meter = {.at_ns = now_ns()};
    for (int i = 0; i < options->watched_count; i++) {
        meter.watched_ns[i] = process_ns(options->watched[i]);
        meter.watched_system_ns[i] = system_ns(options->watched[i]);
    }
    meter.own_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    meter.machine_ns = machine_ns();
    return meter;
}

double meter_others_percent(
    const struct options *options, const struct meter *from, const struct meter *to) {
    double used = (double)(to->machine_ns - from->machine_ns);
    used -= (double)(to->own_ns - from->own_ns);
    for (int i = 0; i < options->watched_count; i++) {
        used -= (double)(to->watched_ns[i] - from->watched_ns[i]);
    }
    double all = (double)(to->at_ns - from->at_ns) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    double percent = all > 0 ? 100 * used / all : 0;
    return percent > 0 ? percent : 0;
}
