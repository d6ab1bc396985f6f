# SPDX-License-Identifier: Apache-2.0
"""A Workload API server that answers badly: fake_agent.py SOCKET DEFECT.

It takes a good answer from the real agent and spoils one field: of an X.509-SVID, or of a JWT-SVID
when the defect begins with "token:".
"""
import sys
import threading
from concurrent import futures

import grpc

import workload_api as api

messages, services = api.stubs()
socket, defect = sys.argv[1:]

request = messages.X509SVIDRequest()
with api.channel() as connection:
    stub = services.SpiffeWorkloadAPIStub(connection)
    call = stub.FetchX509SVID(request, metadata=api.HEADER, timeout=api.PATIENCE)
    good = next(call)
    call.cancel()
    good_token = None
    if defect.startswith("token:"):
        good_token = stub.FetchJWTSVID(
            messages.JWTSVIDRequest(audience=["api"]), metadata=api.HEADER, timeout=api.PATIENCE)


def spoiled_token():
    answer = messages.JWTSVIDResponse.FromString(good_token.SerializeToString())
    field = defect.removeprefix("token:")
    if field == "empty":
        del answer.svids[:]
    elif field != "none":
        answer.svids[0].ClearField(field)
    return answer


def spoiled():
    answer = messages.X509SVIDResponse.FromString(good.SerializeToString())
    if defect == "empty":
        del answer.svids[:]
    elif defect != "none":
        answer.svids[0].ClearField(defect)
    return answer


class Fake(services.SpiffeWorkloadAPIServicer):
    def FetchX509SVID(self, request, context):
        yield spoiled()
        while context.is_active():
            context_done.wait(0.05)

    def FetchJWTSVID(self, request, context):
        return spoiled_token()


context_done = threading.Event()
server = grpc.server(futures.ThreadPoolExecutor(4))
services.add_SpiffeWorkloadAPIServicer_to_server(Fake(), server)
assert server.add_insecure_port("unix://" + socket)
server.start()
api.say("ready")
server.wait_for_termination()
