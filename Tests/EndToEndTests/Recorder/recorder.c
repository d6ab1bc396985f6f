// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into a program, it writes down what the program does to the files below one directory,
// in the order in which it happens, and can make its disk fail.
//
//   RECORDER_ROOT   the directory, an absolute path
//   RECORDER_LOG    where the record is appended; none is kept without it
//   RECORDER_FAULT  a file; while it exists, its content says how the disk fails: ENOSPC, EROFS
//                   (nothing can be written or made) or EIO (nothing can be synced)
//   RECORDER_CLOCK  a file of 8 bytes: how many seconds the wall clock is ahead
//   RECORDER_KILL   a file; once it exists, its content says after how many further operations, as
//                   they are recorded, the program kills itself
//
// A record is: 8-bit kind, 32-bit length of the path, 64-bit number of the file, 64-bit offset,
// 32-bit length of the data; then path and data. All numbers are little-endian. The number is the
// inode; a Create begins a new life of it.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// Unlink is also the end of a directory.
enum { CREATE = 1, WRITE, TRUNCATE, SYNC, SYNC_DIRECTORY, RENAME, UNLINK, MAKE_DIRECTORY };

#define REAL(name) ((__typeof__(&name))real(#name))

// A mutex that the same thread may take again: Foundation's calls end in one another.
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int log_descriptor = -1;

static void *real(const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) abort();
    return symbol;
}

static const char *root(void) { return getenv("RECORDER_ROOT"); }

static int is_below(const char *path) {
    const char *top = root();
    if (top == NULL || path == NULL) return 0;
    size_t length = strlen(top);
    return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == 0);
}

