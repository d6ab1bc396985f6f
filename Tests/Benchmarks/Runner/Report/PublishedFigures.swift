// SPDX-License-Identifier: Apache-2.0

/// What the makers and users of SPIRE have published about its speed and size.
///
/// Quoted, with its source, and beside no row: other machines, other work, other versions.
enum PublishedFigures {
    static let text = """
        Of SPIRE, as published until August 2026 (1.15.3), on machines and under loads that are not \
        these: quoted to show of what order they are, **measured neither here nor beside ours**. No \
        rate of SVIDs and no p99 of a call was found to be published; its own benchmarks are \
        micro-benchmarks in Go. `#N` is an issue or pull request of github.com/spiffe/spire; \
        "by a user" was reported in a thread, and nobody has measured it again.

        | What | As published | Source |
        |---|---|---|
        \(lines)
        """

    private struct Figure {
        let what: String
        let value: String
        let source: String
    }

    private static let lines = figures.map { "| \($0.what) | \($0.value) | \($0.source) |" }
        .joined(separator: "\n")

    private static let figures = [
        Figure(
            what: "recommended size, 10 workloads on each of 10 agents",
            value: "2 servers of 1 core and 1 GB, database not counted",
            source: scaling
        ),
        Figure(
            what: "recommended size, 100 workloads and 1,000 agents",
            value: "2 servers of 8 cores and 8 GB, database not counted",
            source: scaling
        ),
        Figure(
            what: "recommended size, 10,000 workloads and 5,000 agents",
            value: "8 servers of 16 cores and 16 GB, database not counted",
            source: scaling
        ),
        Figure(
            what: "load of the database",
            value: "47,000 queries per second with 3,500 agents and 31,000 workloads, by a user",
            source: "#1351"
        ),
        Figure(
            what: "an entry on its way to an agent",
            value: "up to 10 s by design: 5 s for the server's cache, 5 s for the agent's sync",
            source: "#1859"
        ),
        Figure(
            what: "an entry on its way to an agent, at scale",
            value: "30 to 60 s",
            source: "#2593"
        ),
        Figure(
            what: "1,000,000 entries read into the server's cache",
            value: "about 17 s on a server with 40 GB, by a user",
            source: "#4721"
        ),
        Figure(
            what: "500,000 events read at a server's start (events-based cache, experimental)",
            value: "about 30 min",
            source: "#5771, #6876"
        ),
        Figure(
            what: "`BenchmarkEntryLookup`",
            value: "11.5 ms before, 6.0 ms after the change proposed",
            source: "#6100"
        ),
        Figure(
            what: "`GetAuthorizedEntries`, copying the answer",
            value: "329 us before, 136 us after",
            source: "#4515"
        ),
        Figure(
            what: "memory of an SVID in the agent's cache",
            value: "about 1 KB for a certificate, above 3 KB with its chain",
            source: "#2591, #2593"
        ),
        Figure(
            what: "memory of an agent (RSS)",
            value: "39 to 60 MiB with about 70 pods on its node, by a user",
            source: "#3957"
        ),
        Figure(
            what: "memory of a server (RSS)",
            value: "48 to 117 MiB with 46 entries, by a user",
            source: "#3957"
        ),
        Figure(
            what: "450 SDS connections on an agent",
            value: "about 3.5 GB, by a user",
            source: "#5348"
        ),
        Figure(
            what: "a JWT-SVID that the agent has, while the server does not answer",
            value: "up to 30 s",
            source: "#5994, #6454"
        ),
    ]

    private static let scaling = "spiffe/spire, `doc/scaling_spire.md`"
}
