# SPDX-License-Identifier: Apache-2.0
"""One TCP stream through proxies: stream.py serve PORT, or stream.py hold SOCKET, or once SOCKET.

`serve` and `hold` say "open" when a line has come through, and "ended at" with the seconds of
CLOCK_BOOTTIME when the stream ends in whatever way; neither ends it. `serve` says "listening" first and takes one stream after the other.
`once` sends a line, ends its side, and writes what comes back until the other side has ended.
"""
import socket
import sys
import time


def wait_for_end(connection):
    print("open", flush=True)
    try:
        while connection.recv(4096):
            pass
    except OSError:
        pass
    print("ended at %.6f" % time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)


def serve(port):
    listener = socket.create_server(("127.0.0.1", int(port)))
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(4096))
            wait_for_end(connection)


def hold(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(b"hello\n")
    if connection.recv(4096):
        wait_for_end(connection)
    else:
        print("refused", flush=True)


def once(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"hello\n")
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(4096):
            print(part.decode(), end="", flush=True)
    print("ended", flush=True)


{"serve": serve, "hold": hold, "once": once}[sys.argv[1]](sys.argv[2])
