// SPDX-License-Identifier: Apache-2.0
//
// Linux facilities that the Glibc module does not offer to Swift, or offers only through pointers.
// Every function returns a value or a small struct, so that its callers stay in safe Swift.
// Convention: an `error` member or a negative result is an errno value; nothing touches errno
// of the caller, nothing blocks unless it says so, every descriptor made here is close-on-exec.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang assume_nonnull begin
#endif

// MARK: Time

typedef struct {
    int64_t seconds;
    int64_t nanoseconds;
} clinux_time;

/// Time since boot, suspended time included (CLOCK_BOOTTIME).
clinux_time clinux_boot_time(void);
/// Time since 1970-01-01T00:00:00Z (CLOCK_REALTIME).
clinux_time clinux_wall_time(void);

// MARK: Who is at the other end of a Unix socket

typedef struct {
    /// 0, or why the credentials could not be read.
    int32_t error;
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
    /// An owned descriptor of the process that connected, or -1: then `pidfd_error` says why
    /// (ENOPROTOOPT: kernel before 6.5; ESRCH and others: the process is gone).
    int32_t pidfd;
    int32_t pidfd_error;
} clinux_peer;

/// SO_PEERCRED and SO_PEERPIDFD of a connected Unix socket.
clinux_peer clinux_peer_of(int32_t socket);

/// The user of the process at the other end of a connected Unix socket: of one that listens, as it
/// was when it began to. Negative: errno. A process of another pid namespace has one as well.
int64_t clinux_peer_uid(int32_t socket);

/// 1: the process has exited. 0: it runs. Negative: errno.
int32_t clinux_pidfd_exited(int32_t pidfd);
/// An owned pidfd of a process, or a negative errno.
int32_t clinux_pidfd_open(int32_t pid);
void clinux_close(int32_t descriptor);

// MARK: Processes

typedef struct {
    int32_t error;
    /// Field 22 of /proc/PID/stat: clock ticks between boot and the start of the process.
    uint64_t ticks;
} clinux_start_time;

clinux_start_time clinux_start_time_of(int32_t pid);

typedef struct {
    int32_t error;
    uint64_t device;
    uint64_t inode;
} clinux_file_identity;

typedef enum {
    clinux_namespace_mount,
    clinux_namespace_user,
    clinux_namespace_pid,
    clinux_namespace_network,
} clinux_namespace_kind;

/// Identity of a namespace of a process: two processes share it if device and inode are equal.
clinux_file_identity clinux_namespace_of(int32_t pid, clinux_namespace_kind kind);

/// Which file a process runs. Follows /proc/PID/exe, not the text of the link.
///
/// It takes what the kernel knows: a program that serves the file system of the executable (FUSE)
/// is not asked, and so cannot keep the caller waiting.
clinux_file_identity clinux_executable_of(int32_t pid);

/// A descriptor that stands for the running executable itself (O_PATH), whatever its path names
/// today; or a negative errno. As long as it is open, the inode is not used again. Nobody who
/// serves a file system is asked.
int32_t clinux_open_executable(int32_t pid);
/// Which file a descriptor stands for; nobody who serves a file system is asked.
clinux_file_identity clinux_file_of_descriptor(int32_t descriptor);
/// The mount through which a descriptor was opened, by its number in /proc/PID/mountinfo, or a
/// negative errno (ENOTSUP: kernel before 5.8). A mount that was detached has a number that no
/// mountinfo shows.
int64_t clinux_mount_of_descriptor(int32_t descriptor);
/// A read-only descriptor of the file that a descriptor of `clinux_open_executable` stands for, or
/// a negative errno. It waits for whoever serves the file system.
int32_t clinux_open_for_reading(int32_t descriptor);

typedef struct {
    int32_t error;
    uint64_t device;
    uint64_t inode;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t size;
    clinux_time modified;
    clinux_time changed;
} clinux_file_status;

