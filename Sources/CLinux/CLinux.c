// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CLinux.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// Kernel 6.5; older headers do not know it.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

// MARK: Time

static clinux_time read_clock(clockid_t clock) {
    struct timespec value = {0};
    clock_gettime(clock, &value);
    return (clinux_time){.seconds = value.tv_sec, .nanoseconds = value.tv_nsec};
}

clinux_time clinux_boot_time(void) { return read_clock(CLOCK_BOOTTIME); }

clinux_time clinux_wall_time(void) { return read_clock(CLOCK_REALTIME); }

// MARK: Who is at the other end of a Unix socket

clinux_peer clinux_peer_of(int32_t socket) {
    clinux_peer peer = {.pidfd = -1};
    struct ucred credentials = {0};
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
        peer.error = errno;
        return peer;
    }
    // An unconnected socket or a pid of another namespace reads as 0: nobody can be named by it.
    if (length != sizeof credentials || credentials.pid <= 0) {
        peer.error = ESRCH;
        return peer;
    }
    peer.pid = credentials.pid;
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;

    int descriptor = -1;
    length = sizeof descriptor;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &descriptor, &length) != 0) {
        peer.pidfd_error = errno;
    } else {
        peer.pidfd = descriptor;
    }
    return peer;
}

int64_t clinux_peer_uid(int32_t socket) {
    struct ucred credentials = {.uid = (uid_t)-1};
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -errno;
    // An unconnected socket has no peer.
    if (length != sizeof credentials || credentials.uid == (uid_t)-1) return -ENOTCONN;
    return credentials.uid;
}

int32_t clinux_pidfd_exited(int32_t pidfd) {
    struct pollfd entry = {.fd = pidfd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&entry, 1, 0);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return -errno;
    if (entry.revents & POLLNVAL) return -EBADF;
    return entry.revents != 0;
}

int32_t clinux_pidfd_open(int32_t pid) {
    long descriptor = syscall(SYS_pidfd_open, (pid_t)pid, 0);
    return descriptor < 0 ? -errno : (int32_t)descriptor;
}

void clinux_close(int32_t descriptor) {
    if (descriptor >= 0) close(descriptor);
}

// MARK: Processes

clinux_start_time clinux_start_time_of(int32_t pid) {
    clinux_start_time result = {0};
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId32 "/stat", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        result.error = errno;
        return result;
    }
    // The name of a program is at most 64 bytes here, the 52 numbers at most 20 digits each.
    char text[2048];
    ssize_t count = read(descriptor, text, sizeof text - 1);
    result.error = count < 0 ? errno : 0;
    close(descriptor);
    if (count < 0) return result;
    text[count] = 0;

    // The name is in parentheses and may hold any byte, parentheses included: start after the last.
    char *cursor = strrchr(text, ')');
    for (int field = 2; cursor != NULL && field < 22; field++) {
        cursor = strchr(cursor + 1, ' ');
    }
    char *end = NULL;
    if (cursor != NULL) result.ticks = strtoull(cursor + 1, &end, 10);
    if (cursor == NULL || end == cursor + 1) result.error = EINVAL;
    return result;
}

clinux_file_identity clinux_namespace_of(int32_t pid, clinux_namespace_kind kind) {
    static const char *const names[] = {
        [clinux_namespace_mount] = "mnt",
        [clinux_namespace_user] = "user",
        [clinux_namespace_pid] = "pid",
        [clinux_namespace_network] = "net",
    };
    clinux_file_identity result = {0};
    if ((size_t)kind >= sizeof names / sizeof *names) {
        result.error = EINVAL;
        return result;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId32 "/ns/%s", pid, names[kind]);
    struct stat status;
    if (stat(path, &status) != 0) {
        result.error = errno;
        return result;
    }
    result.device = status.st_dev;
    result.inode = status.st_ino;
    return result;
}

// What the kernel knows without asking whoever serves the file system.
static int cached_status(int directory, const char *path, int flags, struct statx *status) {
    unsigned wanted = STATX_BASIC_STATS | STATX_MNT_ID;
    return statx(directory, path, flags | AT_STATX_DONT_SYNC, wanted, status);
}

static clinux_file_identity identity_from(int result, const struct statx *status) {
    if (result != 0) return (clinux_file_identity){.error = errno};
    return (clinux_file_identity){
        .device = makedev(status->stx_dev_major, status->stx_dev_minor),
        .inode = status->stx_ino,
    };
}

clinux_file_identity clinux_executable_of(int32_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId32 "/exe", pid);
    struct statx status = {0};
    return identity_from(cached_status(AT_FDCWD, path, 0, &status), &status);
}

