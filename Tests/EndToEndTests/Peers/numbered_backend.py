# SPDX-License-Identifier: Apache-2.0
"""A web service that numbers its connections: numbered_backend.py PORT, on 127.0.0.1.

It writes one line for each head, the number of its connection and the request line, and "NUMBER
cut" when the body of a request ends before it is whole. It says "listening" first, and answers a
request when it has all of it, chunked or without a body.
"""
import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


class Requests:
    """What comes on one connection."""

    def __init__(self, number, connection):
        self.number, self.connection, self.data = number, connection, b""

    def say(self, words):
        print(self.number, words, flush=True)

    def through(self, mark):
        """Everything before a mark; None if the connection ends before that."""
        while mark not in self.data:
            try:
                part = self.connection.recv(65536)
            except OSError:
                part = b""
            if not part:
                return None
            self.data += part
        found, self.data = self.data.split(mark, 1)
        return found

    def serve(self):
        while (head := self.through(b"\r\n\r\n")) is not None:
            line, *fields = head.decode().lower().split("\r\n")
            self.say(head.decode().split("\r\n")[0])
            if any(field.startswith("expect:") for field in fields):
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            chunked = any(field.startswith("transfer-encoding:") for field in fields)
            if chunked and self.through(b"0\r\n\r\n") is None:
                self.say("cut")
                return
            self.connection.sendall(ANSWER)


def serve(number, connection):
    with connection:
        try:
            Requests(number, connection).serve()
        except OSError:
            pass


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print("listening", flush=True)
    number = 0
    while True:
        connection, _ = listener.accept()
        number += 1
        threading.Thread(target=serve, args=(number, connection), daemon=True).start()


main()
