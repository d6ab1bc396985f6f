# SPDX-License-Identifier: Apache-2.0
"""The Workload API for tests: stubs made from Signet's own .proto, and raw calls beside them."""
import os
import sys
import tempfile

import grpc

HEADER = (("workload.spiffe.io", "true"),)
# Every method of the service, and whether its answer is a stream.
METHODS = {
    "FetchX509SVID": True,
    "FetchX509Bundles": True,
    "FetchJWTSVID": False,
    "FetchJWTBundles": True,
    "ValidateJWTSVID": False,
    "FetchWITSVID": True,
    "FetchWITBundles": True,
}
PATIENCE = 30


def proto_arguments():
    import grpc_tools

    own = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    return ["protoc", "-I", os.environ["SIGNET_PROTOS"], "-I", own]


def stubs():
    """The generated messages and services."""
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="stubs-", dir=os.getcwd())
    status = protoc.main(
        proto_arguments()
        + ["--python_out=" + out, "--grpc_python_out=" + out, "workload.proto"])
    assert status == 0, "workload.proto does not compile"
    sys.path.insert(0, out)
    import workload_pb2
    import workload_pb2_grpc

    return workload_pb2, workload_pb2_grpc


def channel():
    target = os.environ["SPIFFE_ENDPOINT_SOCKET"]
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost"))
    return grpc.insecure_channel(target, options=options)


def raw(connection, method, metadata=HEADER, request=b"", streams=True, timeout=PATIENCE):
    """Calls a method by its path with bytes; returns the first answer's bytes."""
    path = method if method.startswith("/") else "/SpiffeWorkloadAPI/" + method
    if streams:
        call = connection.unary_stream(path)(request, metadata=metadata, timeout=timeout)
        try:
            for answer in call:
                return answer
            return b""
        finally:
            call.cancel()
    return connection.unary_unary(path)(request, metadata=metadata, timeout=timeout)


def code(connection, method, **arguments):
    """The status of a call: OK when it was answered."""
    try:
        raw(connection, method, **arguments)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def expect(found, wanted, what=""):
    if found != wanted:
        raise AssertionError("%s: found %r, expected %r" % (what, found, wanted))


def say(text):
    """Tells the test, which waits for the line."""
    print(text, flush=True)

