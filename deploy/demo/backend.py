#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A web service that knows nothing of Signet: backend.py PORT, on 127.0.0.1, or backend.py SOCKET.

It answers each request with what its proxy says of the client (x-forwarded-client-cert), and writes
one line for each to standard output. It says "listening" when it does.
"""
import os
import socket
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        says = self.headers.get("x-forwarded-client-cert", "nothing")
        text = "hello from the backend; the proxy says of you: %s\n" % says
        print(self.command, self.path, len(body), says, flush=True)
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        # Not HTTPServer's: a path has no host name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "backend", 0

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("client", 0)


def main():
    place = sys.argv[1]
    if place.isdigit():
        server = ThreadingHTTPServer(("127.0.0.1", int(place)), Handler)
    else:
        if os.path.exists(place):
            os.unlink(place)
        server = UnixServer(place, Handler)
    server.daemon_threads = True
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
