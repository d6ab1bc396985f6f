# SPDX-License-Identifier: Apache-2.0
"""Says whose bundles the Workload API gives, whenever that changes: federated_bundles.py METHOD.

METHOD is FetchX509Bundles or FetchJWTBundles; one line for each message, with the trust domains.
"""
import sys

import workload_api as api


def main(method):
    messages, services = api.stubs()
    request = {
        "FetchX509Bundles": messages.X509BundlesRequest,
        "FetchJWTBundles": messages.JWTBundlesRequest,
    }[method]
    with api.channel() as connection:
        stub = services.SpiffeWorkloadAPIStub(connection)
        for answer in getattr(stub, method)(request(), metadata=api.HEADER):
            names = sorted(name.removeprefix("spiffe://").rstrip("/") for name in answer.bundles)
            api.say("bundles of " + ", ".join(names) + ".")


main(sys.argv[1])
