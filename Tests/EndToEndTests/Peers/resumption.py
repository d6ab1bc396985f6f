# SPDX-License-Identifier: Apache-2.0
"""Offers a TLS session again: resumption.py HOST:PORT DIR, with the files of an identity in DIR.

Two connections each: to the proxy at HOST:PORT, and to a server of its own that resumes sessions,
which shows that this client does. One line for each of the two: whether there was a ticket, whether
the session was reused, and the status of both answers.
"""
import os
import socket
import ssl
import sys
import threading

PATIENCE = 10
REQUEST = b"GET /hello HTTP/1.1\r\nHost: backend\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def files(directory, *names):
    return [os.path.join(directory, name) for name in names]


def ask(context, place, session=None):
    """The session of a connection, whether it was an old one, and the answer's status."""
    host, port = place.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), PATIENCE)
    with context.wrap_socket(plain, session=session) as connection:
        connection.sendall(REQUEST)
        # Tickets come before the answer.
        status = connection.recv(65536).split(b" ")[1].decode()
        return connection.session, connection.session_reused, status


def ask_twice(name, context, place):
    session, _, first = ask(context, place)
    _, reused, second = ask(context, place, session)
    ticket = session is not None and session.has_ticket
    print("%s: ticket %s, reused %s, %s %s" % (name, ticket, reused, first, second), flush=True)


def serve(listener, directory):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files(directory, "svid.pem", "svid_key.pem"))
    for _ in range(2):
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(ANSWER)


def main():
    place, directory = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(*files(directory, "bundle.pem"))
    context.load_cert_chain(*files(directory, "svid.pem", "svid_key.pem"))
    ask_twice("proxy", context, place)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, directory), daemon=True).start()
    ask_twice("control", context, "127.0.0.1:%d" % listener.getsockname()[1])


main()
