# SPDX-License-Identifier: Apache-2.0
"""Is a service that is shown tokens: delegating.py PATH TOKENS AUDIENCE [NEXT_AUDIENCE NEXT_PATH].

It listens at the Unix socket PATH and asks its agent at the socket TOKENS. What it is shown it
introspects as AUDIENCE; "-" stands for none, as for who is shown a JWT-SVID. With NEXT_PATH it
exchanges the token for NEXT_AUDIENCE and calls the service there. It answers with a list of what
introspection said at itself and then at those behind it, or with the first refusal.
"""
import base64
import http.client
import http.server
import json
import socket
import socketserver
import sys
import urllib.parse

PATH, TOKENS, AUDIENCE = sys.argv[1:4]
NEXT_AUDIENCE, NEXT_PATH = sys.argv[4:6] if len(sys.argv) > 4 else (None, None)


class Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, *request):
        self.request(*request)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())


def post(place, form):
    head = {"Signet-Workload": "true", "Content-Type": "application/x-www-form-urlencoded"}
    return Connection(TOKENS).ask("POST", place, urllib.parse.urlencode(form), head)


def exchange(token):
    header = token.split(".")[0]
    members = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    kind = "access_token" if members.get("typ") == "at+jwt" else "jwt"
    return post("/token", {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:" + kind,
        "subject_token": token,
        "audience": NEXT_AUDIENCE,
    })


def judged(token):
    said = None
    if AUDIENCE != "-":
        status, said = post("/introspect", {"token": token, "audience": AUDIENCE})
        if status != 200 or not said["active"]:
            return 401, said
    if NEXT_PATH is None:
        return 200, [said]
    status, answer = exchange(token)
    if status != 200:
        return status, answer
    head = {"Authorization": "Bearer " + answer["access_token"]}
    status, rest = Connection(NEXT_PATH).ask("GET", "/", None, head)
    return status, [said] + rest if status == 200 else rest


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, answer = judged(self.headers["Authorization"].removeprefix("Bearer "))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # A Unix socket has no address of a client to tell.


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


with Server(PATH, Handler) as server:
    print("listening", flush=True)
    server.serve_forever()
