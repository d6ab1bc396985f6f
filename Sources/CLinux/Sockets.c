// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(
    clinux_readable == EPOLLIN && clinux_writable == EPOLLOUT && clinux_error == EPOLLERR
        && clinux_hung_up == EPOLLHUP && clinux_peer_ended == EPOLLRDHUP,
    "the header names epoll's bits"
);

#define IPV4_PREFIX 0x0000FFFF00000000ull

// MARK: Addresses

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
} address;

static bool is_ipv4(uint64_t high, uint64_t low) {
    return high == 0 && (low & 0xFFFFFFFF00000000ull) == IPV4_PREFIX;
}

static socklen_t fill(address *to, uint64_t high, uint64_t low, uint16_t port) {
    memset(to, 0, sizeof *to);
    if (is_ipv4(high, low)) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons(port);
        to->v4.sin_addr.s_addr = htonl((uint32_t)low);
        return sizeof to->v4;
    }
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons(port);
    for (int index = 0; index < 8; index++) {
        to->v6.sin6_addr.s6_addr[index] = (uint8_t)(high >> (56 - 8 * index));
        to->v6.sin6_addr.s6_addr[8 + index] = (uint8_t)(low >> (56 - 8 * index));
    }
    return sizeof to->v6;
}

static clinux_endpoint read_endpoint(const address *from) {
    clinux_endpoint endpoint = {0};
    switch (from->any.sa_family) {
    case AF_INET:
        endpoint.low = IPV4_PREFIX | ntohl(from->v4.sin_addr.s_addr);
        endpoint.port = ntohs(from->v4.sin_port);
        break;
    case AF_INET6:
        for (int index = 0; index < 8; index++) {
            endpoint.high = endpoint.high << 8 | from->v6.sin6_addr.s6_addr[index];
            endpoint.low = endpoint.low << 8 | from->v6.sin6_addr.s6_addr[8 + index];
        }
        endpoint.port = ntohs(from->v6.sin6_port);
        break;
    case AF_UNIX: break;
    default: endpoint.error = EAFNOSUPPORT;
    }
    return endpoint;
}

clinux_endpoint clinux_local_endpoint(int32_t socket) {
    address own = {0};
    socklen_t length = sizeof own;
    if (getsockname(socket, &own.any, &length) != 0) return (clinux_endpoint){.error = errno};
    return read_endpoint(&own);
}

clinux_endpoint clinux_peer_endpoint(int32_t socket) {
    address peer = {0};
    socklen_t length = sizeof peer;
    if (getpeername(socket, &peer.any, &length) != 0) return (clinux_endpoint){.error = errno};
    return read_endpoint(&peer);
}

// MARK: Stream sockets

// Closes and returns the error, which close would overwrite.
static int32_t failed(int descriptor) {
    int error = errno;
    if (descriptor >= 0) close(descriptor);
    return -error;
}

