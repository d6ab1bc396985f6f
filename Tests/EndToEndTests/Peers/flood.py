# SPDX-License-Identifier: Apache-2.0
"""Too much of everything on the Workload API: flood.py NAME.

Each flood ends with a call that must still be answered.
"""
import os
import resource
import socket
import sys
import threading
import time

import grpc

import workload_api as api
from workload_api import channel, code, expect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# Of one user at once (docs/operations.md, ConnectionLimits.local).
CONNECTIONS_MAX = 1024
STREAMS_MAX = 64


def address():
    return os.environ["SPIFFE_ENDPOINT_SOCKET"].removeprefix("unix://")


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(api.PATIENCE)
    connection.connect(address())
    return connection


def is_served(connection):
    """Whether the server speaks HTTP/2 on it, rather than to close it."""
    try:
        connection.sendall(PREFACE + SETTINGS)
        return len(connection.recv(9)) > 0
    except (BrokenPipeError, ConnectionResetError):
        return False


def answers():
    """A process that may connect gets what it gets without a flood."""
    with channel() as connection:
        return code(connection, "FetchX509SVID")


def connections():
    """One user takes all its connections; further ones are closed, then there is room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = []
    refused = 0
    for _ in range(CONNECTIONS_MAX + 50):
        connection = connect()
        if is_served(connection):
            held.append(connection)
        else:
            refused += 1
            connection.close()
    assert refused >= 50, "only %d connections were refused, %d were held" % (refused, len(held))
    assert len(held) >= CONNECTIONS_MAX - 10, "%d connections were held" % len(held)
    api.say("full")
    for connection in held:
        connection.close()
    end = time.monotonic() + api.PATIENCE
    while answers() != "OK":
        assert time.monotonic() < end, "no room after the flood"
        time.sleep(0.05)


def mute():
    """Connections that never speak are closed, and hinder nobody meanwhile."""
    held = [connect() for _ in range(100)]
    expect(answers(), "OK")
    for connection in held:
        # The server may send its settings first; the end of the stream must come.
        while connection.recv(4096):
            pass


def nonsense():
    """Bytes that are no HTTP/2 end their connection and nothing else."""
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 1000, os.urandom(4096),
                 PREFACE + b"\xff" * 64,
                 # Headers on stream 0 (RFC 9113 section 6.2).
                 PREFACE + SETTINGS + b"\x00\x00\x04\x01\x05\x00\x00\x00\x00abcd"):
        connection = connect()
        try:
            connection.sendall(text)
            while connection.recv(4096):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        connection.close()
    expect(answers(), "OK")


def streams():
    """Streams beyond the limit of a connection wait in the client; those inside are served."""
    messages, services = api.stubs()
    with channel() as connection:
        stub = services.SpiffeWorkloadAPIStub(connection)
        held = []
        for _ in range(STREAMS_MAX):
            call = stub.FetchX509SVID(messages.X509SVIDRequest(), metadata=api.HEADER)
            next(call)
            held.append(call)
        try:
            api.raw(connection, "FetchX509SVID", timeout=1)
            raise AssertionError("stream %d was served" % (STREAMS_MAX + 1))
        except grpc.RpcError as error:
            expect(error.code().name, "DEADLINE_EXCEEDED")
        # Others are not held up.
        expect(answers(), "OK")
        for call in held:
            call.cancel()
        expect(code(connection, "FetchX509SVID"), "OK")


def resets():
    """Streams opened and cancelled at once, many times (the pattern of CVE-2023-44487)."""
    messages, services = api.stubs()

    def hammer():
        with channel() as connection:
            stub = services.SpiffeWorkloadAPIStub(connection)
            for _ in range(300):
                stub.FetchX509SVID(messages.X509SVIDRequest(), metadata=api.HEADER).cancel()

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(answers(), "OK")


def large():
    """A request larger than any that is right."""
    with channel() as connection:
        found = code(connection, "FetchX509SVID", request=b"\x0a" + b"x" * (1 << 20))
        assert found != "OK", found
        headers = api.HEADER + tuple(("x-%d" % index, "y" * 1000) for index in range(100))
        found = code(connection, "FetchX509SVID", metadata=headers)
        assert found != "OK", found
    expect(answers(), "OK")


globals()[sys.argv[1]]()
