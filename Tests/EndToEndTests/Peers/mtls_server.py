# SPDX-License-Identifier: Apache-2.0
"""A server of mTLS with the files of a folder, as svid fetch writes them: mtls_server.py PORT DIR.

It says "listening" first, then "refused" for each client that does not believe it, and "asked" for
each request, which it answers.
"""
import os
import socket
import ssl
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


def serve(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return
        data += part
    print("asked", flush=True)
    connection.sendall(ANSWER)


def main(port, directory):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(directory, "svid.pem"), os.path.join(directory, "svid_key.pem")
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(os.path.join(directory, "bundle.pem"))
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", int(port)))
    print("listening", flush=True)
    while True:
        plain, _ = listener.accept()
        plain.settimeout(10)
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                serve(connection)
        except OSError as error:
            print("refused:", error, flush=True)


main(*sys.argv[1:])
