// SPDX-License-Identifier: Apache-2.0

/// How each row is measured, for whoever reads the table.
enum BenchmarkNotes {
    static let text = """
        Servers and agents are the released programs, each in a process of its own with data on \
        disk, every commit synced. Rate limits are raised so that they do not stand in the way; \
        everything else is as delivered.

        - **Issuance core**: one core, no disk and no network. For each of 100 requests: parse, \
        verify possession, approve, encode, lint; then the audit leaf of the batch, the signatures, \
        and each certificate read again. The peer is what cannot be left out: one P-256 signature \
        made and one verified (BoringSSL through swift-crypto), alternating with ours.
        - **SVIDs end to end**: four agents on a TLS connection each, two calls at a time on each, \
        50 requests in a call, made before. Intent and audit leaf are on disk before an answer. \
        The load shares the cores with the server.
        - **First identity**: from the start of the agent's process, which has a join token and \
        nothing else, to the first message with an SVID on a workload's stream.
        - **Entry change to workload**: from sending `apply` to the SVID with the new ID in the \
        workload's hands: commit, push, key, request, signature, delivery. 200 changes in a run. \
        999 simulated agents and the one concerned are connected. *To all*: every agent is \
        concerned, counted to its Delta.
        - **Server restart**: the server is killed; every agent has missed one change and \
        reconnects with the waits of a real one. Counted from the kill.
        - **Idle agents**: 90 s in a run, the pause between two signs of life on a \
        connection. Processor time of the server in user and kernel mode.
        - **Agent memory**: VmRSS of an idle agent, which has given up the code that only its \
        start needed (docs/decisions/0006). 100 entries with an SVID each, one workload served. The peer is a grpc-swift server without a service, never called. \
        *Stream*: 1,000 workloads on a connection each, all served, the growth divided by 1,000.
        - **Server start**: from the start of the process to the port being open, with 1,000,000 \
        entries and their documents in the database.
        - **Policy decision**: one core, no network: from the bytes of a head that was read to the \
        verdict and its rule, for a GET that the last rule allows. A third of the rules names \
        other peers, a third other paths, a third another method. *Peer*: once for each connection.
        """
}
