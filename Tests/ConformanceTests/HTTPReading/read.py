#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows how nginx and HAProxy read requests: usage: read.py CASES FOLDER

Each case of the file CASES is sent to both, which pass it on to a server of this program; what
arrives there is their reading. Everything goes over Unix sockets in FOLDER. One JSON object per
case is printed: name, bytes, and for each proxy the requests that it passed on, whole ones only, with
method, path, query, host and body as the proxy understood them.
"""
import asyncio
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

# A proxy that waits for the rest of a request gives up after a second; all cases wait together.
PROXY_SECONDS = 1
# After that something hangs.
CASE_SECONDS_MAX = 20
REQUEST = ["method", "path", "query", "host", "body", "line"]
PROXIES = {"nginx": "n", "haproxy": "h"}

NGINX = """
daemon off;
master_process off;
{user}
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    client_header_timeout {seconds}s; client_body_timeout {seconds}s; keepalive_timeout {seconds}s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Read-Method $request_method;
    proxy_set_header X-Read-Path $uri;
    proxy_set_header X-Read-Query $args;
    proxy_set_header X-Read-Host $host;
{servers}
}}
"""
HAPROXY = """
global
    maxconn 2000
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout server 5s
    timeout client {seconds}s
    timeout http-request {seconds}s
    timeout http-keep-alive {seconds}s
{servers}
"""


def cases(path):
    for line in pathlib.Path(path).read_text(encoding="ascii").splitlines():
        if not line or line.startswith("#"):
            continue
        name, text = line.split(" | ", 1)
        raw = text.replace("~", "\\r\\n").encode().decode("unicode_escape").encode("latin-1")
        yield name, raw


def write_configurations(folder, count):
    nginx, haproxy = [], []
    for number in range(count):
        nginx.append(
            f"    server {{ listen unix:{folder}/n{number}; location / "
            f"{{ proxy_pass http://unix:{folder}/nb{number}:; }} }}")
        haproxy.append(
            f"listen l{number}\n    bind unix@{folder}/h{number}\n"
            "    http-request set-header x-read-method %[method]\n"
            "    http-request set-header x-read-path %[path]\n"
            "    http-request set-header x-read-query %[query]\n"
            "    http-request set-header x-read-host %[req.hdr(host)]\n"
            f"    server s unix@{folder}/hb{number}")
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(
        folder=folder, seconds=PROXY_SECONDS, user=user, servers="\n".join(nginx)))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(
        seconds=PROXY_SECONDS, servers="\n".join(haproxy)))


def program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        sys.exit(f"{name} is not installed; run: make setup")
    return path


async def body_of(reader, fields):
    """The content of a request that a proxy wrote, thus plain."""
    if "chunked" in fields.get("transfer-encoding", "").lower():
        content = b""
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                while await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return content
            content += (await reader.readexactly(size + 2))[:-2]
    return await reader.readexactly(int(fields.get("content-length", "0")))


def serve(requests):
    async def connected(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {}
                for line in head[1:-2]:
                    name, _, value = line.partition(":")
                    fields[name.lower()] = value.strip()
                body = await body_of(reader, fields)
                # Percent signs and bytes beyond ASCII stay as they are.
                requests.append({
                    "method": fields.get("x-read-method", ""),
                    "path": fields.get("x-read-path", ""),
                    "query": fields.get("x-read-query", ""),
                    "host": fields.get("x-read-host", ""),
                    "body": body.hex(),
                    "line": head[0],
                })
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        except ValueError as error:
            # A proxy has passed on what is no request, for example a chunk's size that is none.
            requests.append(dict.fromkeys(REQUEST, "") | {"line": f"unreadable: {error}"})
        finally:
            writer.close()
    return connected


async def ask(path, raw):
    """Sends a case and waits until the proxy has no more to say.

    Returns the statuses of its answers.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    answer = b""
    try:
        await writer.drain()
        answer = await reader.read(-1)
    except ConnectionError:
        pass
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


async def started(folder, children, last):
    """Waits until both listen on the last socket that they open."""
    while not all((folder / f"{letter}{last}").exists() for letter in PROXIES.values()):
        for child in children:
            if child.poll() is not None:
                sys.exit(f"{child.args[0]} ended with status {child.returncode}")
        await asyncio.sleep(0.02)


async def main():
    folder = pathlib.Path(sys.argv[2]).resolve()
    all_cases = list(cases(sys.argv[1]))
    write_configurations(folder, len(all_cases))
    seen, servers = {}, []
    for letter in PROXIES.values():
        for number in range(len(all_cases)):
            seen[letter, number] = []
            servers.append(await asyncio.start_unix_server(
                serve(seen[letter, number]), f"{folder}/{letter}b{number}"))
    children = [
        subprocess.Popen(command, stdout=sys.stderr) for command in (
            [program("nginx"), "-c", f"{folder}/nginx.conf", "-p", str(folder)],
            [program("haproxy"), "-db", "-f", f"{folder}/haproxy.cfg"],
        )
    ]
    try:
        await asyncio.wait_for(started(folder, children, len(all_cases) - 1), CASE_SECONDS_MAX)
        keys = list(seen)
        statuses = dict(zip(keys, await asyncio.wait_for(asyncio.gather(*[
            ask(f"{folder}/{letter}{number}", all_cases[number][1]) for letter, number in keys
        ]), CASE_SECONDS_MAX)))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        # Their connections to the servers end with them; so do the tasks that read from there.
        while any(not task.done() for task in asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.sleep(0.02)
    for number, (name, raw) in enumerate(all_cases):
        print(json.dumps({"name": name, "bytes": raw.hex()} | {
            proxy: {"statuses": statuses[letter, number], "requests": seen[letter, number]}
            for proxy, letter in PROXIES.items()
        }))


if __name__ == "__main__":
    asyncio.run(main())