int32_t clinux_tcp_listen(uint64_t high, uint64_t low, uint16_t port, bool share, int32_t backlog) {
    address own;
    socklen_t length = fill(&own, high, low, port);
    int descriptor = socket(own.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    int one = 1, zero = 0;
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0) return failed(descriptor);
    if (share && setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
        return failed(descriptor);
    if (own.any.sa_family == AF_INET6 && high == 0 && low == 0
        && setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0)
        return failed(descriptor);
    if (bind(descriptor, &own.any, length) != 0 || listen(descriptor, backlog) != 0)
        return failed(descriptor);
    return descriptor;
}

int32_t clinux_tcp_connect(uint64_t high, uint64_t low, uint16_t port) {
    address peer;
    socklen_t length = fill(&peer, high, low, port);
    int descriptor = socket(peer.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    if (connect(descriptor, &peer.any, length) != 0 && errno != EINPROGRESS) return failed(descriptor);
    return descriptor;
}

int32_t clinux_unix_connect(const char *path) {
    address peer = {.local = {.sun_family = AF_UNIX}};
    size_t length = strlen(path);
    if (length >= sizeof peer.local.sun_path) return -ENAMETOOLONG;
    memcpy(peer.local.sun_path, path, length);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    if (connect(descriptor, &peer.any, sizeof peer.local) != 0) return failed(descriptor);
    return descriptor;
}

int32_t clinux_accept(int32_t listener) {
    int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int64_t clinux_receive(int32_t socket, void *bytes, size_t count) {
    ssize_t received;
    do {
        received = recv(socket, bytes, count, 0);
    } while (received < 0 && errno == EINTR);
    return received < 0 ? -errno : received;
}

int64_t clinux_send(int32_t socket, const void *bytes, size_t count) {
    ssize_t sent;
    do {
        sent = send(socket, bytes, count, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int32_t clinux_shutdown_write(int32_t socket) { return shutdown(socket, SHUT_WR) == 0 ? 0 : errno; }

int32_t clinux_socket_error(int32_t socket) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

void clinux_send_at_once(int32_t socket) {
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int32_t clinux_keep_alive(int32_t socket, int32_t idle, int32_t interval, int32_t probes) {
    int one = 1;
    if (setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) != 0
        || setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) != 0
        || setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) != 0
        || setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) != 0)
        return errno;
    return 0;
}

void clinux_reset_on_close(int32_t socket) {
    struct linger now = {.l_onoff = 1};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

// MARK: The owner of a local socket

// The address in network order, as the kernel compares it.
static void put_address(__be32 to[4], const address *from) {
    if (from->any.sa_family == AF_INET) {
        to[0] = from->v4.sin_addr.s_addr;
    } else {
        memcpy(to, &from->v6.sin6_addr, 16);
    }
}

static __be16 port_of(const address *of) {
    return of->any.sa_family == AF_INET ? of->v4.sin_port : of->v6.sin6_port;
}

// A client that speaks IPv4 has an IPv4 socket, also when ours is one of IPv6.
static void unmap(address *mapped) {
    if (mapped->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&mapped->v6.sin6_addr)) return;
    address plain = {.v4 = {.sin_family = AF_INET, .sin_port = mapped->v6.sin6_port}};
    memcpy(&plain.v4.sin_addr, mapped->v6.sin6_addr.s6_addr + 12, 4);
    *mapped = plain;
}

static address mapped(const address *plain) {
    address result;
    fill(&result, 0, 0, ntohs(plain->v4.sin_port));
    result.v6.sin6_addr.s6_addr[10] = result.v6.sin6_addr.s6_addr[11] = 0xFF;
    memcpy(result.v6.sin6_addr.s6_addr + 12, &plain->v4.sin_addr, 4);
    return result;
}

static clinux_socket_owner ask_owner(
    int netlink, const address *from, const address *to, bool wants_listener
) {
    clinux_socket_owner owner = {0};
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } question = {
        .header =
            {.nlmsg_len = sizeof question,
             .nlmsg_type = SOCK_DIAG_BY_FAMILY,
             .nlmsg_flags = NLM_F_REQUEST},
        .body = {
            .sdiag_family = (uint8_t)from->any.sa_family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u,
            .id = {.idiag_sport = port_of(from),
                   .idiag_dport = port_of(to),
                   .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
        },
    };
    put_address(question.body.id.idiag_src, from);
    put_address(question.body.id.idiag_dst, to);
    if (send(netlink, &question, sizeof question, 0) != sizeof question) {
        owner.error = errno;
        return owner;
    }
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    ssize_t count = recv(netlink, &answer, sizeof answer, 0);
    if (count < (ssize_t)sizeof answer.header || !NLMSG_OK(&answer.header, (uint32_t)count)) {
        owner.error = count < 0 ? errno : EPROTO;
    } else if (answer.header.nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr *error = NLMSG_DATA(&answer.header);
        owner.error = error->error < 0 ? -error->error : EPROTO;
    } else if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY
               || answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg))) {
        owner.error = EPROTO;
    } else {
        struct inet_diag_msg *found = NLMSG_DATA(&answer.header);
        // The kernel may tell of a listener when there is no connection, and it shows user 0 for a
        // connection that nobody holds: then there is no inode. Who has ended his sending side
        // already still holds his socket.
        bool is_connection = found->id.idiag_dport == port_of(to)
            && (found->idiag_state == TCP_ESTABLISHED || found->idiag_state == TCP_FIN_WAIT1
                || found->idiag_state == TCP_FIN_WAIT2);
        bool is_it = found->id.idiag_sport == port_of(from) && found->idiag_inode != 0
            && (wants_listener ? found->idiag_state == TCP_LISTEN : is_connection);
        owner.error = is_it ? 0 : ENOENT;
        owner.uid = found->idiag_uid;
    }
    return owner;
}