// The path of a descriptor; 0 when it is not below the directory.
static int path_of(int descriptor, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static uint64_t number_of(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 ? status.st_ino : 0;
}

static uint64_t number_at(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 ? status.st_ino : 0;
}

// The errno with which an operation of this kind fails now; 0 when it does not.
static int fault(int is_sync) {
    const char *file = getenv("RECORDER_FAULT");
    if (file == NULL) return 0;
    int descriptor = REAL(open)(file, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    char text[16] = {0};
    ssize_t length = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (length <= 0) return 0;
    if (strncmp(text, "ENOSPC", 6) == 0) return is_sync ? 0 : ENOSPC;
    if (strncmp(text, "EROFS", 5) == 0) return is_sync ? 0 : EROFS;
    if (strncmp(text, "EIO", 3) == 0) return is_sync ? EIO : 0;
    return 0;
}

// Ends the program when the operation that was just done is the one that was asked for.
static void count_down(void) {
    static long left = -1;
    const char *file = getenv("RECORDER_KILL");
    if (file == NULL) return;
    if (left < 0) {
        int descriptor = REAL(open)(file, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) return;
        char text[16] = {0};
        ssize_t length = read(descriptor, text, sizeof text - 1);
        close(descriptor);
        if (length <= 0) return;
        left = atol(text);
    }
    if (left > 0 && --left == 0) kill(getpid(), SIGKILL);
}

static void note(int kind, const char *path, uint64_t number, uint64_t offset, const void *data,
                 size_t size) {
    int saved = errno;
    count_down();
    errno = saved;
    const char *file = getenv("RECORDER_LOG");
    if (file == NULL) return;
    if (log_descriptor < 0) {
        log_descriptor = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_descriptor < 0) abort();
    }
    unsigned char head[25];
    uint32_t path_length = path == NULL ? 0 : (uint32_t)strlen(path), data_length = (uint32_t)size;
    head[0] = (unsigned char)kind;
    memcpy(head + 1, &path_length, 4);
    memcpy(head + 5, &number, 8);
    memcpy(head + 13, &offset, 8);
    memcpy(head + 21, &data_length, 4);
    struct iovec parts[3] = {
        {head, sizeof head}, {(void *)path, path_length}, {(void *)data, data_length}};
    ssize_t wanted = (ssize_t)(sizeof head + path_length + data_length);
    if (REAL(writev)(log_descriptor, parts, 3) != wanted) abort();
    errno = saved;
}

static void enter(void) { pthread_mutex_lock(&lock); }

static void leave(void) {
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
}

// MARK: - Files come and go

static int open_noting(int directory, const char *path, int flags, mode_t mode) {
    int is_ours = is_below(path);
    enter();
    int failing = is_ours ? fault(0) : 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    int exists = is_ours && access(path, F_OK) == 0;
    int descriptor;
    if ((failing == EROFS && writes) || (failing != 0 && (flags & O_CREAT) && !exists)) {
        errno = failing;
        descriptor = -1;
    } else {
        descriptor = REAL(openat)(directory, path, flags, mode);
    }
    if (descriptor >= 0 && is_ours) {
        if ((flags & O_CREAT) && !exists) note(CREATE, path, number_of(descriptor), 0, NULL, 0);
        if ((flags & O_TRUNC) && exists) note(TRUNCATE, NULL, number_of(descriptor), 0, NULL, 0);
    }
    leave();
    return descriptor;
}

#define MODE(flags, last)                                   \
    mode_t mode = 0;                                        \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                \
        va_list arguments;                                  \
        va_start(arguments, last);                          \
        mode = va_arg(arguments, mode_t);                   \
        va_end(arguments);                                  \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_noting(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_noting(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_noting(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_noting(directory, path, flags, mode);
}

int creat(const char *path, mode_t mode) {
    return open_noting(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int mkdir(const char *path, mode_t mode) {
    int is_ours = is_below(path);
    enter();
    int failing = is_ours && access(path, F_OK) != 0 ? fault(0) : 0;
    int status = -1;
    if (failing != 0) errno = failing;
    else status = REAL(mkdir)(path, mode);
    if (status == 0 && is_ours) note(MAKE_DIRECTORY, path, number_at(path), 0, NULL, 0);
    leave();
    return status;
}

int rename(const char *from, const char *to) {
    int is_ours = is_below(from);
    enter();
    int failing = is_ours ? fault(0) : 0;
    int status = -1;
    // A full disk renames still.
    if (failing == EROFS) errno = failing;
    else status = REAL(rename)(from, to);
    if (status == 0 && is_ours) note(RENAME, from, 0, 0, to, strlen(to));
    leave();
    return status;
}

static int unlink_noting(const char *path, int (*call)(const char *)) {
    int is_ours = is_below(path);
    enter();
    int failing = is_ours ? fault(0) : 0;
    int status = -1;
    if (failing == EROFS) errno = failing;
    else status = call(path);
    if (status == 0 && is_ours) note(UNLINK, path, 0, 0, NULL, 0);
    leave();
    return status;
}

int unlink(const char *path) { return unlink_noting(path, REAL(unlink)); }

int rmdir(const char *path) { return unlink_noting(path, REAL(rmdir)); }

int remove(const char *path) { return unlink_noting(path, REAL(remove)); }

// Only with whole paths: nobody here uses another form.
int unlinkat(int directory, const char *path, int flags) {
    if (is_below(path)) return (flags & AT_REMOVEDIR) ? rmdir(path) : unlink(path);
    return REAL(unlinkat)(directory, path, flags);
}

// MARK: - Content

static ssize_t written(int descriptor, const void *data, ssize_t size, off64_t offset) {
    if (size > 0) note(WRITE, NULL, number_of(descriptor), (uint64_t)offset, data, (size_t)size);
    return size;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(write)(descriptor, data, size);
    enter();
    int failing = fault(0);
    ssize_t status = -1;
    if (failing != 0) errno = failing;
    else {
        status = REAL(write)(descriptor, data, size);
        written(descriptor, data, status, lseek64(descriptor, 0, SEEK_CUR) - status);
    }
    leave();
    return status;
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(pwrite64)(descriptor, data, size, offset);
    enter();
    int failing = fault(0);
    ssize_t status = -1;
    if (failing != 0) errno = failing;
    else status = written(descriptor, data, REAL(pwrite64)(descriptor, data, size, offset), offset);
    leave();
    return status;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return pwrite64(descriptor, data, size, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(writev)(descriptor, parts, count);
    ssize_t total = 0;
    for (int index = 0; index < count; index++) {
        ssize_t size = write(descriptor, parts[index].iov_base, parts[index].iov_len);
        if (size < 0) return total > 0 ? total : size;
        total += size;
    }
    return total;
}

int ftruncate64(int descriptor, off64_t length) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(ftruncate64)(descriptor, length);
    enter();
    int failing = fault(0);
    int status = -1;
    if (failing != 0) errno = failing;
    else status = REAL(ftruncate64)(descriptor, length);
    if (status == 0) {
        note(TRUNCATE, NULL, number_of(descriptor), (uint64_t)length, NULL, 0);
    }
    leave();
    return status;
}

int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

// Space without content is not in the record: say that the file system cannot do it.
int fallocate64(int descriptor, int mode, off64_t offset, off64_t length) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(fallocate64)(descriptor, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return fallocate64(descriptor, mode, offset, length);
}

// MARK: - Syncing

static int sync_noting(int descriptor, int (*call)(int)) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return call(descriptor);
    enter();
    int failing = fault(1);
    int status = -1;
    if (failing != 0) errno = failing;
    else status = call(descriptor);
    if (status == 0) {
        struct stat information;
        int is_directory = fstat(descriptor, &information) == 0 && S_ISDIR(information.st_mode);
        if (is_directory) note(SYNC_DIRECTORY, path, information.st_ino, 0, NULL, 0);
        else note(SYNC, NULL, information.st_ino, 0, NULL, 0);
    }
    leave();
    return status;
}

int fsync(int descriptor) { return sync_noting(descriptor, REAL(fsync)); }

int fdatasync(int descriptor) { return sync_noting(descriptor, REAL(fdatasync)); }

// MARK: - Time

int clock_gettime(clockid_t clock, struct timespec *time) {
    static _Atomic(const int64_t *) ahead = NULL;
    int status = REAL(clock_gettime)(clock, time);
    const char *file = getenv("RECORDER_CLOCK");
    if (status != 0 || clock != CLOCK_REALTIME || file == NULL) return status;
    const int64_t *seconds = atomic_load(&ahead);
    if (seconds == NULL) {
        int descriptor = REAL(open)(file, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) abort();
        seconds = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, descriptor, 0);
        close(descriptor);
        if (seconds == MAP_FAILED) abort();
        atomic_store(&ahead, seconds);
    }
    time->tv_sec += *(const volatile int64_t *)seconds;
    return status;
}
