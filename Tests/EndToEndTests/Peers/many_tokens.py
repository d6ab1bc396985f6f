# SPDX-License-Identifier: Apache-2.0
"""Makes many join tokens, each of which is a record: many_tokens.py ADMIN-SOCKET COUNT."""
import sys

import grpc

import workload_api as api

socket, count = sys.argv[1:]
options = (("grpc.default_authority", "localhost"),)

with grpc.insecure_channel("unix://" + socket, options=options) as connection:
    for number in range(int(count)):
        name = b"agent-%d" % number
        # CreateTokenRequest {agent_name = 1}
        request = b"\x0a" + bytes([len(name)]) + name
        api.raw(
            connection, "/signet.admin.v1alpha1.Administration/CreateToken",
            metadata=(), request=request, streams=False)
