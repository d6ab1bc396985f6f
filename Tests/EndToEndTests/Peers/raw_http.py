# SPDX-License-Identifier: Apache-2.0
"""Bytes as they are: raw_http.py unix SOCKET BYTES..., or raw_http.py mtls HOST:PORT DIR BYTES...

BYTES has \\r, \\n and \\xHH written out; further ones are sent when something has come back. What
comes back until the other end closes, or is silent for two seconds, is printed.
"""
import os
import socket
import ssl
import sys

SILENCE = 2
PATIENCE = 10


def unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(SILENCE)
    connection.connect(path)
    return connection


def mtls(place, directory):
    host, port = place.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(os.path.join(directory, "bundle.pem"))
    context.load_cert_chain(
        os.path.join(directory, "svid.pem"), os.path.join(directory, "svid_key.pem")
    )
    plain = socket.create_connection((host, int(port)), SILENCE)
    return context.wrap_socket(plain)


def main():
    way, *rest = sys.argv[1:]
    if way == "unix":
        connection, texts = unix(rest[0]), rest[1:]
    else:
        connection, texts = mtls(*rest[:2]), rest[2:]
    texts = [t.encode("latin-1").decode("unicode_escape").encode("latin-1") for t in texts]
    answer = b""
    connection.sendall(texts[0])
    try:
        for text in texts[1:]:
            connection.settimeout(PATIENCE)
            answer += connection.recv(65536)
            connection.settimeout(SILENCE)
            connection.sendall(text)
        while part := connection.recv(65536):
            answer += part
    except (TimeoutError, ConnectionResetError, ssl.SSLError):
        pass
    print(answer.decode("latin-1"))


main()
