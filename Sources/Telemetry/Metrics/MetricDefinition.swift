// SPDX-License-Identifier: Apache-2.0

extension Metric {
    package var kind: MetricKind {
        switch self {
        case .adminDenials, .attestations, .auditAlarms, .auditLeaves, .clockSteps,
            .commitTransactions, .connectionsOpened, .connectionsRefused, .decisionBytes,
            .decisionLosses, .decisionRecords, .decisionRecordsLost, .decisionSegments,
            .decisionStored, .decisionUploads, .documentApplies,
            .downstreamCalls, .endpointsRefused, .federationClosings, .federationFetches,
            .federationResponses,
            .issuanceRefusals, .keyServiceCalls, .metricSeriesDropped,
            .proxyDecisions, .proxyRecordsDropped,
            .proxyRefusals, .proxyStates, .publicClosings, .publicResponses, .revocationListsSigned,
            .revocationListsWithheld, .rpcs, .statesReceived,
            .svidRenewals, .svidsIssued,
            .proxyAccessLogDropped, .proxyDecisionRecords, .proxyDecisionRecordsLost, .proxyEnds,
            .proxyHandshakeFailures, .proxyLongTurns, .proxyServerEnds, .proxyStaleKeys,
            .proxyShadowDifferences, .proxyUncounted, .requests, .syncAlarms, .syncMessages,
            .syncReconnects,
            .tcpConnectionsClosed,
            .tcpConnectionsOpened, .tcpReceivedBytes, .tcpSentBytes, .unauthenticatedRequests,
            .tokenRequests, .upstreamRequests, .upstreamTrusts, .workloadAPIRequests,
            .downstreamRequests:
            .counter
        case .agentConnected, .agentContactTime, .agentProxies, .agentSVIDNotAfter,
            .agentsConnected, .agentsKnown, .auditCheckpointTime, .auditTreeSize,
            .authorityNotAfter, .authoritySVIDsNotReplaced, .buildInfo, .cachedEntries,
            .cachedSVIDs, .cachedTokens,
            .clockRefused, .clockSkew, .connectionsOpen, .decisionSpoolBytes,
            .decisionSpoolOldest, .decisionStoreBytes, .decisionStoreOldest, .decisionStoreUp,
            .entries, .entriesOutsideProfile, .federationConfirmedTime, .observedEndpoints,
            .proposals, .proxies, .downstreamAuthorities,
            .proxiesAttached, .proxyConnectionsLive, .revision, .revocationListCertificates,
            .revocationListLeftOut, .revocationListNextUpdate, .revocations,
            .revokedCertificates, .rotationAgentsMissing, .serverHeld, .startTime, .stateRevision,
            .syncConnected, .syncRevision, .upstreamNotAfter,
            .workloadStreams:
            .gauge
        case .attestationDuration, .commitDuration, .fetchDuration, .issuanceDuration,
            .keyServiceCallDuration, .requestBytes, .requestDuration, .responseBytes, .rpcDuration,
            .syncConvergenceDuration:
            .histogram
        }
    }