// Asks for a socket of this machine by its own address and its peer's.
static clinux_socket_owner find_owner(address from, address to, bool wants_listener) {
    unmap(&from);
    unmap(&to);
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (netlink < 0) return (clinux_socket_owner){.error = errno};
    clinux_socket_owner owner = ask_owner(netlink, &from, &to, wants_listener);
    if (owner.error == ENOENT && from.any.sa_family == AF_INET) {
        // An IPv6 socket may speak IPv4.
        address mapped_from = mapped(&from), mapped_to = mapped(&to);
        owner = ask_owner(netlink, &mapped_from, &mapped_to, wants_listener);
    }
    close(netlink);
    return owner;
}

clinux_socket_owner clinux_tcp_peer_owner(int32_t socket) {
    address own = {0}, peer = {0};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    if (getsockname(socket, &own.any, &own_length) != 0
        || getpeername(socket, &peer.any, &peer_length) != 0)
        return (clinux_socket_owner){.error = errno};
    if (own.any.sa_family != AF_INET && own.any.sa_family != AF_INET6)
        return (clinux_socket_owner){.error = EAFNOSUPPORT};
    return find_owner(peer, own, false);
}

clinux_socket_owner clinux_tcp_listener_owner(uint64_t high, uint64_t low, uint16_t port) {
    address listener, nobody;
    fill(&listener, high, low, port);
    // The kernel looks for who would answer a packet from there.
    fill(&nobody, is_ipv4(high, low) ? 0 : high, is_ipv4(high, low) ? IPV4_PREFIX : low, 0);
    return find_owner(listener, nobody, true);
}

// MARK: Readiness

int32_t clinux_epoll_create(void) {
    int descriptor = epoll_create1(EPOLL_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int32_t clinux_epoll_add(int32_t epoll, int32_t descriptor, uint64_t key, bool edge) {
    struct epoll_event event = {
        .events = edge ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN,
        .data = {.u64 = key},
    };
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : errno;
}

int32_t clinux_epoll_remove(int32_t epoll, int32_t descriptor) {
    return epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL) == 0 ? 0 : errno;
}

int32_t clinux_epoll_wait(int32_t epoll, clinux_event *events, int32_t count, int32_t timeout) {
    struct epoll_event found[256];
    int32_t most = (int32_t)(sizeof found / sizeof *found);
    int number = epoll_wait(epoll, found, count < most ? count : most, timeout);
    if (number < 0) return errno == EINTR ? 0 : -errno;
    for (int index = 0; index < number; index++)
        events[index] = (clinux_event){found[index].data.u64, found[index].events};
    return number;
}

int32_t clinux_eventfd(void) {
    int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

void clinux_eventfd_signal(int32_t descriptor) { eventfd_write(descriptor, 1); }

void clinux_eventfd_clear(int32_t descriptor) {
    eventfd_t value;
    eventfd_read(descriptor, &value);
}

void clinux_name_thread(const char *name) { prctl(PR_SET_NAME, name); }

int32_t clinux_reserve_descriptor(void) {
    int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

// MARK: Names

int32_t clinux_resolve(const char *name, clinux_address *addresses, int32_t count) {
    struct addrinfo hints = {0};
    hints.ai_family = AF_UNSPEC;
    // Else each address comes once for each kind of socket.
    hints.ai_socktype = SOCK_STREAM;
    struct addrinfo *found = NULL;
    int code = getaddrinfo(name, NULL, &hints, &found);
    // glibc's codes are negative, those of other libraries are not.
    if (code != 0) return code < 0 ? code : -code;
    int32_t written = 0;
    for (struct addrinfo *next = found; next != NULL && written < count; next = next->ai_next) {
        address one;
        if (next->ai_addrlen > sizeof one) continue;
        memcpy(&one, next->ai_addr, next->ai_addrlen);
        clinux_endpoint endpoint = read_endpoint(&one);
        if (endpoint.error != 0) continue;
        addresses[written].high = endpoint.high;
        addresses[written].low = endpoint.low;
        written++;
    }
    freeaddrinfo(found);
    return written;
}

const char *clinux_resolve_reason(int32_t code) {
    return gai_strerror(EAI_NONAME < 0 ? -code : code);
}
