// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Telemetry

/// The server's wall clock.
extension AdministrationService {
    func acceptClock(
        request: Signet_Admin_V1alpha1_AcceptClockRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_AcceptClockResponse {
        let question = AdminQuestion.exactly(.serverAcceptClock)
        // Who says what time it is has to see the machine.
        try await gate.requireAdminSocket(for: question, context)
        let (core, logic) = (core, core.logic)
        guard !request.rehearse else {
            let expected = core.clockGuard.expected(
                wall: core.clock.wallTime,
                boot: core.clock.bootTime
            )
            let outlook = try await gate.read(question, context) { transaction, standing in
                try logic.clockOutlook(jumpedFrom: expected, now: standing.now, in: transaction)
            }
            return message(outlook, again: outlook.forgotten.count, left: 0, isRehearsal: true)
        }
        let isNow = request.now
        let result = try await gate.handOn(question, context) { permit throws(APIError) in
            try await core.rotationDesk.acceptClock(isNow: isNow, permit)
        }
        let (certificates, identities) = try await core.read { transaction in
            (try transaction.revokedCertificateCount(), try transaction.revocationCount())
        }
        core.metrics.set(.revokedCertificates, to: Double(certificates))
        core.metrics.set(.revocations, to: Double(identities))
        return message(
            result.outlook,
            again: result.again.count,
            left: result.again.left,
            isRehearsal: false
        )
    }

    private func message(
        _ outlook: ClockOutlook,
        again: Int,
        left: Int,
        isRehearsal: Bool
    ) -> Signet_Admin_V1alpha1_AcceptClockResponse {
        .with {
            $0.rehearsed = isRehearsal
            $0.timeUnixMilliseconds = outlook.time.unixMilliseconds
            $0.lastSignatureUnixMilliseconds = outlook.lastSignature?.unixMilliseconds ?? 0
            $0.expectedUnixMilliseconds = outlook.expected?.unixMilliseconds ?? 0
            $0.authorities = outlook.authorities.map(\.id) + outlook.downstream.map(\.id)
            $0.signerReplaced = outlook.isSignerReplaced
            $0.certificates = outlook.certificates
            $0.agents = Array(outlook.agents.prefix(AuthorityOutlook.namesMax))
            $0.agentCount = UInt64(outlook.agents.count)
            $0.identitiesRefusedUntilLater = UInt64(outlook.identitiesUntilLater)
            $0.revocationsMadeAgain = UInt64(again)
            $0.revocationsLeft = UInt64(left)
            $0.objections = outlook.objections
        }
    }
}