    /// Upper bounds of a histogram's buckets, in the unit of its name.
    package var buckets: [Double] {
        switch self {
        case .requestDuration:
            [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]
        case .requestBytes, .responseBytes:
            [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
        default: MetricRegistry.bucketsSeconds
        }
    }

    /// Names of the labels, in the order in which the registry's methods take their values.
    package var labels: [String] {
        switch self {
        case .adminDenials: ["verb", "kind"]
        case .attestations: ["method", "result"]
        case .auditAlarms, .connectionsRefused, .issuanceRefusals, .proxyEnds,
            .proxyHandshakeFailures, .proxyRefusals, .proxyServerEnds, .syncAlarms,
            .decisionRecordsLost, .federationClosings, .proxyDecisionRecordsLost, .publicClosings:
            ["reason"]
        case .auditLeaves: []
        case .revocationListCertificates, .revocationListLeftOut, .revocationListNextUpdate:
            ["authority"]
        case .authorityNotAfter: ["authority", "state"]
        case .clockRefused: ["problem"]
        case .buildInfo: ["version"]
        case .connectionsOpen, .connectionsOpened: ["listener"]
        case .documentApplies, .federationFetches, .proxyStates, .statesReceived, .svidRenewals,
            .decisionSegments, .decisionUploads:
            ["result"]
        case .downstreamRequests: ["outcome"]
        case .federationConfirmedTime: ["trust_domain"]
        case .federationResponses: ["status"]
        case .keyServiceCallDuration: ["call"]
        case .downstreamCalls, .keyServiceCalls: ["call", "result"]
        case .metricSeriesDropped: ["metric"]
        case .publicResponses: ["document", "status"]
        case .proxyDecisions, .proxyShadowDifferences: ["verdict", "policy"]
        case .requestBytes, .requestDuration, .requests, .responseBytes:
            [
                "reporter", "source_principal", "destination_principal", "destination_service",
                "destination_service_name", "destination_service_namespace", "request_protocol",
                "response_code", "response_flags", "connection_security_policy",
            ]
        case .tcpConnectionsClosed, .tcpReceivedBytes, .tcpSentBytes, .tcpConnectionsOpened:
            [
                "reporter", "source_principal", "destination_principal", "destination_service",
                "destination_service_name", "destination_service_namespace", "request_protocol",
                "response_flags", "connection_security_policy",
            ]
        case .rpcDuration: ["method"]
        case .rpcs: ["method", "code"]
        case .svidsIssued, .syncMessages, .unauthenticatedRequests, .decisionRecords,
            .proxyDecisionRecords:
            ["kind"]
        case .tokenRequests: ["request", "result"]
        case .upstreamRequests, .upstreamTrusts: ["kind", "outcome"]
        case .workloadAPIRequests: ["method", "result"]
        case .agentConnected, .agentContactTime, .agentProxies, .proxyRecordsDropped,
            .stateRevision,
            .agentSVIDNotAfter, .agentsConnected, .agentsKnown, .attestationDuration,
            .auditCheckpointTime, .auditTreeSize, .authoritySVIDsNotReplaced, .cachedEntries,
            .cachedSVIDs, .cachedTokens, .clockSkew, .clockSteps, .commitDuration,
            .commitTransactions, .decisionBytes, .decisionLosses, .decisionSpoolBytes,
            .decisionSpoolOldest, .decisionStoreBytes, .decisionStoreOldest,
            .decisionStoreUp, .decisionStored, .entries, .entriesOutsideProfile, .fetchDuration,
            .downstreamAuthorities,
            .proxyAccessLogDropped,
            .endpointsRefused, .issuanceDuration, .observedEndpoints, .proposals, .proxies,
            .proxiesAttached, .proxyConnectionsLive, .proxyLongTurns,
            .proxyStaleKeys, .proxyUncounted, .revision, .revocationListsSigned,
            .revocationListsWithheld, .revocations,
            .revokedCertificates, .rotationAgentsMissing, .serverHeld, .startTime,
            .syncConnected, .syncConvergenceDuration, .syncReconnects, .syncRevision,
            .upstreamNotAfter, .workloadStreams:
            []
        }
    }

    /// One sentence for people who see only the scrape.
    package var help: String {
        switch self {
        case .adminDenials: "Admin requests denied, by verb and document kind."
        case .agentConnected: "1 while the proxy's stream to its agent is open."
        case .agentContactTime: "When the proxy last heard of its agent, in Unix time."
        case .agentSVIDNotAfter: "End of the agent's own certificate, in Unix time."
        case .agentsConnected: "Agents with an open sync stream."
        case .agentsKnown: "Agents that have attested and are not evicted."
        case .attestationDuration: "Time to tell what a calling workload is."
        case .attestations: "Attestations, readmissions and renewals of nodes, by result."
        case .auditCheckpointTime: "Time of the newest signed checkpoint, in Unix time."
        case .auditLeaves: "Leaves added to the audit log."
        case .auditTreeSize: "Leaves in the audit log."
        case .auditAlarms, .authorityNotAfter, .authoritySVIDsNotReplaced, .entriesOutsideProfile,
            .downstreamAuthorities, .downstreamCalls, .downstreamRequests, .federationClosings,
            .federationConfirmedTime, .federationFetches, .federationResponses, .issuanceRefusals,
            .keyServiceCallDuration, .keyServiceCalls, .proposals, .publicClosings,
            .publicResponses, .revocationListCertificates, .revocationListLeftOut,
            .revocationListNextUpdate, .revocationListsSigned, .revocationListsWithheld,
            .revocations, .revokedCertificates, .rotationAgentsMissing, .serverHeld, .svidRenewals,
            .svidsIssued, .tokenRequests, .upstreamNotAfter, .upstreamRequests, .upstreamTrusts:
            trustHelp
        case .buildInfo: "Always 1; the label tells the version."
        case .cachedEntries: "Registration entries this agent holds."
        case .cachedSVIDs: "Workload certificates this agent holds."
        case .cachedTokens: "JWT-SVIDs this agent holds."
        case .clockRefused: "1 while nothing is signed because of the clock, by problem."
        case .clockSkew: "Wall clock minus the server's, at the last exchange."
        case .clockSteps: "Steps of the wall clock over 5 s."
        case .commitDuration: "Time from asking for an act until it is on disk."
        case .commitTransactions: "Acts committed, each as one transaction."
        case .connectionsOpen: "Open connections, by listener."
        case .connectionsOpened: "Connections established, by listener."
        case .connectionsRefused: "Connections closed before any request, by reason."
        case .documentApplies: "Applies and deletions of documents, by result."
        case .entries: "Registration entries in the datastore."
        case .fetchDuration: "Time from a workload's request to its first certificates."
        case .issuanceDuration: "Time to sign one batch of requests, waiting included."
        case .metricSeriesDropped: "Updates counted under label values \"other\", by metric."
        case .revision: "Number of the newest committed revision."
        case .decisionBytes, .decisionLosses, .decisionRecords, .decisionRecordsLost,
            .decisionSegments, .decisionSpoolBytes, .decisionSpoolOldest, .decisionStoreBytes,
            .decisionStoreOldest, .decisionStoreUp, .decisionStored, .decisionUploads,
            .proxyDecisionRecords, .proxyDecisionRecordsLost:
            decisionHelp
        case .agentProxies, .proxyDecisions, .proxyRecordsDropped, .proxyRefusals, .proxyStates,
            .stateRevision, .statesReceived, .proxyAccessLogDropped, .proxyConnectionsLive,
            .proxyEnds, .proxyHandshakeFailures, .proxyLongTurns, .proxyServerEnds,
            .proxyShadowDifferences, .proxyStaleKeys, .proxyUncounted, .requestBytes,
            .requestDuration, .requests, .responseBytes, .tcpConnectionsClosed,
            .tcpConnectionsOpened, .tcpReceivedBytes, .tcpSentBytes, .endpointsRefused,
            .observedEndpoints, .proxies, .proxiesAttached:
            proxyHelp
        case .rpcDuration: "Time to answer a request, by method."
        case .rpcs: "Requests answered, by method and status code."
        case .startTime: "When this process started, in Unix time."
        case .syncAlarms: "Sync messages that contradict what is applied, by reason."
        case .syncConnected: "1 while the sync stream is open."
        case .syncConvergenceDuration:
            "Time from a commit until all live agents concerned applied it."
        case .syncMessages: "Deltas, snapshots, watermarks, queries and endpoints sent on streams."
        case .syncReconnects: "Times the sync stream ended or could not be opened."
        case .syncRevision: "Number of the newest applied revision."
        case .unauthenticatedRequests:
            "Requests of callers without identity that were refused, by kind."
        case .workloadAPIRequests: "Workload API requests, by method and result."
        case .workloadStreams: "Open Workload API streams."
        }
    }

    private var trustHelp: String {
        switch self {
        case .auditAlarms:
            "Checkpoints of the audit log that contradict remembered ones, and logs that a restore began or ended."
        case .authorityNotAfter: "End of each X.509 authority, in Unix time."
        case .downstreamCalls: "Calls of servers below, by call and result."
        case .issuanceRefusals: "Signing requests refused, by reason."
        case .entriesOutsideProfile:
            "Registration entries for which the workload's profile lets nothing be issued."
        case .authoritySVIDsNotReplaced:
            "Valid certificates under tainted authorities whose holder was issued no newer one."
        case .federationClosings: "Connections of partners that ended, by reason."
        case .federationConfirmedTime:
            "When each partner's endpoint last served what is believed, in Unix time; 0: never."
        case .downstreamAuthorities: "Valid authorities of servers below this one."
        case .downstreamRequests: "Authorities that servers below asked for, by outcome."
        case .federationFetches: "Fetches of other trust domains' bundles, by result."
        case .federationResponses: "Answers to partners at the bundle endpoint, by status."
        case .keyServiceCallDuration:
            "Time of a call of the key service, its wait for a place included, until it is verified."
        case .keyServiceCalls: "Calls of the key service, by result."
        case .proposals: "Acts that wait for the approval of others."
        case .publicClosings: "Connections of verifiers outside that ended, by reason."
        case .publicResponses: "Answers to verifiers outside, by document and status."
        case .revocationListCertificates: "Certificates on each authority's revocation list."
        case .revocationListLeftOut:
            "Revoked certificates of each authority that have no place on its list."
        case .revocationListNextUpdate:
            "Until when each authority's revocation list counts, in Unix time; 0: it has none."
        case .revocationListsSigned: "Certificate revocation lists signed."
        case .revocationListsWithheld:
            "Messages to workloads that had no room for revocation lists."
        case .revocations: "Identities whose SVIDs issued before a moment are refused."
        case .revokedCertificates: "Certificates that are refused although they have not expired."
        case .rotationAgentsMissing: "Live agents that have not applied the next authority."
        case .serverHeld: "1 while a restored server waits for signet server recover."
        case .svidRenewals: "Renewals of the agent's own certificate, by result."
        case .svidsIssued:
            "SVIDs signed, by kind; `jwt` are JWT-SVIDs, `delegated` exchanged tokens."
        case .tokenRequests: "Exchanges and introspections of tokens, by request and result."
        case .upstreamNotAfter:
            "End of what is above the newest authority, in Unix time; 0: nothing is."
        case .upstreamRequests: "Authorities asked of the upstream, by its kind and outcome."
        case .upstreamTrusts: "What the upstream says of what is above, by its kind and outcome."
        default: ""
        }
    }

    private var decisionHelp: String {
        switch self {
        case .decisionBytes: "Bytes of the segments stored."
        case .decisionLosses: "Records that agents said were lost, in the segments stored."
        case .decisionRecords: "Records taken into the decision log's segments, by kind."
        case .decisionRecordsLost: "Records of proxies that no segment has, by reason."
        case .decisionSegments: "Segments that agents sent, by what became of them."
        case .decisionSpoolBytes: "Bytes of the segments that wait for the server."
        case .decisionSpoolOldest: "When the oldest segment that waits was made; 0: none waits."
        case .decisionStoreBytes: "Bytes of the decision store that are in use."
        case .decisionStoreOldest: "When the oldest segment kept was stored; 0: there is none."
        case .decisionStoreUp: "1 while the decision store takes segments."
        case .decisionStored: "Records in the segments stored."
        case .decisionUploads: "Segments sent to the server, by what became of them."
        case .proxyDecisionRecords: "Records told for the decision log, by kind."
        case .proxyDecisionRecordsLost: "Records not told for the decision log, by reason."
        default: ""
        }
    }

    private var proxyHelp: String {
        switch self {
        case .endpointsRefused: "Endpoints that agents reported and there was no room for."
        case .observedEndpoints: "Endpoints that agents reported, those lost included."
        case .proxies: "Proxies in the datastore."
        case .proxiesAttached: "Proxy processes that connected agents have attached."
        case .agentProxies: "Proxy processes that have a Proxy of this node."
        case .proxyDecisions: "Decisions that proxies reported, by verdict and policy."
        case .proxyRecordsDropped: "Records of decisions that were lost before they were counted."
        case .proxyRefusals: "Streams of proxies that were refused or ended, by reason."
        case .proxyStates: "States that proxies applied, refused or did not answer."
        case .stateRevision: "Revision of the state that the proxy has in force."
        case .statesReceived: "States of the agent, by what the proxy made of them."
        case .proxyAccessLogDropped: "Lines of the access log that were dropped."
        case .proxyConnectionsLive: "Connections of the proxy, both sides counted."
        case .proxyEnds:
            "Requests and clients' connections that failed or were refused, each once, by reason."
        case .proxyServerEnds:
            "Connections to servers that failed or ended early, attempts included, by reason."
        case .proxyHandshakeFailures: "TLS handshakes of the proxy that failed, by reason."
        case .proxyLongTurns: "Turns of the proxy's loops that took longer than 10 ms."
        case .proxyStaleKeys: "Events for connections that were gone; refused and harmless."
        case .proxyShadowDifferences:
            "Decisions that policies in shadow would make otherwise, by their verdict and policy."
        case .proxyUncounted: "Requests and streams that no other metric has, for their variety."
        case .requestDuration: "From a request's head to the end of its answer, as Istio names it."
        case .requestBytes: "Bytes of requests, their heads included, as Istio names it."
        case .responseBytes: "Bytes of answers, their heads included, as Istio names it."
        case .requests: "Requests that the proxy has carried or refused, as Istio names them."
        case .tcpConnectionsClosed: "TCP streams that ended, or were not let in."
        case .tcpConnectionsOpened: "TCP streams that began."
        case .tcpReceivedBytes: "Bytes from clients of TCP streams that ended."
        case .tcpSentBytes: "Bytes to clients of TCP streams that ended."
        default: ""
        }
    }
}