clinux_file_status clinux_status_of_descriptor(int32_t descriptor);
/// Status of the path itself, as far as the kernel knows it: symbolic links are not followed, and
/// a program that serves the file system is asked only if it serves a directory above.
clinux_file_status clinux_status_of_path(const char *path);

/// From now on the calling process gets `signal` when the thread that started it ends, however its
/// process dies (PR_SET_PDEATHSIG). 0, or errno; ESRCH: the parent is not `parent` any more, so it
/// may be dead already. Survives execve, except into set-user-ID programs.
int32_t clinux_die_with_parent(int32_t parent, int32_t signal);

/// Raises the soft limit of open descriptors to the hard one; returns the limit now in force.
uint64_t clinux_raise_descriptor_limit(void);

// MARK: Memory

/// Unmaps the code and constants of this program and its libraries until they are used again, so
/// that what only the start needed no longer counts as resident; returns the bytes unmapped from.
/// Only pages that are the file's own, never written, are given up: they come back from the page
/// cache, each with its neighbours, at the next use.
size_t clinux_release_code(void);

/// Keeps the memory of this process, which holds private keys, out of core dumps and out of reach
/// of other processes of the same user (PR_SET_DUMPABLE, RLIMIT_CORE); 0 or errno.
int32_t clinux_protect_memory(void);

// MARK: Unix sockets

/// Longest path of a Unix socket in bytes, without the closing zero (sun_path).
size_t clinux_unix_path_bytes_max(void);

/// 0: somebody accepts connections at the path. Otherwise the errno of connect(2), for example
/// ECONNREFUSED (a file nobody listens on) or ENOENT (no file). Never blocks.
int32_t clinux_unix_probe(const char *path);

/// Binds a non-blocking stream socket, gives the file its mode and listens; the descriptor or a
/// negative errno. Between bind and chmod the file has mode 0: fchmod on the unbound socket limits
/// what bind creates, without touching the process-wide umask.
int32_t clinux_unix_listen(const char *path, uint32_t mode, int32_t backlog);

/// Gives a file to a group, and then its mode; 0 or errno. The mode stays as it was if the group
/// cannot be given.
int32_t clinux_give_to_group(const char *path, uint32_t gid, uint32_t mode);

/// Opens or creates `path` (mode 0600, never through a symbolic link) and takes an exclusive lock
/// on it without waiting; the descriptor that holds the lock or a negative errno (EWOULDBLOCK:
/// another process holds it).
int32_t clinux_lock_file(const char *path);

/// Removes the path if it still names the file with this device and inode; 0 or errno.
int32_t clinux_unlink_if(const char *path, uint64_t device, uint64_t inode);

// MARK: Stream sockets and readiness

typedef struct {
    /// 0, or why it is not known.
    int32_t error;
    /// The address in IPv6 form, IPv4 as RFC 4291 section 2.5.5.2; 0 for a Unix socket.
    uint64_t high;
    uint64_t low;
    uint16_t port;
} clinux_endpoint;

