// SPDX-License-Identifier: Apache-2.0

/// Every metric that Signet's daemons export; the raw value is the name scrapers see.
///
/// The list is closed so that docs, dashboards and alerts can be compared with it. Names follow the
/// Prometheus conventions: counters end in `_total`, durations are in seconds.
package enum Metric: String, CaseIterable, Sendable {
    // Every daemon.
    case buildInfo = "signet_build_info"
    case clockSteps = "signet_clock_steps_total"
    case connectionsOpen = "signet_connections_open"
    case connectionsOpened = "signet_connections_opened_total"
    case connectionsRefused = "signet_connections_refused_total"
    case metricSeriesDropped = "signet_metric_series_dropped_total"
    case rpcDuration = "signet_rpc_duration_seconds"
    case rpcs = "signet_rpcs_total"
    case startTime = "signet_start_time_seconds"

    // Server.
    case adminDenials = "signet_server_admin_denials_total"
    case agentsConnected = "signet_server_agents_connected"
    case agentsKnown = "signet_server_agents_known"
    case attestations = "signet_server_attestations_total"
    case auditCheckpointTime = "signet_server_audit_checkpoint_time_seconds"
    case auditLeaves = "signet_server_audit_leaves_total"
    case auditTreeSize = "signet_server_audit_tree_size"
    case authorityNotAfter = "signet_server_authority_not_after_seconds"
    case authoritySVIDsNotReplaced = "signet_server_authority_svids_not_replaced"
    case clockRefused = "signet_server_clock_refused"
    case commitDuration = "signet_server_commit_duration_seconds"
    case commitTransactions = "signet_server_commit_transactions_total"
    case decisionBytes = "signet_server_decision_bytes_total"
    case decisionLosses = "signet_server_decision_records_lost_total"
    case decisionSegments = "signet_server_decision_segments_total"
    case decisionStoreBytes = "signet_server_decision_store_bytes"
    case decisionStoreOldest = "signet_server_decision_store_oldest_time_seconds"
    case decisionStoreUp = "signet_server_decision_store_up"
    case decisionStored = "signet_server_decision_records_total"
    case documentApplies = "signet_server_document_applies_total"
    case downstreamAuthorities = "signet_server_downstream_authorities"
    case downstreamRequests = "signet_server_downstream_requests_total"
    case endpointsRefused = "signet_server_observed_endpoints_refused_total"
    case entries = "signet_server_entries"
    case entriesOutsideProfile = "signet_server_entries_outside_profile"
    case issuanceDuration = "signet_server_issuance_duration_seconds"
    case issuanceRefusals = "signet_server_issuance_refusals_total"
    case keyServiceCallDuration = "signet_server_key_service_call_duration_seconds"
    case keyServiceCalls = "signet_server_key_service_calls_total"
    case observedEndpoints = "signet_server_observed_endpoints"
    case proposals = "signet_server_proposals"
    case proxies = "signet_server_proxies"
    case proxiesAttached = "signet_server_proxies_attached"
    case publicClosings = "signet_server_public_connections_closed_total"
    case publicResponses = "signet_server_public_responses_total"
    case revision = "signet_server_revision"
    case revocationListCertificates = "signet_server_revocation_list_certificates"
    case revocationListLeftOut = "signet_server_revocation_list_left_out"
    case federationConfirmedTime = "signet_server_federation_confirmed_timestamp_seconds"
    case federationFetches = "signet_server_federation_fetches_total"
    case federationClosings = "signet_server_federation_connections_closed_total"
    case federationResponses = "signet_server_federation_responses_total"
    case revocationListNextUpdate = "signet_server_revocation_list_next_update_seconds"
    case revocationListsSigned = "signet_server_revocation_lists_signed_total"
    case revocations = "signet_server_revocations"
    case revokedCertificates = "signet_server_revoked_certificates"
    case rotationAgentsMissing = "signet_server_rotation_agents_missing"
    case serverHeld = "signet_server_held"
    case svidsIssued = "signet_server_svids_issued_total"
    case syncConvergenceDuration = "signet_server_sync_convergence_duration_seconds"
    case syncMessages = "signet_server_sync_messages_total"
    case unauthenticatedRequests = "signet_server_unauthenticated_requests_total"
    case upstreamNotAfter = "signet_server_upstream_not_after_seconds"
    case upstreamRequests = "signet_server_upstream_requests_total"
    case upstreamTrusts = "signet_server_upstream_trust_total"

    // Agent.
    case agentSVIDNotAfter = "signet_agent_svid_not_after_seconds"
    case attestationDuration = "signet_agent_workload_attestation_duration_seconds"
    case auditAlarms = "signet_agent_audit_alarms_total"
    case cachedEntries = "signet_agent_cached_entries"
    case cachedSVIDs = "signet_agent_cached_svids"
    case cachedTokens = "signet_agent_cached_tokens"
    case clockSkew = "signet_agent_clock_skew_seconds"
    case downstreamCalls = "signet_agent_downstream_calls_total"
    case fetchDuration = "signet_agent_fetch_duration_seconds"
    case agentProxies = "signet_agent_proxies_attached"
    case decisionRecords = "signet_agent_decision_records_total"
    case decisionRecordsLost = "signet_agent_decision_records_lost_total"
    case decisionSpoolBytes = "signet_agent_decision_spool_bytes"
    case decisionSpoolOldest = "signet_agent_decision_spool_oldest_time_seconds"
    case decisionUploads = "signet_agent_decision_uploads_total"
    case proxyDecisions = "signet_agent_proxy_decisions_total"
    case proxyRecordsDropped = "signet_agent_proxy_records_dropped_total"
    case proxyRefusals = "signet_agent_proxy_refusals_total"
    case proxyStates = "signet_agent_proxy_states_total"
    case revocationListsWithheld = "signet_agent_revocation_lists_withheld_total"
    case syncAlarms = "signet_agent_sync_alarms_total"
    case syncConnected = "signet_agent_sync_connected"
    case syncReconnects = "signet_agent_sync_reconnects_total"
    case syncRevision = "signet_agent_sync_revision"
    case svidRenewals = "signet_agent_svid_renewals_total"
    case tokenRequests = "signet_agent_token_requests_total"
    case workloadAPIRequests = "signet_agent_workload_api_requests_total"
    case workloadStreams = "signet_agent_workload_streams"

    // Proxy.
    case agentConnected = "signet_proxy_agent_connected"
    case agentContactTime = "signet_proxy_agent_contact_time_seconds"
    case stateRevision = "signet_proxy_state_revision"
    case statesReceived = "signet_proxy_states_total"
    case proxyAccessLogDropped = "signet_proxy_access_log_dropped_total"
    case proxyDecisionRecords = "signet_proxy_decision_records_total"
    case proxyDecisionRecordsLost = "signet_proxy_decision_records_lost_total"
    case proxyConnectionsLive = "signet_proxy_connections_live"
    case proxyEnds = "signet_proxy_ends_total"
    case proxyServerEnds = "signet_proxy_server_ends_total"
    case proxyHandshakeFailures = "signet_proxy_handshake_failures_total"
    case proxyLongTurns = "signet_proxy_long_turns_total"
    case proxyShadowDifferences = "signet_proxy_shadow_differences_total"
    case proxyStaleKeys = "signet_proxy_stale_keys_total"
    case proxyUncounted = "signet_proxy_requests_uncounted_total"
    // Of the proxy, with Istio's names, and its labels as far as there is something to say.
    case requestBytes = "istio_request_bytes"
    case requestDuration = "istio_request_duration_milliseconds"
    case requests = "istio_requests_total"
    case responseBytes = "istio_response_bytes"
    case tcpConnectionsClosed = "istio_tcp_connections_closed_total"
    case tcpConnectionsOpened = "istio_tcp_connections_opened_total"
    case tcpReceivedBytes = "istio_tcp_received_bytes_total"
    case tcpSentBytes = "istio_tcp_sent_bytes_total"

    package var name: String { rawValue }

    /// The only daemon that exports it, as its name says; nil: all do.
    package var daemon: Daemon? {
        if name.hasPrefix("istio_") { return .proxy }
        return switch name.split(separator: "_").dropFirst().first {
        case "agent": .agent
        case "proxy": .proxy
        case "server": .server
        default: nil
        }
    }

    /// The daemons that export metrics.
    package enum Daemon: Sendable {
        case agent
        case proxy
        case server
    }
}

/// What kind of number a metric is.
package enum MetricKind: String, Sendable {
    /// Only grows; starts at 0 with the process.
    case counter
    /// The value as of now.
    case gauge
    /// How often values fell into `Metric.buckets`.
    case histogram
}
