// SPDX-License-Identifier: Apache-2.0
//
// Preloaded under ThreadSanitizer (.ci/sanitize): tells it of what the Swift runtime, which is not
// instrumented, orders. Without it correct code is reported.
//
// - A contended Mutex is taken and handed over inside libswiftSynchronization and by the kernel.
//   This stands before the contended halves of the lock.
// - A continuation that is resumed before its task waits lets the task go on at once; the runtime's
//   own annotations cover only the task that waits first. This stands before the waiting.
//
// races.swift proves this on each run: a function renamed by a later Swift makes it fail.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

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

// The runtime has marked the resumption as a release of the task.

extern void *swift_task_getCurrent(void) SWIFT;

ASYNC void swift_continuation_await(CONTEXT) {
    ASYNC void (*next)(CONTEXT) = dlsym(RTLD_NEXT, "swift_continuation_await");
    if (__tsan_acquire) __tsan_acquire(swift_task_getCurrent());
    __attribute__((musttail)) return next(context);
}
