// SPDX-License-Identifier: Apache-2.0

package import GRPCCore

/// Answers what no service has put into words, so that no caller gets an empty status.
///
/// It is a fault, whose detail stays in the log under a reference that the caller is told.
package struct FaultInterceptor: ServerInterceptor {
    private let report: @Sendable (_ reference: String, _ method: String, any Error) -> Void

    /// - Parameter report: Called once for each fault, to write it down.
    package init(
        report: @escaping @Sendable (_ reference: String, _ method: String, any Error) -> Void
    ) {
        self.report = report
    }

    package func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>,
        context: ServerContext,
        next:
            @concurrent @Sendable (
                _ request: StreamingServerRequest<Input>,
                _ context: ServerContext
            ) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let method = context.descriptor.fullyQualifiedMethod
        do {
            var response = try await next(request, context)
            if case .success(var contents) = response.accepted {
                let produce = contents.producer
                contents.producer = { [self] writer in
                    do {
                        return try await produce(writer)
                    } catch {
                        throw answer(to: error, method)
                    }
                }
                response.accepted = .success(contents)
            }
            return response
        } catch {
            throw answer(to: error, method)
        }
    }

    private func answer(to error: any Error, _ method: String) -> any Error {
        switch error {
        case is RPCError, is any RPCErrorConvertible, is CancellationError: return error
        default:
            let reference = String(UInt64.random(in: 0 ... .max), radix: 36)
            report(reference, method, error)
            return APIError(
                .fault,
                "fault",
                "the server failed; its log tells more under reference \(reference)"
            )
        }
    }
}
