// SPDX-License-Identifier: Apache-2.0
//
// Preloaded under ThreadSanitizer (.ci/sanitize): tells it of what the Swift runtime, which is not
// instrumented, orders. Without it correct code is reported.
//
// - A contended Mutex is taken and handed over inside libswiftSynchronization and by the kernel.
//   This stands before the contended halves of the lock.
// - A continuation that is resumed before its task waits lets the task go on at once; the runtime's
//   own annotations cover only the task that waits first. This stands before what goes on, or, where
//   the wait is the runtime's own, at the first that its caller does.
//
// races.swift proves this on each run: a function renamed by a later Swift makes it fail.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SELF __attribute__((swift_context)) void *mutex
#define SWIFT __attribute__((swiftcall))
#define CONTEXT void *context
#define ASYNC __attribute__((swiftasynccall))

// Absent in programs that are preloaded but not instrumented.
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

// _MutexHandle._lockSlow(_:), _tryLockSlow() and _unlockSlow(), by their mangled names.
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

SWIFT void lock(uint32_t thread, SELF) __asm__(LOCK);
SWIFT bool try_lock(SELF) __asm__(TRY_LOCK);
SWIFT void unlock(SELF) __asm__(UNLOCK);

// Each is looked up at each call: a pointer that is kept would be a race of its own.

SWIFT void lock(uint32_t thread, SELF) {
    SWIFT void (*next)(uint32_t, SELF) = dlsym(RTLD_NEXT, LOCK);
    next(thread, mutex);
    if (__tsan_acquire) __tsan_acquire(mutex);
}

SWIFT bool try_lock(SELF) {
    SWIFT bool (*next)(SELF) = dlsym(RTLD_NEXT, TRY_LOCK);
    bool taken = next(mutex);
    if (taken && __tsan_acquire) __tsan_acquire(mutex);
    return taken;
}

SWIFT void unlock(SELF) {
    SWIFT void (*next)(SELF) = dlsym(RTLD_NEXT, UNLOCK);
    if (__tsan_release) __tsan_release(mutex);
    next(mutex);
}

// The runtime has marked the resumption as a release of the task. Whether it came before the task
// waits is known only within swift_continuation_await, which then goes on at once in the function
// that the context names. So each context that is waited for names `resumed`, which acquires and
// goes on in the function that was named.

extern void *swift_task_getCurrent(void) SWIFT;

// Functions that are gone on in have their context where Swift passes contexts.
#define RESUMED_CONTEXT __attribute__((swift_async_context)) void *context

typedef ASYNC void continuation(RESUMED_CONTEXT);

// The beginning of an asynchronous function's frame (AsyncContext in Swift's ABI/Task.h).
struct frame {
    struct frame *parent;
    continuation *resume;
};

// What the frames of waiting tasks named, by their addresses. A task that is never resumed leaves
// its entry, until its frame's address is another's. The lock is one that ThreadSanitizer does not
// see: if it saw it, it would take what nothing orders for ordered.
enum { WAITING_MAX = 1 << 16, LOOKS_MAX = 64 };
static struct {
    struct frame *frame;
    continuation *resume;
} waiting[WAITING_MAX];
static atomic_flag is_busy = ATOMIC_FLAG_INIT;

// Where `sought` stands among the places where `frame` may be; -1 if nowhere.
static ptrdiff_t find(struct frame *frame, struct frame *sought) {
    for (size_t look = 0; look < LOOKS_MAX; look++) {
        size_t place = (((uintptr_t)frame >> 4) + look) % WAITING_MAX;
        if (waiting[place].frame == sought) return place;
    }
    return -1;
}

static void enter(void) {
    while (atomic_flag_test_and_set_explicit(&is_busy, memory_order_acquire)) sched_yield();
}

static void leave(void) { atomic_flag_clear_explicit(&is_busy, memory_order_release); }

ASYNC static void resumed(RESUMED_CONTEXT) {
    struct frame *frame = context;
    enter();
    ptrdiff_t place = find(frame, frame);
    if (place < 0) abort();
    continuation *resume = waiting[place].resume;
    waiting[place].frame = 0;
    leave();
    frame->resume = resume;
    if (__tsan_acquire) __tsan_acquire(swift_task_getCurrent());
    __attribute__((musttail)) return resume(context);
}

// A wait that stands within the runtime, as withCheckedContinuation's, calls swift_continuation_await
// where nothing can stand before it. Its caller frees its frame as the first thing when it goes on:
// there whatever resumed the task comes before. What is freed otherwise orders nothing more than
// what had resumed the task by then. This is called too often to be looked up each time.
static SWIFT void (*dealloc)(void *frame);

__attribute__((constructor)) static void find_dealloc(void) {
    dealloc = dlsym(RTLD_NEXT, "swift_task_dealloc");
}

SWIFT void swift_task_dealloc(void *frame) {
    dealloc(frame);
    if (__tsan_acquire) __tsan_acquire(swift_task_getCurrent());
}

ASYNC void swift_continuation_await(CONTEXT) {
    ASYNC void (*next)(CONTEXT) = dlsym(RTLD_NEXT, "swift_continuation_await");
    struct frame *frame = context;
    enter();
    ptrdiff_t place = find(frame, frame);
    if (place < 0) place = find(frame, 0);
    if (place >= 0) {
        waiting[place].resume = frame->resume;
        waiting[place].frame = frame;
        frame->resume = resumed;
    }
    leave();
    // Where there is no place for it, a resumption that came before this is still seen.
    if (place < 0 && __tsan_acquire) __tsan_acquire(swift_task_getCurrent());
    __attribute__((musttail)) return next(context);
}