/// A non-blocking listening socket, or a negative errno. `::` takes IPv4 connections as well.
/// `share` lets several sockets listen on one port, among which the kernel spreads connections.
int32_t clinux_tcp_listen(uint64_t high, uint64_t low, uint16_t port, bool share, int32_t backlog);
/// A non-blocking socket that is connected or connecting, or a negative errno.
int32_t clinux_tcp_connect(uint64_t high, uint64_t low, uint16_t port);
/// A non-blocking socket connected to a Unix listener, or a negative errno (EAGAIN: its queue is
/// full).
int32_t clinux_unix_connect(const char *path);
/// A non-blocking connection, or a negative errno.
int32_t clinux_accept(int32_t listener);
/// The number of bytes, 0 at the end, or a negative errno.
int64_t clinux_receive(int32_t socket, void *bytes, size_t count);
/// The number of bytes taken, or a negative errno; never SIGPIPE.
int64_t clinux_send(int32_t socket, const void *bytes, size_t count);
/// Ends the sending side; 0 or errno.
int32_t clinux_shutdown_write(int32_t socket);
/// The pending error of a socket: 0, or errno.
int32_t clinux_socket_error(int32_t socket);
/// Small messages leave at once (TCP_NODELAY).
void clinux_send_at_once(int32_t socket);
/// The kernel asks a peer that has been silent for `idle` seconds whether it is still there, every
/// `interval` seconds, and ends the connection after `probes` questions without an answer
/// (SO_KEEPALIVE). What a listener accepts inherits it. 0, or errno.
int32_t clinux_keep_alive(int32_t socket, int32_t idle, int32_t interval, int32_t probes);
/// Closing will reset the connection, so that the peer does not take its end for a proper one.
void clinux_reset_on_close(int32_t socket);
clinux_endpoint clinux_local_endpoint(int32_t socket);
clinux_endpoint clinux_peer_endpoint(int32_t socket);

typedef struct {
    /// 0, or why the owner is not known; ENOENT: there is no such socket on this machine.
    int32_t error;
    uint32_t uid;
} clinux_socket_owner;

/// Who owns the socket at the other end of an accepted TCP connection of this machine, by
/// sock_diag(7). One question to the kernel, which answers at once.
clinux_socket_owner clinux_tcp_peer_owner(int32_t socket);
/// Who owns the socket that accepts connections to an address of this machine.
clinux_socket_owner clinux_tcp_listener_owner(uint64_t high, uint64_t low, uint16_t port);

typedef struct {
    uint64_t key;
    uint32_t events;
} clinux_event;

enum {
    clinux_readable = 0x1,
    clinux_writable = 0x4,
    clinux_error = 0x8,
    clinux_hung_up = 0x10,
    /// The peer has ended its sending side.
    clinux_peer_ended = 0x2000,
};

/// An epoll descriptor, or a negative errno.
int32_t clinux_epoll_create(void);
/// Adds a descriptor, told by `key`; 0 or errno. With `edge`, each change is told once.
int32_t clinux_epoll_add(int32_t epoll, int32_t descriptor, uint64_t key, bool edge);
/// Takes a descriptor out again; 0 or errno.
int32_t clinux_epoll_remove(int32_t epoll, int32_t descriptor);
/// Waits for events, at most so many milliseconds (-1: for ever); their number, 0 after an
/// interruption, or a negative errno.
int32_t clinux_epoll_wait(int32_t epoll, clinux_event *events, int32_t count, int32_t timeout);

/// A non-blocking eventfd, or a negative errno.
int32_t clinux_eventfd(void);
void clinux_eventfd_signal(int32_t descriptor);
void clinux_eventfd_clear(int32_t descriptor);
/// Names the calling thread, by its first 15 bytes.
void clinux_name_thread(const char *name);
/// A descriptor that stands for nothing, kept to be given up when there is none left; or a negative
/// errno.
int32_t clinux_reserve_descriptor(void);

// MARK: Names

typedef struct {
    /// The address in IPv6 form, IPv4 as RFC 4291 section 2.5.5.2.
    uint64_t high;
    uint64_t low;
} clinux_address;

/// Asks the system's resolver for the addresses of a host name, best first (RFC 6724). It blocks for
/// as long as name servers take. The number of addresses written, at most `count`, or the negative
/// of a code that `clinux_resolve_reason` explains.
int32_t clinux_resolve(const char *name, clinux_address *addresses, int32_t count);
/// What a code of `clinux_resolve`, made positive, means: a constant text.
const char *clinux_resolve_reason(int32_t code);

// MARK: Output

/// Writes all bytes to a descriptor, resuming after interruptions; 0 or errno.
int32_t clinux_write_all(int32_t descriptor, const void *bytes, size_t count);

#if defined(__clang__)
#pragma clang assume_nonnull end
#endif
