// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos

/// What carries the traffic, as far as its agent tells it what to do.
///
/// `AgentLink` calls `apply` one at a time; `trust` and `answer` may be called meanwhile.
package protocol TrafficEngine: Sendable {
    /// Takes effect before it returns, on connections that are open as well.
    ///
    /// Bundles and revocations hold for all that is judged from here on, identities that are not
    /// granted are presented no more. It waits for nothing.
    func trust(_ trust: ProxyTrust) async

    /// Brings a whole state into force, or nothing of it.
    ///
    /// - Returns: Nil once it is in force; else why it is refused, for the admin who applied it.
    func apply(_ configuration: ProxyConfiguration) async -> String?

    /// Takes new lists of observed endpoints; ports that are missing keep theirs.
    func endpoints(_ endpoints: ProxyEndpoints) async

    /// Answers a question, with at most `limit` items.
    func answer(
        _ question: ProxyQuestion,
        limit: Int
    ) async -> Signet_Node_V1alpha1_ProxyQueryReply
}
