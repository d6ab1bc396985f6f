#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client that asks again and again over connections that stay open, and counts.

  load.py unix SOCKET [PATH]        through the Unix socket of an outbound listener
  load.py tcp HOST:PORT [PATH]      through its TCP port
  load.py mtls HOST:PORT DIR [PATH] straight to an inbound listener, with svid.pem, svid_key.pem and
                                    bundle.pem of DIR (signet svid fetch --write-dir): what a thief
                                    of the key does

Options before these: --clients N (1), --pause SECONDS between requests (0.002), --expect STATUS
(200), --tell N: say "told" and the number at every Nth expected answer, --drain: a connection that is
refused after one was closed in order is the end, no failure.

It says "running" when every client has had an expected answer, "all failed" when every client has
had a failure, and ends on SIGTERM or SIGINT with one line of JSON: requests with the expected
status, failures with the first of them, connections, and when the last expected answer came (Unix
time, and seconds of CLOCK_BOOTTIME, which nobody sets). Exit status 1 if anything failed.
"""
import argparse
import http.client
import json
import signal
import socket
import ssl
import sys
import threading
import time

TIMEOUT = 10


class Count:
    """What all clients together have seen."""

    def __init__(self, clients, tell):
        self.tell = tell
        self.lock = threading.Lock()
        self.waiting = set(range(clients))
        self.unharmed = set(range(clients))
        self.requests = self.failures = self.connections = 0
        self.first_failure = None
        self.last_success = self.last_success_boot = 0.0
        self.stopped = threading.Event()

    def succeeded(self, client):
        with self.lock:
            self.requests += 1
            self.last_success = time.time()
            self.last_success_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
            if self.tell and self.requests % self.tell == 0:
                print("told %d" % self.requests, flush=True)
            if client in self.waiting:
                self.waiting.remove(client)
                if not self.waiting:
                    print("running", flush=True)

    def failed(self, client, reason):
        with self.lock:
            self.failures += 1
            if self.first_failure is None:
                self.first_failure = {"time": time.time(), "reason": reason}
            if client in self.unharmed:
                self.unharmed.remove(client)
                if not self.unharmed:
                    print("all failed", flush=True)

    def connected(self):
        with self.lock:
            self.connections += 1

    def line(self):
        return json.dumps(
            {
                "requests": self.requests,
                "failures": self.failures,
                "firstFailure": self.first_failure,
                "connections": self.connections,
                "lastSuccess": self.last_success,
                "lastSuccessBoot": self.last_success_boot,
            }
        )


class Connection(http.client.HTTPConnection):
    """HTTP over whatever `dial` opens."""

    def __init__(self, host, dial, count):
        super().__init__(host, timeout=TIMEOUT)
        self.dial, self.count = dial, count

    def connect(self):
        self.sock = self.dial()
        self.count.connected()


def unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def tcp(host, port):
    connection = socket.create_connection((host, int(port)), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tls(directory):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # SPIFFE knows peers by URI, not by host name; whom it talks to is of no concern here.
    context.check_hostname = False
    context.load_verify_locations(directory + "/bundle.pem")
    context.load_cert_chain(directory + "/svid.pem", directory + "/svid_key.pem")
    return context


def dialer(options):
    """How a connection is opened, and what is asked for on it."""
    rest = options.rest
    if options.way == "unix":
        return (lambda: unix(options.place)), rest[0] if rest else "/"
    host, port = options.place.rsplit(":", 1)
    if options.way == "tcp":
        return (lambda: tcp(host, port)), rest[0] if rest else "/"
    context = tls(rest[0])
    return (lambda: context.wrap_socket(tcp(host, port))), rest[1] if len(rest) > 1 else "/"


def run(number, count, options, dial, path):
    connection = Connection("backend", dial, count)
    was_closed_in_order = False
    while not count.stopped.is_set():
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            # http.client connects again by itself after an answer that announces the end.
            was_closed_in_order = connection.sock is None
            if answer.status == options.expect:
                count.succeeded(number)
            else:
                count.failed(number, "status %d" % answer.status)
        except (OSError, http.client.HTTPException) as error:
            is_refused = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
            connection.close()
            if options.drain and was_closed_in_order and is_refused:
                return
            count.failed(number, "%s: %s" % (type(error).__name__, error))
        count.stopped.wait(options.pause)
    connection.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--expect", type=int, default=200)
    parser.add_argument("--tell", type=int, default=0)
    parser.add_argument("--drain", action="store_true")
    parser.add_argument("way", choices=["unix", "tcp", "mtls"])
    parser.add_argument("place")
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    count = Count(options.clients, options.tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: count.stopped.set())
    dial, path = dialer(options)
    clients = [
        threading.Thread(target=run, args=(client, count, options, dial, path))
        for client in range(options.clients)
    ]
    for client in clients:
        client.start()
    # In steps: a thread that is waited for without end keeps signals from being seen.
    while any(client.is_alive() for client in clients):
        for client in clients:
            client.join(0.05)
    print(count.line(), flush=True)
    return 1 if count.failures or not count.requests else 0


if __name__ == "__main__":
    sys.exit(main())
