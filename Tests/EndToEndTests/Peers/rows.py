# SPDX-License-Identifier: Apache-2.0
"""Checks of the Workload API by a foreign gRPC library: rows.py NAME [ARGUMENTS].

Each check is a function; the process ends with 0 when it holds.
"""
import os
import subprocess
import sys

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import workload_api as api
from workload_api import METHODS, channel, code, expect, say


def certificates(der):
    """Concatenated DER, as the API gives it."""
    found = []
    while der:
        assert der[0] == 0x30, "not a certificate"
        if der[1] < 0x80:
            size = 2 + der[1]
        else:
            count = der[1] & 0x7F
            size = 2 + count + int.from_bytes(der[2 : 2 + count], "big")
        found.append(x509.load_der_x509_certificate(der[:size]))
        der = der[size:]
    return found


def uris(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


class Caller:
    """A workload with generated stubs."""

    def __init__(self):
        self.messages, services = api.stubs()
        self.connection = channel()
        self.stub = services.SpiffeWorkloadAPIStub(self.connection)

    def svids(self, timeout=api.PATIENCE):
        request = self.messages.X509SVIDRequest()
        return self.stub.FetchX509SVID(request, metadata=api.HEADER, timeout=timeout)

    def bundles(self, timeout=api.PATIENCE):
        request = self.messages.X509BundlesRequest()
        return self.stub.FetchX509Bundles(request, metadata=api.HEADER, timeout=timeout)

    def first(self):
        call = self.svids()
        try:
            return next(call)
        finally:
            call.cancel()


def header():
    """E-2: exactly one header with exactly the value, for every method."""
    name = "workload.spiffe.io"
    wrong = {
        "missing": (),
        "capital": ((name, "True"),),
        "number": ((name, "1"),),
        "empty": ((name, ""),),
        "padded": ((name, " true x"),),
        "false": ((name, "false"),),
        "twice": ((name, "true"), (name, "true")),
        "true and false": ((name, "true"), (name, "false")),
        "other name": (("x-" + name, "true"),),
        "binary name": ((name + "-bin", b"true"),),
    }
    with channel() as connection:
        for method, streams in METHODS.items():
            for what, metadata in wrong.items():
                found = code(connection, method, metadata=metadata, streams=streams)
                expect(found, "INVALID_ARGUMENT", "%s with header %s" % (method, what))
        extra = api.HEADER + (("x-other", "1"),)
        assert code(connection, "FetchX509SVID", metadata=extra) != "INVALID_ARGUMENT"


def no_credentials():
    """E-3: neither TLS nor anything the caller says about itself."""
    caller = Caller()
    first = caller.first()
    claim = api.HEADER + (
        ("authorization", "Bearer x"), ("x-spiffe-id", "spiffe://example.org/somebody"))
    call = caller.stub.FetchX509SVID(caller.messages.X509SVIDRequest(), metadata=claim)
    again = next(call)
    call.cancel()
    expect([s.spiffe_id for s in again.svids], [s.spiffe_id for s in first.svids])


def codes():
    """E-5: the codes a caller without entry and an unknown method get."""
    with channel() as connection:
        expect(code(connection, "FetchX509SVID"), "PERMISSION_DENIED")
        expect(code(connection, "FetchX509SVID", metadata=()), "INVALID_ARGUMENT")
        for path in ("FetchEverything", "/spiffeworkloadapi/FetchX509SVID", "/Other/Method",
                     "/signet.node.v1alpha1.Node/Renew", "/signet.admin.v1alpha1.Documents/Apply"):
            expect(code(connection, path), "UNIMPLEMENTED", path)


def unavailable():
    """E-5: an agent that cannot answer yet."""
    with channel() as connection:
        expect(code(connection, "FetchX509SVID"), "UNAVAILABLE")


def not_extended():
    """E-6: our messages are those that another implementation was generated from."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    out = os.path.join(os.getcwd(), "descriptors-%d" % os.getpid())
    status = protoc.main(
        api.proto_arguments() + ["--descriptor_set_out=" + out, "workload.proto"])
    expect(status, 0)
    with open(out, "rb") as file:
        ours = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file[0]
    from spiffe._proto import workload_pb2

    theirs = descriptor_pb2.FileDescriptorProto.FromString(workload_pb2.DESCRIPTOR.serialized_pb)

    def shape(file):
        shapes = {}
        for message in file.message_type:
            for field in message.field:
                shapes[message.name, field.number] = (
                    field.name, field.type, field.label, field.type_name)
        for service in file.service:
            for method in service.method:
                shapes[service.name, method.name] = (
                    method.input_type, method.output_type,
                    method.client_streaming, method.server_streaming)
        return shapes

    mine, other = shape(ours), shape(theirs)
    for key in other:
        expect(mine.get(key), other[key], "%s.%s" % key)
    added = {key for key in mine if key not in other}
    # A library that is older than the standard does not know the WIT profile.
    assert all("WIT" in str(key) for key in added), added
    expect(ours.package, "")


def profiles():
    """A-1: what is not provided says so."""
    with channel() as connection:
        for method, streams in METHODS.items():
            if "WIT" in method:
                found = code(connection, method, streams=streams)
                expect(found, "UNIMPLEMENTED", method)


def refused(call, request, wanted, what):
    """The code of a call that must fail."""
    try:
        call(request, metadata=api.HEADER, timeout=api.PATIENCE)
    except grpc.RpcError as error:
        return expect(error.code().name, wanted, "%s: %s" % (what, error.details()))
    raise AssertionError(what + " was answered")


def tokens(*identities):
    """A-6, A-7, A-9, A-10: tokens, key sets and validation, looked at by another JOSE library."""
    import json

    import jwt

    caller = Caller()
    messages, stub = caller.messages, caller.stub
    call = stub.FetchJWTBundles(
        messages.JWTBundlesRequest(), metadata=api.HEADER, timeout=api.PATIENCE)
    bundles = next(call).bundles
    call.cancel()
    expect(list(bundles), ["spiffe://example.org"])
    keys = json.loads(bundles["spiffe://example.org"])["keys"]
    assert keys, "no key"
    for key in keys:
        expect(key["use"], "jwt-svid")
        assert key["kid"] and "x5c" not in key, key
    known = {key["kid"]: jwt.PyJWK(key) for key in keys}
    expect(len(known), len(keys), "key IDs")

    request = messages.JWTSVIDRequest(audience=["api", "db"])
    response = stub.FetchJWTSVID(request, metadata=api.HEADER, timeout=api.PATIENCE)
    expect([svid.spiffe_id for svid in response.svids], list(identities))
    for svid in response.svids:
        header = jwt.get_unverified_header(svid.svid)
        expect(sorted(header), ["alg", "kid", "typ"])
        claims = jwt.decode(
            svid.svid, known[header["kid"]].key, algorithms=["ES256"], audience="db",
            options={"require": ["aud", "exp", "iat", "jti", "sub"]})
        expect(claims["sub"], svid.spiffe_id)
        expect(claims["aud"], ["api", "db"])
    # The second time it comes from the agent's memory.
    again = stub.FetchJWTSVID(request, metadata=api.HEADER, timeout=api.PATIENCE)
    expect([svid.svid for svid in again.svids], [svid.svid for svid in response.svids])

    one = stub.FetchJWTSVID(
        messages.JWTSVIDRequest(audience=["api"], spiffe_id=identities[-1]),
        metadata=api.HEADER, timeout=api.PATIENCE)
    expect([svid.spiffe_id for svid in one.svids], [identities[-1]])
    token = one.svids[0].svid
    valid = stub.ValidateJWTSVID(
        messages.ValidateJWTSVIDRequest(audience="api", svid=token),
        metadata=api.HEADER, timeout=api.PATIENCE)
    expect(valid.spiffe_id, identities[-1])
    expect(list(valid.claims["aud"]), ["api"])
    expect(valid.claims["sub"], identities[-1])

    def validate(audience, svid):
        return messages.ValidateJWTSVIDRequest(audience=audience, svid=svid)

    refused(stub.ValidateJWTSVID, validate("db", token), "INVALID_ARGUMENT", "another audience")
    refused(stub.ValidateJWTSVID, validate("", token), "INVALID_ARGUMENT", "no audience")
    refused(stub.ValidateJWTSVID, validate("api", token[:-4] + "AAAA"), "INVALID_ARGUMENT",
            "a changed signature")
    refused(stub.FetchJWTSVID, messages.JWTSVIDRequest(), "INVALID_ARGUMENT", "no audience")
    refused(
        stub.FetchJWTSVID,
        messages.JWTSVIDRequest(audience=["api"], spiffe_id="spiffe://example.org/nobody"),
        "PERMISSION_DENIED", "another identity")


def token_hints(*wanted):
    """A-8: the hints of the tokens, in their order."""
    caller = Caller()
    request = caller.messages.JWTSVIDRequest(audience=["api"])
    response = caller.stub.FetchJWTSVID(request, metadata=api.HEADER, timeout=api.PATIENCE)
    expect([svid.hint for svid in response.svids], list(wanted))


def jwt_fields():
    """A-5: a request without a mandatory field; a good one of each kind is answered."""
    caller = Caller()
    messages, stub = caller.messages, caller.stub
    request = messages.JWTSVIDRequest(audience=["api"])
    response = stub.FetchJWTSVID(request, metadata=api.HEADER, timeout=api.PATIENCE)
    token = response.svids[0].svid
    valid = messages.ValidateJWTSVIDRequest(audience="api", svid=token)
    stub.ValidateJWTSVID(valid, metadata=api.HEADER, timeout=api.PATIENCE)
    for audience, svid in (("", token), ("api", ""), ("", "")):
        refused(stub.ValidateJWTSVID,
                messages.ValidateJWTSVIDRequest(audience=audience, svid=svid),
                "INVALID_ARGUMENT", "audience %r, svid of %d bytes" % (audience, len(svid)))
    for audience in ([], [""]):
        refused(stub.FetchJWTSVID, messages.JWTSVIDRequest(audience=audience),
                "INVALID_ARGUMENT", "audience %r" % audience)


def jwt_watch(*wanted):
    """A-3, A-4: follows the key sets; says how many keys each message has, as `wanted` in order."""
    import json

    caller = Caller()
    call = caller.stub.FetchJWTBundles(
        caller.messages.JWTBundlesRequest(), metadata=api.HEADER, timeout=4 * api.PATIENCE)
    for expected in wanted:
        if expected == "denied":
            try:
                message = next(call)
                raise AssertionError("a message instead of the end: %s" % message)
            except grpc.RpcError as error:
                expect(error.code().name, "PERMISSION_DENIED")
            say("denied")
            return
        bundles = next(call).bundles
        expect(list(bundles), ["spiffe://example.org"])
        found = len({key["kid"] for key in json.loads(bundles["spiffe://example.org"])["keys"]})
        expect(found, int(expected), "keys")
        say("keys %d" % found)
    call.cancel()


def tokens_denied():
    """A-9, A-12: who is entitled to nothing gets no token, no keys and no validation."""
    caller = Caller()
    messages, stub = caller.messages, caller.stub
    refused(stub.FetchJWTSVID, messages.JWTSVIDRequest(audience=["api"]), "PERMISSION_DENIED",
            "a token")
    refused(stub.ValidateJWTSVID, messages.ValidateJWTSVIDRequest(audience="api", svid="x"),
            "PERMISSION_DENIED", "validation")
    with channel() as connection:
        expect(code(connection, "FetchJWTBundles"), "PERMISSION_DENIED")


def whole(identity):
    """A-1, A-3, A-6: the first answer comes at once and is complete."""
    caller = Caller()
    response = caller.first()
    expect([svid.spiffe_id for svid in response.svids], [identity])
    svid = response.svids[0]
    chain = certificates(svid.x509_svid)
    expect(uris(chain[0]), [identity])
    key = serialization.load_der_private_key(svid.x509_svid_key, None)
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    expect(key.public_key().public_bytes(*spki), chain[0].public_key().public_bytes(*spki))
    authorities = certificates(svid.bundle)
    assert authorities, "no own bundle"
    for authority in authorities:
        expect(uris(authority), ["spiffe://example.org"])
    chain[-1].verify_directly_issued_by(
        next(a for a in authorities if a.subject == chain[-1].issuer))
    bundles = next(caller.bundles())
    expect(list(bundles.bundles), ["spiffe://example.org"])
    expect(certificates(bundles.bundles["spiffe://example.org"]), authorities)


def crl():
    """A-13: X.509 revocation lists, one of each authority in the bundle, in the order of key IDs."""
    caller = Caller()
    message = caller.first()
    authorities = certificates(message.svids[0].bundle)
    for lists in (message.crl, next(caller.bundles()).crl):
        read = [x509.load_der_x509_crl(der) for der in lists]
        expect(sorted(one.issuer.rfc4514_string() for one in read),
               sorted(one.subject.rfc4514_string() for one in authorities))
        for one in read:
            signer = next(a for a in authorities if a.subject == one.issuer)
            assert one.is_signature_valid(signer.public_key()), one.issuer
        named = [one.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
                 .key_identifier for one in read]
        expect(named, sorted(named))


def watch(*wanted):
    """A-3, A-4: follows a stream; says each message, ends when `wanted` have come in order."""
    caller = Caller()
    call = caller.svids()
    for expected in wanted:
        if expected == "denied":
            try:
                message = next(call)
                raise AssertionError("a message instead of the end: %s" % message)
            except grpc.RpcError as error:
                expect(error.code().name, "PERMISSION_DENIED")
            say("denied")
            return
        names = [svid.spiffe_id.removeprefix("spiffe://example.org/")
                 for svid in next(call).svids]
        expect(names, expected.split(",") if expected else [], "message")
        say("message " + ",".join(names))
    call.cancel()


def follow(wanted):
    """Follows a stream, however many messages come, until one holds exactly `wanted`."""
    caller = Caller()
    for message in caller.svids(timeout=4 * api.PATIENCE):
        names = [svid.spiffe_id.removeprefix("spiffe://example.org/") for svid in message.svids]
        say("message " + ",".join(names))
        if names == wanted.split(","):
            return
    raise AssertionError("the stream ended before")


def order(*wanted):
    """A-11: the same order in every answer."""
    caller = Caller()
    for _ in range(5):
        expect([svid.spiffe_id for svid in caller.first().svids], list(wanted))


def hints(*wanted):
    """A-8: the hints of the answer, in its order."""
    expect([svid.hint for svid in Caller().first().svids], list(wanted))


def denied():
    """A-12: who is entitled to nothing gets neither identities nor bundles."""
    with channel() as connection:
        expect(code(connection, "FetchX509SVID"), "PERMISSION_DENIED")
        expect(code(connection, "FetchX509Bundles"), "PERMISSION_DENIED")


def endpoint_client(signet, address, wanted):
    """E-4: how our client reads SPIFFE_ENDPOINT_SOCKET."""
    environment = dict(os.environ, SPIFFE_ENDPOINT_SOCKET=address)
    done = subprocess.run(
        [signet, "svid", "fetch", "-o", "json"], env=environment, capture_output=True, text=True)
    accepted = "SPIFFE_ENDPOINT_SOCKET is" not in done.stderr
    expect("accepted" if accepted else "refused", wanted, address + "\n" + done.stderr)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