int32_t clinux_open_executable(int32_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRId32 "/exe", pid);
    int descriptor = open(path, O_PATH | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

clinux_file_identity clinux_file_of_descriptor(int32_t descriptor) {
    struct statx status = {0};
    return identity_from(cached_status(descriptor, "", AT_EMPTY_PATH, &status), &status);
}

int64_t clinux_mount_of_descriptor(int32_t descriptor) {
    struct statx status = {0};
    if (cached_status(descriptor, "", AT_EMPTY_PATH, &status) != 0) return -errno;
    return status.stx_mask & STATX_MNT_ID ? (int64_t)status.stx_mnt_id : -ENOTSUP;
}

int32_t clinux_open_for_reading(int32_t descriptor) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%" PRId32, descriptor);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

static clinux_file_status status_from(int result, const struct stat *status) {
    if (result != 0) return (clinux_file_status){.error = errno};
    return (clinux_file_status){
        .device = status->st_dev,
        .inode = status->st_ino,
        .mode = status->st_mode,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .size = status->st_size,
        .modified = {status->st_mtim.tv_sec, status->st_mtim.tv_nsec},
        .changed = {status->st_ctim.tv_sec, status->st_ctim.tv_nsec},
    };
}

clinux_file_status clinux_status_of_descriptor(int32_t descriptor) {
    struct stat status = {0};
    return status_from(fstat(descriptor, &status), &status);
}

clinux_file_status clinux_status_of_path(const char *path) {
    struct statx status = {0};
    if (cached_status(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &status) != 0) {
        return (clinux_file_status){.error = errno};
    }
    return (clinux_file_status){
        .device = makedev(status.stx_dev_major, status.stx_dev_minor),
        .inode = status.stx_ino,
        .mode = status.stx_mode,
        .uid = status.stx_uid,
        .gid = status.stx_gid,
        .size = (int64_t)status.stx_size,
        .modified = {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec},
        .changed = {status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec},
    };
}

int32_t clinux_die_with_parent(int32_t parent, int32_t signal) {
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0, 0, 0) != 0) return errno;
    // Who died before the call sends nothing any more.
    return getppid() == parent ? 0 : ESRCH;
}

uint64_t clinux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

// MARK: Memory

// Whether code of the object was changed by relocations when it was loaded (DT_TEXTREL).
static int has_text_relocations(const struct dl_phdr_info *object) {
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[index];
        if (header->p_type != PT_DYNAMIC) continue;
        const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + header->p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_TEXTREL) return 1;
            if (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0) return 1;
        }
    }
    return 0;
}

static int release_object(struct dl_phdr_info *object, size_t size, void *total) {
    (void)size;
    // The kernel's own object (vdso) is no file.
    if (strstr(object->dlpi_name, "vdso") != NULL || has_text_relocations(object)) return 0;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[index];
        if (header->p_type != PT_LOAD || (header->p_flags & PF_W) != 0) continue;
        // Whole pages only: the first and last may be shared with a segment that is written.
        const uintptr_t start = object->dlpi_addr + header->p_vaddr;
        const uintptr_t first = (start + page - 1) & ~(page - 1);
        const uintptr_t end = (start + header->p_memsz) & ~(page - 1);
        if (end <= first) continue;
        if (madvise((void *)first, end - first, MADV_DONTNEED) == 0) {
            *(size_t *)total += end - first;
        }
    }
    return 0;
}

size_t clinux_release_code(void) {
    size_t total = 0;
    dl_iterate_phdr(release_object, &total);
    return total;
}

int32_t clinux_protect_memory(void) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) return errno;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : errno;
}

// MARK: Unix sockets

size_t clinux_unix_path_bytes_max(void) {
    return sizeof((struct sockaddr_un *)0)->sun_path - 1;
}

static bool make_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    if (length == 0 || length > clinux_unix_path_bytes_max()) return false;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    return true;
}

int32_t clinux_unix_probe(const char *path) {
    struct sockaddr_un address;
    if (!make_address(path, &address)) return ENAMETOOLONG;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return errno;
    int error = connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(descriptor);
    // A full backlog is somebody who listens.
    return error == EAGAIN ? 0 : error;
}

int32_t clinux_unix_listen(const char *path, uint32_t mode, int32_t backlog) {
    struct sockaddr_un address;
    if (!make_address(path, &address)) return -ENAMETOOLONG;
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    int error = 0;
    bool bound = false;
    if (fchmod(descriptor, 0) != 0) {
        error = errno;
    } else if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        error = errno;
    } else {
        bound = true;
        if (chmod(path, mode) != 0 || listen(descriptor, backlog) != 0) error = errno;
    }
    if (error == 0) return descriptor;
    if (bound) unlink(path);
    close(descriptor);
    return -error;
}

int32_t clinux_give_to_group(const char *path, uint32_t gid, uint32_t mode) {
    if (lchown(path, (uid_t)-1, gid) != 0) return errno;
    return chmod(path, mode) == 0 ? 0 : errno;
}

int32_t clinux_lock_file(const char *path) {
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) return -errno;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
    int error = errno;
    close(descriptor);
    return -error;
}

int32_t clinux_unlink_if(const char *path, uint64_t device, uint64_t inode) {
    struct stat status;
    if (lstat(path, &status) != 0) return errno;
    if (status.st_dev != device || status.st_ino != inode) return ESTALE;
    return unlink(path) == 0 ? 0 : errno;
}

// MARK: Output

int32_t clinux_write_all(int32_t descriptor, const void *bytes, size_t count) {
    const char *cursor = bytes;
    while (count > 0) {
        ssize_t written = write(descriptor, cursor, count);
        if (written < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        cursor += written;
        count -= (size_t)written;
    }
    return 0;
}
